"""What a design is asked for: candidates, the rules of a choice, exposure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._axes import equal_within
from xstxm._kernels.optimal_design import Rules
from xstxm.conventions import ENERGY
from xstxm.dose import energy_axis
from xstxm.energy import Window, given_energies, window_at
from xstxm.errors import EnergyRangeError, OptionError
from xstxm.units import EnergyLike


def candidate_axis(
    references: xr.Dataset, candidates: Sequence[EnergyLike] | xr.DataArray | None, od: xr.DataArray | None
) -> xr.DataArray:
    """Return the energies to choose from, ascending, each once."""
    if od is None:
        axis = energy_axis(references, candidates)
    elif candidates is None:
        axis = od[ENERGY]
    else:
        given = units.dequantify(candidates) if isinstance(candidates, xr.DataArray) else candidates
        values = given_energies(given, od[ENERGY])
        axis = xr.DataArray(values, dims=ENERGY, coords={ENERGY: (ENERGY, values, od[ENERGY].attrs)})[ENERGY]
    axis = axis.reset_coords(drop=True).sortby(ENERGY)
    values = np.asarray(axis, dtype=float)
    twice = values[1:][np.diff(values) == 0]
    if twice.size:
        raise EnergyRangeError(
            f"the candidates hold {twice[0]:g} {units.units_of(axis)} twice: give each energy once, of a training stack "
            "average the repeats first, e.g. stack.groupby('energy').mean()"
        )
    return axis


def places_of(values: np.ndarray, axis: xr.DataArray, what: str, among: str) -> np.ndarray:
    """Return where on an axis energies lie, or say which are not there."""
    unit = units.units_of(axis)
    grid = np.asarray(axis, dtype=float)
    apart = np.abs(grid[:, None] - values)
    missing = values[~(apart.min(0) <= equal_within(None, unit))]
    if missing.size:
        nearest = grid[np.abs(grid[:, None] - missing).argmin(0)]
        pairs = ", ".join(f"{a:.8g} (nearest {b:.8g})" for a, b in zip(missing[:3], nearest, strict=False))
        raise EnergyRangeError(f"{what} that are not {among}: {pairs}{', ...' * (missing.size > 3)} {unit}")
    return np.asarray(apart.argmin(0))


def rules_of(
    energy: xr.DataArray,
    n: int,
    required: Sequence[EnergyLike],
    forbidden: Sequence[EnergyLike | Window],
    min_spacing: float | str | None,
) -> Rules:
    """Return the rules that a choice of n energies keeps, after everything that can be wrong with them."""
    allowed = np.ones(energy.size, dtype=bool)
    for item in _listed("forbidden", forbidden):
        if isinstance(item, tuple | list):
            allowed[window_at(energy, tuple(item), "the forbidden range", least=0)] = False
        else:
            allowed[_chosen_places("forbidden", [item], energy)] = False
    kept = _chosen_places("required", required, energy)
    values, unit = np.asarray(energy, dtype=float), units.units_of(energy)
    barred = values[kept][~allowed[kept]]
    if barred.size:
        raise OptionError(
            "required", barred.tolist(), "these energies are forbidden too: take them from one of the two"
        )
    if len(kept) > n:
        raise OptionError("required", values[kept].tolist(), f"more energies than n={n}")
    spacing = 0.0 if min_spacing is None else units.to_magnitude(min_spacing, unit, "min_spacing", spectroscopy=False)
    if spacing < 0:
        raise OptionError("min_spacing", min_spacing, "give a distance of energies above zero")
    rules = Rules(values, allowed, tuple(kept), spacing)
    if spacing and np.diff(np.sort(values[kept])).min(initial=np.inf) < spacing * (1 - 1e-9):
        raise OptionError("min_spacing", min_spacing, "required energies lie closer to each other: lessen it")
    room = rules.room(kept)
    if room < n:
        raise OptionError("n", n, f"{room} of the candidates fit the rules: lessen n or min_spacing, or forbid less")
    return rules


def _listed(option: str, items: Sequence[Any]) -> list[Any]:
    if isinstance(items, str) or not np.iterable(items):
        raise OptionError(option, items, "give a list of energies, e.g. ['515 eV', '518.5 eV']")
    return list(items)


def _chosen_places(option: str, items: Sequence[EnergyLike], energy: xr.DataArray) -> list[int]:
    values = np.array([units.to_magnitude(item, energy, f"{option} energy") for item in _listed(option, items)])
    return sorted(set(places_of(values, energy, f"{option} energies", "candidates").tolist()))


@dataclass(frozen=True)
class Time:
    """Exposure of a pixel at all energies together."""

    total: float | None
    """In ms, None where nothing says."""
    exposure: float
    """Exposure of an energy, on the average, over that behind the counts."""

    @classmethod
    def of(cls, n: int, dwell: float | str | None, total_time: float | str | None, *, counted: bool) -> Time:
        each, total = (_milliseconds(name, given) for name, given in (("dwell", dwell), ("total_time", total_time)))
        if counted and total is not None and each is None:
            raise OptionError("total_time", total_time, "say as dwell= in which time the counts arrive, e.g. '1 ms'")
        if total is None:
            return cls(None if each is None else n * each, 1.0)
        return cls(total, 1.0 if each is None else total / (n * each))


def _milliseconds(option: str, value: float | str | None) -> float | None:
    if value is None:
        return None
    time = units.to_magnitude(value, "ms", option)
    if not time > 0:
        raise OptionError(option, value, "a time is above zero")
    return time
