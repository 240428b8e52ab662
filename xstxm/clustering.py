"""Phases without references: k-means on thickness-normalised scores."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xstxm.conventions import ENERGY, pixel_dims
from xstxm.decomposition import eigenspectra, scores, second_moment
from xstxm.errors import OptionError, SchemaError

MAX_CLUSTERS = 6
SUBSAMPLE = 5_000
"""Pixels on which the number of clusters is chosen: the silhouette costs their square."""


def spectral_clusters(
    od: xr.DataArray,
    sample: xr.DataArray,
    *,
    n_clusters: int | None = None,
    n_components: int | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Group pixels by the shape of their spectra, whatever their thickness. Eager on the scores.

    Scores on the leading eigenspectra are divided by their length, so that a thick and a thin pixel of
    one phase coincide; pixels count by the square of that length, as their noise falls with it. The
    number of clusters is the one with the best silhouette between 2 and 6.

    Parameters
    ----------
    od
        Optical density, (energy, pixel dims).
    sample
        Pixels to use, bool (pixel dims), in memory; finite at every energy.
    n_clusters, n_components
        Numbers of clusters and of eigenspectra; chosen from the data by default.
    seed
        Seed of the starts.

    Returns
    -------
    Dataset
        `labels` (pixel dims), from 0 in the order of size, -1 outside the sample; `confidence` (pixel
        dims), the smallest probability that another centre is farther, from the residual noise;
        `cluster_spectra` (cluster, energy), mean optical density.
    """
    import dask

    dims = pixel_dims(od)
    n_pixels = int(sample.sum())
    if n_pixels < 2 * MAX_CLUSTERS:
        raise SchemaError(
            f"{n_pixels} pixels hold sample and are finite at every energy, too few to cluster: lower min_amount, or "
            "drop energies that were not measured"
        )
    basis = eigenspectra(second_moment(od, sample).compute(), n_pixels, n_components)
    projected, variance = dask.compute(*scores(od, basis))
    at = np.asarray(sample).ravel()
    points = np.asarray(projected, dtype=float).reshape(basis.sizes["component"], -1)[:, at].T
    noise = np.sqrt(np.asarray(variance, dtype=float).ravel()[at])
    labels, confidence = _shape_clusters(points, noise, n_clusters, seed)
    template = sample.reset_coords(drop=True)
    label_map = _on_map(labels, at, template, -1).astype(np.int16)
    confidence_map = _on_map(confidence, at, template, np.nan).astype(od.dtype)
    member = xr.concat([label_map == k for k in range(labels.max() + 1)], dim="cluster")
    total = xr.dot(od.where(label_map >= 0, 0), member.astype(od.dtype), dim=dims)
    spectra = (total / member.sum(dims)).transpose("cluster", ENERGY).compute()
    return xr.Dataset({"labels": label_map, "confidence": confidence_map, "cluster_spectra": spectra})


def _shape_clusters(
    points: np.ndarray, noise: np.ndarray, n_clusters: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.cluster import KMeans

    length = np.linalg.norm(points, axis=1)
    shape = points / np.maximum(length, np.finfo(float).tiny)[:, None]
    weight = length**2
    if n_clusters is None:
        n_clusters = _best_number(shape, weight, seed)
    if n_clusters != int(n_clusters) or not 1 <= n_clusters <= len(points):
        raise OptionError("n_phases", n_clusters, f"a whole number from 1 to the {len(points)} pixels of the sample")
    model = KMeans(n_clusters, n_init=10, random_state=seed).fit(shape, sample_weight=weight)
    order = np.argsort(-np.bincount(model.labels_, minlength=n_clusters), kind="stable")
    labels, centres = np.argsort(order)[model.labels_], model.cluster_centers_[order]
    return labels, _confidence(shape, labels, centres, noise / np.maximum(length, np.finfo(float).tiny))


def _confidence(shape: np.ndarray, labels: np.ndarray, centres: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Smallest probability, over the other centres, that the pixel lies on its own side of the plane between them."""
    from scipy.special import ndtr

    if len(centres) == 1:
        return np.ones(len(shape))
    squares = ((shape[:, None] - centres[None]) ** 2).sum(-1)
    own = np.take_along_axis(squares, labels[:, None], 1)
    apart = 2 * np.linalg.norm(centres[labels][:, None] - centres[None], axis=-1) * noise[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        score = (squares - own) / apart
    score[np.arange(len(labels)), labels] = np.inf
    return ndtr(score.min(1))


def _best_number(shape: np.ndarray, weight: np.ndarray, seed: int) -> int:
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    picked = np.random.default_rng(seed).permutation(len(shape))[:SUBSAMPLE]
    few, light = shape[picked], weight[picked]
    quality = {}
    for number in range(2, min(MAX_CLUSTERS, len(few) - 1) + 1):
        labels = KMeans(number, n_init=4, random_state=seed).fit_predict(few, sample_weight=light)
        if len(np.unique(labels)) > 1:
            quality[number] = silhouette_score(few, labels)
    return max(quality, key=quality.__getitem__) if quality else 1


def _on_map(values: np.ndarray, at: np.ndarray, template: xr.DataArray, fill: float) -> xr.DataArray:
    flat = np.full(at.size, fill, dtype=float)
    flat[at] = values
    return xr.DataArray(flat.reshape(template.shape), dims=template.dims, coords=template.coords)
