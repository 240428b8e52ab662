"""Maps of chemical phases and of composition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm.conventions import NO_SAMPLE, UNDECIDED, require_variable
from xstxm.errors import check_choice
from xstxm.plot._curves import legend_beside, square
from xstxm.plot._holoviews import FRAME, Frame, axes_of, frame_of, frame_options, holoviews, raster, styled
from xstxm.plot._images import draw
from xstxm.plot._styles import UNDECIDED_COLOR, colors_along, require_colors

Opacity: TypeAlias = Literal["none", "confidence"]


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


def phase_map(
    phases: xr.Dataset,
    *,
    opacity: Opacity = "none",
    legend: bool = True,
    scale_bar: bool = True,
    size: int = FRAME,
    title: str = "",
    **opts: Any,
) -> Any:
    """Draw which chemical phase each pixel is.

    Parameters
    ----------
    phases
        A result of `xstxm.phase_map`.
    opacity
        ``"confidence"`` fades the pixels whose label is less sure.
    legend, scale_bar
        Whether to draw them.
    size
        Pixels on the screen along the longer side.
    title
        Text above.
    **opts
        Passed to HoloViews as options of the Overlay for the backend in use.

    Returns
    -------
    holoviews.Overlay
        A colour for each phase, grey where it is undecided, transparent where there is no sample. Eager.

    Raises
    ------
    MissingVariableError
        `phases` is no phase map.
    SchemaError
        More phases than colours that one can tell apart.
    ChoiceError
        Unknown `opacity`.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> type(xstxm.plot.phase_map(phases)).__name__
    'Overlay'
    """
    check_choice("opacity", opacity, Opacity)
    labels = require_variable(phases, "phase_label", "call .stxm.phase_map() first").compute()
    colors = phase_colors(phases)
    require_colors([*colors.values()], "phase")
    classes = class_image(labels, len(colors))
    if bool((labels == UNDECIDED).any()):
        colors = {**colors, "undecided": UNDECIDED_COLOR}
    confidence = phases["confidence"].compute() if "confidence" in phases else xr.ones_like(labels, dtype=float)
    drawn = draw_classes(
        classes,
        confidence,
        colors,
        what="Phase",
        faded=opacity == "confidence",
        legend=legend,
        scale_bar=scale_bar,
        size=size,
        title=title,
    )
    return drawn.opts(**opts) if opts else drawn


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


def composition(
    phases: xr.Dataset,
    *,
    cmap: str = "viridis",
    clim: tuple[float, float] | None = None,
    colorbar: bool = True,
    scale_bar: bool = True,
    size: int = FRAME,
    title: str = "",
    **opts: Any,
) -> Any:
    """Draw the composition of each pixel, e.g. x in LixV2O5.

    Parameters
    ----------
    phases
        A result of `xstxm.phase_map` with references that carry a composition.
    cmap, clim
        Colour map, and the values at its ends; by default the smallest and largest composition.
    colorbar, scale_bar
        Whether to draw them.
    size
        Pixels on the screen along the longer side.
    title
        Text above.
    **opts
        Passed to HoloViews as options of the Image for the backend in use.

    Returns
    -------
    holoviews.Image
        Transparent where there is no sample. Eager.

    Raises
    ------
    MissingVariableError
        `phases` has no composition.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> [dim.name for dim in xstxm.plot.composition(phases).kdims]
    ['x', 'y']
    """
    found = require_variable(
        phases, "composition", "give the references one first, e.g. read_references(path, composition={'V2O5': 0, ...})"
    )
    return draw(
        found.compute(), cmap=cmap, clim=clim, colorbar=colorbar, scale_bar=scale_bar, size=size, title=title, **opts
    )
