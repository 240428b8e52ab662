"""Edges and peaks: where they lie in every pixel, with standard errors."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import over_energy, pixels_last
from xstxm.conventions import (
    ENERGY,
    annotate,
    quality_bits,
    quality_of,
    require_energy,
    require_variable,
    signal_and_variance,
)
from xstxm.edges import outcome_flags
from xstxm.energy import Window, window_at
from xstxm.errors import OptionError, SchemaError, check_choice, require_number
from xstxm.provenance import recorded

EdgeMethod: TypeAlias = Literal["half_step", "derivative", "arctangent"]
PeakMethod: TypeAlias = Literal["quadratic", "cubic", "gaussian"]
PeakKind: TypeAlias = Literal["peak", "dip"]

_UNKNOWNS = {"half_step": 4, "derivative": 4, "arctangent": 4, "quadratic": 3, "cubic": 4, "gaussian": 4}
_FEATURE = {"half_step": "level", "derivative": "inflection", "quadratic": "maximum", "cubic": "maximum"}
"""What the polynomial methods look for."""
_FULL_WIDTH = 2 * math.sqrt(2 * math.log(2))
"""Full width at half maximum of a Gaussian in units of its standard deviation."""


@recorded
def edge_map(
    stack: xr.DataArray | xr.Dataset,
    window: Window,
    *,
    method: EdgeMethod = "half_step",
    level: float | None = None,
    min_significance: float = 3.0,
    signal: str = "normalized_absorption",
) -> xr.Dataset:
    """Map the energy of an absorption edge, with its standard error; of a stack or a single spectrum.

    Parameters
    ----------
    stack
        Normalised stack, see `normalize_edge`; or an array, a spectrum too. Any dimensions besides energy.
    window
        Two energies between which the edge rises; a polynomial describes a short piece of a spectrum only.
    method
        ``"half_step"``: where the cubic through the window first rises through `level`. ``"derivative"``: where
        that cubic is steepest, for spectra that are not normalised too. ``"arctangent"``: centre of a fitted
        ``base + height (1/2 + arctan((E - E0) / width) / pi)``, for a window that holds both sides of the edge.
    level
        What ``"half_step"`` looks for, in units of the signal: by default 0.5, half of a normalised step.
    min_significance
        Where the slope (half_step), slope and bend (derivative) or height (arctangent) is not above zero by this
        many of its standard errors there is no edge: NaN.
    signal
        Variable of a Dataset that is read.

    Returns
    -------
    Dataset
        `edge_energy`, `edge_energy_stderr` (pixel dims) in the unit of the axis, float64 as the axis is, and
        `quality`, which says why a pixel is NaN: `below_noise`, `outside_window`, `poor_fit` (the fit of the
        arctangent did not converge), `not_measured` (five finite values are needed). Lazy.

    Raises
    ------
    MissingVariableError
        The Dataset has no such signal.
    EnergyRangeError
        Fewer than five different energies in the window; it says which are there.
    OptionError
        `level` with another method, or a number that makes no sense.
    SchemaError
        The half step of an optical density, which is not normalised.
    ChoiceError
        Unknown method.
    ChunkingError
        A large lazy stack with its energies in chunks.

    Notes
    -----
    Errors are first order: from the variance of the signal where the Dataset holds it, e.g.
    `optical_density_variance`, else from the residual of the fit in each pixel. The fit itself is the same in both
    cases. They do not know how the curve departs from the spectrum: that error grows with the window and is much the
    same in pixels of one kind.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> stack = xstxm.normalize_edge(stack, pre_edge=(508, 512), post_edge=("526 eV", "528 eV"))
    >>> xstxm.edge_map(stack, ("515 eV", "518.4 eV")).edge_energy.dims
    ('y', 'x')
    """
    check_choice("method", method, EdgeMethod)
    stack = units.dequantify(stack)
    if isinstance(stack, xr.Dataset) and signal == "normalized_absorption":
        do = "call .stxm.normalize_edge(...) first, or pass method='derivative' and signal='optical_density'"
        require_variable(stack, signal, do)
    array, variance = signal_and_variance(stack, signal)
    if method != "half_step" and level is not None:
        raise OptionError("level", level, f"it belongs to 'half_step', {method!r} looks for none")
    sought = require_number("level", 0.5 if level is None else level)
    if method == "half_step" and array.name == "optical_density":
        raise SchemaError(
            f"the half step is where normalised spectra rise through {sought:g}, found 'optical_density': call "
            ".stxm.normalize_edge(...) first, or pass method='derivative' or method='arctangent'"
        )
    maps = _located(array, variance, window, "edge_map", method=method, level=sought, least=min_significance)
    unit = units.units_of(array[ENERGY])
    arrays = {name: annotate(maps[k], name, units=unit) for k, name in enumerate(("edge_energy", "edge_energy_stderr"))}
    return xr.Dataset(
        {**arrays, "quality": quality_bits(outcome_flags(maps[-1]), quality_of(stack))},
        attrs={"method": method},
    )


@recorded
def peak_map(
    stack: xr.DataArray | xr.Dataset,
    window: Window,
    *,
    method: PeakMethod = "quadratic",
    kind: PeakKind = "peak",
    min_significance: float = 3.0,
    signal: str = "optical_density",
) -> xr.Dataset:
    """Map energy and height of a peak, a white line for instance, with errors; of a stack or a single spectrum.

    Parameters
    ----------
    stack
        Stack, or an array, a spectrum too. Any dimensions besides energy.
    window
        Two energies around the peak. For the polynomials it holds the top only, for the Gaussian the flanks too.
    method
        ``"quadratic"`` or ``"cubic"``: highest point of the polynomial through the window; the cubic follows an
        asymmetric top and has larger errors. ``"gaussian"``: a Gaussian on a constant base.
    kind
        ``"peak"``, or ``"dip"`` for a minimum.
    min_significance
        Where the curvature (polynomials) or the height (Gaussian) is not above zero by this many of its
        standard errors there is no peak: NaN.
    signal
        Variable of a Dataset that is read.

    Returns
    -------
    Dataset
        `peak_energy`, `peak_energy_stderr` (pixel dims) in the unit of the axis, float64 as the axis is;
        `peak_height`, `peak_height_stderr` (pixel dims), value of the curve at its highest point, in units of
        the signal; for the Gaussian also `peak_amplitude` above its base, `peak_width` [unit of the axis], its
        full width at half maximum, and their `_stderr`. `quality` says why a pixel is NaN: `below_noise`,
        `outside_window` (the highest point lies beyond the window), `poor_fit` (the Gaussian did not
        converge), `not_measured` (one finite value more than unknowns is needed). A dip has its lowest point for its
        height, and a negative amplitude. Lazy.

    Raises
    ------
    MissingVariableError
        The Dataset has no such signal.
    EnergyRangeError
        Too few different energies in the window (four for a parabola, else five); it says which are there.
    ChoiceError
        Unknown method or kind.
    ChunkingError
        A large lazy stack with its energies in chunks.

    Notes
    -----
    Errors are first order: from the variance of the signal where the Dataset holds it, e.g.
    `optical_density_variance`, else from the residual of the fit in each pixel. The fit itself is the same in both
    cases. They do not know how the curve departs from the spectrum: that error grows with the window and is much the
    same in pixels of one kind.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> xstxm.peak_map(stack, ("517 eV", "519.6 eV")).peak_energy.dims
    ('y', 'x')
    """
    check_choice("method", method, PeakMethod)
    check_choice("kind", kind, PeakKind)
    stack = units.dequantify(stack)
    array, variance = signal_and_variance(stack, signal)
    sign = -1.0 if kind == "dip" else 1.0
    maps = _located(array, variance, window, "peak_map", method=method, sign=sign, least=min_significance)
    unit, height = units.units_of(array[ENERGY]), array.attrs.get("units")
    kinds = {"energy": unit, "height": height}
    kinds |= {"amplitude": height, "width": unit} if method == "gaussian" else {}
    names = [(f"peak_{name}{end}", kinds[name]) for name in kinds for end in ("", "_stderr")]
    arrays = {name: annotate(maps[k], name, units=its) for k, (name, its) in enumerate(names)}
    attrs = {"method": method, "kind": kind}
    return xr.Dataset({**arrays, "quality": quality_bits(outcome_flags(maps[-1]), quality_of(stack))}, attrs=attrs)


def _located(
    array: xr.DataArray,
    variance: xr.DataArray | None,
    window: Window,
    verb: str,
    *,
    method: str,
    least: float,
    sign: float = 1.0,
    level: float = 0.0,
) -> tuple[xr.DataArray, ...]:
    """Return the maps of a feature (energy, height, amplitude, width, each with its error) and the outcome."""
    energy = require_energy(array)
    index = window_at(energy, window, "window", least=_UNKNOWNS[method] + 1)
    pairs = [float, array.dtype, array.dtype, float][: 4 if method == "gaussian" else 2]
    given = [array] if variance is None else [array, variance]
    return over_energy(
        _locate_block,
        *(item.isel({ENERGY: index}) for item in given),
        verb=verb,
        output_dims=[[]] * (2 * len(pairs) + 1),
        output_dtypes=[*np.repeat(np.array(pairs, dtype=object), 2), np.dtype("int8")],
        kwargs={
            "energy": np.asarray(energy, dtype=float)[index],
            "method": method,
            "least": require_number("min_significance", least, "a number of standard errors", least=0),
            "sign": sign,
            "level": level,
        },
    )


def _locate_block(
    values: np.ndarray,
    variance: np.ndarray | None = None,
    *,
    energy: np.ndarray,
    method: str,
    least: float,
    sign: float,
    level: float,
) -> tuple[np.ndarray, ...]:
    """Locate a feature in an array with energy last, ascending; the kernel works on energies scaled to -1..1."""
    from xstxm._kernels.curves import locate_curve
    from xstxm._kernels.features import locate

    middle, half = (energy[0] + energy[-1]) / 2, (energy[-1] - energy[0]) / 2
    x, pixels = (energy - middle) / half, pixels_last(values)
    noise = None if variance is None else pixels_last(variance)
    given = {"least": least, "eps": float(np.finfo(values.dtype).eps)}
    if sign < 0:
        pixels = -pixels
    if method in _FEATURE:
        maps, outcome = locate(
            pixels, noise, x, feature=_FEATURE[method], n_terms=_UNKNOWNS[method], level=level, **given
        )
    else:
        maps, outcome = locate_curve(pixels, noise, x, peak=method == "gaussian", **given)
        maps = maps if method == "gaussian" else maps[:4]
    maps *= np.array([half, half, sign, 1, sign, 1, half * _FULL_WIDTH, half * _FULL_WIDTH])[: len(maps), None]
    maps[0] += middle
    dtypes = [float, float, *[values.dtype] * 4, float, float]
    arrays = [row.astype(dtype, copy=False) for row, dtype in zip(maps, dtypes, strict=False)]
    return tuple(row.reshape(values.shape[:-1]) for row in (*arrays, outcome))
