"""From the choices to calls that find components and clusters, and the pixels that were picked among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from stxm_explorer.calls import Call, Function, Missing, call
from stxm_explorer.stacks import density
from stxm_explorer.state import Field, Fit, Unmix


class Chosen(Protocol):
    """What the calls depend on: all choices of the page, or those that a reference was made with."""

    unmix: Unmix
    fit: Fit


def pca(chosen: Chosen, field: Field) -> Call:
    """Return the singular value decomposition of a field."""
    unmix = chosen.unmix
    number = [unmix.n_components] if unmix.n_components else []
    options = {"center": True} if unmix.center else {}
    return call("pca", density(field), *number, **options, name=f"{field.label} eigenspectra")


def resolved(chosen: Chosen, field: Field) -> Call:
    """Return the spectra and amounts of components, by the way that was chosen."""
    unmix, eigen = chosen.unmix, pca(chosen, field)
    if unmix.method == "pca":
        return eigen
    number = unmix.n_components or call(".item", eigen["component"], -1, name=f"{field.label} number")
    starts = {} if unmix.n_starts == unmix.param.n_starts.default else {"n_starts": unmix.n_starts}
    return call(unmix.method, density(field), number, **starts, seed=unmix.seed, name=f"{field.label} components")


def clusters(chosen: Chosen, field: Field) -> Call:
    """Return groups of pixels with spectra of one shape."""
    return _clusters(chosen, field, chosen.unmix.n_clusters)


def _clusters(chosen: Chosen, field: Field, number: int) -> Call:
    unmix = chosen.unmix
    given = {
        "n_components": "cluster_components",
        "method": "grouping",
        "normalize": "normalize",
        "background": "background",
    }
    options: dict[str, Any] = {
        option: getattr(unmix, choice)
        for option, choice in given.items()
        if getattr(unmix, choice) != unmix.param[choice].default
    }
    if unmix.grouping == "hdbscan":
        number = 0
    elif not number:
        options["choose"] = unmix.choose
    options |= {**least_amount(chosen), "seed": unmix.seed}
    return call("cluster", density(field), *([number] if number else []), **options, name=f"{field.label} clusters")


def cluster_scores(chosen: Chosen, field: Field, numbers: Sequence[int]) -> Call:
    """Return the mean silhouette of the pixels and the stability for several numbers of clusters.

    Raises
    ------
    Missing
        The method finds the number itself.
    """
    if chosen.unmix.grouping == "hdbscan":
        raise Missing("HDBSCAN finds the number of clusters itself: there is nothing to compare.")
    each = []
    for number in numbers:
        found = _clusters(chosen, field, number)
        weighted = call(".weighted", found[["silhouette", "stability"]], found["n_pixels"], name=f"weighted {number}")
        each.append(call(".mean", weighted, "cluster", name=f"score of {number}"))
    joined = call("xr.concat", each, "number", name="scores")
    return call(".assign_coords", joined, number=[*numbers], name=f"{field.label} scores")


def picked(chosen: Chosen, field: Field) -> Call:
    """Return which pixels lie inside the lasso of the scatter.

    Raises
    ------
    Missing
        There is no lasso.
    """
    unmix = chosen.unmix
    if len(unmix.lasso) < 3:
        raise Missing("Draw a lasso or a box around points of the scatter: their mean spectrum appears here.")
    images = call(".sel", pca(chosen, field)["eigenimages"], component=[unmix.across, unmix.up], name="images")
    images = call("compute", images, name="images")
    line = call("xr.DataArray", [*unmix.lasso], dims=["corner", "axis"], name="line")
    dims = {"input_core_dims": [["x", "component"], ["corner", "axis"]], "output_core_dims": [["x"]]}
    inside = Function("measure.points_in_poly")  # of one row of pixels after the other
    return call("xr.apply_ufunc", inside, images, line, **dims, vectorize=True, name="lasso")


def picked_spectrum(chosen: Chosen, field: Field) -> Call:
    """Return the mean spectrum of the pixels inside the lasso; errors as of `picked`."""
    return call("spectrum", density(field), picked(chosen, field), name="lasso spectrum")


def of_cluster(chosen: Chosen, field: Field, number: int) -> Call:
    """Return which pixels are in a cluster."""
    return call(".isin", clusters(chosen, field)["labels"], [number], name=f"{field.label} cluster {number}")


def least_amount(chosen: Chosen) -> dict[str, Any]:
    """Return the option that says what is sample, where it is not found from the data."""
    return {"min_amount": chosen.fit.min_amount} if chosen.fit.min_amount else {}
