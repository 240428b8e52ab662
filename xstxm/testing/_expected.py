"""What a simulated tree has to show: variances at each length, from sums over the pairs of points in a particle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from xstxm import units as _units
from xstxm._kernels.blocks import window_sums
from xstxm._kernels.nested_variances import lags_of
from xstxm._kernels.region_means import pair_shape, pair_sums
from xstxm.errors import OptionError, SchemaError
from xstxm.interfaces import pixel_size
from xstxm.units import LengthLike

SCALES = ("within particles", "between particles", "between fields")
MODEL = (
    "true_mean_composition",
    "true_between_fields",
    "true_between_particles",
    "true_within_particles",
    "true_correlation_length",
    "true_mean_correlation",
)
"""Attributes of a simulated tree that say what it was drawn from."""


def tree_truth(tree: xr.DataTree) -> xr.Dataset:
    """Return what the composition of a simulated tree was drawn from.

    The composition is ``q(r) = mean + F[field] + P[particle] + W(r)``. W varies in a particle with the autocovariance
    ``s_W^2 exp(-(d / l)^2)``, so the mean of a particle takes part of it along: by the law of total variance
    ``s_W^2 (1 - c)`` lies within particles and ``s_P^2 + s_W^2 c`` between them, with c the correlation of two points of a
    particle, mean over all pairs, weighted by area over the particles as the fields show them.

    Parameters
    ----------
    tree
        A result of `simulate_tree`.

    Returns
    -------
    Dataset
        `true_variance` (scale), of ``"within particles"``, ``"between particles"`` and ``"between fields"``, in squares of the
        composition; `true_mean_composition`; `true_correlation_length` in um, at which the autocovariance within a particle
        is 1/e; `true_mean_correlation` (the c above); and the standard deviations of F, P and W, `true_between_fields`,
        `true_between_particles` and `true_within_particles`. They are those of the distributions, of which a tree is one
        draw.

    Raises
    ------
    SchemaError
        A tree that `simulate_tree` has not made.

    Examples
    --------
    >>> import xstxm
    >>> tree = xstxm.testing.simulate_tree(n_fields=1, electrode=None, detail=None, field_size="3 um")
    >>> truth = xstxm.testing.tree_truth(tree)
    >>> bool(truth.true_variance.sum() > 0), truth.true_correlation_length.attrs["units"]
    (True, 'um')
    """
    missing = [name for name in MODEL if name not in tree.attrs]
    if missing:
        raise SchemaError(f"the tree does not say its {', '.join(missing)}: pass a result of testing.simulate_tree")
    known = {name: float(tree.attrs[name]) for name in MODEL}
    within, shared = known["true_within_particles"] ** 2, known["true_mean_correlation"]
    variance = [
        within * (1 - shared),
        known["true_between_particles"] ** 2 + within * shared,
        known["true_between_fields"] ** 2,
    ]
    lengths = {"true_correlation_length": "um"}
    numbers = {name: ((), value, {"units": lengths.get(name, "1")}) for name, value in known.items()}
    return xr.Dataset({"true_variance": ("scale", variance, {"units": "1"}), **numbers}, {"scale": list(SCALES)})


def expected_block_variance(
    particle: xr.DataArray, lengths: Sequence[LengthLike], tree: xr.DataTree, *, min_coverage: float = 0.5
) -> xr.DataArray:
    """Return the variance of block means that a field of a simulated tree has on average over all draws.

    Of blocks b at every position, with n_b pixels of sample and the mean m_b, it is ``E sum_b n_b (m_b - E m)^2 / sum_b n_b``,
    as `coarse_grain` estimates it.

    Parameters
    ----------
    particle
        `true_particle` of a node (y, x).
    lengths
        Sides of the blocks, whole numbers of pixels; numbers are in um.
    tree
        The tree that the node is of.
    min_coverage
        Share of a block that has to be sample for the block to count.

    Returns
    -------
    DataArray
        Over `length` in um. Eager.

    Raises
    ------
    OptionError
        A length that is no whole number of pixels, or with which no block is covered.

    Examples
    --------
    >>> import xstxm
    >>> tree = xstxm.testing.simulate_tree(n_fields=1, electrode=None, detail=None, field_size="3 um")
    >>> found = xstxm.testing.expected_block_variance(tree["field 1"].true_particle, [0.04, 0.4], tree)
    >>> bool(found[1] < found[0])
    True
    """
    truth = tree_truth(tree)
    label, step = np.asarray(particle), pixel_size(particle)
    sides = [_units.to_magnitude(length, "um", "a length", spectroscopy=False) for length in lengths]
    found = [_block_variance(label, side, step, truth, min_coverage) for side in sides]
    attrs = {"units": "um", "long_name": "Length"}
    return xr.DataArray(
        found, dims="length", coords={"length": ("length", sides, attrs)}, name="expected_block_variance"
    )


def _block_variance(
    label: np.ndarray, side: float, step: tuple[float, float], truth: xr.Dataset, min_coverage: float
) -> float:
    block = tuple(round(side / size) for size in step)
    if min(block) < 1 or not np.allclose(np.multiply(block, step), side, rtol=1e-3):
        raise OptionError("lengths", f"{side:g} um", f"give whole numbers of pixels of {step[0]:g} x {step[1]:g} um")
    sample = label > 0
    number = window_sums(sample.astype(float), block)
    used = number >= min_coverage * np.prod(block) - 1e-6
    if not used.any():
        raise OptionError("lengths", f"{side:g} um", f"no block of that side is covered by {min_coverage:.0%}")
    over = np.divide(1, number, out=np.zeros_like(number), where=used)
    total, below = 0.0, np.pad(over, [(size, size - 1) for size in block]).cumsum(axis=0).cumsum(axis=1)
    for lag, covariance, here, there in lags_of(_covariance(block, step, truth), label.shape):
        same = (label[here] == label[there]) & sample[here]
        total += covariance * _of_blocks_with(below, block, lag, same.shape)[same].sum()
    return float(total / number[used].sum())


def _of_blocks_with(
    below: np.ndarray, block: tuple[int, ...], lag: tuple[int, ...], shape: tuple[int, ...]
) -> np.ndarray:
    """Return the sum over the blocks that hold two pixels, for all pairs of pixels at a lag; `below` are sums from the corner."""
    last, first = (
        [slice(start, start + n) for start, n in zip(starts, shape, strict=True)] for starts in (block, map(abs, lag))
    )
    y, x = zip(first, last, strict=True)
    return below[y[1], x[1]] - below[y[0], x[1]] - below[y[1], x[0]] + below[y[0], x[0]]


def _covariance(block: tuple[int, ...], step: tuple[float, float], truth: xr.Dataset) -> np.ndarray:
    """Return the covariance of two pixels of a particle at the lags of a block, lag 0 in the middle."""
    lags = (np.arange(1 - side, side) * size for side, size in zip(block, step, strict=True))
    square = np.add.outer(*(lag**2 for lag in lags)) / float(truth["true_correlation_length"]) ** 2
    within = float(truth["true_within_particles"]) ** 2 * np.exp(-square)
    return np.asarray(float(truth["true_between_particles"]) ** 2 + within)


def pair_correlations(label: np.ndarray, step: tuple[float, float], length: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of each label above zero that is there, and ``exp(-(d / length)^2)`` summed over all pairs of them."""
    from scipy.ndimage import find_objects

    found = []
    for index, window in enumerate(find_objects(label), start=1):
        if window is None:
            continue
        inside = (label[window] == index).astype(float)
        shape = pair_shape(inside.shape)
        square = [
            (np.fft.fftfreq(size, 1 / size) * along / length) ** 2 for size, along in zip(shape, step, strict=True)
        ]
        correlation = np.exp(-np.add.outer(*square))
        found.append((inside.sum(), (pair_sums(inside) * correlation).sum()))
    n, correlated = np.array(found).reshape(-1, 2).T
    return n, correlated
