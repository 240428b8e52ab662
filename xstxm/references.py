"""Reference spectra: labelled sets of pure phases, and their values at a stack's energies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, get_args

import numpy as np
import xarray as xr

from xstxm import units as _units
from xstxm._apply import is_lazy
from xstxm._device import on_device
from xstxm._kernels import region_means
from xstxm._references_at import references_at, require_absorption, require_unique, require_varying
from xstxm._region_images import numbered_regions
from xstxm.conventions import (
    ENERGY,
    REFERENCE,
    REFERENCE_COORDS,
    SPECS,
    UNITS_OF_KIND,
    AbsorptionKind,
    annotate,
    pixel_dims,
    require_energy,
    signal_of,
    used_pixels,
    variance_of,
)
from xstxm.errors import OptionError, ReferenceSpectrumError, SchemaError, check_choice, shown
from xstxm.provenance import describe, note, recorded
from xstxm.roi import Region, spectrum
from xstxm.steps import followed
from xstxm.units import EnergyLike

Spectrum: TypeAlias = "xr.DataArray | tuple[Sequence[float], Sequence[float]]"
_GIVE_REGIONS = "give {'name': region, ...}, or an image of whole numbers"
Kinds: TypeAlias = "Mapping[str, AbsorptionKind] | AbsorptionKind"


@recorded
def reference_set(
    spectra: Mapping[str, Spectrum],
    *,
    units: str = "1",
    energy_units: str = "eV",
    phase: Mapping[str, str] | None = None,
    composition: Mapping[str, float] | None = None,
    composition_name: str | None = None,
    color: Mapping[str, str] | None = None,
    source: Mapping[str, str] | str | None = None,
    kind: Kinds | None = None,
) -> xr.Dataset:
    """Join spectra of pure phases into one reference set.

    Parameters
    ----------
    spectra
        Name to spectrum: an array with an `energy` coordinate, or a pair (energies, values), each on
        a grid of its own, in any order.
    units
        Units of the values: ``"1"`` (optical density), ``"1/nm"`` or ``"cm**2/g"``.
    energy_units
        Units of energies that come without.
    phase, color
        Phase name and drawing colour of each reference.
    composition
        Composition of each reference, e.g. x in LixV2O5; all of them or none.
    composition_name
        What the composition is, for labels, e.g. ``"x in LixV2O5"``.
    source
        Where the spectra come from.
    kind
        What the values of each are: ``"raw"`` (measured, on a scale and a background of their own),
        ``"normalized_absorption"`` (edge step of one), ``"optical_density"``, ``"linear_absorption"`` (1/nm) or
        ``"mass_absorption"`` (cm**2/g). A fit of several kinds warns.

    Returns
    -------
    Dataset
        `absorption` (reference, energy), float64, in `units`, ascending on the union of all energies in
        eV, NaN where a reference has no data; coordinates along `reference`. Eager.

    Raises
    ------
    ReferenceSpectrumError
        No spectrum, an empty or constant one, a name or an energy given twice, or a name in `composition`, `phase`,
        `color`, `source` or `kind` that is not a reference. Equal spectra of different names are taken; a fit of both refuses them.
    ChoiceError, OptionError
        `kind` is none of the words, or one that has another unit.

    Examples
    --------
    >>> import xstxm
    >>> refs = xstxm.reference_set(
    ...     {"V2O5": ([515, 518, 521], [0.1, 1.0, 0.3]), "LiV2O5": ([515, 517, 521], [0.1, 0.9, 0.4])},
    ...     composition={"V2O5": 0, "LiV2O5": 1},
    ... )
    >>> refs.absorption.sizes["reference"], refs.absorption.sel(reference="V2O5", energy=518).item()
    (2, 1.0)
    """
    if not isinstance(spectra, Mapping) or isinstance(spectra, xr.Dataset) or not spectra:
        found = "none" if isinstance(spectra, Mapping) and not spectra else f"a {type(spectra).__name__}"
        raise ReferenceSpectrumError(
            f"no reference spectra given (found: {found}): pass {{'name': (energies, values), ...}}"
        )
    require_absorption(units)
    names = [str(name) for name in spectra]
    reserved = [name for name in names if name in ("undecided", "no sample")]
    if reserved:
        raise ReferenceSpectrumError(
            f"{reserved[0]!r} is a label of phase maps: give the reference another name", reserved
        )
    require_unique(names)
    rows = [_as_spectrum(str(name), spectrum, units, energy_units) for name, spectrum in spectra.items()]
    joined = xr.concat(xr.align(*rows, join="outer"), dim=REFERENCE, join="outer").assign_coords({REFERENCE: names})
    joined = joined.sortby(ENERGY).transpose(REFERENCE, ENERGY)
    spec = SPECS[ENERGY]
    joined[ENERGY].attrs = {"units": spec.units, "long_name": spec.long_name}
    references = annotate(joined, "absorption", units=_units.normalize(units)).to_dataset()
    references = references.assign_coords(_labels(names, phase=phase, color=color, source=source, kind=kind))
    if kind is not None:
        _require_kinds(references["kind"], _units.normalize(units))
    if composition is not None:
        values = _along_references("composition", composition, names, complete=True)
        label = composition_name or "Composition"
        references = references.assign_coords(
            composition=(REFERENCE, np.array(values, dtype=float), {"units": "1", "long_name": label})
        )
    require_varying(references["absorption"])
    return references


def _as_spectrum(name: str, spectrum: Spectrum, unit: str, energy_units: str) -> xr.DataArray:
    if not isinstance(spectrum, xr.DataArray):
        if not isinstance(spectrum, tuple | list | np.ndarray) or len(spectrum) != 2:
            raise ReferenceSpectrumError(
                f"reference {name!r} is a {type(spectrum).__name__}: pass an array along energy or a pair (energies, values)",
                [name],
            )
        energies, values = (np.asarray(part, dtype=float) for part in spectrum)
        if energies.ndim != 1 or energies.shape != values.shape:
            raise ReferenceSpectrumError(
                f"reference {name!r} has {energies.size} energies and {values.size} values: give as many of both",
                [name],
            )
        spectrum = xr.DataArray(values, coords={ENERGY: (ENERGY, energies, {"units": energy_units})})
    spectrum = _units.dequantify(spectrum)
    if ENERGY in spectrum.coords and "units" not in spectrum[ENERGY].attrs:
        spectrum = spectrum.assign_coords({ENERGY: spectrum[ENERGY].assign_attrs(units=energy_units)})
    energy = _units.to_units(require_energy(spectrum).astype(float), "eV", f"the energy of {name!r}")
    if spectrum.dims != (ENERGY,):
        raise ReferenceSpectrumError(f"reference {name!r} has dims {spectrum.dims}: a spectrum has energy only", [name])
    plain = xr.DataArray(np.asarray(spectrum, dtype=float), coords={ENERGY: np.asarray(energy)})
    if bool(np.isinf(plain).any()):
        raise ReferenceSpectrumError(f"reference {name!r} holds infinite values: repair or drop those energies", [name])
    if "units" in spectrum.attrs:
        plain = plain * _units.factor(_units.units_of(spectrum), unit, f"reference {name!r}")
    _require_no_gap(name, plain)
    plain = plain.dropna(ENERGY)
    grid = plain.indexes[ENERGY]
    if not plain.size:
        raise ReferenceSpectrumError(f"reference {name!r} holds no finite values", [name])
    if grid.has_duplicates:
        twice = ", ".join(f"{value:g}" for value in grid[grid.duplicated()].unique()[:3])
        raise ReferenceSpectrumError(
            f"reference {name!r} has energies twice ({twice} eV): average the repeats first, "
            "e.g. spectrum.groupby('energy').mean()",
            [name],
        )
    return plain


def _require_no_gap(name: str, spectrum: xr.DataArray) -> None:
    """Refuse NaN between finite points, which an interpolation would bridge; at the ends there is no data."""
    ascending = spectrum.sortby(ENERGY)
    finite = np.flatnonzero(np.isfinite(np.asarray(ascending)))
    if finite.size and finite.size != finite[-1] - finite[0] + 1:
        gap = finite[np.argmax(np.diff(finite))]
        at = float(ascending[ENERGY][gap + 1])
        raise ReferenceSpectrumError(
            f"reference {name!r} has NaN between its data, first at {at:g} eV: drop those energies (.dropna('energy')) "
            "to interpolate across, or cut the stack with sel_energy",
            [name],
        )


def _along_references(
    what: str, values: Mapping[str, Any], names: Sequence[str], *, complete: bool = False, default: Any = ""
) -> list[Any]:
    unknown = [name for name in values if name not in names]
    missing = [name for name in names if name not in values] if complete else []
    if unknown or missing:
        said = [f"names that are not references: {', '.join(map(repr, unknown))}"] if unknown else []
        said += [f"nothing for {', '.join(map(repr, missing))}"] if missing else []
        raise ReferenceSpectrumError(
            f"{what} has {'; '.join(said)} (references: {', '.join(names)})", [*unknown, *missing]
        )
    return [values.get(name, default) for name in names]


def _labels(names: Sequence[str], **labels: Mapping[str, str] | str | None) -> dict[str, tuple[str, list[str]]]:
    coords = {}
    for what, values in labels.items():
        if values is not None:
            given = dict.fromkeys(names, values) if isinstance(values, str) else values
            labels_of = _along_references(what, given, names)
            if what == "phase":  # a reference without a phase is one by itself
                labels_of = [label or name for label, name in zip(labels_of, names, strict=True)]
            coords[what] = (REFERENCE, labels_of)
    return coords


def _require_kinds(kinds: xr.DataArray, unit: str) -> None:
    """Refuse words that are no kind of absorption, and kinds that are in another unit."""
    for kind in np.unique(np.asarray(kinds, dtype=str)):
        if kind == "":  # not known
            continue
        check_choice("kind", str(kind), AbsorptionKind)
        wanted = UNITS_OF_KIND.get(str(kind), "1")
        if not _units.same_kind(unit, wanted):
            raise OptionError("kind", str(kind), f"it is in {wanted!r}, the set in {unit!r}: give the one that it is")


@recorded
def internal_references(
    stack: xr.DataArray | xr.Dataset,
    regions: Mapping[str, Region] | xr.DataArray,
    *,
    signal: str = "optical_density",
    composition: Mapping[str, float] | None = None,
    composition_name: str | None = None,
    phase: Mapping[str, str] | None = None,
    color: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Return the mean spectra of regions or particles of a stack as a reference set.

    Parameters
    ----------
    stack
        Stack, or the array itself.
    regions
        Name to region: a mask, box, point or polygon, see `roi.region_mask`; or an image of whole numbers, each above zero
        a region, named ``region 1``, or ``particle 1`` in the `particle_label` of `particles`.
    signal
        Variable of a Dataset to average: an absorption.
    composition, composition_name, phase, color
        See `reference_set`.

    Returns
    -------
    Dataset
        `absorption` and `absorption_stderr` (reference, energy), float64, in the units of the signal: mean over the
        finite pixels and its standard error, sqrt(sum(variance)) / n where the Dataset holds the variance of the signal,
        see `with_variance`. Else it is the standard deviation of the pixels / sqrt(n), which holds what differs between
        them, as thickness, too; NaN of one pixel. `source` says which pixels of what, `kind` is the signal's. Eager.

    Raises
    ------
    MissingVariableError
        The Dataset lacks `signal`.
    OptionError, SchemaError
        A region without a name or a pixel, or one that does not fit.
    ReferenceSpectrumError
        See `reference_set`; a region may lack no energy between others.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(16, 12), seed=0))
    >>> regions = {"left": {"x": (0.0, 0.1)}, "right": {"x": (0.2, 0.3)}}
    >>> references = xstxm.internal_references(stack, regions)
    >>> references.kind.values.tolist()
    ['optical_density', 'optical_density']
    """
    stack = _units.dequantify(stack)
    array = signal_of(stack, signal)
    if isinstance(regions, xr.DataArray):
        said, means = _means_of_image(stack, signal, regions)
    else:
        said, means = _means(stack, signal, regions)
    means = means.assign_coords({ENERGY: _units.to_units(require_energy(means).astype(float), "eV", "the energy axis")})
    references = reference_set(
        {name: means["spectrum"].isel({REFERENCE: k}) for k, name in enumerate(said)},
        units=_units.units_of(array, f"the {array.name or 'stack'}", "1"),
        composition=composition,
        composition_name=composition_name,
        phase=phase,
        color=color,
        source=_sources(stack, array, said, means["n_pixels"].max(ENERGY)),
        kind=next((kind for kind in get_args(AbsorptionKind) if kind == array.name), None),
    )
    error = _standard_error(means).assign_coords({REFERENCE: references[REFERENCE]})
    error = error.reindex({ENERGY: references[ENERGY]}).where(references["absorption"].notnull())
    unit = references["absorption"].attrs["units"]
    return references.assign(absorption_stderr=annotate(error.astype(float), "absorption_stderr", units=unit))


def _means(stack: xr.DataArray | xr.Dataset, signal: str, regions: Any) -> tuple[dict[str, str], xr.Dataset]:
    """Return what each region is, by name, and the mean spectra (reference, energy), from one pass over the stack. Eager."""
    if not isinstance(regions, Mapping) or {*map(str, regions)} <= {*map(str, pixel_dims(signal_of(stack, signal)))}:
        raise OptionError("regions", regions, _GIVE_REGIONS)
    spectra = [spectrum(stack, region, signal=signal) for region in regions.values()]
    means = xr.concat([item.drop_vars({*item.coords} - {ENERGY}) for item in spectra], dim=REFERENCE).compute(
        **followed()
    )
    return {str(name): _said(region) for name, region in regions.items()}, means


def _means_of_image(
    stack: xr.DataArray | xr.Dataset, signal: str, image: xr.DataArray
) -> tuple[dict[str, str], xr.Dataset]:
    """Return the same of an image of whole numbers, the regions under the word for what it labels. Eager."""
    import dask

    if image.dtype.kind not in "iuf":
        raise OptionError("regions", image, _GIVE_REGIONS)
    array, held = used_pixels(signal_of(stack, signal), stack), variance_of(stack, signal)
    group, numbers = numbered_regions(array.isel({ENERGY: 0}, drop=True), image)
    size = np.bincount(np.ravel(group))[1:]
    parts = [array] if held is None else [array, held.where(array.notnull(), 0)]
    sums, *of_variance = dask.compute(*(_sums_of_image(part, group, size.size) for part in parts), **followed())
    number, total, squares = sums.transpose("what", ...)
    mean = annotate(total / number, "spectrum", units=array.attrs.get("units"))
    spread = (squares / number - mean**2).clip(0) ** 0.5
    means = xr.Dataset({"spectrum": mean, "spectrum_std": spread, "n_pixels": number.astype(int)})
    if of_variance:
        known, total, _ = of_variance[0].transpose("what", ...)
        means["spectrum_variance"] = total.where(known == xr.DataArray(size, dims=REFERENCE)) / number**2
    word = "particle" if image.name == "particle_label" else "region"
    names = [f"{word} {k}" for k in np.asarray(numbers).tolist()]
    return dict(zip(names, names, strict=True)), means


def _sums_of_image(array: xr.DataArray, group: xr.DataArray, n: int) -> xr.DataArray:
    """Return number, sum and sum of squares of the known pixels of regions (reference, what, energy). Lazy."""
    dims = group.dims
    values, options = array.transpose(ENERGY, *dims).data, {"n_groups": n}
    if is_lazy(array):
        from dask.array import from_array, map_blocks

        blocks = from_array(np.asarray(group), chunks=values.chunks[1:])
        single = [(1,) * len(sizes) for sizes in blocks.chunks]
        chunks = ((n,), (3,), values.chunks[0], *single)
        found = map_blocks(
            region_means.spectral_sums, values, blocks, new_axis=[0, 1], chunks=chunks, dtype=float, **options
        )
    else:
        found = region_means.spectral_sums(values, np.asarray(group), **options)
    sums = xr.DataArray(found, dims=(REFERENCE, "what", ENERGY, *dims), coords={ENERGY: array[ENERGY]})
    return sums.sum(dims)


def _sources(
    stack: xr.DataArray | xr.Dataset, array: xr.DataArray, said: Mapping[str, str], number: xr.DataArray
) -> dict[str, str]:
    """Return which pixels of what each mean is of."""
    of_stack = stack.attrs.get("source_file") or stack.attrs.get("title") or "the stack"
    counts = zip(said.items(), np.asarray(number).tolist(), strict=True)
    return {name: f"{array.name or 'mean'} of {of_stack}, {region}, {count} pixels" for (name, region), count in counts}


def _said(region: Region) -> str:
    if isinstance(region, xr.DataArray | np.ndarray):
        return str(getattr(region, "name", None) or "a mask")
    return shown(describe(region))


def _standard_error(means: xr.Dataset) -> xr.DataArray:
    """Return the standard error of mean spectra, from the variance of the signal or else from the spread of the pixels."""
    if "spectrum_variance" in means:
        return means["spectrum_variance"] ** 0.5
    note("standard errors are from the spread over each region")
    number = means["n_pixels"]
    return means["spectrum_std"] / (number - 1).where(number > 1) ** 0.5


@recorded
@on_device
def with_references(
    stack: xr.Dataset,
    references: xr.Dataset,
    *,
    energy_shift: EnergyLike | None = None,
    broadening: EnergyLike | None = None,
) -> xr.Dataset:
    """Put reference spectra into a stack, at its energies, so that later verbs find them there.

    Parameters
    ----------
    stack
        A stack.
    references
        A reference set, see `reference_set`; interpolated onto the stack's energies, never beyond.
    energy_shift, broadening
        Move the references by so much, and broaden them with a Gaussian of that full width at half maximum, so that
        they are as if measured with the stack, see `estimate_energy_shift`.

    Returns
    -------
    Dataset
        The stack with `reference_spectra` (reference, energy) and the coordinates of the references.
        Lazy where the stack is.

    Raises
    ------
    SchemaError
        `stack` is not a Dataset, or holds results for other references.
    EnergyRangeError, ReferenceSpectrumError
        See `references_at`.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)
    >>> stack = xstxm.with_references(stack, xstxm.testing.simulate_references())
    >>> "reference_spectra" in stack
    True
    """
    if not isinstance(stack, xr.Dataset):
        raise SchemaError("references go into a Dataset: call .to_dataset(name='optical_density') first")
    stack = _units.dequantify(stack)
    spectra = references_at(references, require_energy(stack), energy_shift=energy_shift, broadening=broadening)
    return holding(stack, spectra)


def holding(stack: xr.Dataset, spectra: xr.DataArray) -> xr.Dataset:
    """Return a stack that holds `reference_spectra`, in place of those that it may have held. Lazy."""
    stack = stack.drop_vars(["reference_spectra", *REFERENCE_COORDS], errors="ignore")
    others = [str(name) for name, variable in stack.data_vars.items() if REFERENCE in variable.dims]
    if not others:
        stack = stack.drop_vars(REFERENCE, errors="ignore")
    elif not np.array_equal(stack[REFERENCE], spectra[REFERENCE]):
        raise SchemaError(
            f"{', '.join(map(repr, others))} have other references than these: .drop_vars({others}) first"
        )
    return stack.assign(reference_spectra=spectra)
