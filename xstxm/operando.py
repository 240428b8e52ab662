"""Experiments in time: phase fractions against time, and against the charge that has passed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._dates import TIME_ZONE, date_of
from xstxm._nodes import stacks
from xstxm.conventions import annotate, require_variable
from xstxm.errors import (
    MetadataWarning,
    MissingCoordinateError,
    OptionError,
    SchemaError,
    check_choice,
    require_number,
    warn,
)
from xstxm.provenance import note, recorded
from xstxm.regions import phase_summary
from xstxm.tables import atoms_of
from xstxm.units import AmountLike

Reduction: TypeAlias = Literal["negative", "positive"]

TIME = "time"
FARADAY = 96485.33212
"""In C/mol."""


@recorded
def time_series(
    maps: Mapping[str, xr.Dataset] | xr.DataTree, *, noise_correlation: xr.DataArray | None = None
) -> xr.Dataset:
    """Return phase fractions and composition against time, with errors, from phase maps of one time each.

    Parameters
    ----------
    maps
        Name to phase map; or a tree, in which every node that holds one is a time. Each says when it was measured in a
        coordinate `time` without dimensions, a date or a number, else in its attribute `start_time`, a date in ISO 8601. A
        single phase map with a dimension `time` goes to `phase_summary` as it is.
    noise_correlation
        As in `phase_summary`, one for all.

    Returns
    -------
    Dataset
        What `phase_summary` says of each, along `time`, ascending whatever the order of `maps`; `node` along time is its name.
        Lazy where the maps are.

    Raises
    ------
    MissingVariableError, MissingCoordinateError
        A map is no phase map, or does not say when it was measured.
    SchemaError
        Two maps of one time, dates and numbers among each other, dates with and without a time zone, a time that is
        none, or maps of different phases.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> later = phases.assign_coords(time=((), 60.0, {"units": "s"}))
    >>> first = phases.assign_coords(time=((), 0.0, {"units": "s"}))
    >>> xstxm.time_series({"b": later, "a": first}).node.values.tolist()
    ['a', 'b']
    """
    named = _phase_maps(maps)
    _require_same_phases(named)
    times = {name: _time_of(name, phases) for name, phases in named.items()}
    _require_one_clock(times)
    order = sorted(times, key=lambda name: times[name].item())
    twice = [pair for pair in itertools.pairwise(order) if times[pair[0]].item() == times[pair[1]].item()]
    if twice:
        raise SchemaError(
            f"{twice[0][0]!r} and {twice[0][1]!r} are of one time: merge them first, or correct their 'time'"
        )
    if list(times) != order:
        note("sorted by time")
    plain = (named[name].drop_vars(TIME, errors="ignore") for name in order)
    rows = [phase_summary(phases, noise_correlation=noise_correlation).drop_attrs(deep=False) for phases in plain]
    axis = xr.concat([times[name] for name in order], TIME)
    series = xr.concat(rows, axis, coords="minimal", compat="override", join="exact", data_vars="all")
    return series.transpose(..., TIME).assign_coords(node=(TIME, order))


def _phase_maps(maps: Any) -> dict[str, xr.Dataset]:
    """Return the phase maps by name; of a tree those of the nodes that hold one."""
    if isinstance(maps, xr.DataTree):
        maps = {path: dataset for path, dataset in stacks(maps).items() if "phase_fraction" in dataset}
    if not isinstance(maps, Mapping) or isinstance(maps, xr.Dataset) or not maps:
        raise SchemaError(
            "no phase maps by name: pass {'name': phases, ...}, or a tree whose nodes hold them; a map with a dimension "
            "'time' goes to phase_summary"
        )
    for name, phases in maps.items():
        fraction = require_variable(phases, "phase_fraction", f"{name!r} is no phase map, call .stxm.phase_map() first")
        if TIME in fraction.dims:
            raise SchemaError(f"{name!r} has a dimension 'time' of its own: call phase_summary on it")
    return {str(name): units.dequantify(phases) for name, phases in maps.items()}


def _time_of(name: str, phases: xr.Dataset) -> xr.DataArray:
    """Return when a map was measured: a date, or a number in s where it has a unit."""
    if TIME in phases.coords:
        time = phases[TIME].reset_coords(drop=True)
        if time.dtype.kind not in "Mfiu" or bool(time.isnull()):
            raise SchemaError(f"the time of {name!r} is {time.item()!r}: .assign_coords(time=...), a date or a number")
        if time.dtype.kind == "M" or "units" not in time.attrs:
            return time
        return units.to_units(time.astype(float), "s", f"the time of {name!r}")
    if "start_time" not in phases.attrs:
        raise MissingCoordinateError(TIME, f"{name!r} does not say when: .assign_coords(time=...), a date or a number")
    date, zone = date_of(phases.attrs["start_time"], f"start_time of {name!r}")
    return xr.DataArray(date, name=TIME, attrs=zone)


def _require_one_clock(times: Mapping[str, xr.DataArray]) -> None:
    """Refuse dates among numbers, and seconds among numbers without a unit; of text, dates with and without a time zone."""
    kinds = {}
    for name, time in times.items():
        number = f"a number in {time.attrs['units']}" if "units" in time.attrs else "a number without unit"
        kinds["a date" if time.dtype.kind == "M" else number] = name
    if len(kinds) > 1:
        told = " and ".join(f"{name!r} has {kind}" for kind, name in sorted(kinds.items())[:2])
        raise SchemaError(f"{told} as its time: give all of them the same")
    zones = {time.attrs[TIME_ZONE]: name for name, time in times.items() if TIME_ZONE in time.attrs}
    if len(zones) > 1:
        with_zone, without = zones["UTC"], zones["not given"]
        raise SchemaError(
            f"start_time of {with_zone!r} names a time zone, that of {without!r} none: give both one, as +01:00"
        )


def _require_same_phases(maps: Mapping[str, xr.Dataset]) -> None:
    first, *others = maps
    wanted = [str(phase) for phase in np.asarray(maps[first]["phase"])]
    for name in others:
        found = [str(phase) for phase in np.asarray(maps[name]["phase"])]
        if found != wanted:
            raise SchemaError(
                f"{name!r} has the phases {', '.join(found)}, {first!r} {', '.join(wanted)}: map all of them with the same "
                "references"
            )


@recorded
def state_of_charge(
    summary: xr.Dataset,
    log: xr.Dataset,
    *,
    formula: str,
    mass: AmountLike,
    initial: float,
    mass_stderr: AmountLike = 0.0,
    ion_charge: int = 1,
    reduction: Reduction = "negative",
    confidence: float = 0.95,
) -> xr.Dataset:
    r"""Compare the composition of maps with that which the charge implies, ``x = x0 - Q M / (F m z)``.

    Parameters
    ----------
    summary
        A result of `time_series` or `phase_summary` with `sample_composition` (time).
    log
        What the cell did meanwhile, with `charge` (time), see `read_electrochemistry`; its times are dates where those of
        the maps are.
    formula
        Formula unit of the host without the ions that come and go, whose molar mass is M, e.g. ``"V2O5"``.
    mass
        Mass m of the host, in mg, or with a unit.
    initial
        Composition x0 at the first time of the log.
    mass_stderr
        Standard error of the mass, in mg, or with a unit.
    ion_charge
        Charge number z of the ion: 1 for Li, 2 for Mg.
    reduction
        Sign that the log gives to a charge that reduces the host and so inserts ions.
    confidence
        Of the limits of agreement.

    Returns
    -------
    Dataset
        Along the times of the maps `map_composition` and `charge_composition`, the former minus the latter as `map_difference`,
        each with ``*_stderr``; those of the maps and of the difference also ``*_sampling_stderr``, which says how far these
        fields are from the electrode, where the former says how noisy they are. And over the times, after Bland and
        Altman [1]_, `mean_difference` with its standard error, that of the mass included, and `agreement_lower`, `agreement_upper`:
        between them lies the difference of a single time with the probability in their ``confidence_level``. Eager on the log.

    Raises
    ------
    MissingVariableError, MissingCoordinateError
        No composition, no charge, or no times.
    SchemaError
        Maps before the log begins or after it ends, which are named; a log that goes back; or dates and numbers as times.
    OptionError, UnitsError
        A formula that is none, a mass that is none, or another number that makes no sense.

    Warns
    -----
    MetadataWarning
        The dates of the log or of the maps name a time zone, and the others do not.

    Notes
    -----
    The charge is interpolated linearly between the rows of the log. That it went into the host alone is supposed: side
    reactions make ``x`` of the charge too large, parts without contact make that of the maps too small.

    References
    ----------
    .. [1] J. M. Bland, D. G. Altman, Lancet 327, 307 (1986), https://doi.org/10.1016/S0140-6736(86)90837-8

    Examples
    --------
    >>> import io, numpy as np, xarray as xr, xstxm
    >>> log = xstxm.read_electrochemistry(io.BytesIO(b"time (h),I (mA)\n0,-0.1\n1,-0.1\n2,-0.1\n"))
    >>> time = ("time", [0.0, 3600.0, 7200.0], {"units": "s"})
    >>> maps = xr.Dataset({"sample_composition": ("time", [0.0, 0.30, 0.67], {"units": "1"})}, {"time": time})
    >>> found = xstxm.state_of_charge(maps, log, formula="V2O5", mass="2 mg", initial=0.0)
    >>> found.charge_composition.round(2).values.tolist()
    [0.0, 0.34, 0.68]
    """
    check_choice("reduction", reduction, Reduction)
    confidence = require_number("confidence", confidence, "a probability", above=0, below=1)
    initial = require_number("initial", initial, "a composition")
    ions = require_number("ion_charge", ion_charge, "a charge number", above=0)
    host = _milligrams("mass", mass), _milligrams("mass_stderr", mass_stderr)
    if host[0] == 0:
        raise OptionError("mass", mass, "a mass is above zero")
    summary, log = units.dequantify(summary), units.dequantify(log)
    maps = _of_maps(summary)
    charge = _charge_at(log, maps["map_composition"][TIME])
    inserted = (1 if reduction == "positive" else -1) * charge * _per_charge(formula, host[0], ions)
    found = maps | {
        "charge_composition": initial + inserted,
        "charge_composition_stderr": abs(inserted) * host[1] / host[0],
    }
    found |= _differences(found)
    found |= _agreement(found["map_difference"], inserted * (host[1] / host[0]), confidence)
    stamped = {name: annotate(values, name) for name, values in found.items()}
    for end in ("agreement_lower", "agreement_upper"):
        stamped[end] = stamped[end].assign_attrs(confidence_level=confidence)
    return xr.Dataset(stamped)


def _milligrams(option: str, mass: AmountLike) -> float:
    return require_number(option, units.to_magnitude(mass, "mg", option, spectroscopy=False), "a mass in mg", least=0)


def _differences(found: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """Return the composition of the maps minus that of the charge, and its errors."""
    differences = {"map_difference": found["map_composition"] - found["charge_composition"]}
    for kind in ("stderr", "sampling_stderr"):
        if f"map_composition_{kind}" in found:
            square = found[f"map_composition_{kind}"] ** 2 + found["charge_composition_stderr"] ** 2
            differences[f"map_difference_{kind}"] = square**0.5
    return differences


def _of_maps(summary: xr.Dataset) -> dict[str, xr.DataArray]:
    """Return the composition of the maps and its errors (time), as numbers."""
    do = "call xstxm.time_series, or phase_summary on a map with a dimension 'time'; references need a composition"
    mean = require_variable(summary, "sample_composition", do)
    if mean.dims != (TIME,):
        raise SchemaError(f"'sample_composition' has dims {mean.dims}, wanted ('time'): select a single region")
    if TIME not in mean.coords:
        raise MissingCoordinateError(TIME)
    return {
        f"map_composition{end}": units.to_units(summary[f"sample_composition{end}"], "1").reset_coords(drop=True)
        for end in ("", "_stderr", "_sampling_stderr")
        if f"sample_composition{end}" in summary
    }


def _charge_at(log: xr.Dataset, time: xr.DataArray) -> xr.DataArray:
    """Return the charge since the first row of the log in C, at the times of the maps. Eager."""
    charge = require_variable(log, "charge", "read a log that has a charge or a current, see read_electrochemistry")
    if TIME not in charge.coords:
        raise MissingCoordinateError(TIME)
    _require_ascending(charge[TIME])
    dates = [array.dtype.kind == "M" for array in (charge[TIME], time)]
    if dates[0] != dates[1]:
        which = "the log has dates and the maps numbers" if dates[0] else "the maps have dates and the log numbers"
        raise SchemaError(
            f"{which} as times: read the log with start_time=, or give the maps a time on the clock of the log"
        )
    _warn_of_zones(charge[TIME], time)
    coulomb = np.asarray(units.to_units(charge.astype(float), "C", "the charge"))
    rows, wanted = (_seconds(array, charge[TIME]) for array in (charge[TIME], time))
    used = np.isfinite(coulomb)
    if not used.any():
        raise SchemaError("the charge of the log holds no finite value")
    rows, coulomb = rows[used], coulomb[used]
    outside = (wanted < rows[0]) | (wanted > rows[-1])
    if outside.any():
        first = np.asarray(time)[outside][0]
        raise SchemaError(
            f"{int(outside.sum())} of {wanted.size} maps lie outside the log, first that at {first}: the log covers "
            f"{np.asarray(charge[TIME])[used][0]} to {np.asarray(charge[TIME])[used][-1]}. Select the maps within, or give the whole log"
        )
    return xr.DataArray(np.interp(wanted, rows, coulomb) - coulomb[0], {TIME: time.variable}, TIME)


def _warn_of_zones(log: xr.DataArray, maps: xr.DataArray) -> None:
    """Warn of dates that were text, of which only one named its time zone."""
    zones = {time.attrs[TIME_ZONE]: what for time, what in ((log, "log"), (maps, "maps")) if TIME_ZONE in time.attrs}
    if len(zones) > 1:
        warn(
            f"the dates of the {zones['UTC']} are in UTC, those of the {zones['not given']} name no time zone and are taken for "
            "UTC too: give them one, as in 2026-03-01T10:00:00+01:00, if they are of another",
            MetadataWarning,
        )


def _require_ascending(time: xr.DataArray) -> None:
    steps = np.diff(np.asarray(time))
    if not (steps >= steps.dtype.type(0)).all():
        raise SchemaError("the times of the log go back, or are not all times: .dropna('time').sortby('time') first")


def _seconds(time: xr.DataArray, start: xr.DataArray) -> np.ndarray:
    """Return times in s since the first of others."""
    if time.dtype.kind == "M":
        return (np.asarray(time) - np.asarray(start)[0]) / np.timedelta64(1, "s")
    both = [np.asarray(units.to_units(array.astype(float), "s", "the time")) for array in (time, start)]
    return both[0] - both[1][0]


def _per_charge(formula: str, milligram: float, ions: float) -> float:
    """Return how many ions per formula unit a coulomb is."""
    import xraydb

    molar = sum(number * xraydb.atomic_mass(element) for element, number in atoms_of(formula).items())
    return molar / (FARADAY * milligram / 1000 * ions)


def _agreement(difference: xr.DataArray, of_mass: xr.DataArray, confidence: float) -> dict[str, xr.DataArray]:
    """Return mean and limits of the differences, those of a single new one by Student's t.

    `of_mass` is the error of the mass in the composition, which all times share.
    """
    from scipy.special import stdtrit

    number = difference.count(TIME)
    mean, spread = difference.mean(TIME), difference.std(TIME, ddof=1)
    shared = of_mass.where(difference.notnull()).mean(TIME)
    reach = spread * (1 + 1 / number) ** 0.5 * stdtrit((number - 1).clip(min=1), (1 + confidence) / 2)
    return {
        "mean_difference": mean,
        "mean_difference_stderr": (spread**2 / number + shared**2) ** 0.5,
        "agreement_lower": mean - reach,
        "agreement_upper": mean + reach,
    }
