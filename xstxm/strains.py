"""From phases to the lattice: eigenstrain, and the concentration of what was inserted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._kernels import mixing
from xstxm.conventions import (
    OTHER_REFERENCE,
    REFERENCE,
    annotate,
    composition_number,
    require_compositions,
    require_variable,
    without_coords,
)
from xstxm.errors import MissingVariableError, SchemaError, require_whole
from xstxm.lattice import AXES, LENGTHS, Cell, Cells, cells_of, reference_cell
from xstxm.provenance import recorded

_AVOGADRO = 6.02214076e23
_MOL_PER_M3 = 1e30 / _AVOGADRO
"""Concentration in mol/m^3 of one ion per cubic angstrom."""


@recorded
def strain(
    phases: xr.Dataset, *, cells: xr.Dataset | None = None, relative_to: str | float | None = None
) -> xr.Dataset:
    """Map the eigenstrain: how far the lattice of a free pixel of this composition differs from a chosen state.

    Along each axis ``e_k = cell_k / cell_ref - 1`` for phase k, ``e = sum_k f_k e_k`` for the pixel, and
    ``V_k / V_ref - 1`` likewise for the volume of one layer: `cell_volume` where all cells that are used have one, else
    the product of the lengths.

    Parameters
    ----------
    phases
        A result of `phase_map`, or of `fit`; with ``covariance=True`` errors are exact.
    cells
        Cells of the phases, as `phase_table` returns them: `phase`, `composition`, `cell_chain`, `cell_rung`,
        `cell_stacking` along one dimension, and `cell_volume` where the axes are not at right angles; a reference set with
        these coordinates serves too. By default the coordinates that the references brought along, for the rest `phase_table`: in a phase map the cell of a phase
        whose references have different cells too.
    relative_to
        State of no strain: a phase (its lowest composition), a state of the table, or a composition within
        the range of one phase. By default the state of the lowest composition among the phases of the map.

    Returns
    -------
    Dataset
        `eigenstrain` and `eigenstrain_stderr` (lattice_axis, pixel dims) in 1, along ``chain``, ``rung`` and
        ``stacking`` (one layer), `volumetric_strain` and `volumetric_strain_stderr` (pixel dims). NaN where there
        is no fraction. Attributes say what the strain is relative to, and for each cell its source and the status of what
        was used of it, ``verified``, ``recalled`` or ``given``. Lazy.

    Raises
    ------
    MissingVariableError
        Neither fractions, nor amounts with their covariance; or no composition, where the cell of a phase depends on it.
    SchemaError
        A phase without a cell, cells without the three lengths, or cells of different frameworks.
    ReferenceSpectrumError
        A reference without a composition, or with one outside the range of its phase.
    MissingUnitsError, IncompatibleUnitsError
        Cell lengths without units, or in units that are no length.
    OptionError, ChoiceError
        `relative_to` names nothing that is known, or lies in a miscibility gap or in two ranges.

    Notes
    -----
    Within a phase the cell is linear between the states of the table and constant beyond them; across a miscibility
    gap nothing is interpolated: the fractions mix the phases on either side. Of a phase map, a phase with several
    states has the composition within its range that is nearest to that of the pixel. Errors come from the full
    covariance; those of a phase map without it are exact for two and three phases and an upper
    bound for more. Errors of the cells are not known and not included.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> strains = xstxm.strain(phases, relative_to="alpha")
    >>> strains.eigenstrain.dims, strains.attrs["relative_to"]
    (('lattice_axis', 'y', 'x'), 'alpha-V2O5')
    """
    phases = units.dequantify(phases)
    found = _cells(phases, cells)
    origin = reference_cell(found, relative_to)
    _require_one_framework([*found.used, origin])

    stated = all(cell.stated for cell in [*found.used, origin])

    def strained(cell: Cell) -> np.ndarray:
        stretch = cell.lengths / origin.lengths
        return np.append(stretch - 1, (cell.volume / origin.volume if stated else np.prod(stretch)) - 1)

    value, stderr = _mixed(phases, found, strained)
    axes = xr.DataArray(list(AXES), dims="lattice_axis")
    used = [*LENGTHS, "layers", *(["cell_volume"] if stated else [])]
    result = xr.Dataset(
        {
            "eigenstrain": _along_axes(value, axes, "eigenstrain"),
            "eigenstrain_stderr": _along_axes(stderr, axes, "eigenstrain_stderr"),
            "volumetric_strain": annotate(value.isel(quantity=3), "volumetric_strain"),
            "volumetric_strain_stderr": annotate(stderr.isel(quantity=3), "volumetric_strain_stderr"),
        }
    )
    return result.assign_attrs(relative_to=origin.name, **_trust([*found.groups, [origin]], lambda _: used))


@recorded
def concentration(
    phases: xr.Dataset, *, cells: xr.Dataset | None = None, formula_units: int | None = None
) -> xr.Dataset:
    """Map the concentration of the inserted ion in mol/m^3, ``n = x / (N_A v)``.

    x is the composition per formula unit and ``v = sum_k f_k v_k`` the volume of a formula unit.

    Parameters
    ----------
    phases
        A result of `phase_map` with a composition, or of `fit` with ``covariance=True`` for references that carry one;
        with ``covariance=True`` the errors of a phase map are exact.
    cells
        As in `strain`, with `formula_units` per cell and, where the axes are not at right angles, `cell_volume`.
    formula_units
        Formula units per cell, where the cells given do not say.

    Returns
    -------
    Dataset
        `concentration` and `concentration_stderr` (pixel dims) in mol/m**3; the source of the cells and the status of
        what was used of them in the attributes. Lazy.

    Raises
    ------
    MissingVariableError
        No composition, no fractions, or amounts without their covariance.
    SchemaError
        A phase without a cell, or a cell without its number of formula units.
    ReferenceSpectrumError
        A composition is missing for some references, or outside the range of the phase.

    Notes
    -----
    Fractions are taken as those of formula units. Errors come from the full covariance; of a phase map without it, or
    with references of one phase that differ in composition, the errors of composition and volume are added up, an upper
    bound that is hardly above that of the composition alone.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> xstxm.concentration(phases).concentration.attrs["units"]
    'mol/m**3'
    """
    phases = units.dequantify(phases)
    if formula_units is not None:
        formula_units = require_whole("formula_units", formula_units, what="as many as a cell holds")
    found = _cells(phases, cells, formula_units)
    unknown = list(dict.fromkeys(cell.name for cell in found.used if np.isnan(cell.formula_units)))
    if unknown:
        raise SchemaError(
            f"no number of formula units in the cell of {', '.join(map(repr, unknown))}: pass formula_units=..., or cells "
            "with 'formula_units', see xstxm.phase_table()"
        )
    value, stderr = _per_volume(phases, found)
    result = xr.Dataset(
        {
            "concentration": annotate(value, "concentration"),
            "concentration_stderr": annotate(stderr, "concentration_stderr"),
        }
    )
    return result.assign_attrs(_trust(found.groups, _of_volume))


def _per_volume(phases: xr.Dataset, cells: Cells) -> tuple[xr.DataArray, xr.DataArray]:
    """Return composition over volume of a formula unit, and its error, in mol/m**3."""
    if "phase_fraction" not in phases:
        ions = np.asarray(composition_number(require_compositions(phases["component_map"])))
        volumes = np.array([group[0].formula_volume for group in cells.groups])
        value, stderr = (part.isel(quantity=0) for part in _ratios(phases, ions[None], volumes))
        return value * _MOL_PER_M3, stderr * _MOL_PER_M3
    do = "map phases with references that carry a composition"
    x, x_stderr = (
        composition_number(require_variable(phases, name, do)) for name in ("composition", "composition_stderr")
    )
    if "phase_fraction_covariance" in phases:
        grids, of_states = _states(cells, lambda cell: np.array([cell.formula_volume]))
        value, stderr = _over_phases(
            mixing.exact_density, phases, x, x_stderr, outputs=[], grids=grids, values=of_states
        )
        return value * _MOL_PER_M3, stderr * _MOL_PER_M3
    mixed = _mixed(phases, cells, lambda cell: np.array([cell.formula_volume]))
    volume, volume_stderr = (part.isel(quantity=0) for part in mixed)
    value = x / volume
    stderr = (x_stderr + abs(value) * volume_stderr) / volume
    return (value * _MOL_PER_M3).astype(x.dtype), (stderr * _MOL_PER_M3).astype(x.dtype)


def _cells(phases: xr.Dataset, cells: xr.Dataset | None, formula_units: int | None = None) -> Cells:
    """Return the cells behind a phase map or a fit, or say what is missing."""
    if not isinstance(phases, xr.Dataset):
        raise SchemaError(f"phases are a {type(phases).__name__}: pass the whole result of phase_map or fit")
    if cells is not None and not isinstance(cells, xr.Dataset):
        raise SchemaError(f"cells are a {type(cells).__name__}: pass a Dataset, see xstxm.phase_table()")
    if "phase_fraction" in phases:
        return cells_of(phases["phase_fraction"], "phase", cells, formula_units)
    if "component_map" not in phases:
        raise MissingVariableError("phase_fraction", phases.data_vars, "call .stxm.phase_map() first")
    require_variable(phases, "component_map_covariance", "call .stxm.fit(references, covariance=True)")
    return cells_of(phases["component_map"], "reference", cells, formula_units)


def _require_one_framework(cells: list[Cell]) -> None:
    named = {cell.framework: cell.phase for cell in cells if cell.framework}
    if len(named) > 1:
        told = ", ".join(f"{phase} is {framework}" for framework, phase in sorted(named.items()))
        raise SchemaError(
            f"no strain leads from one framework to another ({told}): select the phases of one framework, "
            "or pass cells=... of your own"
        )


def _mixed(phases: xr.Dataset, cells: Cells, values: Callable[[Cell], np.ndarray]) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the mean of numbers of the cells over the phases of each pixel, and its error, along `quantity`."""
    if "component_map" in phases and "phase_fraction" not in phases:
        rows = np.array([values(group[0]) for group in cells.groups]).T
        return _ratios(phases, rows, np.ones(rows.shape[1]))
    fraction = without_coords(phases["phase_fraction"], "phase")
    grids, of_states = _states(cells, values)
    none = xr.zeros_like(fraction.isel(phase=0, drop=True)).drop_attrs(deep=False)
    x, x_stderr = none, none
    several = [
        repr(group[0].phase) for group, rows in zip(cells.groups, of_states, strict=True) if np.ptp(rows, axis=1).any()
    ]
    if several:
        do = (
            f"map phases with references that carry a composition: the cell of {', '.join(several)} depends on it, or pass "
            "cells=... with one state for each phase"
        )
        x, x_stderr = (
            composition_number(require_variable(phases, name, do)) for name in ("composition", "composition_stderr")
        )
    exact = "phase_fraction_covariance" in phases
    func = mixing.exact_mixture if exact else mixing.mixture
    return _over_phases(func, phases, x, x_stderr, outputs=["quantity"], grids=grids, values=of_states)


def _states(cells: Cells, values: Callable[[Cell], np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return for each phase the compositions of its states, and numbers of them (quantity, state)."""
    grids = [np.array([cell.composition for cell in group]) for group in cells.groups]
    return grids, [np.array([values(cell) for cell in group]).T for group in cells.groups]


def _over_phases(
    func: Callable[..., Any], phases: xr.Dataset, *compositions: xr.DataArray, outputs: list[str], **options: Any
) -> tuple[xr.DataArray, xr.DataArray]:
    """Apply a function of fractions, their errors, and the composition to every pixel.

    The errors are the covariance and the composition of each phase, where the map has a covariance.
    """
    fraction = without_coords(phases["phase_fraction"], "phase")
    errors = [(without_coords(phases["phase_fraction_stderr"], "phase"), ["phase"])]
    if "phase_fraction_covariance" in phases:
        covariance = without_coords(phases["phase_fraction_covariance"], "phase", "other_phase")
        errors = [(covariance, ["phase", "other_phase"]), (_own_compositions(phases), ["phase"])]
    value, error = xr.apply_ufunc(
        func,
        fraction,
        *(array for array, _ in errors),
        *(part.astype(fraction.dtype) for part in compositions),
        input_core_dims=[["phase"], *(dims for _, dims in errors), *[[]] * len(compositions)],
        output_core_dims=[outputs, outputs],
        dask="parallelized",
        output_dtypes=[fraction.dtype, fraction.dtype],
        dask_gufunc_kwargs={"output_sizes": dict.fromkeys(outputs, len(options["values"][0])), "allow_rechunk": True},
        kwargs=options,
    )
    return value, error


def _own_compositions(phases: xr.Dataset) -> xr.DataArray:
    """Return the composition of each phase, NaN where its references do not agree on one."""
    if "phase_composition" not in phases.coords:
        return xr.DataArray(np.full(phases.sizes["phase"], np.nan), dims="phase")
    own = composition_number(phases["phase_composition"])
    return own.drop_vars(list(own.coords))


def _ratios(fitted: xr.Dataset, numerator: np.ndarray, denominator: np.ndarray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return ratios of sums over the references and their errors along `quantity`, from the full covariance."""
    amount = without_coords(fitted["component_map"], REFERENCE)
    covariance = without_coords(fitted["component_map_covariance"], REFERENCE, OTHER_REFERENCE)
    value, error = xr.apply_ufunc(
        mixing.ratio,
        amount,
        covariance,
        input_core_dims=[[REFERENCE], [REFERENCE, OTHER_REFERENCE]],
        output_core_dims=[["quantity"], ["quantity"]],
        dask="parallelized",
        output_dtypes=[amount.dtype, amount.dtype],
        dask_gufunc_kwargs={"output_sizes": {"quantity": len(numerator)}, "allow_rechunk": True},
        kwargs={"numerator": numerator, "denominator": denominator},
    )
    return value, error


def _along_axes(array: xr.DataArray, axes: xr.DataArray, name: str) -> xr.DataArray:
    """Return the first three quantities along the axes of the lattice, named."""
    three = array.isel(quantity=slice(3)).rename(quantity="lattice_axis").assign_coords(lattice_axis=axes.data)
    return annotate(three.transpose("lattice_axis", ...), name)


def _of_volume(cell: Cell) -> list[str]:
    """Return the quantities that make the volume of a formula unit."""
    return [*(["cell_volume"] if cell.status.get("cell_volume") else LENGTHS), "formula_units"]


def _trust(groups: list[list[Cell]], used: Callable[[Cell], list[str]]) -> dict[str, Any]:
    """Return what is said about the cells, from the quantities of them that were used."""
    named = {
        cell.name: (cell.trust([*used(cell), *(["composition"] if len(group) > 1 else [])]), cell.source)
        for group in groups
        for cell in group
    }
    return {
        "cell_status": "; ".join(f"{name}: {status}" for name, (status, _) in named.items()),
        "cell_source": "; ".join(f"{name}: {source}" for name, (_, source) in named.items() if source),
    }
