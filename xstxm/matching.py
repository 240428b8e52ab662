"""Two instruments on one sample: where a small field lies in a large one, and a fair comparison at one resolution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._axes import match_energy
from xstxm._placing import Search, apart, edges
from xstxm._resolution import IMAGE, Resolution, blur_between, densities_at, phases_at, require_finer, require_narrow
from xstxm.absorption import with_density
from xstxm.comparing import Match, compare
from xstxm.conventions import (
    ENERGY,
    annotate,
    content_of,
    require_image,
    require_variable,
)
from xstxm.differences import bland_altman
from xstxm.errors import (
    AlignmentWarning,
    EnergyRangeError,
    MissingVariableError,
    OptionError,
    SchemaError,
    check_choice,
    warn,
)
from xstxm.interfaces import positions, spacing
from xstxm.provenance import note, recorded
from xstxm.units import LengthLike

Shift: TypeAlias = "Literal['estimate'] | xr.Dataset | None"
_ShiftWord: TypeAlias = Literal["estimate"]

_SHIFT = "Added to the positions of the fine map it moves them onto the coarse one."
_LOW = 0.5
"""Correlation below which two maps may show different places."""
_RIVAL = 0.95
"""Correlation elsewhere, over the one found, above which the place is not certain."""


@recorded
def locate(
    fine: xr.Dataset | xr.DataArray,
    coarse: xr.Dataset | xr.DataArray,
    *,
    signal: str = "total_amount",
    fine_psf: LengthLike | None = None,
    psf: LengthLike | None = None,
    max_shift: LengthLike = "1 um",
) -> xr.Dataset:
    """Find where a small field of small pixels lies in a large one of large pixels.

    The search starts from the stage coordinates. The fine map, averaged over the coarse pixels, is laid on the coarse one at
    all whole pixels up to `max_shift` away and goes where their correlation coefficient is highest; between pixels
    least squares go on, of ``coarse = gain * fine + offset``. NaN is left out.

    Parameters
    ----------
    fine, coarse
        Results that hold the map, as of `phase_map`; or the maps themselves, with y and x.
    signal
        Variable of a Dataset.
    fine_psf, psf
        Point-spread functions of the two, the full width at half maximum of a Gaussian; a number is in um. The fine map
        is blurred by what lies between. By default it is only averaged over the coarse pixels.
    max_shift
        Largest distance along either axis; a number is in um.

    Returns
    -------
    Dataset
        `shift_y`, `shift_x` in um, *added to the positions of the fine map they move it onto the coarse one*, and their
        `_stderr`, NaN where the shift ends at the limit of the search; `correlation`, of the pixels that are compared;
        `rival_correlation`, the highest at another whole pixel; `outline_y`, `outline_x` (corner), the corners of the
        fine field in the positions of the coarse map; `overlap_share`, the share of the fine field that the coarse map
        covers. Eager.

    Raises
    ------
    MissingVariableError, MissingDimensionError, MissingCoordinateError
        A map is missing, or has no y and x.
    OptionError
        Only one point-spread function, the finer one second, or one wider than the fine field.
    SchemaError
        The fields do not overlap within `max_shift`; the fine map has larger pixels; or too few pixels of the coarse map lie
        inside the fine field.

    Warns
    -----
    AlignmentWarning
        The correlation is below 0.5, or nearly as high at another place; or the place is at the limit of the search.

    Notes
    -----
    The errors are those of residuals that go together in each of 5 x 5 parts of the overlap. They know nothing of what makes
    the maps differ at their edges: an instrument blurs light, not amounts. In simulated electrodes of optical densities up to
    2 the errors of shifts found from the mean transmission, ``np.exp(-od).mean("energy")``, were right; those from total
    amounts were twice too small, 1 nm for pixels of 40 nm.

    Examples
    --------
    >>> import xstxm
    >>> tree = xstxm.testing.simulate_tree(n_fields=1, field_size="3 um", electrode=None, energies=[510, 518.4])
    >>> fine, coarse = (xstxm.optical_density(tree[name].to_dataset()).optical_density[1] for name in ("detail 1", "field 1"))
    >>> found = xstxm.locate(fine, coarse, fine_psf="10 nm", psf="50 nm")
    >>> bool(abs(found.shift_y) < 0.01)
    True
    """
    reach = units.to_magnitude(max_shift, "um", "max_shift", spectroscopy=False)
    if reach < 0:
        raise OptionError("max_shift", max_shift, "a distance is not negative")
    image, target = (_image(given, signal) for given in (fine, coarse))
    require_finer(image, target)
    if (fine_psf is None) != (psf is None):
        raise OptionError("psf", psf, f"fine_psf={fine_psf}: give both point-spread functions, or none")
    blur = 0.0 if fine_psf is None or psf is None else blur_between(fine_psf, psf)
    require_narrow(image, blur)
    search = Search.of(image, target, blur, reach)
    start, height, rival = search.whole_pixels()
    shift, error, correlation = search.between_pixels(start)
    _tell_doubt(correlation, rival / height, search.ends_at(start) or bool(np.isnan(error).any()))
    found = {"correlation": correlation, "rival_correlation": rival}
    return _located(image, target, shift * search.step, error * np.abs(search.step), found)


def _image(given: xr.Dataset | xr.DataArray, signal: str) -> xr.DataArray:
    """Return a single image of numbers. Eager."""
    given = units.dequantify(given)
    do = "call .stxm.phase_map() first, or pass an image, e.g. stack.optical_density.mean('energy')"
    array = require_variable(given, signal, do) if isinstance(given, xr.Dataset) else given
    require_image(array, "a field that is placed is an image")
    others = [dim for dim in array.dims if dim not in IMAGE]
    content = content_of(array.name, array).removesuffix("s")
    if others or content != "number":
        raise SchemaError(
            f"{str(array.name)!r} has the dimensions {array.dims} and holds {content}s: pass one image of "
            "numbers, e.g. .mean('energy') or .isel(time=0)"
        )
    image = array.astype(float).transpose(*IMAGE).compute()
    if not bool(image.notnull().any()):
        raise SchemaError(
            f"{str(array.name)!r} holds no measured pixel, all of it is NaN: check the mask, or pass another"
        )
    return image


def _tell_doubt(correlation: float, ratio: float, at_the_end: bool) -> None:
    """Warn of a place that is not certain."""
    do = "check it in a plot, give a smaller max_shift, or take the stage coordinates, shift=None"
    if not correlation >= _LOW:
        warn(f"the maps correlate by {correlation:.2f} only: they may show different places; {do}", AlignmentWarning)
    elif ratio >= _RIVAL:
        warn(f"another place correlates {ratio:.0%} as well as the one found: {do}", AlignmentWarning)
    elif at_the_end:
        warn("the place found is as far away as max_shift allows: pass a larger one", AlignmentWarning)


def _located(
    fine: xr.DataArray, coarse: xr.DataArray, shift: np.ndarray, error: np.ndarray, found: dict[str, float]
) -> xr.Dataset:
    """Return the result of a search. Shifts and errors are in um."""
    ends, covered = [], 1.0
    for dim, moved in zip(IMAGE, shift, strict=True):
        low, high = edges(fine, dim) + moved
        start, stop = edges(coarse, dim)
        covered *= max(min(high, stop) - max(low, start), 0) / (high - low)
        ends.append((low, high))
    (top, bottom), (left, right) = ends
    outline = {"outline_y": [top, top, bottom, bottom], "outline_x": [left, right, right, left]}
    made = {name: annotate(xr.DataArray(values, dims="corner"), name) for name, values in outline.items()}
    for dim, moved, off in zip(IMAGE, shift, error, strict=True):
        made[f"shift_{dim}"] = annotate(xr.DataArray(moved), f"shift_{dim}", comment=_SHIFT)
        doc_error = "Residuals taken as independent between the parts of the overlap."
        made[f"shift_{dim}_stderr"] = annotate(xr.DataArray(off), f"shift_{dim}_stderr", comment=doc_error)
    numbers = {**found, "overlap_share": covered}
    made |= {name: annotate(xr.DataArray(value), name) for name, value in numbers.items()}
    made["correlation"] = made["correlation"].assign_attrs(
        comment="Of the fine map with the coarse one, where it lies."
    )
    return xr.Dataset(made)


@recorded
def at_resolution(
    fine: xr.Dataset,
    coarse: xr.Dataset,
    *,
    fine_psf: LengthLike,
    psf: LengthLike,
    shift: Shift = "estimate",
    max_shift: LengthLike = "1 um",
) -> xr.Dataset:
    """Return a map, or a stack, as a coarser instrument would have shown it, on the pixels of that one.

    It is blurred by a Gaussian of the variance ``(psf^2 - fine_psf^2) / (8 ln 2)``, averaged over the area of the coarse
    pixels, and cut to those that lie in it.

    Parameters
    ----------
    fine, coarse
        Two results of `phase_map`, or two stacks. Of stacks the optical density is read, made from counts where missing.
    fine_psf, psf
        Point-spread functions of the two, the full width at half maximum of a Gaussian; a number is in um.
    shift
        What moves the fine field onto the coarse one: ``"estimate"`` it by `locate`, of the total amount or of the mean
        transmission; a result of `locate`; or None, the stage coordinates are right.
    max_shift
        As in `locate`.

    Returns
    -------
    Dataset
        Of a phase map, amounts are averaged, never ratios: the amount of each phase is ``phase_fraction * total_amount``,
        none in pixels that hold no sample. `total_amount`, `phase_fraction`, `phase_label`, `confidence` and
        `composition` follow from them, with the errors of weighted means; pixels below `min_amount` of the coarse map
        hold no sample. Of a stack, transmitted light is averaged: `optical_density` is ``-ln(mean(exp(-od)))``, with
        `optical_density_variance` where it is known. NaN where less than half of a pixel is measured. Pixels share
        noise: `noise_correlation` (lag_y, lag_x), for `phase_summary` and `bland_altman`. `shift_y` and `shift_x` in um are
        how the field was moved. Lazy, an image in one chunk; Eager where a shift is estimated.

    Raises
    ------
    MissingVariableError
        Neither phase maps nor stacks, or one of each.
    OptionError
        The finer point-spread function second, one wider than the fine field, or another `shift`.
    SchemaError
        Larger pixels in the fine map, pixels and point-spread functions that are the same, or fields that do not overlap.

    Warns
    -----
    AlignmentWarning
        As by `locate`.

    Notes
    -----
    An instrument averages light, not amounts. Where edges are steep and the optical density is above one or so, a
    blurred phase map has more amount at the edges than the coarse instrument shows: match the stacks, and map their phases.

    The `confidence` is a lower bound, exact for two phases, see `phase_map` for more. The errors take the amounts as known.

    Examples
    --------
    >>> import xstxm
    >>> tree = xstxm.testing.simulate_tree(n_fields=1, field_size="3 um", electrode=None, energies=[510, 518.4])
    >>> fine, coarse = (tree[name].to_dataset() for name in ("detail 1", "field 1"))
    >>> xstxm.matching.at_resolution(fine, coarse, fine_psf="10 nm", psf="50 nm", shift=None).sizes["x"] < 40
    True
    """
    kind = _kind(fine, coarse)
    fine, coarse = _readable(fine), _readable(coarse)
    signal = "total_amount" if kind == "phases" else "optical_density"
    blur = blur_between(fine_psf, psf)
    model, target = (require_variable(given, signal, "pass the whole result") for given in (fine, coarse))
    pixel = require_finer(model, target)
    require_narrow(model, blur)
    if blur == 0 and all(np.isclose(spacing(model, dim), pixel[dim], rtol=1e-3) for dim in IMAGE):
        raise SchemaError(
            "both maps have the same pixels and point-spread function: compare them as they are, with xstxm.compare"
        )
    moved = _moved(model, target, shift, fine_psf, psf, max_shift)
    fine = fine.assign_coords({dim: _shifted(fine[dim], moved[dim]) for dim in IMAGE})
    places = {dim: np.asarray(positions(target, dim)) for dim in IMAGE}
    whole = Resolution.of(fine[signal], places, pixel, blur)
    rows, columns = whole.covered()
    if rows.stop == rows.start or columns.stop == columns.start:
        raise apart(fine[signal], target, "they do not overlap: correct the stage coordinates, or the shift")
    at = whole.cut(rows, columns)
    found = phases_at(fine, coarse, at) if kind == "phases" else densities_at(fine, at)
    found["noise_correlation"] = at.noise_correlation()
    for dim in IMAGE:
        found[f"shift_{dim}"] = annotate(xr.DataArray(moved[dim]), f"shift_{dim}", comment=_SHIFT)
    here = coarse.isel(y=rows, x=columns)
    return found.assign_coords({dim: here[dim].variable for dim in IMAGE})


def _kind(fine: xr.Dataset, coarse: xr.Dataset) -> Literal["phases", "stacks"]:
    """Tell whether two Datasets are phase maps, or stacks."""
    kinds = []
    for given in (fine, coarse):
        if not isinstance(given, xr.Dataset):
            raise SchemaError(f"a {type(given).__name__} is neither a phase map nor a stack: pass the whole Dataset")
        if "phase_label" in given:
            for name in ("phase_fraction", "phase_fraction_stderr", "total_amount", "min_amount"):
                require_variable(given, name, "pass the whole result of .stxm.phase_map()")
            kinds.append("phases")
        elif ENERGY in given.dims:
            kinds.append("stacks")
        else:
            raise MissingVariableError("phase_label", given.data_vars, "pass results of phase_map, or stacks")
    if kinds[0] != kinds[1]:
        raise MissingVariableError(
            "phase_label", (fine if kinds[0] == "stacks" else coarse).data_vars, "pass two phase maps, or two stacks"
        )
    return "phases" if kinds[0] == "phases" else "stacks"


def _readable(given: xr.Dataset) -> xr.Dataset:
    """Return a phase map as it is, and a stack with optical density."""
    plain = units.dequantify(given)
    return plain if "phase_label" in plain else cast(xr.Dataset, with_density(plain, "optical_density"))


def _moved(
    fine: xr.DataArray,
    coarse: xr.DataArray,
    shift: Shift,
    fine_psf: LengthLike,
    psf: LengthLike,
    max_shift: LengthLike,
) -> dict[str, float]:
    """Return the shift of the fine field in um. Eager where it is estimated."""
    if shift is None:
        return dict.fromkeys(IMAGE, 0.0)
    if isinstance(shift, str):
        check_choice("shift", shift, _ShiftWord)
        shift = locate(_brightness(fine), _brightness(coarse), fine_psf=fine_psf, psf=psf, max_shift=max_shift)
        note(f"moved by {float(shift.shift_y):.4g}, {float(shift.shift_x):.4g} um along y and x")
    do = "pass a result of xstxm.locate, 'estimate' or None"
    if not isinstance(shift, xr.Dataset):
        raise OptionError("shift", shift, do)
    return {
        dim: float(units.to_units(require_variable(shift, f"shift_{dim}", do), "um", f"shift_{dim}")) for dim in IMAGE
    }


def _brightness(array: xr.DataArray) -> xr.DataArray:
    """Return one image of a map, as it is, or of a stack: light is what instruments average."""
    light: Any = np.exp(-array) if ENERGY in array.dims else array
    return light.mean(ENERGY) if ENERGY in array.dims else array


def _shifted(place: xr.DataArray, distance: float) -> xr.DataArray:
    """Return positions moved by a distance in um."""
    return (place + distance * units.factor("um", units.units_of(place))).assign_attrs(place.attrs)


def match_resolution(
    fine: xr.Dataset,
    coarse: xr.Dataset,
    *,
    fine_psf: LengthLike,
    psf: LengthLike,
    shift: Shift = "estimate",
    max_shift: LengthLike = "1 um",
    phases: Mapping[str, str] | Match = "name",
) -> xr.DataTree:
    """Bring two instruments to one resolution and the same pixels, and tell how far they agree.

    Parameters
    ----------
    fine, coarse, fine_psf, psf, shift, max_shift
        As in `matching.at_resolution`.
    phases
        Which phase of the coarse map is which of the fine one, as in `compare`.

    Returns
    -------
    DataTree
        Node ``fine``, the result of `matching.at_resolution`; ``coarse``, what is given, cut to the same pixels; and what these
        two agree in, always coarse minus fine: of phase maps ``agreement/phases`` by `compare`, and by `bland_altman`
        ``agreement/total_amount`` and, with a composition, ``agreement/composition``; of stacks on the same energies
        ``agreement/optical_density``, energy by energy. Errors of a bias count that averaged pixels share their noise.
        Each node has its own history. Lazy as `matching.at_resolution`.

    Raises
    ------
    MissingVariableError, OptionError, SchemaError
        As by `matching.at_resolution` and `compare`.
    IncompatibleUnitsError
        Amounts, or compositions, in units of different kinds.

    Warns
    -----
    AlignmentWarning
        As by `locate`.

    Examples
    --------
    >>> import xstxm
    >>> tree = xstxm.testing.simulate_tree(n_fields=1, field_size="3 um", electrode=None)
    >>> references = xstxm.testing.simulate_references().sel(reference=["alpha-V2O5", "delta-LiV2O5"])
    >>> fine, coarse = (xstxm.phase_map(tree[name].to_dataset(), references) for name in ("detail 1", "field 1"))
    >>> found = xstxm.match_resolution(fine, coarse, fine_psf="10 nm", psf="50 nm", shift=None)
    >>> sorted(found["agreement"]), bool(abs(found["agreement/composition"].bias) < 0.05)
    (['composition', 'phases', 'total_amount'], True)
    """
    matched = at_resolution(fine, coarse, fine_psf=fine_psf, psf=psf, shift=shift, max_shift=max_shift)
    here = _readable(coarse).sel({dim: matched[dim] for dim in IMAGE})
    return xr.DataTree.from_dict({"fine": matched, "coarse": here, **_agreements(matched, here, phases)})


def _agreements(fine: xr.Dataset, coarse: xr.Dataset, phases: Mapping[str, str] | Match) -> dict[str, xr.Dataset]:
    """Return what two phase maps, or two stacks, of the same pixels agree in. Lazy."""
    found = {"phases": compare(fine, coarse, phases=phases)} if "phase_label" in fine else {}
    for name in ("composition", "total_amount", "optical_density"):
        if name in fine and name in coarse and _same_energies(fine[name], coarse[name]):
            found[name] = bland_altman(fine, coarse, signal=name, noise_correlation=fine["noise_correlation"])
    return {f"agreement/{name}": result for name, result in found.items()}


def _same_energies(one: xr.DataArray, other: xr.DataArray) -> bool:
    """Tell whether two arrays are on the same energies, or on none."""
    if ENERGY not in one.dims:
        return True
    try:
        match_energy(other, one[ENERGY], how="exact")
    except EnergyRangeError:
        return False
    return True
