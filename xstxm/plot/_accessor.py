"""The `.stxm.plot` of the accessor: the drawings of an object as methods."""

from __future__ import annotations

from typing import Any, Literal

import xarray as xr

from xstxm.plot._confusion import confusion
from xstxm.plot._decomposition import clusters, component_maps, scree
from xstxm.plot._distinguishability import distinguishability
from xstxm.plot._fields import Scale, fields
from xstxm.plot._images import image
from xstxm.plot._lengths import autocovariance, coarse_graining, two_point
from xstxm.plot._maps import composition, phase_map
from xstxm.plot._particles import particles, profiles
from xstxm.plot._shifts import shifts
from xstxm.plot._spectra import spectra
from xstxm.plot._time import time_series, trajectories
from xstxm.plot._variances import Quantity, variance_split
from xstxm.units import EnergyLike


class StxmPlotAccessor:
    """Drawings of a stack, a fit or a phase map; HoloViews is imported on first use."""

    def __init__(self, obj: Any) -> None:
        self._obj = obj

    def image(
        self,
        energy: EnergyLike | None = None,
        *,
        signal: str | None = None,
        cmap: str | None = None,
        clim: tuple[float, float] | None = None,
        colorbar: bool = True,
        scale_bar: bool = True,
        size: int = 400,
        title: str | None = None,
        **opts: Any,
    ) -> Any:
        """Draw the image at an energy, or a map, see `xstxm.plot.image`."""
        return image(
            self._obj,
            energy,
            signal=signal,
            cmap=cmap,
            clim=clim,
            colorbar=colorbar,
            scale_bar=scale_bar,
            size=size,
            title=title,
            **opts,
        )

    def spectra(
        self,
        *,
        fit: xr.Dataset | None = None,
        energy: float | None = None,
        width: int = 400,
        height: int = 300,
        legend: bool = True,
        title: str = "",
        **opts: Any,
    ) -> Any:
        """Draw spectra over photon energy, see `xstxm.plot.spectra`."""
        return spectra(
            self._obj, fit=fit, energy=energy, width=width, height=height, legend=legend, title=title, **opts
        )

    def phase_map(
        self,
        *,
        opacity: Literal["none", "confidence"] = "none",
        legend: bool = True,
        scale_bar: bool = True,
        size: int = 400,
        title: str = "",
        **opts: Any,
    ) -> Any:
        """Draw the chemical phase of each pixel, see `xstxm.plot.phase_map`."""
        return phase_map(self._obj, opacity=opacity, legend=legend, scale_bar=scale_bar, size=size, title=title, **opts)

    def composition(
        self,
        *,
        cmap: str = "viridis",
        clim: tuple[float, float] | None = None,
        colorbar: bool = True,
        scale_bar: bool = True,
        size: int = 400,
        title: str = "",
        **opts: Any,
    ) -> Any:
        """Draw the composition of each pixel, see `xstxm.plot.composition`."""
        return composition(
            self._obj,
            cmap=cmap,
            clim=clim,
            colorbar=colorbar,
            scale_bar=scale_bar,
            size=size,
            title=title,
            **opts,
        )

    def component_maps(
        self,
        *,
        cmap: str | None = None,
        clim: tuple[float, float] | None = None,
        scale_bar: bool = True,
        size: int = 300,
        columns: int = 3,
        **opts: Any,
    ) -> Any:
        """Draw the map of each component, see `xstxm.plot.component_maps`."""
        return component_maps(self._obj, cmap=cmap, clim=clim, scale_bar=scale_bar, size=size, columns=columns, **opts)

    def scree(
        self,
        *,
        n_components: int = 20,
        width: int = 400,
        height: int = 300,
        title: str = "",
        **opts: Any,
    ) -> Any:
        """Draw the eigenvalues of a decomposition, see `xstxm.plot.scree`."""
        return scree(self._obj, n_components=n_components, width=width, height=height, title=title, **opts)

    def clusters(
        self,
        *,
        legend: bool = True,
        scale_bar: bool = True,
        size: int = 400,
        title: str = "",
        **opts: Any,
    ) -> Any:
        """Draw clusters and their spectra, see `xstxm.plot.clusters`."""
        return clusters(self._obj, legend=legend, scale_bar=scale_bar, size=size, title=title, **opts)

    def shifts(
        self,
        *,
        width: int = 400,
        height: int = 300,
        legend: bool = True,
        title: str = "",
        **opts: Any,
    ) -> Any:
        """Draw the shifts of the frames, see `xstxm.plot.shifts`."""
        return shifts(self._obj, width=width, height=height, legend=legend, title=title, **opts)

    def confusion(self, *, cmap: str = "Blues", size: int = 300, title: str | None = None, **opts: Any) -> Any:
        """Draw how far two maps agree, see `xstxm.plot.confusion`."""
        return confusion(self._obj, cmap=cmap, size=size, title=title, **opts)

    def distinguishability(
        self,
        *,
        cmap: str = "Blues",
        size: int = 300,
        title: str | None = None,
        **opts: Any,
    ) -> Any:
        """Draw how well references are told apart, see `xstxm.plot.distinguishability`."""
        return distinguishability(self._obj, cmap=cmap, size=size, title=title, **opts)

    def variance_split(
        self,
        *,
        quantity: Quantity = "variance",
        width: int = 400,
        height: int = 300,
        legend: bool = True,
        title: str = "",
        **opts: Any,
    ) -> Any:
        """Draw the variance of a map by length scale, see `xstxm.plot.variance_split`."""
        return variance_split(
            self._obj, quantity=quantity, width=width, height=height, legend=legend, title=title, **opts
        )

    def coarse_graining(
        self,
        *,
        width: int = 400,
        height: int = 300,
        legend: bool = True,
        title: str = "",
        **opts: Any,
    ) -> Any:
        """Draw the variance of a map against the length of blocks, see `xstxm.plot.coarse_graining`."""
        return coarse_graining(self._obj, width=width, height=height, legend=legend, title=title, **opts)

    def autocovariance(
        self,
        *,
        width: int = 400,
        height: int = 300,
        legend: bool = True,
        title: str = "",
        **opts: Any,
    ) -> Any:
        """Draw the autocovariance of a map and its length, see `xstxm.plot.autocovariance`."""
        return autocovariance(self._obj, width=width, height=height, legend=legend, title=title, **opts)

    def two_point(
        self,
        *,
        width: int = 400,
        height: int = 300,
        legend: bool = True,
        title: str = "",
        **opts: Any,
    ) -> Any:
        """Draw which phases lie at two points a distance apart, see `xstxm.plot.two_point`."""
        return two_point(self._obj, width=width, height=height, legend=legend, title=title, **opts)

    def particles(
        self,
        x: str = "equivalent_diameter",
        y: str = "particle_composition",
        *,
        color: str | None = None,
        cmap: str = "viridis",
        width: int = 400,
        height: int = 300,
        legend: bool = True,
        title: str = "",
        **opts: Any,
    ) -> Any:
        """Draw one property of particles against another, see `xstxm.plot.particles`."""
        return particles(
            self._obj, x, y, color=color, cmap=cmap, width=width, height=height, legend=legend, title=title, **opts
        )

    def profiles(
        self,
        *,
        relative: bool = False,
        width: int = 400,
        height: int = 300,
        legend: bool = True,
        title: str = "",
        **opts: Any,
    ) -> Any:
        """Draw the profiles of particles from surface to centre, see `xstxm.plot.profiles`."""
        return profiles(self._obj, relative=relative, width=width, height=height, legend=legend, title=title, **opts)

    def time_series(
        self,
        signal: str = "area_fraction",
        *,
        log: xr.Dataset | None = None,
        width: int = 400,
        height: int = 300,
        legend: bool = True,
        title: str = "",
        **opts: Any,
    ) -> Any:
        """Draw phase fractions against time, see `xstxm.plot.time_series`."""
        return time_series(self._obj, signal, log=log, width=width, height=height, legend=legend, title=title, **opts)

    def trajectories(
        self,
        y: str = "particle_composition",
        *,
        width: int = 400,
        height: int = 300,
        legend: bool = True,
        title: str = "",
        **opts: Any,
    ) -> Any:
        """Draw what becomes of each particle, see `xstxm.plot.trajectories`."""
        return trajectories(self._obj, y, width=width, height=height, legend=legend, title=title, **opts)


def of_one_stack(accessor: object, name: str, of_stack: type, call: str) -> AttributeError:
    """Return the error of an attribute that a tree does not have, which tells of one that the stacks in it have."""
    said = f"{type(accessor).__name__!r} object has no attribute {name!r}"
    public = not name.startswith("_") and hasattr(of_stack, name)
    return AttributeError(f"{said}: of one node, tree['a'].to_dataset().stxm.{call}" if public else said)


class StxmTreePlotAccessor:
    """Drawings of the maps of a tree; HoloViews is imported on first use."""

    def __init__(self, tree: xr.DataTree) -> None:
        self._tree = tree

    def __getattr__(self, name: str) -> Any:
        """Say where a drawing of one stack is found."""
        raise of_one_stack(self, name, StxmPlotAccessor, f"plot.{name}")

    def fields(
        self,
        signal: str = "composition",
        *,
        scale: Scale = "common",
        columns: int = 3,
        cmap: str | None = None,
        clim: tuple[float, float] | None = None,
        outlines: bool = True,
        legend: bool = True,
        size: int = 400,
        **opts: Any,
    ) -> Any:
        """Draw a map of every field side by side, see `xstxm.plot.fields`."""
        return fields(
            self._tree,
            signal,
            scale=scale,
            columns=columns,
            cmap=cmap,
            clim=clim,
            outlines=outlines,
            legend=legend,
            size=size,
            **opts,
        )
