"""Particles of a map: found or given, and a table of what each is like, which tables of many images join."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr

from xstxm import units
from xstxm._kernels import particles as kernel
from xstxm._nodes import require_stacks
from xstxm._particle_labels import AreaLike, found_particles, given_particles, least_pixels
from xstxm._particle_tables import Columns, Members, map_table, phase_table, shape_table
from xstxm._region_images import lags_of
from xstxm.conventions import SPECS, annotate, as_float, content_of, require_image, require_variable, stderr_of
from xstxm.errors import (
    MissingDimensionError,
    NoiseWarning,
    OptionError,
    SchemaError,
    check_choice,
    require_number,
    warn,
)
from xstxm.interfaces import pixel_size, positions
from xstxm.provenance import recorded
from xstxm.units import AmountLike, LengthLike

Surface: TypeAlias = Literal["outline", "free"]

CONTACT_NUMBERS = ("contact_particle", "contact_other")


@recorded
def particles(
    phases: xr.Dataset,
    *,
    particle_label: xr.DataArray | np.ndarray | None = None,
    signal: str = "composition",
    amount: str = "total_amount",
    min_amount: AmountLike | None = None,
    min_area: AreaLike | None = None,
    max_neck: float = 0.8,
    fill_holes: bool = True,
    surface: Surface = "outline",
    profile_step: LengthLike | None = None,
    noise_correlation: xr.DataArray | None = None,
) -> xr.Dataset:
    """Find the particles of a map, or take those given, and tabulate size, shape, contacts, phases and composition.

    The sample is parted by the watershed [1]_ of the distance d to its outline. Two parts are one particle where the neck
    between them is wide: where d at the neck is at least ``max_neck`` times d in the middle of the smaller.

    Parameters
    ----------
    phases
        A result of `phase_map`, or any maps of one image with positions y and x.
    particle_label
        An image of whole numbers, from another program or another result: every number above zero is a particle, and its
        pixels are taken as they are. By default the particles are found.
    signal
        Variable whose mean, spread and profile are tabulated, with its errors in ``<signal>_stderr``.
    amount
        Variable that tells the sample from the ground.
    min_amount
        Least amount of a sample pixel, in units of the amount or with a unit; by default Otsu's threshold, of the total
        amount of a phase map what that calls sample.
    min_area
        Area of the smallest particle, in um^2 or with a unit, ``"0.05 um^2"``; by default that of 9 pixels. A smaller part
        in contact with another belongs to that; a smaller piece is left out.
    max_neck
        Relative width of a neck, from 0 to 1, at which two parts become one particle; 0 parts nothing.
    fill_holes
        Fill what is smaller than `min_area`, and what a single particle surrounds.
    surface
        Where distances into a particle start: at its whole ``"outline"``, or where it is ``"free"`` of other particles. Where
        the image cuts a particle is no surface.
    profile_step
        Width of a layer of the profile, in nm or with a unit, at least the shorter side of a pixel; by default the longer.
    noise_correlation
        Correlation of the noise of two pixels against their lag, as `regions.noise_correlation` returns it. By default the
        pixels are independent.

    Returns
    -------
    Dataset
        `particle_label` (y, x), int32, 0 in no particle, and for each `particle` (particles that were found count from 1,
        the largest first):

        - `particle_area` [um^2], `equivalent_diameter`, `centroid_y`, `centroid_x` and `perimeter` [um], `aspect_ratio` and
          `orientation` [deg] of the ellipse with the same second moments, counted from the x axis towards larger y, and
          whether the particle `touches_edge`, where its shape is not known.
        - `n_neighbours` and `contact_length` [um], and along `contact` each pair: `contact_particle`, `contact_other`,
          `contact_pair_length` [um].
        - With a phase map `particle_phase_fraction`, its mean, and `particle_area_fraction` (phase, particle), the share in
          which the phase is the largest; `particle_interface_length` [um].
        - With a composition `particle_composition`, the mean; `composition_spread`, the standard deviation over the pixels;
          `composition_gradient`, the root mean square slope per um; `composition_profile` (particle, distance), with
          `n_profile_pixels`; `core_shell_difference`, core minus shell, the core being deeper than half of the deepest pixel;
          and `core_shell_score`, the share of the variance that the profile explains, NaN where there is no variance to
          explain. Another `signal` has its own name in theirs.

        Of each mean, spread and profile ``*_stderr``, what the noise does to it, where the map has standard errors. Attributes
        say how particles were found: `min_amount`, in units of the amount, `min_area` and `area_left_out`, of pieces that
        are smaller, in um^2. Eager on the image.

    Raises
    ------
    MissingVariableError
        `phases` lacks the amount, or the signal that was asked for.
    MissingDimensionError, MissingCoordinateError, MissingUnitsError
        A map without y and x, or without their positions.
    SchemaError
        A map without any sample, more than one image, pixels that are not evenly spaced, or given particles on other
        pixels or in numbers that are not whole.
    OptionError
        A number that makes no sense, or an option of the search where particles are given.

    Warns
    -----
    SegmentationWarning
        No particle was found; the tables are empty.
    NoiseWarning
        The signal has no standard errors: spread, gradient and score hold its noise.

    Notes
    -----
    The variance of the noise is subtracted from that of the composition, and from the square of the slopes. What is left
    may be below zero; the root then is, too: a `composition_spread` of -0.02 with an error of 0.03 is compatible with none.
    Clipping these to zero would make the mean over many particles too large. Slopes run over the two neighbours of a pixel,
    all three in the particle; those errors take pixels that are more than one step apart as independent.

    The outline lies half a pixel (the root of its area) outside the centres, so that the outermost layer is half a pixel
    deep. A profile, of however smooth a map, explains some of a variance that has nothing to do with depth: about the
    number of layers, or of correlation lengths across the radius if less, over that of independent patches.

    The perimeter is that of `interface_map`, from crossings in four directions; contacts count in it, the edge of the
    image does not. Bounds at zero bias means over pixels; `phase_summary` with the image of particles as its regions tells
    by how much, and the errors of area fractions and of the material.

    References
    ----------
    .. [1] L. Vincent, P. Soille, IEEE Trans. Pattern Anal. Mach. Intell. 13, 583 (1991), https://doi.org/10.1109/34.87344

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(48, 64), seed=0)
    >>> phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> found = xstxm.particles(phases, min_area="0.02 um^2")
    >>> found.composition_profile.dims, found.particle_area.attrs["units"]
    (('particle', 'distance'), 'um**2')
    """
    check_choice("surface", surface, Surface)
    max_neck = require_number("max_neck", max_neck, "a share", least=0, most=1)
    maps = _maps_of(units.dequantify(phases), signal, amount if particle_label is None else None)
    size = pixel_size(maps)
    if particle_label is None:
        search = {"max_neck": max_neck, "fill_holes": fill_holes}
        label, facts = found_particles(maps, amount, min_amount, least_pixels(min_area, size), size, search)
    else:
        _refuse_search(min_amount=min_amount, min_area=min_area)
        label, facts = given_particles(particle_label, maps), {}
    numbers = np.unique(label[label > 0])
    members = Members(
        label=np.searchsorted(numbers, label, side="right").astype(np.int32),
        numbers=numbers,
        y=np.asarray(positions(maps["y"], "y")),
        x=np.asarray(positions(maps["x"], "x")),
        spacing=size,
        correlation=None if noise_correlation is None else lags_of(noise_correlation, ("y", "x")),
    )
    columns = _stamped(shape_table(members) | _phase_columns(members, maps))
    coords = {"particle": ("particle", numbers), "y": maps["y"].variable, "x": maps["x"].variable}
    coords |= {str(name): coord.variable for name, coord in maps.coords.items() if coord.dims in ((), ("phase",))}
    if signal in maps:
        step = _profile_step(profile_step, size)
        columns |= _map_columns(members, maps, signal, surface, step)
        coords["distance"] = _distance(columns["n_profile_pixels"].sizes["distance"], step)
    image = annotate(xr.DataArray(label, dims=("y", "x")), "particle_label")
    return xr.Dataset({"particle_label": image, **columns}, coords).assign_attrs(signal=signal, **facts)


def _maps_of(phases: xr.Dataset, signal: str, amount: str | None) -> xr.Dataset:
    """Return what the tables are made of, with y and x last. Eager."""
    if signal != "composition":
        require_variable(phases, signal, "name the variable that holds the map, e.g. signal='composition'")
    if amount is not None:
        require_variable(
            phases, amount, "call .stxm.phase_map() first, or name what tells sample from ground, amount='...'"
        )
    if signal in phases and content_of(signal, phases[signal]) in ("labels", "flags", "marks"):
        raise SchemaError(
            f"{signal!r} holds labels or marks, which have no mean: name a map of numbers, signal='composition'"
        )
    names = ("phase_label", "phase_fraction", "phase_fraction_stderr", signal, f"{signal}_stderr", amount)
    kept = [name for name in names if name in phases]
    for name in kept:
        require_image(phases[name], "particles lie in an image")
        own = ("y", "x") if name == signal else ("phase", "y", "x")
        others = [str(dim) for dim in phases[name].dims if dim not in own]
        if others:
            raise SchemaError(
                f"particles are those of one image, {name!r} runs over {', '.join(others)} too: select one, e.g. "
                f".isel({others[0]}=0)"
            )
    rest = [name for name in phases.data_vars if name not in kept and name != "min_amount"]
    return phases.drop_vars(rest).transpose(..., "y", "x", missing_dims="ignore").compute()


def _refuse_search(**options: Any) -> None:
    """Refuse options of the search for particles that are given."""
    for name, value in options.items():
        if value is not None:
            raise OptionError(name, value, "the particles are given, and taken as they are: leave it out")


def _profile_step(step: LengthLike | None, size: tuple[float, float]) -> float:
    """Return the width of a layer in nm, which is no less than the pixel: layers between its rows would be empty."""
    pixel = units.drop_noise(1e3 * min(size))
    found = 1e3 * max(size) if step is None else units.to_magnitude(step, "nm", "profile_step")
    return require_number("profile_step", units.drop_noise(found), "a length in nm", least=pixel)


def _distance(n_layers: int, step: float) -> xr.Variable:
    """Return the middles of layers."""
    attrs = {"units": "nm", "long_name": "Distance below the surface", "layer_width": step}
    return xr.Variable("distance", (np.arange(n_layers) + 0.5) * step, attrs)


def _phase_columns(members: Members, maps: xr.Dataset) -> Columns:
    if "phase_fraction" not in maps:
        return {}
    error, label = (
        np.asarray(maps[name]) if name in maps else None for name in ("phase_fraction_stderr", "phase_label")
    )
    return phase_table(members, np.asarray(maps["phase_fraction"]), error, label)


def _map_columns(members: Members, maps: xr.Dataset, signal: str, surface: Surface, step: float) -> Columns:
    value, error = as_float(maps[signal]), stderr_of(maps, signal)
    if error is None:
        warn(
            f"{signal!r} has no standard errors: its spread, gradient and score in the particles hold the noise too; assign "
            f"{signal}_stderr",
            NoiseWarning,
        )
    depth = kernel.depths(members.label, members.spacing, free=surface == "free")
    found = map_table(members, np.asarray(value), None if error is None else np.asarray(error), depth, step / 1e3)
    return _stamped(found, signal, value.attrs)


def _stamped(columns: Columns, signal: str = "composition", of_map: Mapping[str, Any] | None = None) -> Columns:
    """Return columns with units and names, in which `signal` stands for the composition."""
    unit = str((of_map or {}).get("units", "1"))
    called = str((of_map or {}).get("long_name", signal))
    named: Columns = {}
    for name, array in columns.items():
        own = units.derive(unit, "um", "/") if "gradient" in name else unit
        stamped = annotate(array, name, units=own if SPECS[name].units is None and array.dtype.kind == "f" else None)
        told = str(stamped.attrs["long_name"]).replace("composition", called)
        key = name.replace("composition", signal)
        named[key] = stamped.rename(key).assign_attrs(long_name=told)
    return named


def particle_table(found: xr.Dataset) -> pd.DataFrame:
    """Return the table of particles as rows of numbers: a column for each variable, and for each phase of one.

    Parameters
    ----------
    found
        A result of `particles` or `join_particles`.

    Returns
    -------
    DataFrame
        A row for each particle, with its number as index; columns such as ``particle_area [um**2]``,
        ``particle_phase_fraction V2O5``. Profiles and contacts have other rows: ``found.composition_profile.to_series()``.

    Raises
    ------
    MissingDimensionError
        Not a table of particles.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(48, 64), seed=0)
    >>> found = xstxm.particles(xstxm.phase_map(stack, xstxm.testing.simulate_references()))
    >>> list(xstxm.particle_table(found).columns[:2])
    ['particle_area [um**2]', 'equivalent_diameter [um]']
    """
    if "particle" not in found.dims:
        raise MissingDimensionError("particle", found.dims, "call xstxm.particles(phases) first")
    columns: dict[str, np.ndarray] = {}
    for name, array in found.reset_coords().drop_vars("particle").data_vars.items():
        unit = str(array.attrs.get("units", "1"))
        after = "" if unit == "1" else f" [{unit}]"
        if array.dims == ("particle",):
            columns[f"{name}{after}"] = np.asarray(array)
        elif array.dims == ("phase", "particle"):
            columns |= {f"{name} {phase}{after}": np.asarray(array.sel(phase=phase)) for phase in found["phase"].data}
    return pd.DataFrame(columns, index=found.indexes["particle"])


@recorded
def join_particles(tables: xr.DataTree | Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Return one table of the particles of many images.

    Parameters
    ----------
    tables
        Results of `particles` by the name of their image, as ``tree.stxm.particles()`` returns them, with the same variables,
        phases and width of layers.

    Returns
    -------
    Dataset
        The tables one after the other along `particle`, which counts from 1; coordinates `node`, the name of the image, and
        `particle_number`, the number that the particle has there; numbers along `contact` are the new ones. All variables in
        the units of the first table; profiles are NaN where another particle is deeper. Without images and what is said of
        one alone. In memory where the tables are.

    Raises
    ------
    OptionError
        No table.
    MissingDimensionError
        Not a table of particles.
    SchemaError
        Tables with other variables, phases or layers.
    IncompatibleUnitsError
        Variables that do not convert.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(48, 64), seed=0)
    >>> found = xstxm.particles(xstxm.phase_map(stack, xstxm.testing.simulate_references()))
    >>> both = xstxm.join_particles({"left": found, "right": found})
    >>> both.sizes["particle"] == 2 * found.sizes["particle"], str(both.node[0].item())
    (True, 'left')
    """
    if not isinstance(tables, Mapping) or not tables:
        raise OptionError("tables", tables, "give one table of particles or more, {name: xstxm.particles(phases)}")
    given = require_stacks(tables) if isinstance(tables, xr.DataTree) else tables
    pieces: list[xr.Dataset] = []
    for name, table in given.items():
        piece = _piece(name, table, sum(one.sizes["particle"] for one in pieces))
        pieces.append(_alike(name, piece, pieces[0]) if pieces else piece)
    of_contacts = [name for name, array in pieces[0].data_vars.items() if array.dims == ("contact",)]
    rows = xr.concat(
        [piece.drop_vars(of_contacts) for piece in pieces],
        "particle",
        data_vars="minimal",
        coords="minimal",
        join="outer",
        compat="override",
        combine_attrs="drop_conflicts",
        fill_value={"n_profile_pixels": 0},
    )
    contacts = xr.concat([piece[of_contacts].drop_vars("particle", errors="ignore") for piece in pieces], "contact")
    return rows.assign(contacts.data_vars)


def _piece(name: str, table: xr.Dataset, before: int) -> xr.Dataset:
    """Return a table without its image, whose numbers go on after those of others."""
    if "particle" not in table.dims:
        raise MissingDimensionError("particle", table.dims, f"{name!r} is no result of xstxm.particles(phases)")
    alone = [key for key, array in table.variables.items() if {"y", "x"} & {*array.dims} or not array.dims]
    numbers = np.asarray(table["particle"])
    new = {key: table[key].copy(data=np.searchsorted(numbers, table[key]) + 1 + before) for key in CONTACT_NUMBERS}
    return (
        table.drop_vars(alone)
        .assign(new)
        .assign_coords(
            particle=np.arange(numbers.size) + 1 + before,
            node=("particle", np.full(numbers.size, name)),
            particle_number=("particle", numbers),
        )
    )


def _alike(name: str, piece: xr.Dataset, first: xr.Dataset) -> xr.Dataset:
    """Return a table in the units of the first, or say how they differ."""
    differing = sorted({*map(str, piece.data_vars)} ^ {*map(str, first.data_vars)})
    if differing:
        raise SchemaError(
            f"{name!r} and the first table differ in {', '.join(differing)}: drop_vars what is not in all"
        )
    if "phase" in first.coords and not first["phase"].equals(piece["phase"]):
        raise SchemaError(f"{name!r} and the first table have other phases: map them with the same references")
    widths = [table["distance"].attrs["layer_width"] for table in (first, piece) if "distance" in table.coords]
    if len({*widths}) > 1:
        raise SchemaError(
            f"layers of the profile are {widths[0]:g} nm wide in the first table and {widths[1]:g} nm in {name!r}: give "
            f"xstxm.particles the same profile_step, e.g. '{max(widths):g} nm'"
        )
    same = {
        key: units.to_units(array, str(first[key].attrs["units"]), str(key))
        for key, array in piece.data_vars.items()
        if "units" in first[key].attrs
    }
    return piece.assign(same)
