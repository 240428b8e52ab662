"""Names, dimensions, units and one sentence for every variable that xstxm reads or writes.

`SPECS` describes the variables, `SCHEMAS` which of them a stack, a reference set and each result
hold. Code takes names from here; users read the sentence in the variable's ``comment``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.errors import (
    IncompatibleUnitsError,
    MissingCoordinateError,
    MissingDimensionError,
    MissingUnitsError,
    MissingVariableError,
    SchemaError,
)

ENERGY = "energy"
REFERENCE = "reference"
OTHER_REFERENCE = "other_reference"
PIXEL = "pixel dims"
"""Stands for every dimension except `energy`: (y, x), (position), (theta, y, x) or none."""

CONVENTIONS = "xstxm-1"
"""Version of these conventions, in the attribute `Conventions` of a stack."""

_RESULT_DIMS = {REFERENCE, OTHER_REFERENCE, "term", "phase", "component", "cluster"}

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
}

REFERENCE_COORDS = ("phase", "composition", "color", "source", "cell_chain", "cell_rung", "cell_stacking")
"""Coordinates that a reference set may carry along `reference`."""

QUALITY_FLAGS: Mapping[str, int] = {
    "nonpositive_counts": 1,
    "saturated": 2,
    "too_thick": 4,
    "outside_overlap": 8,
    "poor_fit": 16,
    "not_measured": 32,
}

NO_SAMPLE, UNDECIDED = -1, -2
"""Values of `phase_label` that are no phase."""

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
"""Colours of phases that bring none: Okabe and Ito's, told apart by colour-blind readers."""


def annotate(array: xr.DataArray, name: str, units: str | None = None, **attrs: Any) -> xr.DataArray:
    """Return an array under its conventional name with fresh units, long_name and comment."""
    spec = SPECS[name]
    stamp = {
        "units": units if units is not None else spec.units,
        "long_name": spec.long_name,
        "comment": spec.doc,
    }
    kept = {key: value for key, value in stamp.items() if value is not None}
    named = array.rename(name).copy(deep=False)  # rename shares the attributes
    named.attrs = {**kept, **attrs}
    return named


def flag_attrs(flags: Mapping[str, int], *, masks: bool) -> dict[str, Any]:
    """Return CF attributes that explain a flag variable (bit masks or plain values)."""
    key = "flag_masks" if masks else "flag_values"
    return {
        key: np.array(list(flags.values()), dtype="int16"),
        "flag_meanings": " ".join(name.replace(" ", "_") for name in flags),
    }


def pixel_dims(obj: xr.DataArray | xr.Dataset) -> tuple[Hashable, ...]:
    """Return every dimension of an array except `energy`; of a Dataset, those of its stack variables."""
    if isinstance(obj, xr.DataArray):
        return tuple(dim for dim in obj.dims if dim != ENERGY)
    dims: dict[Hashable, None] = {}
    for array in obj.data_vars.values():
        if ENERGY in array.dims and not _RESULT_DIMS & {*array.dims}:
            dims.update(dict.fromkeys(dim for dim in array.dims if dim != ENERGY))
    return tuple(dims) or tuple(dim for dim in obj.dims if dim != ENERGY and dim not in _RESULT_DIMS)


def require_energy(obj: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return the energy coordinate, or say what is missing."""
    if ENERGY not in obj.dims:
        others = [dim for dim in obj.dims if dim not in ("y", "x", "position", "theta", "time", "polarization")]
        do = f".rename({{{str(others[0])!r}: 'energy'}}) first, if that is the energy" if others else ""
        do = do or "every spectrum needs one; was it averaged away, or a single energy selected?"
        if ENERGY in obj.coords:
            do = 'make it a dimension of length one with .expand_dims("energy")'
        raise MissingDimensionError(ENERGY, obj.dims, do)
    if ENERGY not in obj.coords:
        raise MissingCoordinateError(ENERGY)
    energy = obj[ENERGY]
    if not np.issubdtype(energy.dtype, np.number) or not bool(np.isfinite(energy).all()):
        raise SchemaError("the energy axis holds values that are not finite numbers: repair or drop them first")
    if "units" not in energy.attrs:
        raise MissingUnitsError("the energy axis", "set them, e.g. stack['energy'].attrs['units'] = 'eV'")
    units.factor(units.units_of(energy), "eV", "the energy axis")
    return energy


def require_variable(stack: xr.Dataset, name: str, do: str) -> xr.DataArray:
    """Return a variable of a Dataset, or say how to get it."""
    if name not in stack:
        raise MissingVariableError(name, stack.data_vars, do)
    return stack[name]


def signal_of(stack: xr.DataArray | xr.Dataset, signal: str) -> xr.DataArray:
    """Return the array that an analysis reads: the DataArray itself, or a variable of the Dataset."""
    if isinstance(stack, xr.DataArray):
        return stack
    others = [str(name) for name, array in stack.data_vars.items() if ENERGY in array.dims and name != "i0"]
    instead = f', or pass signal="{others[0]}"' if others else ""
    verb = "optical_density" if signal == "optical_density" else None
    do = f"call .stxm.{verb}() first{instead}" if verb else f"pass the name of a variable{instead}"
    return require_variable(stack, signal, do)


def density_of(stack: xr.DataArray | xr.Dataset, signal: str) -> xr.DataArray:
    """Return the optical density that an analysis reads, NaN where the stack's `mask` says not to use a pixel."""
    density = signal_of(stack, signal)
    found = units.units_of(density, "the optical density")
    if found != "1":
        raise IncompatibleUnitsError(
            f"the optical density {str(density.name)!r}", found, "1", "call .stxm.optical_density() on counts first"
        )
    return used_pixels(density, stack)


def used_pixels(array: xr.DataArray, stack: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return the array with NaN where the `mask` of the stack is False; as it is without a mask."""
    if not isinstance(stack, xr.Dataset) or "mask" not in stack:
        return array
    mask = stack["mask"]
    if mask.dtype != bool:
        raise SchemaError(f"'mask' is {mask.dtype}, wanted bool: True where a pixel is used")
    if mask.__dask_graph__() is None and not bool(mask.any()):
        raise SchemaError("'mask' is False everywhere: no pixel is left to use")
    return array.where(mask)


def validate(obj: xr.Dataset, schema: str) -> None:
    """Raise `SchemaError` listing every way in which a Dataset departs from a schema of `SCHEMAS`."""
    problems = []
    for name in SCHEMAS[schema]:
        if name not in obj.variables:
            problems.append(f"{name!r} is missing")
            continue
        problems += [f"{name!r} {problem}" for problem in _departures(obj[name], SPECS[name])]
    if problems:
        raise SchemaError(f"not a {schema}: " + "; ".join(problems))


_KINDS = {"float": "f", "int": "iu", "bool": "b"}


def _departures(array: xr.DataArray, spec: VariableSpec) -> list[str]:
    problems = []
    fixed = tuple(dim for dim in spec.dims if dim != PIXEL)
    if array.dims[: len(fixed)] != fixed or (PIXEL not in spec.dims and len(array.dims) != len(fixed)):
        problems.append(f"has dims {array.dims}, wanted {spec.dims}")
    if array.dtype.kind not in _KINDS[spec.kind]:
        problems.append(f"has dtype {array.dtype}, wanted {spec.kind}")
    found = array.attrs.get("units")
    if spec.units is not None and (found is None or not units.same_kind(str(found), spec.units)):
        problems.append(f"has units {found!r}, wanted {spec.units!r}")
    return problems
