"""Stacks of the same pixels become one: energy ranges joined, repeats averaged."""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import is_lazy
from xstxm._axes import equal_within, match_pixels
from xstxm._frame_grid import MOVES
from xstxm.conventions import (
    ENERGY,
    REFERENCE_CURRENT,
    Stack,
    as_float,
    content_of,
    measure_of,
    require_energy,
)
from xstxm.errors import (
    AlignmentWarning,
    EnergyRangeError,
    MetadataWarning,
    MissingCoordinateError,
    MissingVariableError,
    OptionError,
    SchemaError,
    check_choice,
    warn,
)
from xstxm.provenance import HISTORY, RECORD, describe, note, recorded

Repeats: TypeAlias = Literal["average", "keep", "error"]

_BATCH = 8
"""Energies that are averaged at once in memory."""
_REPEATED = {"duplicate_frame", "duplicate_energy"}
"""Flags of a frame that is there more than once, which an average is not."""
_NO_VALUE = {"not_measured", "partly_measured", "outside_overlap", "below_noise", "outside_window", "poor_fit"}
"""Flags that say why there is no value: an average has one where any repeat has."""
_EXPOSURES = ("dwell_time", "ring_current")


@recorded
def merge_stacks(
    stacks: Sequence[Stack], *, tolerance: float | str | None = None, repeats: Repeats = "average"
) -> Stack:
    r"""Join stacks of the same pixels along energy, and average the energies that are there more than once.

    Repeats :math:`x_i` of one energy, with exposures :math:`t_i`, become for rates and optical densities
    :math:`\sum t_i x_i / \sum t_i`, for counts :math:`\bar t \sum x_i / \sum t_i`: the counts of the mean exposure, which is
    what `dwell_time` then says. Both sums run over the repeats that are not NaN in that pixel.

    Parameters
    ----------
    stacks
        Datasets, or arrays, with the same variables over energy, on the same pixels. One stack alone has
        its own repeats averaged.
    tolerance
        Largest difference of equal energies, a number in the unit of the first stack or a string with a unit;
        the option `energy_tolerance`, 10 meV, by default.
    repeats
        ``"average"`` them, ``"keep"`` all, or ``"error"`` where there are any.

    Returns
    -------
    DataArray or Dataset
        In the order of `stacks`, each in its own order, a repeat at the place of its first; ``.sortby("energy")``
        sorts. Everything is in the units of the first stack. Averaged repeats stand at their mean energy, with the
        mean of `dwell_time`, the mean of `ring_current` weighted like the data, variances by the squares
        of the weights, and bool variables True where any is. Variables without energy have to be equal, except
        `mask`, which is True where all are, and bit flags. Attributes that differ are left out; the history is the
        first stack's. Lazy; Eager where a variable without energy has to be compared, or on the shifts of aligned
        stacks.

        Bit flags of different energies are joined by OR. Of repeats that are averaged, flags of values that went into
        the average (`no_beam`, `outlier`, `saturated`, ...) hold where any repeat has them, and so does
        `nonpositive_counts`, because what is left of noisy counts is too bright. Flags that say why there is no value
        (`not_measured`, `partly_measured`, `outside_overlap`, `below_noise`, `outside_window`, `poor_fit`) hold where
        every repeat has one of them, `not_measured` where every repeat has it; `duplicate_frame` and
        `duplicate_energy` never.

    Raises
    ------
    OptionError
        Not a list of stacks, no stack in it, or arrays and Datasets mixed.
    MissingVariableError, MissingCoordinateError
        A stack lacks a variable of the others, or only some say their `dwell_time` or `ring_current`.
    SchemaError
        Pixels, variables without energy or reference currents differ.
    IncompatibleUnitsError
        Counts in one stack, rates in another.
    EnergyRangeError
        Energies repeat with ``repeats="error"``.

    Warns
    -----
    AlignmentWarning
        Only some stacks were aligned, or each was onto a frame of its own, which has a shift of zero: their images do
        not lie on each other.
    MetadataWarning
        Counts, and no stack says its `dwell_time`.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> below, above = xstxm.sel_energy(stack, None, "528 eV"), xstxm.sel_energy(stack, "527 eV", None)
    >>> xstxm.merge_stacks([below, above]).sizes["energy"] == stack.sizes["energy"]
    True
    """
    check_choice("repeats", repeats, Repeats)
    given = [units.dequantify(stack) for stack in _listed(stacks)]
    if isinstance(given[0], xr.DataArray):
        name = given[0].name if given[0].name is not None else "the array"
        merged = _merged([array.to_dataset(name=name) for array in given], tolerance, repeats)
        return merged[name].rename(given[0].name)
    return _merged(given, tolerance, repeats)


def _listed(stacks: Sequence[Stack]) -> list[Stack]:
    """Return the stacks as a list, or say how to give them."""
    if isinstance(stacks, xr.Dataset | xr.DataArray) or not isinstance(stacks, Iterable):
        raise OptionError("stacks", describe(stacks), "give a list of them: merge_stacks([a, b])")
    given = list(stacks)
    found = [type(stack).__name__ for stack in given]
    if not given:
        raise OptionError("stacks", found, "the list is empty: merge_stacks([a, b])")
    if not all(isinstance(stack, xr.Dataset | xr.DataArray) for stack in given):
        raise OptionError("stacks", found, "give Datasets, or DataArrays, and nothing else: merge_stacks([a, b])")
    if len(set(found)) > 1:
        raise OptionError("stacks", found, "give Datasets, or DataArrays, not both: merge_stacks([a, b])")
    return given


def _merged(stacks: list[xr.Dataset], tolerance: float | str | None, repeats: Repeats) -> xr.Dataset:
    energy = require_energy(stacks[0])
    limit = equal_within(tolerance, units.units_of(energy))
    plain = [stack.reset_coords() for stack in stacks]
    plain = _with_exposures(_with_shifts(plain)) if len(plain) > 1 else plain
    pieces = [_like_first(stack, plain[0], f"of stack {k}") for k, stack in enumerate(plain, start=1)]
    joined = xr.concat(pieces, ENERGY, join="override", combine_attrs="override")
    groups = _groups(np.asarray(joined[ENERGY]), limit)
    several = [group for group in groups if len(group) > 1]
    if several and repeats == "error":
        twice = ", ".join(f"{float(joined[ENERGY][group[0]]):g}" for group in several)
        unit = units.units_of(energy)
        raise EnergyRangeError(f"more than one frame at {twice} {unit}: pass repeats='average' or repeats='keep'")
    if several and repeats == "average":
        note(f"{len(several)} energies averaged")
        joined = _averaged(joined, groups)
    origin = np.repeat(np.arange(len(pieces)), [piece.sizes[ENERGY] for piece in pieces])
    alone = [[k] for k in range(len(pieces))]
    together = [np.unique(origin[group]).tolist() for group in groups] if repeats == "average" else alone
    joined = joined.assign(_without_energy(plain, together))
    own = [name for stack in stacks for name in stack.coords if name in joined.data_vars]
    return joined.set_coords(own).assign_attrs(_shared_attrs(stacks))


def _with_shifts(stacks: list[xr.Dataset]) -> list[xr.Dataset]:
    """Return the stacks with shifts where any was aligned; warn where they were not aligned to one image. Eager on shifts."""
    names = [name for name in MOVES if any(name in stack and ENERGY in stack[name].dims for stack in stacks)]
    if not names:
        return stacks
    numbered = list(enumerate(stacks, start=1))
    still = [str(k) for k, stack in numbered if not any(name in stack for name in names) and stack.sizes[ENERGY] > 1]
    anchored = [str(k) for k, stack in numbered if _holds_still(stack, names)]
    do = (
        "their images do not lie on each other. Merge the stacks as they were measured, with repeats='keep', and align "
        "the result; or align one to an image of the other, with reference=image"
    )
    if still:
        warn(f"stack {', '.join(still)} was not aligned and others were: {do}", AlignmentWarning)
    elif len(anchored) > 1 and not _moved_alike([stacks[int(k) - 1] for k in anchored], names):
        warn(f"stacks {' and '.join(anchored)} were aligned each onto a frame of its own: {do}", AlignmentWarning)
    for name in names:
        moved = next(stack[name] for stack in stacks if name in stack)
        first = moved.isel({ENERGY: 0}, drop=True, missing_dims="ignore").reset_coords(drop=True)
        none = xr.full_like(first, MOVES[name])
        stacks = [stack if name in stack else stack.assign({name: none}) for stack in stacks]
        stacks = [stack.assign({name: _along_energy(stack, name)}) for stack in stacks]
    return stacks


def _moved_alike(stacks: list[xr.Dataset], names: list[str]) -> bool:
    """Tell whether stacks are parts of one that was aligned: frames of one energy have one shift. Eager on the shifts."""
    tables = []
    for stack in stacks:
        given = [np.asarray(stack[name]) if name in stack else MOVES[name] for name in names]
        moved = [np.broadcast_to(values, stack.sizes[ENERGY]) for values in given]
        tables.append(
            dict(zip(np.asarray(stack[ENERGY]).tolist(), map(tuple, np.array(moved).T.tolist()), strict=True))
        )
    shared = [tables[0].keys() & table.keys() for table in tables[1:]]
    return all(
        both and all(tables[0][at] == table[at] for at in both) for both, table in zip(shared, tables[1:], strict=True)
    )


def _holds_still(stack: xr.Dataset, names: list[str]) -> bool:
    """Tell whether a frame of the stack was not moved. Eager on its shifts."""
    moved: Any = sum(np.abs(np.asarray(stack[name]) - MOVES[name]) for name in names if name in stack)
    return bool(np.any(moved == 0))


def _with_exposures(stacks: list[xr.Dataset]) -> list[xr.Dataset]:
    """Return the stacks with their exposures along energy, or say which stack does not state them."""
    for name in _EXPOSURES:
        silent = [str(k) for k, stack in enumerate(stacks, start=1) if name not in stack]
        if silent and len(silent) < len(stacks):
            do = f"stack {', '.join(silent)} lacks it and others have it: assign_coords it, or drop_vars it"
            raise MissingCoordinateError(name, do)
        if not silent:
            stacks = [stack.assign({name: _along_energy(stack, name)}) for stack in stacks]
        elif name == "dwell_time" and any(
            measure_of(stack[v]) == "counts" for stack in stacks for v in stack.data_vars
        ):
            warn("no stack says its dwell_time: the counts are taken as those of one exposure", MetadataWarning)
    return stacks


def _along_energy(stack: xr.Dataset, name: str) -> xr.DataArray:
    array = stack[name]
    return array if ENERGY in array.dims else array.expand_dims({ENERGY: stack.sizes[ENERGY]})


def _like_first(stack: xr.Dataset, first: xr.Dataset, what: str) -> xr.Dataset:
    """Return what a stack has along energy, in the units, order of dimensions and positions of the first one."""
    mine, wanted = ({n for n, array in s.data_vars.items() if ENERGY in array.dims} for s in (stack, first))
    if mine != wanted:
        first_lacks = bool(mine - wanted)
        lacking, found = (mine - wanted, wanted) if first_lacks else (wanted - mine, mine)
        whose = "the first" if first_lacks else what.removeprefix("of ")
        do = f"{whose} lacks it: make it for every stack, or drop_vars it first"
        raise MissingVariableError(", ".join(sorted(map(str, lacking))), sorted(map(str, found)), do)
    energy = units.to_units(require_energy(stack).astype(float), units.units_of(first[ENERGY]))
    arrays = {name: _placed(stack[name], first, f"{name!r} {what}") for name in first.data_vars if name in wanted}
    return xr.Dataset(arrays).assign_coords({ENERGY: energy})


def _placed(array: xr.DataArray, first: xr.Dataset, what: str) -> xr.DataArray:
    """Return an array on the pixels of the first stack and in its units."""
    model = first[array.name]
    placed = match_pixels(array, first, what)
    if {*placed.dims} != {*model.dims}:
        raise SchemaError(f"{what} lies over {placed.dims}, that of the first over {model.dims}")
    _require_same_flags(array, model, what)
    current, wanted = (item.attrs.get(REFERENCE_CURRENT) for item in (array, model))
    if current != wanted:
        raise SchemaError(f"{what} is scaled to {current}, that of the first to {wanted}: normalize_current all to one")
    if "units" in array.attrs or "units" in model.attrs:
        placed = units.to_units(placed, units.units_of(model), what)
    return placed.transpose(*model.dims)


def _require_same_flags(array: xr.DataArray, model: xr.DataArray, what: str) -> None:
    """Refuse bits that mean one thing in one stack and another in the next."""
    found, wanted = (
        [(key, np.atleast_1d(item.attrs.get(key, ())).tolist()) for key in ("flag_masks", "flag_meanings")]
        for item in (array, model)
    )
    if found != wanted:
        raise SchemaError(
            f"the flags of {what} mean {found}, those of the first {wanted}: drop_vars it, or bring it into line"
        )


def _without_energy(stacks: list[xr.Dataset], together: list[list[int]]) -> dict[Hashable, xr.DataArray]:
    """Return the variables without energy: masks and flags combined, all others equal. Eager on the others.

    `together` tells which stacks each energy of the result comes from.
    """
    kept: dict[Hashable, xr.DataArray] = {}
    names = dict.fromkeys(n for stack in stacks for n, array in stack.data_vars.items() if ENERGY not in array.dims)
    for name in names:
        held = {k: match_pixels(s[name], stacks[0], repr(name)) for k, s in enumerate(stacks) if name in s}
        having = list(held.values())
        if name == "mask":
            kept[name] = functools.reduce(operator.and_, having).assign_attrs(having[0].attrs)
        elif content_of(name, having[0]) == "flags":
            for other in having[1:]:
                _require_same_flags(other, having[0], repr(name))
            groups = {tuple(k for k in members if k in held) for members in together}
            parts = [_joined_flags([held[k] for k in members]) for members in groups if members]
            kept[name] = functools.reduce(operator.or_, parts).assign_attrs(having[0].attrs)
        elif len(having) == len(stacks) and all(having[0].equals(other) for other in having[1:]):
            kept[name] = having[0]
        else:
            raise SchemaError(f"{str(name)!r} differs between the stacks, or some lack it: drop_vars it first")
    return kept


def _shared_attrs(stacks: list[xr.Dataset]) -> dict[Any, Any]:
    """Return the attributes that all stacks share, and the history of the first."""
    first, *others = [stack.attrs for stack in stacks]
    alike = {k: v for k, v in first.items() if all(k in o and np.array_equal(v, o[k]) for o in others)}
    return {**alike, **{key: first[key] for key in (HISTORY, RECORD) if key in first}}


def _groups(energies: np.ndarray, limit: float) -> list[list[int]]:
    """Return the positions of equal energies, each group in order and the groups by their first position."""
    groups: list[list[int]] = []
    for e in np.argsort(energies, kind="stable"):
        if groups and energies[e] - energies[groups[-1][0]] <= limit * (1 + 1e-9):
            groups[-1].append(int(e))
        else:
            groups.append([int(e)])
    return sorted((sorted(group) for group in groups), key=min)


def _averaged(joined: xr.Dataset, groups: list[list[int]]) -> xr.Dataset:
    """Return one frame for each group, at its mean energy. Lazy."""
    values = np.asarray(joined[ENERGY])
    energy = joined[ENERGY].variable.isel({ENERGY: [group[0] for group in groups]})
    energy = energy.copy(data=np.array([values[group].mean() for group in groups]))
    plain = joined.drop_vars(ENERGY)
    single = [group[0] for group in groups if len(group) == 1]
    several = [group for group in groups if len(group) > 1]
    order = np.argsort([*single, *(group[0] for group in several)], kind="stable")
    changed = {}
    for name, array in plain.data_vars.items():
        if ENERGY in array.dims:
            step = len(several) if is_lazy(array) else _BATCH
            means = [_average(plain, str(name), several[k : k + step]) for k in range(0, len(several), step)]
            alone = [array.isel({ENERGY: single}).astype(means[0].dtype, copy=False)] if single else []
            parts = xr.concat([*alone, *means], ENERGY)
            placed = parts.isel({ENERGY: order}) if alone else parts
            changed[name] = placed.transpose(*array.dims, ...).assign_attrs(array.attrs)
    return plain.drop_dims(ENERGY).assign(changed).assign_coords({ENERGY: energy})[list(joined.data_vars)]


def _average(stack: xr.Dataset, name: str, groups: list[list[int]]) -> xr.DataArray:
    """Return one variable averaged over each group: sums of the members that are not NaN, one member at a time."""
    array, members = stack[name], _members(groups)
    content = content_of(name, array)
    if content in ("marks", "flags"):
        parts = [array.isel({ENERGY: at}) for at, _ in members]  # where there is no such member, the first once more
        return _joined_flags(parts) if content == "flags" else functools.reduce(operator.or_, parts)
    if content == "labels":
        raise SchemaError(f"{name!r} holds labels or words, which have no average: drop_vars it first")
    power = 1 if content == "number" else 2
    measured = stack.get(name.removesuffix("_variance").removesuffix("_stderr"), array)
    total: Any = 0
    weight: Any = 0
    for (at, present), (gain, share) in zip(members, _weights(stack, name, groups), strict=True):
        there = measured.isel({ENERGY: at}).notnull() & present
        value = as_float(array.isel({ENERGY: at}))
        value = value**2 if content == "stderr" else value
        total = total + (value * gain.astype(value.dtype) ** power).where(there, 0)
        weight = weight + share.astype(value.dtype).where(there, 0)
    mean = total / weight.where(weight > 0) ** power
    return np.sqrt(mean) if content == "stderr" else mean


def _joined_flags(repeats: Sequence[xr.DataArray]) -> xr.DataArray:
    """Return the flags of an average: of what went into it any, of what says why there is no value what all have."""
    joined = functools.reduce(operator.or_, repeats)
    for names in (_NO_VALUE, {"not_measured"}):
        bits = _bits(repeats[0], names)
        everywhere = functools.reduce(operator.and_, [(flags & bits) != 0 for flags in repeats])
        joined = joined.where(everywhere, joined & ~bits)
    return joined & ~_bits(repeats[0], _REPEATED)


def _bits(flags: xr.DataArray, names: Collection[str]) -> Any:
    """Return the bits of some flags together, in the dtype of the flags."""
    meanings = str(flags.attrs.get("flag_meanings", "")).split()
    masks = np.atleast_1d(flags.attrs["flag_masks"])
    return flags.dtype.type(sum(int(bit) for bit, name in zip(masks, meanings, strict=False) if name in names))


def _members(groups: list[list[int]]) -> list[tuple[np.ndarray, xr.DataArray]]:
    """Return the positions of the first, second, ... members of all groups, and which groups have one."""
    longest = max(map(len, groups))
    padded = np.array([group + [group[0]] * (longest - len(group)) for group in groups])
    present = [xr.DataArray([len(group) > k for group in groups], dims=ENERGY) for k in range(longest)]
    return list(zip(padded.T, present, strict=True))


def _weights(stack: xr.Dataset, name: str, groups: list[list[int]]) -> list[tuple[xr.DataArray, xr.DataArray]]:
    """Return for each member what its value is multiplied by, and what the sum is divided by.

    A rate counts by its exposure; counts hold theirs already, and are brought to the mean exposure.
    """
    members = _members(groups)
    known = "dwell_time" in stack and name != "dwell_time"
    dwell = stack["dwell_time"].astype(float) if known else xr.ones_like(stack[ENERGY], dtype=float)
    times = [dwell.isel({ENERGY: at}, missing_dims="ignore") for at, _ in members]
    if measure_of(stack[name]) != "counts":
        return [(time, time) for time in times]
    number = sum(present.astype(float) for _, present in members)
    mean = sum(time.where(present, 0) for time, (_, present) in zip(times, members, strict=True)) / number
    return [(xr.ones_like(time), time / mean) for time in times]
