"""The step of an absorption edge: spectra of every pixel brought to 0 before and 1 behind it."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import pixels_last, require_single_chunk
from xstxm.conventions import (
    ENERGY,
    annotate,
    as_float,
    quality_bits,
    quality_of,
    require_energy,
    signal_of,
    variance_of,
)
from xstxm.energy import Window, window_at
from xstxm.errors import OptionError, require_number, require_whole
from xstxm.provenance import note, recorded
from xstxm.units import EnergyLike

if TYPE_CHECKING:
    from xstxm._kernels.edge_lines import EdgeLines

_SLOPE_COST = 3.0
"""Most that a slope of the pre-edge line may raise the error of the step for it to be taken unasked."""


@overload
def normalize_edge(
    stack: xr.DataArray,
    *,
    pre_edge: Window,
    post_edge: Window,
    edge: EnergyLike | None = ...,
    pre_order: int | None = ...,
    post_order: int = ...,
    min_significance: float = ...,
    signal: str = ...,
) -> xr.DataArray: ...
@overload
def normalize_edge(
    stack: xr.Dataset,
    *,
    pre_edge: Window,
    post_edge: Window,
    edge: EnergyLike | None = ...,
    pre_order: int | None = ...,
    post_order: int = ...,
    min_significance: float = ...,
    signal: str = ...,
) -> xr.Dataset: ...
@recorded
def normalize_edge(
    stack: xr.DataArray | xr.Dataset,
    *,
    pre_edge: Window,
    post_edge: Window,
    edge: EnergyLike | None = None,
    pre_order: int | None = None,
    post_order: int = 0,
    min_significance: float = 3.0,
    signal: str = "optical_density",
) -> xr.DataArray | xr.Dataset:
    """Bring every pixel's spectrum to 0 before and 1 behind an absorption edge: ``(y - pre) / step``.

    `pre` is the polynomial through the pre-edge window. What lies above it in the post-edge window gets a
    polynomial too, whose value at the edge is the edge step.

    Parameters
    ----------
    stack
        Stack, reference set (``signal="absorption"``) or array; any dimensions besides energy.
    pre_edge, post_edge
        Windows, two energies each. Without `edge` they are energies on the axis (``("508 eV", "512 eV")``),
        with `edge` they are distances from it (``("-10 eV", "-4 eV")``).
    edge
        Energy at which the step is taken. It matters where the post-edge line has a slope.
    pre_order, post_order
        Orders of the two polynomials, 0 to 3. By default the pre-edge line is straight (1) where that makes the
        error of the step at most three times as large as a level line (0) does, which the energies alone decide, and
        else level: a slope drawn from a short window is mostly noise where the step is taken. The history says which.
    min_significance
        A step that is not above zero by this many of its standard errors is noise: the pixel becomes NaN.
    signal
        Variable of a Dataset that is normalised.

    Returns
    -------
    DataArray or Dataset
        Of a DataArray its `normalized_absorption` [1], dtype kept (integers become float32), NaN where there is no
        step. Of a Dataset the Dataset with `normalized_absorption`, `edge_step` and `edge_step_stderr` (pixel
        dims) in units of the signal, and `quality`, where `below_noise` says that the step is noise and
        `not_measured` that the windows hold too few finite values. Where the Dataset holds the variance of
        the signal, e.g. `optical_density_variance`, also `normalized_absorption_variance`, and the error of
        the step comes from it; else from the residual in both windows. Lazy.

    Raises
    ------
    MissingVariableError
        The Dataset has no such signal.
    EnergyRangeError
        A window with fewer different energies than its polynomial needs; it says which are there.
    OptionError
        Windows that overlap or are exchanged, an order that makes no sense, a sloping post-edge line without
        `edge`, or windows that leave nothing to judge the noise by.
    ChunkingError
        A large lazy stack with its energies in chunks.

    Notes
    -----
    Values that are not finite are left out of the lines, pixel by pixel. With z the values above the pre-edge line,
    s the step and n = z / s, ``var(n) = (var(z) - 2 n cov(z, s) + n^2 var(s)) / s^2``: both lines are known
    sums of the values, so that the covariance is exact. The step's part of the error is shared by all energies.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> stack = xstxm.normalize_edge(stack, pre_edge=(508, 512), post_edge=("526 eV", "528 eV"))
    >>> stack.normalized_absorption.dims, stack.edge_step.dims
    (('energy', 'y', 'x'), ('y', 'x'))
    """
    least = require_number("min_significance", min_significance, "a number of standard errors", least=0)
    stack = units.dequantify(stack)
    array, variance = as_float(signal_of(stack, signal)), variance_of(stack, signal)
    lines = _edge_lines(require_energy(array), pre_edge, post_edge, edge, (pre_order, post_order), variance is None)
    given = [array] if variance is None else [array, variance.astype(array.dtype, copy=False)]
    given = [require_single_chunk(item, "normalize_edge") for item in given]
    normalised, step, stderr, outcome, *spread = xr.apply_ufunc(
        _normalize_block,
        *given,
        input_core_dims=[[ENERGY]] * len(given),
        output_core_dims=[[ENERGY], [], [], [], *[[ENERGY]] * (len(given) - 1)],
        dask="parallelized",
        output_dtypes=[array.dtype] * 3 + [np.dtype("int8")] + [array.dtype] * (len(given) - 1),
        kwargs={"lines": lines, "least": least},
        keep_attrs=True,
    )
    normalised = annotate(normalised.transpose(*array.dims), "normalized_absorption")
    if isinstance(stack, xr.DataArray):
        return normalised
    unit = array.attrs.get("units")
    added = {
        "normalized_absorption": normalised,
        "edge_step": annotate(step, "edge_step", units=unit),
        "edge_step_stderr": annotate(stderr, "edge_step_stderr", units=unit),
        "quality": quality_bits(outcome_flags(outcome, 2), quality_of(stack)),
    }
    if spread:
        name = "normalized_absorption_variance"
        added[name] = annotate(spread[0].transpose(*array.dims), name)
    return stack.drop_vars("normalized_absorption_variance", errors="ignore").assign(added)


def _normalize_block(values: np.ndarray, variance: np.ndarray | None = None, *, lines: Any, least: float) -> Any:
    """Normalise an array with energy last."""
    from xstxm._kernels.edge_lines import normalize_pixels

    shape = values.shape[:-1]
    noise = None if variance is None else pixels_last(variance)
    eps = float(np.finfo(values.dtype).eps)
    arrays = normalize_pixels(pixels_last(values), noise, lines, least=least, eps=eps)
    return tuple(np.moveaxis(a.reshape(-1, *shape), 0, -1) if a.ndim == 2 else a.reshape(shape) for a in arrays)


def _edge_lines(
    energy: xr.DataArray,
    pre_edge: Window,
    post_edge: Window,
    edge: EnergyLike | None,
    orders: tuple[int | None, int],
    need_noise: bool,
) -> EdgeLines:
    """Return the plan of both lines, after everything that can be wrong with it."""
    from xstxm._kernels.edge_lines import EdgeLines

    what = "the order of a polynomial"
    pre_order = None if orders[0] is None else require_whole("pre_order", orders[0], 0, 3, what)
    post_order = require_whole("post_order", orders[1], 0, 3, what)
    if post_order > 0 and edge is None:
        raise OptionError(
            "post_order", post_order, "the step under a sloping line depends on where the edge is: pass edge=... too"
        )
    at = None if edge is None else units.to_magnitude(edge, energy, "edge")
    pre = window_at(energy, pre_edge, "pre_edge", least=(pre_order or 0) + 1, relative_to=at)
    post = window_at(energy, post_edge, "post_edge", least=post_order + 1, relative_to=at)
    values = np.asarray(energy, dtype=float)
    if values[pre].max() >= values[post].min():
        raise OptionError("post_edge", post_edge, f"it has to lie above pre_edge={pre_edge!r} and not overlap it")
    free = pre.size + post.size - post_order - 2 if need_noise else math.inf
    plan = functools.partial(EdgeLines.plan, values, pre, post, values[post].min() if at is None else at)
    if free <= (pre_order or 0):
        unknowns = (pre_order or 0) + post_order + 2
        option, value = ("pre_edge", pre_edge) if pre_order is None else ("pre_order", pre_order)
        raise OptionError(
            option,
            value,
            f"{unknowns} unknowns from {pre.size + post.size} energies leave no residual to tell a step from noise: "
            "widen a window, lower an order, or give the variance of the signal",
        )
    if pre_order is not None:
        return plan((pre_order, post_order))
    slope = np.unique(values[pre]).size > 1 and free > 1
    return _affordable(plan((0, post_order)), plan((1, post_order)) if slope else None)


def _affordable(level: EdgeLines, straight: EdgeLines | None) -> EdgeLines:
    """Return the plan with a straight pre-edge line where its step is not much less certain, which the record tells."""
    if straight is None:
        note("pre_order=0: too few energies for a slope")
        return level
    cost = straight.step_error() / level.step_error()
    chosen = straight if cost <= _SLOPE_COST else level
    note(f"pre_order={int(chosen is straight)}: a slope makes the error of the step {cost:.3g} times as large")
    return chosen


def outcome_flags(outcome: xr.DataArray, n_reasons: int = 4) -> dict[str, xr.DataArray]:
    """Return the flags that the outcomes 1, 2, ... of a kernel stand for."""
    reasons = ("not_measured", "below_noise", "outside_window", "poor_fit")[:n_reasons]
    return {name: outcome == k for k, name in enumerate(reasons, start=1)}
