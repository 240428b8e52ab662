"""Images of classes: each its colour and its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xstxm.conventions import NO_SAMPLE, UNDECIDED
from xstxm.plot._curves import legend_beside, square
from xstxm.plot._holoviews import FRAME, Frame, axes_of, frame_of, frame_options, holoviews, raster, styled
from xstxm.plot._styles import COLORS, UNDECIDED_COLOR, colors_along, require_colors


def phase_colors(phases: xr.Dataset) -> dict[str, str]:
    """Return the colour of each phase: its `color`, or the next of the palette where it has none.

    Parameters
    ----------
    phases
        Anything with a coordinate `phase`, or `reference`.

    Returns
    -------
    dict
        Name to colour, in the order of the phases.

    Examples
    --------
    >>> import xarray as xr
    >>> phase_colors(xr.Dataset(coords={"phase": ["a", "b"], "color": ("phase", ["#111111", ""])}))
    {'a': '#111111', 'b': '#D55E00'}
    """
    dim = "phase" if "phase" in phases.dims else "reference"
    names = [str(name) for name in np.asarray(phases[dim])]
    return dict(zip(names, colors_along(phases, dim), strict=True))


def named_phases(labels: xr.DataArray) -> dict[str, str] | None:
    """Return the phases that an image of labels names itself, in colours of the palette; None where it names none."""
    if labels.name != "phase_label" or {*labels.dims} != {"y", "x"} or "flag_meanings" not in labels.attrs:
        return None
    numbered = zip(np.atleast_1d(labels.attrs["flag_values"]), str(labels.attrs["flag_meanings"]).split(), strict=True)
    return {name: COLORS[number % len(COLORS)] for number, name in sorted(numbered) if number >= 0}


def draw_phases(
    labels: xr.DataArray, colors: Mapping[str, str], confidence: xr.DataArray | None = None, **options: Any
) -> Any:
    """Draw which phase each pixel is, grey where it is undecided. Eager."""
    require_colors([*colors.values()], "phase")
    labels = labels.compute()
    classes = class_image(labels, len(colors))
    if bool((labels == UNDECIDED).any()):
        colors = {**colors, "undecided": UNDECIDED_COLOR}
    sure = xr.ones_like(labels, dtype=float) if confidence is None else confidence.compute()
    return draw_classes(classes, sure, colors, what="Phase", **options)


def class_image(labels: xr.DataArray, n_phases: int) -> xr.DataArray:
    """Return labels as drawn: 0 to n - 1 the phases, n undecided, NaN no sample."""
    return labels.astype("float32").where(labels != UNDECIDED, n_phases).where(labels != NO_SAMPLE)


def draw_classes(
    classes: xr.DataArray,
    confidence: xr.DataArray,
    colors: Mapping[str, str],
    *,
    what: str,
    faded: bool = False,
    legend: bool = True,
    scale_bar: bool = True,
    size: int = FRAME,
    title: str = "",
) -> Any:
    """Draw an image of class numbers from 0 in the colours of the classes, transparent where it is NaN."""
    frame = frame_of(classes, size)
    common = frame_options(frame, scale_bar=scale_bar, title=title)
    element = (_faded if faded else _plain)(classes, confidence, colors, frame, common, what)
    axes = axes_of(classes)
    entries = [square(axes, name, color) for name, color in colors.items()] if legend else [square(axes, "", "white")]
    beside = legend_beside(entries, frame.height, legend=legend)
    return styled(
        holoviews().Overlay([element, *entries]),
        bokeh=beside["bokeh"],
        matplotlib={**beside["matplotlib"], "fig_inches": frame.inches},
    )


def _plain(
    classes: xr.DataArray,
    confidence: xr.DataArray,
    colors: Mapping[str, str],
    frame: Frame,
    common: dict[str, dict[str, Any]],
    what: str,
) -> Any:
    hv = holoviews()
    name = f"{what.lower()}_label"
    element = hv.Image(
        np.dstack([raster(layer.astype("float32"), frame) for layer in (classes, confidence)]),
        bounds=frame.bounds,
        kdims=axes_of(classes),
        vdims=[hv.Dimension((name, what)), hv.Dimension(("confidence", "Confidence"))],
    )
    shared = {"cmap": [*colors.values()], "clim": (-0.5, len(colors) - 0.5)}
    hooks = [*common["bokeh"]["hooks"], _NamesOnHover([*colors])]
    return styled(
        element,
        bokeh={**common["bokeh"], **shared, "hooks": hooks, "clipping_colors": {"NaN": "transparent"}},
        matplotlib={**common["matplotlib"], **shared},
    )


class _NamesOnHover:
    """Bokeh hook: the tooltip says the name of the phase, not its number."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def __call__(self, plot: Any, element: Any) -> None:
        from bokeh.models import CustomJSHover

        hover = plot.handles.get("hover")
        if hover is None or not isinstance(hover.tooltips, list):
            return
        hover.tooltips = [
            (name, f"{field}{{custom}}" if field == "@image" else field) for name, field in hover.tooltips
        ]
        code = "return Number.isFinite(value) ? names[value] : 'no sample'"
        hover.formatters = {**hover.formatters, "@image": CustomJSHover(args={"names": self.names}, code=code)}


def _faded(
    classes: xr.DataArray,
    confidence: xr.DataArray,
    colors: Mapping[str, str],
    frame: Frame,
    common: dict[str, dict[str, Any]],
    what: str,
) -> Any:
    hv = holoviews()
    table = np.array([_rgb(color) for color in colors.values()])
    drawn = raster(classes, frame)
    empty = np.isnan(drawn)
    picture = np.zeros((*drawn.shape, 4), dtype=np.uint8)
    picture[..., :3] = table[np.where(empty, 0, drawn).astype(int)]
    picture[..., 3] = np.where(empty, 0, 255 * np.clip(np.nan_to_num(raster(confidence, frame)), 0.15, 1))
    element = hv.RGB(picture, bounds=frame.bounds, kdims=axes_of(classes))
    bokeh = {key: value for key, value in common["bokeh"].items() if key != "tools"}
    return styled(element, bokeh=bokeh, matplotlib=common["matplotlib"])


def _rgb(color: str) -> tuple[int, ...]:
    from bokeh.colors import RGB, named

    known = RGB.from_hex_string(color) if color.startswith("#") else getattr(named, color).to_rgb()
    return known.r, known.g, known.b
