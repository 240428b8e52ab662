"""Which files are made."""

from __future__ import annotations

from typing import Any

import param

from stxm_explorer.settings import Settings

MAP_FORMATS = {"netCDF": "netcdf", "Zarr": "zarr", "NXstxm, with the stack": "nxstxm", "TIFF": "tiff", "CSV": "csv"}
RESULTS = {
    "Phases": "phases",
    "Components": "components",
    "Clusters": "clusters",
    "Particles": "particles",
    "Variance by length scale": "variance",
    "Coarse-graining": "coarse",
    "Correlation": "correlation",
}
PICTURES = {
    "Phases": "phases",
    "Composition": "composition",
    "Confidence": "confidence",
    "Amount": "total_amount",
    "Spectra of phases": "spectra",
    "Spectra of regions": "regions",
    "Image at the energy": "image",
    "The other results": "results",
}
PICTURE_FORMATS = {"PNG": "png", "SVG": "svg", "PDF": "pdf", "HTML": "html"}
TABLES = {
    "Phases (CSV)": "phases",
    "Particles (CSV)": "particles",
    "Spectra of regions (CSV)": "regions",
    "References (CSV)": "references",
    "References with names, compositions, colours (TOML)": "library",
    "Recipe (TOML)": "recipe",
}


class Export(Settings):
    """Which files are made."""

    every_field = param.Boolean(False, doc="Files of every open field, not only of the one that is shown.")
    results: Any = param.ListSelector(
        default=["phases"], objects=list(RESULTS.values()), doc="Results that are written, as their pages have them."
    )
    maps: Any = param.ListSelector(
        default=["netcdf"],
        objects=list(MAP_FORMATS.values()),
        doc="Formats of the results; netCDF and Zarr keep all of them.",
    )
    pictures: Any = param.ListSelector(
        default=["phases"], objects=list(PICTURES.values()), doc="What is drawn, each in a file of its own."
    )
    formats: Any = param.ListSelector(
        default=["png"], objects=list(PICTURE_FORMATS.values()), doc="Formats of pictures; HTML is a page to zoom in."
    )
    dpi = param.Integer(300, bounds=(50, 1200), doc="Dots per inch of PNG.")
    tables: Any = param.ListSelector(
        default=["phases", "recipe"], objects=list(TABLES.values()), doc="Numbers of phases, particles and regions."
    )
    overwrite = param.Boolean(False, doc="Replace files that are there.")
