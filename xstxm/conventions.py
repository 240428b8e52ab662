"""Names, dimensions, units and one sentence for every variable that xstxm reads or writes.

`SPECS` describes the variables, `SCHEMAS` which of them a stack, a reference set and each result
hold. Code takes names from here; users read the sentence in the variable's ``comment``.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Hashable, Mapping
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._specs import ENERGY, OTHER_REFERENCE, PIXEL, REFERENCE, SCHEMAS, SPECS, VariableSpec
from xstxm.errors import (
    IncompatibleUnitsError,
    MetadataWarning,
    MissingCoordinateError,
    MissingDimensionError,
    MissingUnitsError,
    MissingVariableError,
    OptionError,
    ReferenceSpectrumError,
    SchemaError,
    warn,
)

Stack = TypeVar("Stack", xr.DataArray, xr.Dataset)
Content: TypeAlias = Literal["flags", "labels", "marks", "variance", "stderr", "number"]
Measure: TypeAlias = Literal["counts", "rate", "density", "other"]

CONVENTIONS = "xstxm-1"
"""Version of these conventions, in the attribute `Conventions` of a stack."""

_RESULT_DIMS = {REFERENCE, OTHER_REFERENCE, "term", "phase", "component", "cluster", "rank", "iteration", "start"}
_RESULT_DIMS |= {"lattice_axis", "tensor_component", "other_phase", "particle", "contact", "distance"}
_RESULT_DIMS |= {"scale", "length", "lag", "lag_y", "lag_x"}

REFERENCE_COORDS = ("phase", "composition", "color", "source", "kind", "cell_chain", "cell_rung", "cell_stacking")
"""Coordinates that a reference set may carry along `reference`."""

AbsorptionKind: TypeAlias = Literal[
    "raw", "normalized_absorption", "optical_density", "linear_absorption", "mass_absorption"
]
"""What the values of a reference are: measured, on a scale and a background of their own; divided by the edge step;
ln(I0 / I); per length; per mass."""

UNITS_OF_KIND: Mapping[str, str] = {"linear_absorption": "1/nm", "mass_absorption": "cm**2/g"}
"""Kinds of absorption that have a unit; the others are numbers."""

QUALITY_FLAGS: Mapping[str, int] = {
    "nonpositive_counts": 1,
    "saturated": 2,
    "too_thick": 4,
    "outside_overlap": 8,
    "poor_fit": 16,
    "not_measured": 32,
    "below_noise": 64,
    "outside_window": 128,
}

REFERENCE_CURRENT = "reference_current"
"""Attribute of counts that were scaled to one ring current: which, as ``"400 mA"``."""

FRAME_FLAGS: Mapping[str, int] = {
    "not_measured": 1,
    "partly_measured": 2,
    "no_beam": 4,
    "partly_dark": 8,
    "constant": 16,
    "outlier": 32,
    "duplicate_frame": 64,
    "duplicate_energy": 128,
    "uncertain_shift": 256,
}
"""Bits of `frame_quality`, one value for each frame."""

MADE_FROM: Mapping[str, tuple[str, ...]] = {
    "intensity": ("optical_density", "normalized_absorption"),
    "optical_density": ("normalized_absorption",),
}
"""Variables that no longer fit where another one changes."""
_LABELS = {"labels", "phase_label", "particle_label", "duplicate_of"}

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


def dwell_time_of(stack: xr.DataArray | xr.Dataset) -> xr.DataArray | None:
    """Return the exposure of a pixel in ms, above zero, where a stack says it in a coordinate."""
    if "dwell_time" not in stack.coords:
        return None
    dwell = units.to_units(stack["dwell_time"].astype(float), "ms", "dwell_time")
    if dwell.__dask_graph__() is None and bool((dwell <= 0).any()):
        least = f"{float(dwell.min()):g} ms"
        raise OptionError("dwell_time", least, "an exposure is above zero: assign_coords another, or drop_vars it")
    return dwell


def require_dwell_time(stack: xr.DataArray | xr.Dataset, why: str) -> xr.DataArray:
    """Return the exposure of a pixel in ms, or say why it is needed and how to give it."""
    dwell = dwell_time_of(stack)
    if dwell is None:
        do = "assign the exposure, e.g. .assign_coords(dwell_time=((), 1.0, {'units': 'ms'}))"
        raise MissingCoordinateError("dwell_time", f"{why}; {do}")
    return dwell


def quality_bits(
    flags: Mapping[str, xr.DataArray],
    before: xr.DataArray | None = None,
    *,
    lasting: Collection[str] = ("not_measured",),
) -> xr.DataArray:
    """Return the bit flags of each pixel: those given, and the others that the stack had before.

    A flag that is given is judged anew, unless it is `lasting`: what was not measured stays so.
    """
    bits = functools.reduce(operator.or_, (raised * np.int16(QUALITY_FLAGS[name]) for name, raised in flags.items()))
    if before is not None:
        renewed = sum(QUALITY_FLAGS[name] for name in flags if name not in lasting)
        bits = bits | (before.astype("int16") & np.int16(~renewed))
    return annotate(bits.astype("int16"), "quality", **flag_attrs(QUALITY_FLAGS, masks=True))


def quality_of(stack: xr.DataArray | xr.Dataset) -> xr.DataArray | None:
    """Return the quality flags that a stack brings."""
    return stack.get("quality") if isinstance(stack, xr.Dataset) else None


def content_of(name: Hashable, variable: xr.Variable | xr.DataArray) -> Content:
    """Return what the values of a variable are, which decides how they are averaged or interpolated.

    Bit flags, labels (and words), marks (bool), variances, standard errors; all else is a number.
    """
    if "flag_masks" in variable.attrs:
        return "flags"
    if "flag_values" in variable.attrs or name in _LABELS or variable.dtype.kind not in "fiub":
        return "labels"
    if variable.dtype == bool:
        return "marks"
    if str(name).endswith("_variance"):
        return "variance"
    return "stderr" if str(name).endswith("_stderr") else "number"


def measure_of(array: xr.Variable | xr.DataArray) -> Measure:
    """Return what the units say that an array, or its variance, measures: counts, a rate, or a density.

    A number without a unit is a density, unless it is called an intensity.
    """
    if "units" not in array.attrs:
        return "other"
    found = str(array.attrs["units"])
    if any(units.same_kind(found, kind) for kind in ("count", "count**2")):
        return "counts"
    if any(units.same_kind(found, kind) for kind in ("count/ms", "count**2/ms**2")):
        return "rate"
    named = getattr(array, "name", None)
    return "density" if units.same_kind(found, "1") and named != "intensity" else "other"


def pixel_dims(obj: xr.DataArray | xr.Dataset) -> tuple[Hashable, ...]:
    """Return every dimension of an array except `energy`; of a Dataset, those of its stack variables."""
    if isinstance(obj, xr.DataArray):
        return tuple(dim for dim in obj.dims if dim != ENERGY)
    dims: dict[Hashable, None] = {}
    for array in obj.data_vars.values():
        if ENERGY in array.dims and not _RESULT_DIMS & {*array.dims}:
            dims.update(dict.fromkeys(dim for dim in array.dims if dim != ENERGY))
    return tuple(dims) or tuple(dim for dim in obj.dims if dim != ENERGY and dim not in _RESULT_DIMS)


def has_pixels(array: xr.DataArray) -> bool:
    """Tell whether an array has a dimension of pixels, and is no mere spectrum or table."""
    return not {*array.dims} <= {ENERGY, *_RESULT_DIMS}


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
    if not np.issubdtype(energy.dtype, np.number) or not np.isfinite(np.asarray(energy)).all():
        raise SchemaError("the energy axis holds values that are not finite numbers: repair or drop them first")
    if "units" not in energy.attrs:
        raise MissingUnitsError("the energy axis", "set them, e.g. stack['energy'].attrs['units'] = 'eV'")
    units.factor(units.units_of(energy), "eV", "the energy axis")
    return energy


def require_variable(stack: xr.Dataset, name: str, do: str) -> xr.DataArray:
    """Return a variable of a Dataset, or say how to get it."""
    if name not in stack:
        raise MissingVariableError(name, getattr(stack, "data_vars", ()), do)
    return stack[name]


def without_coords(array: xr.DataArray, *dims: Hashable) -> xr.DataArray:
    """Return an array without the coordinates along some of its dimensions."""
    return array.drop_vars([name for name, coord in array.coords.items() if {*dims} & {*coord.dims}])


def require_compositions(of_references: xr.DataArray) -> xr.DataArray:
    """Return the composition of every reference in its own unit, or say which of them have none."""
    if "composition" not in of_references.coords:
        do = "give the references one, see xstxm.reference_set"
        raise MissingVariableError("composition", of_references.coords, do)
    composition = of_references.coords["composition"]
    numbers = np.asarray(composition, dtype=float)
    without = [str(name) for name in np.asarray(of_references[REFERENCE])[np.isnan(numbers)]]
    if without:
        raise ReferenceSpectrumError(
            f"no composition for {', '.join(map(repr, without))}: give every reference one, or drop_vars('composition')",
            without,
        )
    return composition


def composition_number(composition: xr.DataArray) -> xr.DataArray:
    """Return a composition as ions per formula unit, which it is without a unit; 40 percent is 0.4."""
    given = composition.assign_attrs(units=composition.attrs.get("units", "1"))
    return units.to_units(given.astype(float) if given.dtype.kind in "iub" else given, "1", "the composition")


def signal_of(stack: xr.DataArray | xr.Dataset, signal: str) -> xr.DataArray:
    """Return the array that an analysis reads: the DataArray itself, or a variable of the Dataset."""
    if isinstance(stack, xr.DataArray):
        return stack
    own = {str(name): array for name, array in stack.data_vars.items() if ENERGY in array.dims and name != "i0"}
    if signal not in own and any(array.dtype.kind == "c" for array in own.values()):
        return require_variable(stack, signal, "of a complex transmission call .stxm.from_transmission() first")
    others = [*own]
    instead = f', or pass signal="{others[0]}"' if others else ""
    verb = "optical_density" if signal == "optical_density" else None
    do = f"call .stxm.{verb}() first{instead}" if verb else f"pass the name of a variable{instead}"
    return require_variable(stack, signal, do)


def as_float(array: xr.DataArray) -> xr.DataArray:
    """Return floats in native byte order, integers and half precision as float32. Lazy."""
    dtype = float_dtype(array)
    return array if array.dtype == dtype else array.astype(dtype)


def float_dtype(array: xr.DataArray) -> np.dtype:
    """Return the dtype of `as_float`."""
    if array.dtype.kind not in "fiu":
        raise SchemaError(f"{str(array.name)!r} is {array.dtype}, wanted numbers")
    wide = array.dtype.kind == "f" and array.dtype.itemsize >= 4
    return array.dtype.newbyteorder("=") if wide else np.dtype("float32")


def variance_of(stack: xr.DataArray | xr.Dataset, signal: str) -> xr.DataArray | None:
    """Return the variance that a Dataset holds beside a variable, `<signal>_variance`: floats, dims as the variable."""
    name = f"{signal}_variance"
    if not isinstance(stack, xr.Dataset) or name not in stack:
        return None
    held, dims = stack[name], stack[signal].dims
    if {*held.dims} != {*dims}:
        raise SchemaError(
            f"{name!r} has dims {held.dims}, wanted those of {signal!r}, {dims}: .broadcast_like(stack[{signal!r}]) first"
        )
    return as_float(held.transpose(*dims))


def stderr_of(maps: xr.DataArray | xr.Dataset, signal: str, called: str | None = None) -> xr.DataArray | None:
    """Return the standard errors that a Dataset holds beside a map, `<signal>_stderr`, in the units of the map. Lazy."""
    name = f"{signal}_stderr"
    if not isinstance(maps, xr.Dataset) or name not in maps:
        return None
    held, unit = maps[name], str(maps[signal].attrs.get("units", "1"))
    stated = held.assign_attrs(units=held.attrs.get("units", unit))
    what = f"the standard error of {called or repr(signal)}"
    return units.to_units(stated, unit, what).broadcast_like(maps[signal])


def signal_and_variance(stack: xr.DataArray | xr.Dataset, signal: str) -> tuple[xr.DataArray, xr.DataArray | None]:
    """Return the signal in floats, NaN outside the mask, and its variance where the Dataset holds one."""
    return used_pixels(as_float(signal_of(stack, signal)), stack), variance_of(stack, signal)


def require_image(array: xr.DataArray, do: str) -> None:
    """Raise `MissingDimensionError` unless an array has y and x."""
    for dim in ("y", "x"):
        if dim not in array.dims:
            raise MissingDimensionError(dim, array.dims, do)


def replace_signal(
    stack: xr.DataArray | xr.Dataset,
    signal: str,
    changed: xr.DataArray,
    variance: xr.DataArray | None = None,
    **others: xr.DataArray,
) -> Any:
    """Return what a signal verb returns: the changed array, or the Dataset with it, its variance and more."""
    if isinstance(stack, xr.DataArray):
        return changed
    stale = [name for name in MADE_FROM.get(signal, ()) if name in stack]
    if stale:
        named = " and ".join(repr(name) for name in stale)
        verbs = {"optical_density": "optical_density()", "normalized_absorption": "normalize_edge(...)"}
        again = " and ".join(f".stxm.{verbs[name]}" for name in stale)
        warn(
            f"{named} {'was' if len(stale) == 1 else 'were'} made from {signal!r} before: call {again} again",
            MetadataWarning,
        )
    carried = {} if variance is None else {f"{signal}_variance": variance}
    return stack.assign({signal: changed, **carried, **others})


def density_of(stack: xr.DataArray | xr.Dataset, signal: str) -> xr.DataArray:
    """Return the optical density that an analysis reads, NaN where the stack's `mask` says not to use a pixel."""
    density = signal_of(stack, signal)
    found = units.units_of(density, "the optical density", "1")
    if found != "1":
        raise IncompatibleUnitsError(
            f"the optical density {str(density.name)!r}", found, "1", "call .stxm.optical_density() on counts first"
        )
    return used_pixels(density, stack)


def used_pixels(array: xr.DataArray, stack: xr.DataArray | xr.Dataset, other: float = np.nan) -> xr.DataArray:
    """Return the array with NaN, or another value, where the `mask` of the stack is False; as it is without a mask."""
    if not isinstance(stack, xr.Dataset) or "mask" not in stack:
        return array
    mask = stack["mask"]
    if mask.dtype != bool:
        raise SchemaError(f"'mask' is {mask.dtype}, wanted bool: True where a pixel is used")
    if mask.__dask_graph__() is None and not bool(mask.any().data):
        raise SchemaError("'mask' is False everywhere: no pixel is left to use")
    return array.where(mask, array.dtype.type(other) if array.dtype.kind in "fb" else other)


def nothing_usable(array: xr.DataArray, inside: xr.DataArray) -> SchemaError:
    """Return the error of an array without a pixel inside that is finite at every energy: what to leave out. Eager."""
    number = int(inside.sum())
    if not number:
        return SchemaError("no pixel lies inside both the mask and the region: change one of them")
    there: Any = np.isfinite(array)
    finite = np.asarray((there & inside).sum(pixel_dims(array)))
    if finite.min() == finite.max():
        if finite.any():
            return SchemaError(f"each of the {number} pixels lacks some energy: leave out frames that lack many pixels")
        return SchemaError(
            f"the {number} pixels hold no finite value: check the mask, and the counts and I0 that they come from"
        )
    worst = np.flatnonzero(finite == finite.min())
    energy = np.asarray(require_energy(array))[worst]
    named = ", ".join(f"{value:g}" for value in energy[:5]) + (", ..." if energy.size > 5 else "")
    return SchemaError(
        f"no pixel is finite at every energy: at {named} {units.units_of(array[ENERGY])} {finite.min() or 'none'} of the "
        f"{number} pixels is. Leave those frames out first, stack.drop_isel(energy={worst.tolist()})"
    )


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


_KINDS = {"float": "f", "int": "iu", "bool": "b", "complex": "c", "text": "OUT"}


def _departures(array: xr.DataArray, spec: VariableSpec) -> list[str]:
    problems = []
    fixed = tuple(dim for dim in spec.dims if dim != PIXEL)
    leading = array.dims[: len(fixed)]
    fits = len(leading) == len(fixed) and all(
        dim in wanted.split("|") for dim, wanted in zip(leading, fixed, strict=True)
    )
    if not fits or (PIXEL not in spec.dims and len(array.dims) != len(fixed)):
        problems.append(f"has dims {array.dims}, wanted {spec.dims}")
    if array.dtype.kind not in _KINDS[spec.kind]:
        problems.append(f"has dtype {array.dtype}, wanted {spec.kind}")
    found = array.attrs.get("units")
    if spec.units is not None and (found is None or not units.same_kind(str(found), spec.units)):
        problems.append(f"has units {found!r}, wanted {spec.units!r}")
    return problems
