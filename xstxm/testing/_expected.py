"""What a simulated tree has to show: variances at each length, from sums over the pairs of points in a particle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from xstxm import units as _units
from xstxm._kernels.region_means import pair_shape, pair_sums
from xstxm.errors import OptionError, SchemaError
from xstxm.interfaces import spacing
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

    With N pixels of sample, n_b of them in block b, of mean m_b, it is ``E sum_b (n_b / N) (m_b - m)^2``, m the mean of all.

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
        Over `length` in um. Blocks start at the first pixel; what is left over at the other ends is left out. Eager.

    Raises
    ------
    OptionError
        A length that is no whole number of pixels, or with which no block is covered.
    """
    truth = tree_truth(tree)
    label, step = np.asarray(particle), (abs(spacing(particle, "y")), abs(spacing(particle, "x")))
    sides = [_units.to_magnitude(length, "um", "a length", spectroscopy=False) for length in lengths]
    found = [_block_variance(label, side, step, truth, min_coverage) for side in sides]
    attrs = {"units": "um", "long_name": "Length"}
    return xr.DataArray(
        found, dims="length", coords={"length": ("length", sides, attrs)}, name="expected_block_variance"
    )


def _block_variance(
    label: np.ndarray, side: float, step: tuple[float, float], truth: xr.Dataset, min_coverage: float
) -> float:
    pixels = [round(side / size) for size in step]
    if min(pixels) < 1 or not np.allclose(np.multiply(pixels, step), side, rtol=1e-3):
        raise OptionError("lengths", f"{side:g} um", f"give whole numbers of pixels of {step[0]:g} x {step[1]:g} um")
    rows, columns = (size // n * n for size, n in zip(label.shape, pixels, strict=True))
    label = label[:rows, :columns]
    block = np.add.outer(np.arange(rows) // pixels[0] * columns, np.arange(columns) // pixels[1])
    number = np.bincount(block.ravel(), label.ravel() > 0)
    label = np.where((number >= min_coverage * np.prod(pixels))[block], label, 0)
    if not label.any():
        raise OptionError("lengths", f"{side:g} um", f"no block of that side is covered by {min_coverage:.0%}")
    key = label + block * (label.max() + 1)
    names = np.unique(key[label > 0])
    piece = np.where(label > 0, np.searchsorted(names, key) + 1, 0)
    of_pieces, of_particles = (_covariance_sums(image, step, truth) for image in (piece, label))
    members, total = number[names // (label.max() + 1)], (label > 0).sum()
    return float((of_pieces / members).sum() / total - of_particles.sum() / total**2)


def _covariance_sums(label: np.ndarray, step: tuple[float, float], truth: xr.Dataset) -> np.ndarray:
    """Return the sum of the covariance over all pairs of pixels of each label."""
    n, correlated = pair_correlations(label, step, float(truth["true_correlation_length"]))
    return float(truth["true_between_particles"]) ** 2 * n**2 + float(truth["true_within_particles"]) ** 2 * correlated


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
