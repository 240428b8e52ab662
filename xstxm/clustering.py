"""Groups of pixels whose spectra have one shape: k-means and its like on thickness-normalised scores."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import _partition, units
from xstxm._apply import require_single_chunk, threads_for
from xstxm._device import beside, on_device, on_host
from xstxm._kernels import moments
from xstxm._nodes import in_turn
from xstxm._partition import Choose, ClusterMethod, Partition
from xstxm._shape_scores import Sample, Scored, by_length, scored_field
from xstxm._sums import pixel_sums
from xstxm._unknowns import Background, background_spectra
from xstxm.conventions import ENERGY, annotate, density_of, flag_attrs, has_pixels, pixel_dims, require_energy
from xstxm.decomposition import COMPONENT, Field, Weights, eigenspectra, floating, joint_sums, usable_pixels
from xstxm.errors import OptionError, SchemaError, check_choice, require_whole
from xstxm.provenance import note, recorded
from xstxm.roi import Region
from xstxm.steps import followed
from xstxm.units import AmountLike

Normalize: TypeAlias = Literal["thickness", "angle", "none"]

CLUSTER = "cluster"
SHAPES = (2, 8)
"""Fewest and most eigenspectra that are chosen by themselves: two clusters need two, noise beyond eight helps none."""
MASKED, UNASSIGNED = -1, 0
"""Values of `labels` that are no cluster."""


@recorded
@on_device
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
    check_cluster_options(method, normalize, choose)
    return spectral_clusters(
        {"": density_field(stack, signal, region)},
        n_clusters=n_clusters,
        n_components=n_components,
        method=method,
        normalize=normalize,
        background=background,
        choose=choose,
        max_clusters=max_clusters,
        min_amount={"": min_amount},
        seed=seed,
    )[""]


def check_cluster_options(method: str, normalize: str, choose: str) -> None:
    """Raise `ChoiceError` unless the words are known."""
    check_choice("method", method, ClusterMethod)
    check_choice("normalize", normalize, Normalize)
    check_choice("choose", choose, Choose)


def density_field(stack: xr.DataArray | xr.Dataset, signal: str, region: Region | None = None) -> Field:
    """Return what clusters are made from: the optical density, in pixels that neither `mask` nor region leaves out."""
    stack = units.dequantify(stack)
    density = floating(density_of(stack, signal))
    require_energy(density)
    usable = usable_pixels(density, stack, region)
    about = stack.attrs if isinstance(stack, xr.Dataset) else {}
    return Field(require_single_chunk(density, "cluster"), usable, about)


def spectral_clusters(
    fields: Mapping[str, Field],
    sums: Mapping[str, xr.DataArray] | None = None,
    weights: Weights | None = None,
    *,
    n_clusters: int | None = None,
    n_components: int | None = None,
    method: ClusterMethod = "kmeans",
    normalize: Normalize = "thickness",
    background: Background = "constant",
    choose: Choose = "silhouette",
    max_clusters: int = 6,
    min_amount: Mapping[str, AmountLike | None] | None = None,
    seed: int = 0,
    called: str = "n_clusters",
) -> dict[str, xr.Dataset]:
    """Return what `cluster` does for each of some fields, with one set of clusters for all. Eager on the scores.

    `sums` are those of the fields where they are known; without `weights` every pixel counts the same. `called` is what
    messages call the number of clusters.
    """
    if n_clusters is not None:
        n_clusters = require_whole(called, n_clusters)
    max_clusters, seed = require_whole("max_clusters", max_clusters, 2), require_whole("seed", seed, 0)
    if method == "hdbscan" and n_clusters is not None:
        raise OptionError(called, n_clusters, "method='hdbscan' finds the number by itself: leave it out")
    basis, n_terms = _basis(fields, sums, weights, background, n_components)
    scored = {
        path: scored_field(field, basis, n_terms, (min_amount or {}).get(path), normalize)
        for path, field in in_turn(fields, "scores")
    }
    sample = Sample.of(list(scored.values()), weights, normalize)
    if n_clusters is not None:
        require_whole(called, n_clusters, 1, len(sample.points), "the pixels of the sample")
    if n_clusters is None and method != "hdbscan":
        n_clusters, worth = _partition.best_number(sample.points, sample.weight, method, choose, max_clusters, seed)
        note(f"{n_clusters} clusters by {choose}: " + ", ".join(f"{n}: {value:.3f}" for n, value in worth.items()))
    found, labels = _partition_by_size(sample, n_clusters, method, seed, called)
    _note_sample(scored, labels)
    about = {
        "silhouette": (CLUSTER, _partition.silhouettes(sample.points, sample.weight, labels, found.n_clusters, seed)),
        "stability": ((), _partition.stability(sample.points, sample.weight, method, n_clusters, seed)),
    }
    maps = {path: _maps(found, one, normalize) for path, one in scored.items()}
    numbers = [np.bincount(own[own >= 0], minlength=found.n_clusters) for own in sample.split(labels)]
    spectra = _spectra(fields, maps, dict(zip(fields, numbers, strict=True)), sample.of_pixels)
    return {
        path: _annotated(_placed(maps[path], field).assign(spectra[path]).assign(about), field.array).assign_attrs(
            {**field.about, "method": method, "normalize": normalize}
        )
        for path, field in fields.items()
    }


def _placed(maps: xr.Dataset, field: Field) -> xr.Dataset:
    """Return maps where the stack lies; numbers stay on the host."""
    return maps.map(lambda array: beside(field.array, array) if has_pixels(array) else array)


def _note_sample(scored: Mapping[str, Scored], labels: np.ndarray) -> None:
    inside, pixels = int((labels >= 0).sum()), sum(one.amount.size for one in scored.values())
    least = sorted({f"{float(one.threshold):.4g}" for one in scored.values()}, key=float)
    said = least[0] if len(least) == 1 else f"{least[0]} to {least[-1]}"
    note(f"{inside} of {pixels} pixels in clusters, of a total_amount of {said} or more")


def _partition_by_size(
    sample: Sample, n_clusters: int | None, method: str, seed: int, called: str
) -> tuple[Partition, np.ndarray]:
    """Return the clusters, the largest first, and the labels of the points."""
    found = _partition.partition(sample.points, sample.weight, n_clusters, method, seed)
    labels = found.labels(sample.points)
    different = np.unique(labels[labels >= 0]).size
    if different < found.n_clusters:
        raise OptionError(called, n_clusters, f"the sample has {different} different shapes only, ask for no more")
    return found.by_size(labels, np.repeat(sample.of_pixels, sample.sizes) if len(sample.sizes) > 1 else None)


def _basis(
    fields: Mapping[str, Field],
    sums: Mapping[str, xr.DataArray] | None,
    weights: Weights | None,
    background: Background,
    n_components: int | None,
) -> tuple[xr.DataArray, int]:
    """Return the background terms and the eigenspectra of what they leave (component, energy), and the number of the former.

    A background is taken out of the second moment, not of the stack: eigenspectra of the rest are orthogonal to it, so the
    scores of the stack on them are those of the rest. Eager on the moment.
    """
    energy = require_energy(next(iter(fields.values())).array)
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
    known = {path: field.counted() for path, field in fields.items()} if sums is None else sums
    total = np.asarray(joint_sums(known, weights))
    flat = np.linalg.qr(terms.T)[0]
    project = np.eye(energy.size) - flat @ flat.T
    moment = project @ total[:-1, :-1] @ project
    shapes = xr.DataArray(moment, dims=(ENERGY, f"{ENERGY}_"), coords={ENERGY: energy.variable})
    leading = eigenspectra(shapes, int(total[-1, -1]), n_components, least=SHAPES[0], most=SHAPES[1])
    note(f"{leading.sizes[COMPONENT]} components")
    return xr.DataArray(np.concatenate([flat.T, np.asarray(leading)]), dims=(COMPONENT, ENERGY)), len(terms)


def _maps(found: Partition, of: Scored, normalize: str) -> xr.Dataset:
    """Assign every pixel to a cluster. Lazy."""
    labels, confidence, membership = xr.apply_ufunc(
        _assign_block,
        of.projected,
        of.variance,
        of.amount >= of.threshold,
        input_core_dims=[[COMPONENT], [], []],
        output_core_dims=[[], [], [CLUSTER]],
        dask="parallelized",
        output_dtypes=[np.int16, of.projected.dtype, of.projected.dtype],
        dask_gufunc_kwargs={"output_sizes": {CLUSTER: found.n_clusters}},
        kwargs={"found": found, "normalize": normalize},
    )
    membership = membership.transpose(CLUSTER, *pixel_dims(of.variance))
    named = {"labels": labels, "confidence": confidence, "membership": membership}
    return xr.Dataset({**named, "total_amount": of.amount, "min_amount": of.threshold})


def _assign_block(
    scores: np.ndarray, variance: np.ndarray, sample: np.ndarray, *, found: Partition, normalize: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Assign scores with component last; the memberships come back with cluster last."""
    inside = sample & np.isfinite(variance)
    labels = np.full(sample.shape, MASKED, dtype=np.int16)
    confidence = np.full(sample.shape, np.nan, dtype=scores.dtype)
    membership = np.full((*sample.shape, found.n_clusters), np.nan, dtype=scores.dtype)
    if inside.any():
        points, length = by_length(scores[inside], normalize)
        assigned = found.assign(points, np.sqrt(variance[inside]) / length)
        labels[inside] = assigned.labels + 1
        confidence[inside] = assigned.confidence
        membership[inside] = assigned.membership.T
    return labels, confidence, membership


def _spectra(
    fields: Mapping[str, Field],
    maps: Mapping[str, xr.Dataset],
    numbers: Mapping[str, np.ndarray],
    of_pixels: np.ndarray,
) -> dict[str, dict[str, xr.DataArray]]:
    """Return mean and standard deviation of the spectra of each cluster, over all fields, and its pixels in each.

    Lazy for one field; of several each is read once. Eager then, on a few spectra.
    """
    weight = dict(zip(fields, of_pixels, strict=True))
    counted = [numbers[path] * weight[path] for path in fields] if len(fields) > 1 else [*numbers.values()]
    count = xr.DataArray(sum(counted), dims=CLUSTER)
    if len(fields) > 1:
        parts = [
            _label_sums(field, maps[p]["labels"], count.size).compute(**followed()) * weight[p]
            for p, field in in_turn(fields, "spectra")
        ]
    else:
        parts = [_label_sums(field, maps[path]["labels"], count.size) for path, field in fields.items()]
    sums = functools.reduce(operator.add, parts) / count
    mean = sums.isel(moment=0)
    spread = (sums.isel(moment=1) - mean**2).clip(min=0) ** 0.5
    return {
        path: {
            "cluster_spectra": mean.astype(field.array.dtype),
            "cluster_spectra_std": spread.astype(field.array.dtype),
            "n_pixels": xr.DataArray(numbers[path].astype(np.int64), dims=CLUSTER),
        }
        for path, field in fields.items()
    }


def _label_sums(field: Field, labels: xr.DataArray, n_clusters: int) -> xr.DataArray:
    """Return the sums of the spectra of each cluster, and of their squares (moment, cluster, energy). Lazy."""
    sizes = {"moment": 2, CLUSTER: n_clusters, ENERGY: field.array.sizes[ENERGY]}
    plain = labels.drop_vars(list(labels.coords))
    options = {"n_clusters": n_clusters, "threads": threads_for(field.array, plain)}
    return on_host(pixel_sums(moments.label_sums, field.array, plain, sizes, **options))


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
