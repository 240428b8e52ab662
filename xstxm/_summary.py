"""What a stack is and what one can do next: the repr of the accessor, as text and as HTML."""

from __future__ import annotations

from html import escape

import numpy as np
import xarray as xr

from xstxm import provenance
from xstxm._apply import is_lazy
from xstxm._axes import format_range
from xstxm.conventions import ENERGY, QUALITY_FLAGS, REFERENCE, pixel_dims
from xstxm.errors import size_text

Row = tuple[str, str]

_LEAST_BESIDE_REFERENCES = 2
"""Energies that a fit needs beside one for each reference: for the background, and to leave one over."""

KINDS = {
    "phase_label": "phase map",
    "component_map": "fit",
    "absorption": "reference set",
    "eigenimages": "pca",
    "cluster_spectra": "clusters",
    "particle_label": "particles",
}
"""What a Dataset is by a variable that it holds."""


def rows(obj: xr.DataArray | xr.Dataset) -> list[Row]:
    """Return what there is to say about an object as (heading, text). Computes nothing lazy."""
    named = [
        ("title", str(obj.attrs.get("title", ""))),
        ("scan", str(obj.attrs.get("scan_type", ""))),
        ("energies", _energies(obj)),
        ("pixels", _pixels(obj)),
        ("dwell", _dwell(obj)),
        ("variables", _variables(obj)),
        ("references", _names(obj, REFERENCE)),
        ("phases", _names(obj, "phase")),
        ("flags", _flags(obj)),
        ("history", " -> ".join(entry["operation"] for entry in provenance.entries(obj))),
        ("next", ", ".join(next_steps(obj))),
    ]
    return [(heading, text) for heading, text in named if text]


def as_text(obj: xr.DataArray | xr.Dataset) -> str:
    """Return the rows as aligned lines."""
    lines = [f"  {heading:<11} {text}" for heading, text in rows(obj)]
    return "\n".join([f"<xstxm {kind(obj)}>", *lines])


def as_html(obj: xr.DataArray | xr.Dataset) -> str:
    """Return the rows as a table."""
    cells = "".join(
        f"<tr><th style='text-align:left;vertical-align:top;padding-right:1em'>{escape(heading)}</th>"
        f"<td style='text-align:left'>{escape(text)}</td></tr>"
        for heading, text in rows(obj)
    )
    return f"<div><b>xstxm {escape(kind(obj))}</b><table>{cells}</table></div>"


def next_steps(obj: xr.DataArray | xr.Dataset) -> list[str]:
    """Return the calls that make sense now."""
    if isinstance(obj, xr.Dataset) and "phase_label" in obj:
        steps = [".plot.phase_map()", ".phase_summary()"]
        return [*steps, ".plot.composition()"] if "composition" in obj else steps
    if isinstance(obj, xr.Dataset) and "component_map" in obj:
        return [".plot.component_maps()", ".predict()"]
    if isinstance(obj, xr.Dataset) and "absorption" in obj:
        return [".plot.spectra()", "stack.stxm.phase_map(references)"]
    if ENERGY not in obj.dims or (isinstance(obj, xr.Dataset) and kind(obj) != "stack"):
        return []
    if isinstance(obj, xr.Dataset) and "transmission" in obj and "optical_density" not in obj:
        return [".from_transmission()"]
    given = "" if isinstance(obj, xr.Dataset) and "reference_spectra" in obj else "references"
    enough = obj.sizes[ENERGY] >= _LEAST_BESIDE_REFERENCES + (2 if given else obj.sizes[REFERENCE])
    density = obj.attrs.get("units") == "1" if isinstance(obj, xr.DataArray) else "optical_density" in obj
    if density:
        return [f".fit({given})", f".phase_map({given})"] if enough else []
    mapped = [f".phase_map({given})"] if enough and isinstance(obj, xr.Dataset) else []
    return [*_narrower(obj), ".optical_density()", *mapped]


def _narrower(obj: xr.DataArray | xr.Dataset) -> list[str]:
    """Return a selection with energies of this very stack."""
    if ENERGY not in obj.coords or obj.sizes[ENERGY] < 3:
        return []
    energy, unit = np.sort(np.asarray(obj[ENERGY], dtype=float)), obj[ENERGY].attrs.get("units", "eV")
    return [f".sel_energy('{energy[1]:.6g} {unit}', '{energy[-2]:.6g} {unit}')"]


def kind(obj: xr.DataArray | xr.Dataset) -> str:
    """Return what an object is called: a stack, or the result that it is."""
    if isinstance(obj, xr.DataArray):
        return f"array {obj.name!r}" if obj.name else "array"
    return next((kind for name, kind in KINDS.items() if name in obj), "stack")


def _energies(obj: xr.DataArray | xr.Dataset) -> str:
    if ENERGY not in obj.coords:
        return f"{obj.sizes[ENERGY]}, no values" if ENERGY in obj.dims else ""
    energy = np.atleast_1d(np.asarray(obj[ENERGY], dtype=float))
    unit = str(obj[ENERGY].attrs.get("units", "no unit"))
    steps = np.diff(energy)
    if not steps.size:
        return f"1, {energy[0]:.6g} {unit}"
    spacing = "ascending" if (steps > 0).all() else "descending" if (steps < 0).all() else "in no order"
    step = np.abs(steps)
    said = f"steps {step.min():.3g}" if np.ptp(step) < 1e-6 else f"steps {step.min():.3g} to {step.max():.3g}"
    return f"{energy.size}, {format_range(energy, unit)}, {said} {unit}, {spacing}"


def _pixels(obj: xr.DataArray | xr.Dataset) -> str:
    dims = pixel_dims(obj)
    sizes = " x ".join(f"{obj.sizes[dim]} {dim}" for dim in dims)
    found = {dim: size for dim in dims if (size := pixel_size(obj, str(dim)))}
    size = ", pixel " + " x ".join(found.values()) if found else ""
    lazy = "lazy, " if is_lazy(obj) else ""
    return f"{sizes}{size} ({lazy}{size_text(obj.nbytes)})" if sizes else ""


def pixel_size(obj: xr.DataArray | xr.Dataset, dim: str) -> str:
    """Return the step of a pixel coordinate with its unit, or nothing where it has none."""
    if dim not in obj.coords or obj.sizes.get(dim, 0) < 2 or obj[dim].dtype.kind not in "fiu":
        return ""
    step = float(np.abs(np.diff(np.asarray(obj[dim], dtype=float))).mean())
    return f"{step:.4g} {obj[dim].attrs.get('units', '')}".strip()


def _dwell(obj: xr.DataArray | xr.Dataset) -> str:
    if "dwell_time" not in obj.coords or is_lazy(obj["dwell_time"]) or not {*obj["dwell_time"].dims} <= {ENERGY}:
        return ""
    dwell = np.atleast_1d(np.asarray(obj["dwell_time"], dtype=float))
    unit = obj["dwell_time"].attrs.get("units", "")
    low, high = dwell.min(), dwell.max()
    return f"{low:.4g} {unit}" if low == high else f"{low:.4g}-{high:.4g} {unit}"


def _variables(obj: xr.DataArray | xr.Dataset) -> str:
    arrays = [obj] if isinstance(obj, xr.DataArray) else list(obj.data_vars.values())
    return ", ".join(f"{array.name} [{array.attrs.get('units', '-')}]" for array in arrays)


def _names(obj: xr.DataArray | xr.Dataset, dim: str) -> str:
    return ", ".join(str(name) for name in np.asarray(obj[dim])) if dim in obj.coords and obj[dim].ndim else ""


def _flags(obj: xr.DataArray | xr.Dataset) -> str:
    """Count flagged pixels; a lazy map is not computed for a repr."""
    if not isinstance(obj, xr.Dataset) or "quality" not in obj:
        return ""
    if is_lazy(obj["quality"]):
        return "quality (lazy)"
    bits = np.asarray(obj["quality"])
    counted = {name: int((bits & mask > 0).sum()) for name, mask in QUALITY_FLAGS.items()}
    return ", ".join(f"{name}: {count} pixels" for name, count in counted.items() if count) or "none raised"
