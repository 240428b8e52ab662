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
    """What a variable is called, which dimensions and units it has, and what it means.

    A dimension may be one of several: ``energy|cluster``.
    """

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
    (
        "n_pixels",
        (f"{ENERGY}|cluster",),
        None,
        "int",
        "Pixels",
        "Finite pixels of the region at each energy, or pixels of each cluster.",
    ),
    ("eigenspectra", ("component", ENERGY), "1", "float", "Eigenspectra", "Orthonormal spectra, the strongest first."),
    ("eigenimages", ("component", PIXEL), None, "float", "Eigenimages", "Scores: amount of each eigenspectrum."),
    ("eigenvalues", ("component",), None, "float", "Eigenvalues", "Mean square of each eigenimage."),
    (
        "explained_variance_ratio",
        ("component",),
        "1",
        "float",
        "Explained share",
        "Share of an eigenvalue in the sum of all.",
    ),
    ("scree", ("rank",), None, "float", "Eigenvalue", "All eigenvalues, the largest first."),
    ("center_spectrum", (ENERGY,), None, "float", "Spectrum subtracted", "The mean spectrum if centred, else zero."),
    ("noise_floor", (), None, "float", "Noise floor", "Eigenvalue below which a component is better left out."),
    ("suggested_components", (), None, "int", "Suggested components", "Eigenvalues above the noise floor."),
    (
        "significant_components",
        (),
        None,
        "int",
        "Significant components",
        "Eigenvalues larger than noise shows in 95 of 100 stacks.",
    ),
    (
        "labels",
        (PIXEL,),
        None,
        "int",
        "Cluster",
        "Number of the cluster, the largest is 1; 0 in none of them, -1 no sample or not measured.",
    ),
    ("membership", ("cluster", PIXEL), "1", "float", "Membership", "Probability that the pixel belongs to a cluster."),
    ("cluster_spectra", ("cluster", ENERGY), None, "float", "Spectrum of the cluster", "Mean over its pixels."),
    (
        "cluster_spectra_std",
        ("cluster", ENERGY),
        None,
        "float",
        "Spread of the cluster",
        "Standard deviation over its pixels, thickness included.",
    ),
    (
        "silhouette",
        ("cluster",),
        "1",
        "float",
        "Silhouette",
        "Mean over pixels of the cluster: 1 well apart from the others, 0 between two.",
    ),
    ("stability", (), "1", "float", "Stability", "Mean adjusted Rand index of bootstrap samples with the result."),
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
    "pca": (
        "eigenspectra",
        "eigenimages",
        "eigenvalues",
        "explained_variance_ratio",
        "scree",
        "center_spectrum",
        "noise_floor",
        "suggested_components",
        "significant_components",
    ),
    "cluster": (
        "labels",
        "confidence",
        "membership",
        "cluster_spectra",
        "cluster_spectra_std",
        "n_pixels",
        "silhouette",
        "stability",
        "total_amount",
        "min_amount",
    ),
}
