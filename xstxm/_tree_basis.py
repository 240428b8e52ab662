"""One basis for all stacks of a tree: joint decomposition and joint clusters, each stack with its weight."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._kernels import moments
from xstxm._nodes import at_node, attempt, require_stacks, tree_of
from xstxm._partition import Choose, ClusterMethod
from xstxm._region_images import pixel_area
from xstxm._tree_energies import on_one_axis
from xstxm._unknowns import Background
from xstxm.clustering import Normalize, check_cluster_options, density_field, spectral_clusters
from xstxm.conventions import variance_of
from xstxm.decomposition import Field, Weights, decomposed, field_of, require_components
from xstxm.errors import OptionError, SchemaError, check_choice, require_number
from xstxm.provenance import recorded
from xstxm.roi import Region
from xstxm.units import AmountLike

Weight: TypeAlias = Literal["equal", "pixel", "area", "noise"]
NodeWeights: TypeAlias = "Weight | Mapping[str, float]"
JointEnergies: TypeAlias = Literal["exact", "common"]


@recorded
def pca(
    tree: xr.DataTree,
    n_components: int | None = None,
    *,
    center: bool = False,
    weights: NodeWeights = "equal",
    energies: JointEnergies = "exact",
    region: Region | xr.DataTree | None = None,
    signal: str = "optical_density",
) -> xr.DataTree:
    """Decompose all stacks of a tree on one set of eigenspectra.

    ``od_i(e, p) = sum_c v_c(e) s_ic(p)``: the eigenspectra v are those of the weighted sum of the second moments of the
    stacks, ``sum_i w_i sum_p od_i(e, p) od_i(e', p)``; each stack i has its own eigenimages. So a component is the same in
    all stacks, and one that is rare in a large stack is not lost to a small one where it is common.

    Parameters
    ----------
    tree
        Stacks of any size, on one energy axis.
    n_components, center, signal
        As in `xstxm.pca`.
    weights
        What counts how much. ``"equal"``: every stack the same, whatever its pixels; ``"pixel"``: every pixel the same, as
        in one large stack; ``"area"``: every um^2 the same; ``"noise"``: each pixel by the inverse of the noise variance of
        its stack, the mean of `optical_density_variance` where the stack has it, else what its own leading components
        leave; or numbers by the name of the node, each for the stack as a whole.
    energies
        ``"exact"``: all stacks have the energies of the first; ``"common"``: those that all share, see `match_energies`.
    region
        Pixels to use, see `roi.region_mask`; a tree of masks is taken node by node.

    Returns
    -------
    DataTree
        At each node what `xstxm.pca` returns. `eigenspectra`, `eigenvalues`, `scree` and what follows from them are those
        of all stacks together, `eigenimages` those of the stack. Eager, one pass over the stacks, one after another, whose
        result is an energy-by-energy matrix; the eigenimages of a lazy stack are lazy.

    Raises
    ------
    NoStacksError
        No stack can be used.
    OptionError, ChoiceError
        Options that make no sense, or weights of other nodes.

    Warns
    -----
    LeftOutWarning
        Stacks without the signal, on other energies, or without a finite pixel.

    Notes
    -----
    The eigenvalues are mean squares over pixels that count by their weight. The noise floor and the number of significant
    components hold for white noise of one size; where that of the stacks differs, ``weights="noise"`` makes it so.

    Examples
    --------
    >>> import xarray as xr, xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> tree = xr.DataTree.from_dict({"all": stack, "corner": stack.isel(x=slice(8), y=slice(8))})
    >>> found = xstxm.trees.pca(tree, 3)
    >>> found["corner"].eigenimages.shape, bool((found["corner"].eigenspectra == found["all"].eigenspectra).all())
    ((3, 8, 8), True)
    """

    def field(path: str, stack: xr.Dataset) -> Field:
        return field_of(stack, signal, at_node(region, path, "region", of_dataset=False))

    reasons: dict[str, str] = {}
    read = _read(require_stacks(tree), field, reasons, "pca", weights, energies, signal)
    if not read:
        return tree_of(tree, {}, reasons)
    fields, sums = {path: one.field for path, one in read.items()}, {path: one.sums for path, one in read.items()}
    if n_components is not None:
        n_components = require_components(n_components, next(iter(fields.values())))
    found = decomposed(fields, sums, n_components, center, _weights(read, weights))
    return tree_of(tree, {path: _said(one, weights) for path, one in found.items()}, reasons)


@recorded
def cluster(
    tree: xr.DataTree,
    n_clusters: int | None = None,
    *,
    n_components: int | None = None,
    method: ClusterMethod = "kmeans",
    normalize: Normalize = "thickness",
    background: Background = "constant",
    choose: Choose = "silhouette",
    max_clusters: int = 6,
    min_amount: AmountLike | xr.DataTree | None = None,
    weights: NodeWeights = "equal",
    energies: JointEnergies = "exact",
    region: Region | xr.DataTree | None = None,
    seed: int = 0,
    signal: str = "optical_density",
) -> xr.DataTree:
    """Group the pixels of all stacks of a tree by the shape of their spectra, with one set of clusters.

    As `xstxm.cluster` of all pixels side by side, each counting by the weight of its stack: cluster 2 is the same in every
    stack.

    Parameters
    ----------
    tree
        Optical density of any size, on one energy axis.
    n_clusters, n_components, method, normalize, background, choose, max_clusters, seed, signal
        As in `xstxm.cluster`.
    min_amount
        Pixels with a smaller `total_amount` hold no sample: for all stacks, or a tree with a number at each node; by
        default Otsu's threshold of each stack.
    weights, energies, region
        As in `pca`. With ``weights="pixel"`` and one `min_amount` the clusters are those of one stack of all pixels.

    Returns
    -------
    DataTree
        At each node what `xstxm.cluster` returns. `cluster_spectra`, `cluster_spectra_std`, `silhouette` and `stability`
        are those of all stacks together, the largest cluster first as the stacks count; `n_pixels` and the maps are those of
        the stack. Eager on the scores, a few numbers for each pixel, and on the spectra of the clusters: three passes over lazy
        stacks, one stack after another. The maps of a lazy stack are lazy.

    Raises
    ------
    NoStacksError
        No stack can be used.
    OptionError, ChoiceError
        Options that make no sense, or weights of other nodes.
    SchemaError
        Too few pixels or energies.

    Warns
    -----
    LeftOutWarning
        Stacks without optical density, on other energies, or without a finite pixel.

    Notes
    -----
    A weight multiplies what a pixel counts in k-means, in the means, and in the draws of pixels on which the number of
    clusters is judged and the other methods are fitted. Those draws take every pixel where there are few enough, see
    `xstxm.cluster`, and all count the same then.

    Examples
    --------
    >>> import xarray as xr, xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> tree = xr.DataTree.from_dict({"all": stack, "corner": stack.isel(x=slice(8), y=slice(8))})
    >>> found = xstxm.trees.cluster(tree, 2)
    >>> bool((found["corner"].cluster_spectra == found["all"].cluster_spectra).all())
    True
    """
    check_cluster_options(method, normalize, choose)
    reasons: dict[str, str] = {}
    found = joint_clusters(
        require_stacks(tree),
        reasons,
        min_amount=min_amount,
        weights=weights,
        energies=energies,
        region=region,
        signal=signal,
        n_clusters=n_clusters,
        n_components=n_components,
        method=method,
        normalize=normalize,
        background=background,
        choose=choose,
        max_clusters=max_clusters,
        seed=seed,
    )
    return tree_of(tree, found, reasons)


def joint_clusters(
    stacks: Mapping[str, xr.Dataset],
    reasons: dict[str, str],
    *,
    min_amount: AmountLike | xr.DataTree | None = None,
    weights: NodeWeights = "equal",
    energies: JointEnergies = "exact",
    region: Region | xr.DataTree | None = None,
    signal: str = "optical_density",
    **options: Any,
) -> dict[str, xr.Dataset]:
    """Return what `cluster` does for each stack, `reasons` taking those that cannot be used; options of `spectral_clusters`.

    Eager on the scores.
    """
    least: dict[str, Any] = {}

    def field(path: str, stack: xr.Dataset) -> Field:
        least[path] = at_node(min_amount, path, "min_amount", of_dataset=False)
        return density_field(stack, signal, at_node(region, path, "region", of_dataset=False))

    read = _read(stacks, field, reasons, "cluster", weights, energies, signal)
    if not read:
        return {}
    fields, sums = {path: one.field for path, one in read.items()}, {path: one.sums for path, one in read.items()}
    found = spectral_clusters(fields, sums, _weights(read, weights), min_amount=least, **options)
    return {path: _said(one, weights) for path, one in found.items()}


class _Read(NamedTuple):
    """What is read of a stack: its field, the sums over its pixels, and what it counts, as a whole or by the pixel."""

    field: Field
    sums: xr.DataArray
    weight: float


def _read(
    stacks: Mapping[str, xr.Dataset],
    field: Callable[[str, xr.Dataset], Field],
    reasons: dict[str, str],
    what: str,
    weights: NodeWeights,
    energies: JointEnergies,
    signal: str,
) -> dict[str, _Read]:
    """Return what is read of each stack, on one energy axis and in one unit. Eager: one pass over each stack."""
    check_choice("energies", energies, JointEnergies)
    if isinstance(weights, Mapping):
        _require_numbers(weights, stacks)
    else:
        check_choice("weights", weights, Weight)
    unit: list[str] = []

    def read(path: str, stack: xr.Dataset) -> _Read:
        own = field(path, stack)
        unit.append(unit[0] if unit else units.units_of(own.array))
        one = own._replace(array=units.to_units(own.array, unit[0]))
        sums = one.counted()
        return _Read(one, sums, _weight(weights, path, one, sums, variance_of(stack, signal)))

    return attempt(on_one_axis(stacks, reasons, how=energies), read, reasons, what)


def _weight(weights: NodeWeights, path: str, field: Field, sums: xr.DataArray, variance: xr.DataArray | None) -> float:
    """Return what a stack counts, or each of its pixels. Eager on a variance."""
    if isinstance(weights, Mapping):
        return float(weights[path])
    if weights == "area":
        area = pixel_area(field.usable)
        if area is None:
            raise SchemaError("weights='area' needs images with y and x in a unit of length: use weights='pixel'")
        return area
    return 1 / _noise(field, sums, variance) if weights == "noise" else 1.0


def _noise(field: Field, sums: xr.DataArray, variance: xr.DataArray | None) -> float:
    """Return the variance of the noise of a pixel, mean over pixels and energies. Eager."""
    if variance is None:
        noise = moments.white_noise(np.asarray(sums))
    else:
        unit = units.units_of(field.array)
        noise = float(units.to_units(variance.where(field.usable), units.derive(unit, unit, "*")).mean())
    if not noise > 0:
        raise SchemaError(
            "weights='noise' needs noise, and neither a variance nor what the leading components leave says its size: use "
            "weights='equal'"
        )
    return noise


def _weights(read: Mapping[str, _Read], weights: NodeWeights) -> Weights | None:
    """Return the weights of the stacks that could be read; None where all pixels count the same."""
    if isinstance(weights, str) and weights == "pixel":
        return None
    each = np.array([one.weight for one in read.values()])
    if not each.any():
        raise OptionError(
            "weights", weights, "those of the stacks that can be used are all zero: give one of them a weight"
        )
    return Weights(each, each_pixel=weights in ("area", "noise"), evens_noise=weights == "noise")


def _said(result: xr.Dataset, weights: NodeWeights) -> xr.Dataset:
    """Return a result that says how the stacks were weighed."""
    return result.assign_attrs(
        weights=weights if isinstance(weights, str) else json.dumps({path: float(one) for path, one in weights.items()})
    )


def _require_numbers(weights: Mapping[str, float], stacks: Mapping[str, Any]) -> None:
    """Refuse weights that are not one number for each stack."""
    if {*weights} != {*stacks}:
        others = ", ".join(sorted({*weights} ^ {*stacks}))
        raise OptionError(
            "weights", dict(weights), f"give a number for each stack and for no other node (see {others})"
        )
    for path, one in weights.items():
        require_number(f"weights[{path!r}]", one, "a weight", least=0)
