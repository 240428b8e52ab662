"""References that are mean spectra of the stacks themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import param

from stxm_explorer.choices.fit import Fit
from stxm_explorer.choices.unmix import Unmix
from stxm_explorer.region import Region
from stxm_explorer.settings import Settings

_OF_LASSO = ("across", "up", "lasso", "n_components", "center")
_OF_CLUSTERS = ("n_clusters", "choose", "grouping", "normalize", "background", "cluster_components", "seed")


class Internal(Settings):
    """A reference: the mean spectrum of a region, of a cluster, or of the lasso in the scatter.

    It keeps the choices that its pixels come from, so that others on page Unmix do not change it.
    """

    label = param.String("", doc="Name of the reference.")
    field = param.String("", doc="Label of the field that the pixels are in.")
    region = param.ClassSelector(class_=Region, default=None, allow_None=True, doc="The pixels, if they are a region.")
    cluster = param.Integer(0, bounds=(0, 1000), doc="Number of the cluster that has the pixels; 0 for the lasso.")
    unmix = param.ClassSelector(class_=Unmix, constant=True, instantiate=True, default=Unmix())
    fit = param.ClassSelector(class_=Fit, constant=True, instantiate=True, default=Fit())

    @classmethod
    def of(cls, field: str, unmix: Unmix, fit: Fit, *, region: Region | None = None, cluster: int = 0) -> Internal:
        """Return the reference of a region, of a cluster, or else of the lasso, under the name that it has there."""
        label = region.name if region is not None else f"cluster {cluster}" if cluster else "lasso"
        made = cls(label=label, field=field, region=region, cluster=cluster)
        if region is None:
            names = _OF_CLUSTERS if cluster else _OF_LASSO
            made.unmix.param.update({name: getattr(unmix, name) for name in names})
        if cluster:
            made.fit.min_amount = fit.min_amount
        return made

    def renamed(self, label: str) -> Internal:
        """Return the same under another name."""
        return Internal.from_table({**self.table(), "label": label})

    @property
    def said(self) -> str:
        """What the pixels are, in words."""
        if self.region is not None:
            return f"region {self.region.name} of {self.field}"
        return f"cluster {self.cluster} of {self.field}" if self.cluster else f"lasso in the scatter of {self.field}"

    def _value(self, name: str, table: Mapping[str, Any]) -> Any:
        if name == "region" and table.get(name) is not None:
            return Region.from_table(table[name])
        return super()._value(name, table)
