"""The scores of shapes that clusters are made from, of one field or of several, and which pixels hold sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from xstxm._apply import is_lazy
from xstxm._device import on_host
from xstxm._sums import in_memory
from xstxm.conventions import ENERGY
from xstxm.decomposition import COMPONENT, Field, Weights, scores
from xstxm.errors import SchemaError
from xstxm.roi import sample_threshold
from xstxm.units import AmountLike

FEWEST_PIXELS = 4


class Scored(NamedTuple):
    """The scores of a field, and the pixels of it that hold sample."""

    projected: xr.DataArray
    variance: xr.DataArray
    amount: xr.DataArray
    points: np.ndarray
    length: np.ndarray
    threshold: xr.DataArray
    finite: int


class Sample(NamedTuple):
    """The sample pixels of all fields: points (p, c), what each counts (p), and what a pixel of each field counts."""

    points: np.ndarray
    weight: np.ndarray
    of_pixels: np.ndarray
    sizes: list[int]

    @classmethod
    def of(cls, scored: Sequence[Scored], weights: Weights | None, normalize: str) -> Sample:
        """Return the sample of fields, or raise where it is too small."""
        sizes = [len(one.points) for one in scored]
        _require_sample(sum(sizes), sum(one.finite for one in scored), min(float(one.threshold) for one in scored))
        own = [one.length**2 if normalize == "thickness" else np.ones_like(one.length) for one in scored]
        points = [one.points for one in scored]
        if len(scored) == 1:
            return cls(points[0], own[0], np.ones(1), sizes)
        of_pixels = np.ones(len(scored)) if weights is None else weights.of_pixels(sizes)
        heavy = [one * float(each) for one, each in zip(own, of_pixels, strict=True)]
        return cls(np.concatenate(points), np.concatenate(heavy), of_pixels, sizes)

    def split(self, labels: np.ndarray) -> list[np.ndarray]:
        """Return the labels (p) of each field."""
        return np.split(labels, np.cumsum(self.sizes)[:-1])


def scored_field(
    field: Field, basis: xr.DataArray, n_terms: int, min_amount: AmountLike | None, normalize: str
) -> Scored:
    """Return the scores of a field on what follows the background in a basis, and its sample. Eager on the scores."""
    projected, variance = scores(field.array, basis)
    projected = projected.isel({COMPONENT: slice(n_terms, None)})
    amount = amount_of(projected, field.array.sizes[ENERGY]).where(field.usable)
    # what a device holds is small here, and k-means is for the host
    projected, variance, amount = (on_host(item) for item in (projected, variance, amount))
    return Scored(projected, variance, amount, *_sample_points(projected, amount, min_amount, normalize))


def amount_of(projected: xr.DataArray, n_energies: int) -> xr.DataArray:
    """Return the root mean square over energy of what scores on an orthonormal basis describe. Lazy."""
    return (projected**2).sum(COMPONENT, skipna=False) ** 0.5 / projected.dtype.type(n_energies**0.5)


def _sample_points(
    projected: xr.DataArray, amount: xr.DataArray, min_amount: AmountLike | None, normalize: str
) -> tuple[np.ndarray, np.ndarray, xr.DataArray, int]:
    """Return points (p, c), their lengths (p), the threshold of the sample, and how many pixels are finite. Eager on the scores."""
    scores, total = in_memory(projected, amount)
    threshold = sample_threshold(total, min_amount)
    finite = np.isfinite(total)
    sample = np.asarray(finite & (total >= threshold)).ravel()
    own = np.asarray(scores) if is_lazy(projected) else np.array(scores, order="C")
    points, length = by_length(_columns(own.reshape(len(own), -1), sample).T, normalize)
    return points, length, threshold, int(finite.sum())


def _columns(values: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return columns of values (c, p), moved to the front of the same memory: there may be many."""
    number, flat = int(kept.sum()), values.reshape(-1)
    for c, row in enumerate(values):
        flat[c * number : (c + 1) * number] = row[kept]
    return flat[: len(values) * number].reshape(len(values), number)


def by_length(scores: np.ndarray, normalize: str) -> tuple[np.ndarray, np.ndarray]:
    """Return points (p, c) and what the scores (p, c) were divided by (p). In place: there may be many."""
    if normalize == "none":
        return scores, np.ones(len(scores), dtype=scores.dtype)
    length = np.sqrt(np.einsum("pc,pc->p", scores, scores))
    length = np.maximum(length, np.finfo(scores.dtype).tiny)
    scores /= length[:, None]
    return scores, length


def _require_sample(sample: int, finite: int, threshold: float) -> None:
    needed = f"{FEWEST_PIXELS} or more are needed to cluster"
    if finite < FEWEST_PIXELS:
        raise SchemaError(
            f"{finite} pixels inside mask and region are finite at every energy, {needed}: take larger ones"
        )
    if sample < FEWEST_PIXELS:
        raise SchemaError(
            f"{sample} of {finite} pixels hold a total_amount of {threshold:.4g} or more, {needed}: pass a smaller min_amount"
        )
