"""Particles followed in time: which are the same, which split and which merged, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.conventions import annotate, content_of, require_image, require_variable
from xstxm.errors import (
    MissingCoordinateError,
    MissingDimensionError,
    MissingVariableError,
    SchemaError,
    require_number,
)
from xstxm.provenance import recorded

TIME, PARTICLE, TRACK = "time", "particle", "track"
LABEL = "particle_label"


@recorded
def track_particles(labels: xr.DataArray | xr.Dataset, *, min_overlap: float = 0.5) -> xr.Dataset:
    """Follow particles in time by the pixels that they share.

    Two particles of successive times are linked where they share at least `min_overlap` of the smaller of them. Of the
    links those are taken that share most pixels in all, each particle once (the assignment problem, solved exactly): these go on with one track.

    Parameters
    ----------
    labels
        Image of whole numbers (time, y, x), 0 in no particle, or a Dataset that holds it as `particle_label`. The frames lie on
        each other, see `align`.
    min_overlap
        Least share of the smaller particle, in (0, 1].

    Returns
    -------
    Dataset
        `track_label` (time, y, x): the image with numbers that stay with a particle, from 1 in the order of appearance. For
        each particle of the image `track_of_particle` (time, particle), 0 where there is no such one, `track_overlap` with its
        predecessor, `split_from`: a new track that is linked to a particle which went on as another track, which is named;
        and `merged_into`: a track that ends, linked to a particle in which another track goes on, which is named. A
        particle that is back after an absence is a new track. Eager.

    Raises
    ------
    MissingVariableError, MissingDimensionError, MissingCoordinateError
        There is no such image, or it has no time.
    SchemaError
        An image that holds no whole numbers or no particle, or times that do not ascend.
    OptionError
        `min_overlap` is no share.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xstxm
    >>> image = np.zeros((2, 3, 6), int)
    >>> image[0, :, :2], image[0, :, 4:], image[1, :, :2], image[1, :, 3:] = 1, 2, 2, 1
    >>> labels = xr.DataArray(image, dims=("time", "y", "x"), coords={"time": [0.0, 60.0]})
    >>> xstxm.track_particles(labels).track_of_particle.values.tolist()
    [[1, 2], [2, 1]]
    """
    min_overlap = require_number("min_overlap", min_overlap, "a share", above=0, most=1)
    image = _label_image(units.dequantify(labels))
    frames = np.asarray(image.transpose(TIME, "y", "x"))
    names = np.unique(frames[frames > 0])
    if not names.size:
        raise SchemaError("the image holds no particle: no number in it is above zero")
    places = np.where(frames > 0, np.searchsorted(names, frames) + 1, 0)
    found = _follow(places, names.size, min_overlap)
    numbers = np.concatenate([np.zeros((len(frames), 1), np.int32), found["track_of_particle"]], axis=1)
    relabelled = np.take_along_axis(numbers, places.reshape(len(frames), -1), axis=1).reshape(frames.shape)
    coords = {TIME: image[TIME].variable, PARTICLE: (PARTICLE, names)}
    tracks = xr.Dataset(
        {name: annotate(xr.DataArray(values, coords, (TIME, PARTICLE)), name) for name, values in found.items()}
    )
    tracked = image.transpose(TIME, "y", "x").copy(data=relabelled)
    return tracks.assign(track_label=annotate(tracked, "track_label")).assign_attrs(min_overlap=min_overlap)


def _label_image(labels: xr.DataArray | xr.Dataset) -> xr.DataArray:
    do = "an image of whole numbers (time, y, x), 0 in no particle"
    image = require_variable(labels, LABEL, do) if isinstance(labels, xr.Dataset) else labels
    if TIME not in image.dims:
        raise MissingDimensionError(
            TIME, image.dims, "put the images of all times along it, xarray.concat(images, 'time')"
        )
    require_image(image, "particles lie in an image")
    if TIME not in image.coords:
        raise MissingCoordinateError(TIME)
    times = np.asarray(image[TIME])
    if not (times[1:] > times[:-1]).all():
        raise SchemaError(
            "the times do not ascend, and particles go on from one to the next: .sortby('time') first, each once"
        )
    if image.dtype.kind not in "iu" or image.ndim != 3:
        raise SchemaError(
            f"the image of particles is {image.dtype} with dims {image.dims}: wanted whole numbers (time, y, x), 0 in no particle"
        )
    return image


def _follow(places: np.ndarray, n: int, min_overlap: float) -> dict[str, np.ndarray]:
    """Return what is known of n particles at each time (time, particle); places (time, y, x) number them from 1."""
    shape = (len(places), n)
    area = np.stack([np.bincount(frame.ravel(), minlength=n + 1)[1:] for frame in places])
    track, split, merged = (np.zeros(shape, np.int32) for _ in range(3))
    overlap = np.full(shape, np.nan)
    track[0, area[0] > 0] = 1 + np.arange((area[0] > 0).sum())
    for t in range(1, len(places)):
        links = _links(places[t - 1], places[t], area[t - 1], area[t], min_overlap)
        before, after, shared = _matched(links)
        track[t, after] = track[t - 1, before]
        overlap[t, after] = shared / np.minimum(area[t - 1, before], area[t, after])
        new = np.flatnonzero((area[t] > 0) & (track[t] == 0))
        track[t, new] = track[:t].max() + 1 + np.arange(new.size)
        split[t, new] = _linked_track(links.T.tocsr()[new], track[t - 1])
        ended = np.setdiff1d(np.flatnonzero(area[t - 1]), before)
        merged[t - 1, ended] = _linked_track(links[ended], track[t])
    return {"track_of_particle": track, "track_overlap": overlap, "split_from": split, "merged_into": merged}


def _links(
    before: np.ndarray, after: np.ndarray, area_before: np.ndarray, area_after: np.ndarray, min_overlap: float
) -> Any:
    """Return how many pixels two particles share that are linked, a sparse array (before, after)."""
    from scipy.sparse import csr_array

    n = area_before.size
    both = (before > 0) & (after > 0)
    pairs, shared = np.unique((before[both].astype(np.int64) - 1) * n + after[both] - 1, return_counts=True)
    first, second = np.divmod(pairs, n)
    linked = shared >= min_overlap * np.minimum(area_before[first], area_after[second])
    return csr_array((shared[linked].astype(float), (first[linked], second[linked])), shape=(n, n))


def _matched(links: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs that share most pixels in all, and how many each shares."""
    from scipy.sparse import csr_array, eye_array, hstack
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    rows = np.flatnonzero(np.diff(links.indptr))
    if not rows.size:
        return rows, rows, np.zeros(0)
    # the method wants a partner for each row: one of its own, that is worth nothing
    alone = 1e-9 * eye_array(rows.size)
    first, second = min_weight_full_bipartite_matching(csr_array(hstack([links[rows], alone])), maximize=True)
    real = second < links.shape[1]
    before, after = rows[first[real]], second[real]
    return before, after, np.ravel(links[before, after])


def _linked_track(links: Any, track: np.ndarray) -> np.ndarray:
    """Return the track of the particle that each row shares most pixels with, 0 where it shares none."""
    if not links.shape[0]:
        return np.zeros(0, np.int32)
    return np.where(np.diff(links.indptr) > 0, track[np.ravel(links.argmax(axis=1))], 0)


@recorded
def trajectories(
    tables: Mapping[Any, xr.Dataset], tracks: xr.Dataset, *, variables: Sequence[str] | None = None
) -> xr.Dataset:
    """Return what becomes of each particle: the variables of particle tables against time, along tracks.

    Parameters
    ----------
    tables
        Time to table, a Dataset with a dimension `particle` whose coordinate has the numbers of the image; for every time of
        `tracks`.
    tracks
        A result of `track_particles`.
    variables
        Which variables, e.g. ``["composition", "composition_stderr"]``; by default all that lie along `particle`.

    Returns
    -------
    Dataset
        The variables, in the units of the first table, with `track` and `time` for `particle`, those of whole numbers as floats: NaN where a track is absent;
        marks (bool) are False there. `present` (track, time) says where it is not. Lazy where the tables are.

    Raises
    ------
    MissingVariableError, MissingDimensionError
        `tracks` is no result of `track_particles`, a table lacks a variable, or has no particles.
    SchemaError
        A time without a table, or a table of other particles than those of the image.
    UnitsError
        A variable in a unit that does not convert to that of the first table.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xstxm
    >>> image = np.zeros((2, 3, 6), int)
    >>> image[0, :, :2], image[0, :, 4:], image[1, :, :2], image[1, :, 3:] = 1, 2, 2, 1
    >>> labels = xr.DataArray(image, dims=("time", "y", "x"), coords={"time": [0.0, 60.0]})
    >>> tables = {
    ...     time: xr.Dataset({"composition": ("particle", x)}, {"particle": [1, 2]})
    ...     for time, x in ((0.0, [0.1, 0.2]), (60.0, [0.5, 0.4]))
    ... }
    >>> xstxm.trajectories(tables, xstxm.track_particles(labels)).composition.values.tolist()
    [[0.1, 0.4], [0.2, 0.5]]
    """
    of_particle = require_variable(tracks, "track_of_particle", "call xstxm.track_particles first")
    times = np.asarray(of_particle[TIME])
    given = _by_time(tables, times)
    all_tracks = np.unique(np.asarray(of_particle))
    all_tracks = all_tracks[all_tracks > 0]
    rows = [_along_tracks(given[time], of_particle.isel(time=k), all_tracks, variables) for k, time in enumerate(times)]
    joined = xr.concat(rows, of_particle[TIME], coords="minimal", compat="override", join="outer")
    for name in joined.data_vars:
        joined[name].attrs = dict(rows[0][name].attrs)
    return joined.transpose(TRACK, TIME, ...)


def _by_time(tables: Any, times: np.ndarray) -> dict[Any, xr.Dataset]:
    """Return the tables of the times, in the unit of the first, or say which is missing."""
    do = f"give one for each of the {times.size} times, {{time: table, ...}}"
    try:
        given = {np.asarray(key, dtype=times.dtype)[()]: table for key, table in dict(tables).items()}
    except (TypeError, ValueError) as error:
        raise SchemaError(f"the tables are not told apart by their times ({error}): {do}") from error
    missing = [time for time in times if time not in given]
    if missing or len(given) != times.size:
        more = [key for key in given if key not in times]
        said = f"no table for {missing[0]}" if missing else f"a table for {more[0]}, which the tracks lack"
        raise SchemaError(f"{said}: {do}")
    first = units.dequantify(given[times[0]])
    return {time: _in_units_of(first, units.dequantify(given[time])) for time in times}


def _in_units_of(first: xr.Dataset, table: xr.Dataset) -> xr.Dataset:
    """Return a table whose variables are in the units of those of another."""
    moved = {
        name: units.to_units(array, str(first[name].attrs["units"]))
        for name, array in table.data_vars.items()
        if name in first and "units" in first[name].attrs
    }
    return table.assign(moved)


def _along_tracks(
    table: xr.Dataset, of_particle: xr.DataArray, all_tracks: np.ndarray, variables: Sequence[str] | None
) -> xr.Dataset:
    """Return the variables of a table of one time along all tracks."""
    time = of_particle[TIME].item()
    if PARTICLE not in table.dims or PARTICLE not in table.coords:
        raise MissingDimensionError(
            PARTICLE, table.dims, f"the table of {time} has to have one, with the numbers of the image"
        )
    for name in variables or ():
        if name not in table:
            raise MissingVariableError(name, table.data_vars, f"the table of {time} does not hold it")
    known = np.asarray(of_particle[PARTICLE])[np.asarray(of_particle) > 0]
    if not np.array_equal(np.sort(np.asarray(table[PARTICLE])), known):
        raise SchemaError(
            f"the table of {time} has {table.sizes[PARTICLE]} particles, the image {known.size}, or others: make it from this image"
        )
    names = [name for name in (variables or table.data_vars) if PARTICLE in table[name].dims]
    plain = table[names].reset_coords(drop=True).drop_attrs(deep=False)
    # whole numbers cannot be NaN, and what they are must not depend on whether a track is absent
    plain = plain.map(lambda array: array.astype(float) if array.dtype.kind in "iu" else array, keep_attrs=True)
    number = of_particle.sel({PARTICLE: table[PARTICLE]})
    along = (
        plain.assign_coords({TRACK: (PARTICLE, np.asarray(number))}).swap_dims({PARTICLE: TRACK}).drop_vars(PARTICLE)
    )
    along["present"] = (TRACK, np.ones(along.sizes[TRACK], bool))
    fill = {name: _absent(name, array) for name, array in along.data_vars.items()}
    return along.reindex({TRACK: all_tracks}, fill_value=fill)


def _absent(name: Any, array: xr.DataArray) -> Any:
    """Return what stands for a particle that is not there."""
    content = content_of(name, array)
    if content == "marks":
        return False
    return "" if array.dtype.kind in "OU" else np.nan
