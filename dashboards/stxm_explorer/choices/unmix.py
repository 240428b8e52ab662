"""Components and clusters."""

from __future__ import annotations

from typing import Any, ClassVar

import param

from stxm_explorer.choices.fit import BACKGROUNDS
from stxm_explorer.region import point
from stxm_explorer.settings import Settings

UNMIX_TABS = ("Components", "Clusters", "Scatter")
DECOMPOSITIONS = {"Eigenspectra (SVD)": "pca", "Non-negative (NMF)": "nmf", "Resolved (MCR)": "mcr"}
GROUPINGS = {"k-means": "kmeans", "Gaussian mixture": "gaussian_mixture", "Dense regions (HDBSCAN)": "hdbscan"}
NORMALIZATIONS = {
    "Thickness": "thickness",
    "Thickness, not weighted": "angle",
    "Nothing": "none",
}
NUMBERED_BY = {"Silhouette": "silhouette", "Gap statistic": "gap", "Stability": "stability"}
MOST_COMPONENTS = 12
MOST_CLUSTERS = 7


class Unmix(Settings):
    """Components and clusters."""

    tab: Any = param.Selector(default="Components", objects=list(UNMIX_TABS), doc="What page Unmix shows.")
    method: Any = param.Selector(
        default="pca",
        objects=list(DECOMPOSITIONS.values()),
        doc="Eigenspectra are orthogonal and have signs; the others are spectra and amounts that may be substances.",
    )
    n_components = param.Integer(0, bounds=(0, MOST_COMPONENTS), doc="Zero: as many as rise above the noise.")
    n_starts = param.Integer(
        4,
        bounds=(1, 20),
        doc="Starts of NMF and MCR, of which the best is taken: one is the fastest, several tell how sure each spectrum is.",
    )
    center = param.Boolean(
        False, doc="Subtract the mean spectrum first: then the first component is not the thickness."
    )
    component = param.Integer(1, bounds=(1, MOST_COMPONENTS), doc="Component whose map is shown.")
    n_clusters = param.Integer(0, bounds=(0, MOST_CLUSTERS), doc="Zero: the number that the data prefer.")
    choose: Any = param.Selector(
        default="silhouette",
        objects=list(NUMBERED_BY.values()),
        doc="What decides on the number: how far clusters lie apart, how much tighter they are than chance makes them, or "
        "how alike those of samples are.",
    )
    compare = param.Boolean(True, doc="Group the pixels into each number of clusters from 2 to 6, and compare.")
    grouping: Any = param.Selector(
        default="kmeans",
        objects=list(GROUPINGS.values()),
        doc="HDBSCAN finds the number by itself, and leaves pixels to no cluster.",
    )
    normalize: Any = param.Selector(
        default="thickness",
        objects=list(NORMALIZATIONS.values()),
        doc="What is divided out, so that clusters differ in the shape of their spectra. A thick pixel then counts more than a "
        "thin one, as its noise allows, or all count alike.",
    )
    background: Any = param.Selector(
        default="constant",
        objects=list(BACKGROUNDS.values()),
        doc="What is taken out of each spectrum before: the absorption of all but the edge would decide otherwise.",
    )
    cluster_components = param.Integer(
        0,
        bounds=(0, MOST_COMPONENTS),
        doc="Eigenspectra that hold the shapes. Zero: those above the noise, between 2 and 8.",
    )
    seed = param.Integer(0, bounds=(0, 10_000), doc="Of starts and samples: the same seed gives the same result.")
    across = param.Integer(1, bounds=(1, MOST_COMPONENTS), doc="Component along x of the scatter.")
    up = param.Integer(2, bounds=(1, MOST_COMPONENTS), doc="Component along y of the scatter.")
    lasso = param.List([], item_type=tuple, bounds=(0, 10_000), doc="Line around points of the scatter, in its axes.")

    _ITEMS: ClassVar = {"lasso": point}
