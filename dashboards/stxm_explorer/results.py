"""The results beside the phase map that can be taken away, and how their files are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stxm_explorer import lengths, plan
from stxm_explorer.calls import Call, call
from stxm_explorer.state import ExplorerState, Field


@dataclass(frozen=True, eq=False)
class Written:
    """A file of a result: the end of its name, what it holds, the function that writes it, and what that is given."""

    ending: str
    what: str
    write: str
    given: Call
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Result:
    """A result: what it is, the call that makes it, which of its variables are images and spectra, and how it is drawn."""

    name: str
    what: str
    call: Call
    images: tuple[str, ...] = ()
    spectra: str = ""
    drawn: str = ""
    drawing: Mapping[str, Any] = field(default_factory=dict)

    def files(self, formats: list[str]) -> Iterator[Written]:
        """Give the files in some formats of maps; a result without images is a table as text."""
        if "netcdf" in formats:
            yield Written(f"{self.name}.nc", f"{self.what}, everything in it", "write_netcdf", self.call)
        if "zarr" in formats:
            yield Written(f"{self.name}.zarr", f"{self.what}, everything in it", "write_zarr", self.call)
        if "tiff" in formats:
            for image in self.images:
                yield Written(f"{_words(image)}.tif", f"{self.what}: maps", "write_tiff", self.call, {"signal": image})
        if "csv" in formats:
            yield from self._texts()

    def _texts(self) -> Iterator[Written]:
        if self.spectra:
            options = {"signal": self.spectra}
            yield Written(f"{self.name} spectra.csv", f"{self.what}: spectra", "write_csv", self.call, options)
        held = self.call[[*self.images]] if self.images else self.call
        table = call(".to_dataframe", held, name=f"{self.call.name} table")
        what = f"{self.what}: maps, a row for each pixel" if self.images else f"{self.what}, as a table"
        yield Written(f"{self.name} maps.csv" if self.images else f"{self.name}.csv", what, "write_csv", table)


def of_field(state: ExplorerState, field: Field) -> Iterator[Result]:
    """Give the chosen results of one field."""
    chosen = state.export.results
    if "components" in chosen:
        images, spectra = ("component_amount", "component_spectra")
        if state.unmix.method == "pca":
            images, spectra = ("eigenimages", "eigenspectra")
        found = call("compute", plan.resolved(state, field), name=f"{field.label} components")  # once for all files
        yield Result("components", "components", found, (images,), spectra, "plot.component_maps")
    if "clusters" in chosen:
        found = plan.clusters(state, field)
        yield Result("clusters", "clusters", found, ("labels",), "cluster_spectra", "plot.clusters", {"size": 500})
    if "particles" in chosen:
        name = next(name for name, one in lengths.named(state).items() if one is field)
        options = {"y": f"particle_{lengths.quantity(state)}"}
        found = lengths.particles(state, name)
        yield Result("particles", "particles", found, ("particle_label",), drawn="plot.particles", drawing=options)


def of_all_fields(state: ExplorerState) -> Iterator[Result]:
    """Give the chosen results that all fields have together."""
    chosen = state.export.results
    if "variance" in chosen:
        found = lengths.heterogeneity(state)
        yield Result("variance", "variance by length scale", found, drawn="plot.variance_split")
    if "coarse" in chosen:
        found = lengths.coarse_grain(state)
        yield Result("coarse-graining", "variance over the size of blocks", found, drawn="plot.coarse_graining")
    if "correlation" in chosen:
        found = lengths.correlation_length(state)
        yield Result("correlation", "correlation over distance", found, drawn="plot.autocovariance")


def _words(name: str) -> str:
    return name.replace("_", " ")
