"""Groups of pixels whose spectra have one shape: k-means and its like on thickness-normalised scores."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import _partition, units
from xstxm._apply import is_lazy, require_single_chunk
from xstxm._kernels import moments
from xstxm._partition import Choose, ClusterMethod, Partition
from xstxm._sums import in_memory, pixel_sums
from xstxm._unknowns import Background, background_spectra
from xstxm.conventions import ENERGY, annotate, density_of, flag_attrs, nothing_usable, pixel_dims, require_energy
from xstxm.decomposition import COMPONENT, eigenspectra, floating, scores, second_moment, usable_pixels
from xstxm.errors import OptionError, SchemaError, check_choice, require_whole
from xstxm.provenance import note, recorded
from xstxm.roi import Region, sample_threshold
from xstxm.units import AmountLike

Normalize: TypeAlias = Literal["thickness", "angle", "none"]

CLUSTER = "cluster"
SHAPES = (2, 8)
"""Fewest and most eigenspectra that are chosen by themselves: two clusters need two, noise beyond eight helps none."""
FEWEST_PIXELS = 4
MASKED, UNASSIGNED = -1, 0
"""Values of `labels` that are no cluster."""


@recorded
def cluster(
    stack: xr.DataArray | xr.Dataset,
    n_clusters: int | None = None,
    *,
    n_components: int | None = None,
    method: ClusterMethod = "kmeans",
    normalize: Normalize = "thickness",
    background: Background = "constant",
    choose: Choose = "silhouette",
    max_clusters: int = 6,
    min_amount: AmountLike | None = None,
    region: Region | None = None,
    seed: int = 0,
    signal: str = "optical_density",
) -> xr.Dataset:
    """Group pixels by the shape of their spectra, whatever their thickness.

    ``min sum_p |od_p - b_p - a_p m_k(p)|^2``: each pixel is a background b, free as in `fit`, and an amount a of the
    shape m of its cluster k. This is k-means on the scores of a singular value decomposition, divided by their length and
    weighted by its square.

    Parameters
    ----------
    stack
        Optical density: an array, or a Dataset that holds it as `signal`. Any dimensions besides energy.
    n_clusters
        Number of clusters; by default chosen from 2 (`choose="gap"`: 1) to `max_clusters`.
    n_components
        Number of eigenspectra that hold the shapes; by default those above the noise floor, see `pca`, between 2 and 8.
    method
        ``"kmeans"``; ``"gaussian_mixture"``: clusters of any width and correlation; ``"hdbscan"``: dense regions, whose number
        it finds by itself, and pixels that belong to none.
    normalize
        ``"thickness"``: scores divided by their length, so that a thick and a thin pixel of one phase coincide,
        each counting by the square of it, as its noise allows; ``"angle"``: divided alike, all pixels counting the
        same; ``"none"``: neither, which sorts by thickness.
    background
        What is taken out of each spectrum before, as in `fit`: ``"none"``, ``"constant"``, ``"linear"`` or spectra
        (term, energy). The absorption of everything but the edge differs from pixel to pixel and would decide.
    choose
        What decides on the number of clusters: the best mean ``"silhouette"``, the ``"gap"`` statistic, or the best
        ``"stability"``, the agreement of bootstrap samples (the largest number within 0.01 of the best).
    max_clusters
        Largest number that `choose` tries.
    min_amount
        Pixels with a smaller `total_amount` hold no sample; by default Otsu's threshold, as in `phase_map`.
    region
        Pixels to use: a mask, a box or a polygon, see `spectrum`; besides the `mask` of a Dataset.
    seed
        Seed of starts and draws: the same seed gives the same clusters.
    signal
        Variable of a Dataset that holds the optical density.

    Returns
    -------
    Dataset
        Over `cluster` = 1, 2, ..., the largest first: `cluster_spectra`, `cluster_spectra_std` (cluster, energy), mean
        and standard deviation of the optical density of its pixels, thickness included; `n_pixels`, and `silhouette`
        (cluster), NaN for a single one. `membership` (cluster, pixel dims), the probability of each cluster, and
        `confidence` (pixel dims) of the label. `labels` (pixel dims), int16: the cluster, 0 for a pixel that
        HDBSCAN gives to none, -1 outside the sample or the mask and where an energy is NaN. `stability`, the mean adjusted Rand index
        of ten bootstrap samples with the result: a number near 1 means that the data, not chance, made the clusters.
        `total_amount` (pixel dims), the root mean square over energy of what the background leaves, and `min_amount`.

        Eager on the scores (a few numbers for each pixel, all in memory) and on an energy-by-energy matrix: two
        passes over a lazy stack, one chunk at a time. Labels, memberships and spectra of a lazy stack are lazy.

    Raises
    ------
    MissingVariableError, IncompatibleUnitsError
        There is no optical density.
    ChoiceError
        Unknown `method`, `normalize`, `choose` or `background`.
    OptionError
        A number that makes no sense, or more clusters than there are different shapes.
    SchemaError
        Too few pixels or energies.

    Notes
    -----
    The number of clusters is judged on up to 4000 pixels, `silhouette` on up to 2000. k-means tries ten starts on up to
    4096 pixels and refines the best five on up to 16 384, drawn in proportion to their weight; of these it carries on, with
    all pixels, the one of least inertia over all. A Gaussian mixture is fitted to up to 50 000 pixels drawn alike, HDBSCAN to
    up to 10 000; the rest is assigned to what these found.

    The membership in a cluster of k-means follows from the noise of the pixel, which its residual tells, all clusters
    being equally likely and pure. `confidence` is then the smallest probability, over the other
    clusters, that the pixel lies on its own side of the plane between the two; with the other methods it is the membership in
    the labelled cluster.

    References
    ----------
    Lerotic et al., J. Electron Spectrosc. 144, 1137 (2005), doi:10.1016/j.elspec.2005.01.158 (clusters of spectra);
    Rousseeuw, J. Comput. Appl. Math. 20, 53 (1987), doi:10.1016/0377-0427(87)90125-7 (silhouette);
    Tibshirani, Walther and Hastie, J. R. Stat. Soc. B 63, 411 (2001), doi:10.1111/1467-9868.00293 (gap);
    Hennig, Comput. Stat. Data Anal. 52, 258 (2007), doi:10.1016/j.csda.2006.11.025 (stability).

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> found = xstxm.cluster(stack, 2)
    >>> found.labels.dims, found.cluster_spectra.dims
    (('y', 'x'), ('cluster', 'energy'))
    """
    check_choice("method", method, ClusterMethod)
    check_choice("normalize", normalize, Normalize)
    check_choice("choose", choose, Choose)
    stack = units.dequantify(stack)
    density = floating(density_of(stack, signal))
    require_energy(density)
    found = spectral_clusters(
        density,
        usable_pixels(density, stack, region),
        n_clusters=n_clusters,
        n_components=n_components,
        method=method,
        normalize=normalize,
        background=background,
        choose=choose,
        max_clusters=max_clusters,
        min_amount=min_amount,
        seed=seed,
    )
    about = stack.attrs if isinstance(stack, xr.Dataset) else {}
    return found.assign_attrs({**about, **found.attrs})


def spectral_clusters(
    od: xr.DataArray,
    usable: xr.DataArray,
    *,
    n_clusters: int | None = None,
    n_components: int | None = None,
    method: ClusterMethod = "kmeans",
    normalize: Normalize = "thickness",
    background: Background = "constant",
    choose: Choose = "silhouette",
    max_clusters: int = 6,
    min_amount: AmountLike | None = None,
    seed: int = 0,
    called: str = "n_clusters",
) -> xr.Dataset:
    """Return what `cluster` does, for an optical density and a mask (pixel dims). Eager on the scores.

    `called` is what messages call the number of clusters.
    """
    if n_clusters is not None:
        n_clusters = require_whole(called, n_clusters)
    max_clusters, seed = require_whole("max_clusters", max_clusters, 2), require_whole("seed", seed, 0)
    if method == "hdbscan" and n_clusters is not None:
        raise OptionError(called, n_clusters, "method='hdbscan' finds the number by itself: leave it out")
    od = require_single_chunk(od, "cluster")
    projected, variance = _shape_scores(od, usable, background, n_components)
    amount = _amount(projected, od.sizes[ENERGY]).where(usable)
    points, length, threshold, finite = _sample_points(projected, amount, min_amount, normalize)
    if not finite:
        raise nothing_usable(od, usable)
    _require_sample(len(points), finite, float(threshold))
    if n_clusters is not None:
        require_whole(called, n_clusters, 1, len(points), "the pixels of the sample")
    weight = length**2 if normalize == "thickness" else np.ones_like(length)
    if n_clusters is None and method != "hdbscan":
        n_clusters, worth = _partition.best_number(points, weight, method, choose, max_clusters, seed)
        note(f"{n_clusters} clusters by {choose}: " + ", ".join(f"{n}: {value:.3f}" for n, value in worth.items()))
    found, labels = _partition_by_size(points, weight, n_clusters, method, seed, called)
    result = _maps(found, projected, variance, amount >= threshold, normalize)
    number = np.bincount(labels[labels >= 0], minlength=found.n_clusters)
    note(f"{number.sum()} of {amount.size} pixels in clusters, of a total_amount of {float(threshold):.4g} or more")
    result = result.assign(_spectra(od, result["labels"], number))
    result["silhouette"] = CLUSTER, _partition.silhouettes(points, weight, labels, found.n_clusters, seed)
    result["stability"] = (), _partition.stability(points, weight, method, n_clusters, seed)
    result["total_amount"], result["min_amount"] = amount, threshold
    return _annotated(result, od).assign_attrs(method=method, normalize=normalize)


def _partition_by_size(
    points: np.ndarray, weight: np.ndarray, n_clusters: int | None, method: str, seed: int, called: str
) -> tuple[Partition, np.ndarray]:
    """Return the clusters, the largest first, and the labels of the points."""
    found = _partition.partition(points, weight, n_clusters, method, seed)
    labels = found.labels(points)
    different = np.unique(labels[labels >= 0]).size
    if different < found.n_clusters:
        raise OptionError(called, n_clusters, f"the sample has {different} different shapes only, ask for no more")
    return found.by_size(labels)


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


def _shape_scores(
    od: xr.DataArray, usable: xr.DataArray, background: Background, n_components: int | None
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the scores (component, pixel dims) of what the background leaves, and the residual variance. Eager on the moment.

    A background is taken out of the second moment, not of the stack: eigenspectra of the rest are orthogonal to it, so the
    scores of the stack on them are those of the rest.
    """
    energy = require_energy(od)
    terms = np.asarray(background_spectra(background, energy).astype(float))
    room = energy.size - len(terms)
    if room < 2:
        raise SchemaError(
            f"no shape to group: with {len(terms)} background terms {len(terms) + 2} energies are needed, the stack has "
            f"{energy.size}" + (": pass background='none'" if len(terms) and energy.size > 1 else "")
        )
    if n_components is not None:
        what = "the energies" + (" less the background terms" if len(terms) else "")
        n_components = require_whole("n_components", n_components, 1, room, what)
    flat = np.linalg.qr(terms.T)[0]
    import dask

    moment, count = dask.compute(second_moment(od, usable), usable.sum())
    project = np.eye(energy.size) - flat @ flat.T
    shapes = moment.copy(data=project @ np.asarray(moment) @ project)
    leading = eigenspectra(shapes, int(count), n_components, least=SHAPES[0], most=SHAPES[1])
    note(f"{leading.sizes[COMPONENT]} components")
    basis = np.concatenate([flat.T, np.asarray(leading)])
    projected, variance = scores(od, xr.DataArray(basis, dims=(COMPONENT, ENERGY)))
    return projected.isel({COMPONENT: slice(len(terms), None)}), variance


def _amount(projected: xr.DataArray, n_energies: int) -> xr.DataArray:
    return (projected**2).sum(COMPONENT, skipna=False) ** 0.5 / np.asarray(n_energies**0.5, dtype=projected.dtype)


def _sample_points(
    projected: xr.DataArray, amount: xr.DataArray, min_amount: AmountLike | None, normalize: str
) -> tuple[np.ndarray, np.ndarray, xr.DataArray, int]:
    """Return points (p, c), their lengths (p), the threshold of the sample, and how many pixels are finite. Eager on the scores."""
    scores, total = in_memory(projected, amount)
    threshold = sample_threshold(total, min_amount)
    finite = np.isfinite(total)
    sample = np.asarray(finite & (total >= threshold)).ravel()
    own = np.asarray(scores) if is_lazy(projected) else np.array(scores, order="C")
    points, length = _shapes(_columns(own.reshape(len(own), -1), sample).T, normalize)
    return points, length, threshold, int(finite.sum())


def _columns(values: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return columns of values (c, p), moved to the front of the same memory: there may be many."""
    number, flat = int(kept.sum()), values.reshape(-1)
    for c, row in enumerate(values):
        flat[c * number : (c + 1) * number] = row[kept]
    return flat[: len(values) * number].reshape(len(values), number)


def _shapes(scores: np.ndarray, normalize: str) -> tuple[np.ndarray, np.ndarray]:
    """Return points (p, c) and what the scores (p, c) were divided by (p). In place: there may be many."""
    if normalize == "none":
        return scores, np.ones(len(scores), dtype=scores.dtype)
    length = np.sqrt(np.einsum("pc,pc->p", scores, scores))
    length = np.maximum(length, np.finfo(scores.dtype).tiny)
    scores /= length[:, None]
    return scores, length


def _maps(
    found: Partition, projected: xr.DataArray, variance: xr.DataArray, sample: xr.DataArray, normalize: str
) -> xr.Dataset:
    """Assign every pixel to a cluster. Lazy."""
    labels, confidence, membership = xr.apply_ufunc(
        _assign_block,
        projected,
        variance,
        sample,
        input_core_dims=[[COMPONENT], [], []],
        output_core_dims=[[], [], [CLUSTER]],
        dask="parallelized",
        output_dtypes=[np.int16, projected.dtype, projected.dtype],
        dask_gufunc_kwargs={"output_sizes": {CLUSTER: found.n_clusters}},
        kwargs={"found": found, "normalize": normalize},
    )
    dims = pixel_dims(variance)
    membership = membership.transpose(CLUSTER, *dims)
    return xr.Dataset({"labels": labels, "confidence": confidence, "membership": membership})


def _assign_block(
    scores: np.ndarray, variance: np.ndarray, sample: np.ndarray, *, found: Partition, normalize: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Assign scores with component last; the memberships come back with cluster last."""
    inside = sample & np.isfinite(variance)
    labels = np.full(sample.shape, MASKED, dtype=np.int16)
    confidence = np.full(sample.shape, np.nan, dtype=scores.dtype)
    membership = np.full((*sample.shape, found.n_clusters), np.nan, dtype=scores.dtype)
    if inside.any():
        points, length = _shapes(scores[inside], normalize)
        assigned = found.assign(points, np.sqrt(variance[inside]) / length)
        labels[inside] = assigned.labels + 1
        confidence[inside] = assigned.confidence
        membership[inside] = assigned.membership.T
    return labels, confidence, membership


def _spectra(od: xr.DataArray, labels: xr.DataArray, number: np.ndarray) -> dict[str, xr.DataArray]:
    """Return mean and standard deviation of the spectra of each cluster, and its pixels. Lazy."""
    count = xr.DataArray(number.astype(np.int64), dims=CLUSTER)
    sizes = {"moment": 2, CLUSTER: len(number), ENERGY: od.sizes[ENERGY]}
    plain = labels.drop_vars(list(labels.coords))
    sums = pixel_sums(moments.label_sums, od, plain, sizes, n_clusters=len(number)) / count
    mean = sums.isel(moment=0)
    spread = (sums.isel(moment=1) - mean**2).clip(min=0) ** 0.5
    return {"cluster_spectra": mean.astype(od.dtype), "cluster_spectra_std": spread.astype(od.dtype), "n_pixels": count}


def _annotated(result: xr.Dataset, od: xr.DataArray) -> xr.Dataset:
    number = result.sizes[CLUSTER]
    density = units.units_of(od, "the optical density")
    words = {"masked": MASKED, "unassigned": UNASSIGNED, **{f"cluster {k + 1}": k + 1 for k in range(number)}}
    attrs: dict[str, dict[str, Any]] = {
        "labels": flag_attrs(words, masks=False),
        "n_pixels": {"long_name": "Pixels of the cluster"},
        "total_amount": {"comment": "Root mean square over energy of what the background leaves."},
    }
    in_density = {"cluster_spectra", "cluster_spectra_std", "total_amount", "min_amount"}
    named = {
        name: annotate(array, str(name), density if name in in_density else None, **attrs.get(str(name), {}))
        for name, array in result.data_vars.items()
    }
    coords = {
        CLUSTER: (CLUSTER, np.arange(1, number + 1), {"long_name": "Cluster"}),
        ENERGY: od[ENERGY].variable,
    }
    return result.assign(named).assign_coords(coords)
