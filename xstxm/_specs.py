"""One entry for every variable that xstxm reads or writes, and which of them each result holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

ENERGY = "energy"
REFERENCE = "reference"
OTHER_REFERENCE = "other_reference"
PIXEL = "pixel dims"
"""Stands for every dimension except `energy`: (y, x), (position), (theta, y, x) or none."""

Kind: TypeAlias = Literal["float", "int", "bool"]


@dataclass(frozen=True)
class VariableSpec:
    """What a variable is called, which dimensions and units it has, and what it means."""

    name: str
    dims: tuple[str, ...]
    units: str | None
    kind: Kind
    long_name: str
    doc: str


def _specs(*rows: tuple[str, tuple[str, ...], str | None, Kind, str, str]) -> dict[str, VariableSpec]:
    return {row[0]: VariableSpec(*row) for row in rows}


_STACK = (ENERGY, PIXEL)
SPECS: Mapping[str, VariableSpec] = _specs(
    ("energy", (ENERGY,), "eV", "float", "Photon energy", "Photon energy, any spacing and order."),
    ("y", ("y",), "um", "float", "y position", "Pixel centres; row 0 is the first y position, y points up."),
    ("x", ("x",), "um", "float", "x position", "Pixel centres; column 0 is the first x position."),
    ("dwell_time", (ENERGY,), "ms", "float", "Dwell time", "Exposure of a pixel."),
    ("ring_current", (ENERGY,), "mA", "float", "Ring current", "Stored beam; never applied silently."),
    ("intensity", _STACK, "count", "float", "Transmitted intensity", "Counts behind the sample."),
    ("i0", (ENERGY,), "count", "float", "Incident intensity", "Counts without a sample."),
    (
        "i0_stderr",
        (ENERGY,),
        "count",
        "float",
        "Standard error of I0",
        "Spread over the I0 pixels / sqrt(n).",
    ),
    ("optical_density", _STACK, "1", "float", "Optical density", "-ln(I / I0), natural logarithm."),
    ("mask", (PIXEL,), None, "bool", "Pixel mask", "True where a pixel is used."),
    (
        "quality",
        (PIXEL,),
        None,
        "int",
        "Quality flags",
        "Bits that say what is doubtful about a pixel; 0 where nothing is.",
    ),
    (
        "reference_spectra",
        (REFERENCE, ENERGY),
        None,
        "float",
        "Reference spectra",
        "Absorption of each pure phase at the energies of the stack.",
    ),
    ("absorption", (REFERENCE, ENERGY), None, "float", "Absorption", "Spectra of pure phases."),
    ("component_map", (REFERENCE, PIXEL), None, "float", "Amount", "Coefficient of each reference."),
    (
        "component_map_stderr",
        (REFERENCE, PIXEL),
        None,
        "float",
        "Standard error of the amount",
        "From the residual and the references in use; 0 for one that the constraint holds at its bound.",
    ),
    (
        "component_map_covariance",
        (REFERENCE, OTHER_REFERENCE, PIXEL),
        None,
        "float",
        "Covariance of the amounts",
        "From the residual, with no reference held at its bound.",
    ),
    ("background", ("term", PIXEL), "1", "float", "Background", "Coefficient of each background term."),
    ("background_spectra", ("term", ENERGY), "1", "float", "Background spectra", "What the background is made of."),
    ("residual", _STACK, "1", "float", "Residual", "Optical density minus fit."),
    ("residual_rms", (PIXEL,), "1", "float", "RMS residual", "sqrt(mean((od - fit)^2))."),
    ("r_factor", (PIXEL,), "1", "float", "R-factor", "sum((od - fit)^2) / sum(od^2)."),
    (
        "reduced_chi2",
        (PIXEL,),
        "1",
        "float",
        "Reduced chi-square",
        "sum((od - fit)^2) / (n_energies - n_free), the variance of a point taken as one.",
    ),
    (
        "n_active",
        (PIXEL,),
        None,
        "int",
        "References in use",
        "References that the fit uses: those above zero under a constraint, all of them without.",
    ),
    ("phase_fraction", ("phase", PIXEL), "1", "float", "Phase fraction", "c_k / sum(c)."),
    (
        "phase_fraction_stderr",
        ("phase", PIXEL),
        "1",
        "float",
        "Standard error of the phase fraction",
        "From the covariance of the amounts.",
    ),
    (
        "phase_label",
        (PIXEL,),
        None,
        "int",
        "Chemical phase",
        "Index of the phase with the largest fraction; -1 no sample, -2 undecided.",
    ),
    (
        "confidence",
        (PIXEL,),
        "1",
        "float",
        "Confidence of the label",
        "Smallest probability that the labelled phase exceeds another one.",
    ),
    ("total_amount", (PIXEL,), None, "float", "Total amount", "sum(c) over the references."),
    ("min_amount", (), None, "float", "Least amount of a sample pixel", "Total amount below which a pixel is empty."),
    ("composition", (PIXEL,), None, "float", "Composition", "sum(f_k x_k) over the phases."),
    (
        "composition_stderr",
        (PIXEL,),
        None,
        "float",
        "Standard error of the composition",
        "From the covariance of the amounts.",
    ),
    (
        "phase_spectra",
        ("phase", ENERGY),
        None,
        "float",
        "Spectrum of the phase",
        "The reference behind a phase.",
    ),
    ("spectrum", (ENERGY,), None, "float", "Mean spectrum", "Mean over the pixels of a region."),
    (
        "spectrum_std",
        (ENERGY,),
        None,
        "float",
        "Spread of the spectrum",
        "Standard deviation over the region.",
    ),
    ("n_pixels", (ENERGY,), None, "int", "Pixels", "Finite pixels of the region at each energy."),
    (
        "component_spectra",
        ("component", ENERGY),
        None,
        "float",
        "Component spectra",
        "Spectrum of each component of an unmixed stack.",
    ),
    (
        "component_amount",
        ("component", PIXEL),
        None,
        "float",
        "Amount of the component",
        "Coefficient of each component spectrum.",
    ),
    (
        "component_amount_stderr",
        ("component", PIXEL),
        None,
        "float",
        "Standard error of the component amount",
        "From the residual, the component spectra taken as known; 0 for one that the constraint holds at its bound.",
    ),
    (
        "contribution",
        ("component",),
        "1",
        "float",
        "Contribution",
        "Sum of squares of amount times spectrum, over its sum over the components.",
    ),
    (
        "component_angle",
        ("component",),
        "deg",
        "float",
        "Angle between starts",
        "Largest angle between the spectrum and its like in another start with a residual as small; NaN without one.",
    ),
    ("convergence", ("iteration",), None, "float", "RMS residual", "Of the sampled pixels, after each iteration."),
    (
        "change",
        ("iteration",),
        "1",
        "float",
        "Change of the spectra",
        "Largest change of a spectrum in an iteration, relative to its length.",
    ),
    ("start_rms", ("start",), None, "float", "RMS residual of each start", "Of the sampled pixels, at the end."),
)

SCHEMAS: Mapping[str, tuple[str, ...]] = {
    "stack": ("energy",),
    "reference_set": ("absorption", "energy"),
    "estimate_i0": ("i0", "i0_stderr", "mask"),
    "spectrum": ("spectrum", "spectrum_std", "n_pixels"),
    "fit": (
        "component_map",
        "component_map_stderr",
        "background",
        "residual_rms",
        "r_factor",
        "reduced_chi2",
        "n_active",
        "reference_spectra",
        "background_spectra",
    ),
    "phase_map": (
        "phase_fraction",
        "phase_fraction_stderr",
        "phase_label",
        "confidence",
        "total_amount",
        "min_amount",
        "phase_spectra",
        "quality",
    ),
    "nmf": (
        "component_spectra",
        "component_amount",
        "component_amount_stderr",
        "residual_rms",
        "r_factor",
        "contribution",
        "component_angle",
        "convergence",
        "change",
        "start_rms",
    ),
    "mcr": (
        "component_spectra",
        "component_amount",
        "component_amount_stderr",
        "residual_rms",
        "r_factor",
        "contribution",
        "component_angle",
        "convergence",
        "change",
        "start_rms",
    ),
}
