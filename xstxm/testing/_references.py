"""Synthetic absorption spectra of LixV2O5 phases: V L3, V L2 and O K edges, from the numbers of one table."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xstxm import units as _units
from xstxm.conventions import PALETTE
from xstxm.errors import OptionError
from xstxm.references import reference_set

TITLE = "synthetic LixV2O5 reference spectra"

_SEGMENTS = ((508.0, 1.0), (513.0, 0.2), (521.0, 0.35), (527.3, 0.25), (535.3, 0.65), (545.05, 1.495), (560.0, 0.0))
_TABULATED = ((505.0, 0.75), (560.0, 6.35))
"""Energy [eV] and absorption [1/um] of V2O5 beside the edges, where tables hold."""
FWHM_TO_SIGMA = 1 / np.sqrt(8 * np.log(2))


@dataclass(frozen=True)
class _Phase:
    """What sets the spectrum of a phase apart from that of V2O5."""

    name: str
    phase: str
    composition: float
    lower_vanadium: float
    """How far the V features lie below those of V2O5 [eV]."""
    broadening: float
    """Factor on the widths of the V features."""
    t2g: tuple[float, float]
    """Energy [eV] and height of the O K t2g peak."""
    eg: tuple[float, float]
    """Energy [eV] and height of the O K eg peak."""
    pre_peaks: tuple[float, float]
    """Heights of the V L3 features at 515.6 and 516.9 eV."""
    scale: float
    """Absorption above all edges, as a share of that of V2O5."""


_PHASES = (
    _Phase("alpha-V2O5", "alpha", 0.0, 0.00, 1.00, (529.2, 7.4), (531.3, 4.3), (1.5, 2.7), 1.00),
    _Phase("epsilon-Li0.4V2O5", "epsilon", 0.4, 0.16, 1.12, (529.2, 5.2), (531.2, 5.3), (2.3, 2.5), 0.98),
    _Phase("delta-LiV2O5", "delta", 1.0, 0.35, 1.24, (529.7, 4.0), (531.6, 4.4), (2.0, 2.4), 0.97),
    _Phase("gamma-LiV2O5", "gamma", 1.0, 0.30, 1.10, (529.3, 5.0), (532.0, 3.9), (1.6, 3.7), 0.95),
)


def default_energies() -> np.ndarray:
    """Return 121 energies in eV from 508 to 560, five times denser at the edges than beside them."""
    pieces = [np.arange(start, stop - step / 2, step) for (start, step), (stop, _) in itertools.pairwise(_SEGMENTS)]
    return np.round(np.append(np.concatenate(pieces), _SEGMENTS[-1][0]), 3)


def energies_in_ev(energies: Sequence[float] | np.ndarray | xr.DataArray | None) -> np.ndarray:
    """Return energies as floats in eV, or say what is wrong with them."""
    if energies is None:
        return default_energies()
    if isinstance(energies, xr.DataArray):
        energies = _units.to_units(_units.dequantify(energies).astype(float), "eV", "energies")
    try:
        grid = np.asarray(energies, dtype=float)
    except (TypeError, ValueError):
        grid = np.empty(0)
    if grid.ndim != 1 or not grid.size or not np.isfinite(grid).all():
        raise OptionError("energies", energies, "give one or more finite numbers in eV, or an array with units")
    if np.unique(grid).size < grid.size:
        raise OptionError("energies", energies, "give each energy once")
    return grid


def _peak(energy: np.ndarray, centre: float, height: float, fwhm: float) -> np.ndarray:
    return height * np.exp(-0.5 * ((energy - centre) / (fwhm * FWHM_TO_SIGMA)) ** 2)


def _step(energy: np.ndarray, centre: float, height: float, width: float) -> np.ndarray:
    """Arctan edge that decays as E^-3 above its centre."""
    return height * (0.5 + np.arctan((energy - centre) / width) / np.pi) * (centre / energy) ** 3


def _absorption_per_um(energy: np.ndarray, phase: _Phase) -> np.ndarray:
    """Linear absorption (energy) in 1/um: a smooth part ~E^-3 and the edges, weighted to meet the table."""
    anchors = np.array([at for at, _ in _TABULATED])
    parts = np.stack([anchors**-3.0, _edges(anchors, phase)], axis=1)
    smooth, edges = np.linalg.solve(parts, [phase.scale * value for _, value in _TABULATED])
    return smooth * energy**-3.0 + edges * _edges(energy, phase)


def _edges(energy: np.ndarray, phase: _Phase) -> np.ndarray:
    """Edges and resonances (energy) in 1/um."""
    down, wide = phase.lower_vanadium, phase.broadening
    first, second = phase.pre_peaks
    vanadium = (
        _step(energy, 518.0 - down, 1.5, 0.6)
        + _step(energy, 524.8 - down, 0.75, 0.8)
        + _peak(energy, 515.6 - down, first, 1.2 * wide)
        + _peak(energy, 516.9 - down, second, 1.1 * wide)
        + _peak(energy, 518.4 - down, 8.0 / wide, 1.8 * wide)
        + _peak(energy, 525.0 - down, 4.6 / wide, 2.4 * wide)
    )
    oxygen = (
        _step(energy, 533.5, 3.4, 1.2)
        + _peak(energy, *phase.t2g, 1.5)
        + _peak(energy, *phase.eg, 1.9)
        + _peak(energy, 538.6, 1.3, 5.0)
        + _peak(energy, 543.5, 1.7, 5.5)
    )
    return vanadium + oxygen


def simulate_references(
    *,
    energies: Sequence[float] | np.ndarray | xr.DataArray | None = None,
    units: str = "1/nm",
    thickness: float | str = "100 nm",
) -> xr.Dataset:
    """Return synthetic reference spectra of four LixV2O5 phases. Made up, not measured.

    The spectra have the features of vanadium oxides in the right places and of plausible size: V L3
    near 518.4 eV with shoulders at 515.6 and 516.9, V L2 near 525, O K t2g near 529.2 and eg near 531.3
    eV, a broad hump above 534. Lithiation lowers and broadens the V features and moves weight from t2g
    to eg. The absorption of V2O5 meets tabulated values at 505 and 560 eV (3.36 g/cm^3). As for real
    phases, the spectra resemble each other: the condition number of the set is about 70.

    Parameters
    ----------
    energies
        Energies in eV, in any order, or an array of energies with units. By default 121 energies from
        508 to 560 eV, denser at the edges.
    units
        ``"1/nm"`` or another linear absorption: amounts fitted with the set are thicknesses. ``"1"``: the
        optical density of `thickness`.
    thickness
        Thickness behind units of ``"1"``; a number is in nm.

    Returns
    -------
    Dataset
        A reference set: `absorption` (reference, energy), float64, ascending in energy, with
        `composition` (x in LixV2O5), `phase`, `color` and ``source="synthetic"`` along `reference`.
        Eager.

    Raises
    ------
    OptionError
        Fewer than two energies, or not distinct numbers between 450 and 650 eV, a thickness not above zero.
    UnitsError
        `units` are neither a linear absorption nor ``"1"``.

    Examples
    --------
    >>> import xstxm
    >>> refs = xstxm.testing.simulate_references()
    >>> refs.absorption.attrs["units"], refs.composition.values
    ('1/nm', array([0. , 0.4, 1. , 1. ]))
    """
    energy = energies_in_ev(energies)
    if energy.size < 2:
        raise OptionError("energies", energy.tolist(), "a spectrum has two energies or more")
    if energy.min() < 450 or energy.max() > 650:
        found = f"{energy.min():g}-{energy.max():g} eV"
        raise OptionError("energies", found, "the spectra are made for 450-650 eV, around the V L and O K edges")
    scale = _per_um(units, thickness)
    names = [phase.name for phase in _PHASES]
    coord = {"energy": ("energy", energy, {"units": "eV"})}
    references = reference_set(
        {phase.name: xr.DataArray(_absorption_per_um(energy, phase) * scale, coord) for phase in _PHASES},
        units=units,
        phase={phase.name: phase.phase for phase in _PHASES},
        composition={phase.name: phase.composition for phase in _PHASES},
        composition_name="x in LixV2O5",
        color=dict(zip(names, PALETTE, strict=False)),
        source="synthetic",
    )
    references.attrs = {"title": TITLE}
    return references


def _per_um(units: str, thickness: float | str) -> float:
    """Return the factor from 1/um to the wanted units."""
    depth = _units.to_magnitude(thickness, "nm", "thickness", spectroscopy=False)
    if not 0 < depth < np.inf:
        raise OptionError("thickness", thickness, "a thickness is above zero")
    if _units.same_kind(units, "1"):
        return depth / 1000 / _units.factor(units, "1")
    return _units.factor("1/um", units, "the absorption")
