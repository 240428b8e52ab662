"""Maps of chemical phases and of composition."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm.conventions import NO_SAMPLE, PALETTE, UNDECIDED, require_variable
from xstxm.errors import check_choice
from xstxm.plot._holoviews import FRAME, LEGEND, Frame, axes_of, frame_of, frame_options, holoviews, raster, styled
from xstxm.plot._images import draw

UNDECIDED_COLOR = "#9e9e9e"
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
    given = phases.coords.get("color", None)
    colors = (
        [str(color) for color in np.asarray(given)] if given is not None and given.dims == (dim,) else [""] * len(names)
    )
    return {name: color or PALETTE[k % len(PALETTE)] for k, (name, color) in enumerate(zip(names, colors, strict=True))}


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
    frame = frame_of(labels, size)
    if bool((labels == UNDECIDED).any()):
        colors = {**colors, "undecided": UNDECIDED_COLOR}
    common = frame_options(frame, scale_bar=scale_bar, title=title)
    confidence = phases["confidence"].compute() if "confidence" in phases else xr.ones_like(labels, dtype=float)
    if opacity == "confidence":
        element = _faded(labels, confidence, colors, frame, common)
    else:
        element = _plain(labels, confidence, colors, frame, common)
    overlay = element * _legend(colors, axes_of(labels)) if legend else element * holoviews().Points([])
    overlay = styled(
        overlay,
        bokeh={"legend_position": "right", "show_legend": legend, "legend_opts": LEGEND},
        matplotlib={"legend_position": "right", "show_legend": legend, "fig_inches": frame.inches},
    )
    return overlay.opts(**opts) if opts else overlay


def class_image(labels: xr.DataArray, n_phases: int) -> xr.DataArray:
    """Return labels as drawn: 0 to n - 1 the phases, n undecided, NaN no sample."""
    drawn = xr.where(labels == UNDECIDED, n_phases, labels).astype("float32")
    return drawn.where(labels != NO_SAMPLE)


def _plain(
    labels: xr.DataArray,
    confidence: xr.DataArray,
    colors: dict[str, str],
    frame: Frame,
    common: dict[str, dict[str, Any]],
) -> Any:
    hv = holoviews()
    n_phases = labels_count(colors)
    layers = tuple(raster(layer, frame) for layer in (class_image(labels, n_phases), confidence.astype("float32")))
    element = hv.Image(
        np.dstack(layers),
        bounds=frame.bounds,
        kdims=axes_of(labels),
        vdims=[hv.Dimension(("phase_label", "Phase")), hv.Dimension(("confidence", "Confidence"))],
    )
    palette = list(colors.values()) + [UNDECIDED_COLOR] * (n_phases + 1 - len(colors))
    shared = {"cmap": palette, "clim": (-0.5, n_phases + 0.5)}
    names = [*list(colors)[:n_phases], "undecided"]
    hooks = [*common["bokeh"]["hooks"], _NamesOnHover(names)]
    return styled(
        element,
        bokeh={**common["bokeh"], **shared, "hooks": hooks, "clipping_colors": {"NaN": "transparent"}},
        matplotlib={**common["matplotlib"], **shared},
    )


def labels_count(colors: dict[str, str]) -> int:
    """Return the number of phases among the colours, without `undecided`."""
    return len(colors) - ("undecided" in colors)


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
    labels: xr.DataArray,
    confidence: xr.DataArray,
    colors: dict[str, str],
    frame: Frame,
    common: dict[str, dict[str, Any]],
) -> Any:
    hv = holoviews()
    n_phases = labels_count(colors)
    table = np.array([_rgb(color) for color in [*list(colors.values())[:n_phases], UNDECIDED_COLOR]])
    drawn = raster(class_image(labels, n_phases), frame)
    empty = np.isnan(drawn)
    picture = np.zeros((*drawn.shape, 4), dtype=np.uint8)
    picture[..., :3] = table[np.where(empty, 0, drawn).astype(int)]
    picture[..., 3] = np.where(empty, 0, 255 * np.clip(np.nan_to_num(raster(confidence, frame)), 0.15, 1))
    element = hv.RGB(picture, bounds=frame.bounds, kdims=axes_of(labels))
    bokeh = {key: value for key, value in common["bokeh"].items() if key != "tools"}
    return styled(element, bokeh=bokeh, matplotlib=common["matplotlib"])


def _rgb(color: str) -> tuple[int, ...]:
    from bokeh.colors import RGB, named

    known = RGB.from_hex_string(color) if color.startswith("#") else getattr(named, color).to_rgb()
    return known.r, known.g, known.b


def _legend(colors: dict[str, str], axes: list[Any]) -> Any:
    """Return one point that is nowhere per phase, whose only purpose is its entry in the legend."""
    hv = holoviews()
    entries = {
        name: styled(
            hv.Points([(np.nan, np.nan)], kdims=axes, label=name),
            bokeh={"color": color, "marker": "square", "size": 12},
            matplotlib={"color": color, "marker": "s", "s": 60},
        )
        for name, color in colors.items()
    }
    return hv.Overlay(list(entries.values()))


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
