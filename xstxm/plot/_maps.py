"""Maps of chemical phases and of composition."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import xarray as xr

from xstxm.conventions import require_variable
from xstxm.errors import check_choice
from xstxm.plot._classes import draw_phases, phase_colors
from xstxm.plot._holoviews import FRAME
from xstxm.plot._images import draw

Opacity: TypeAlias = Literal["none", "confidence"]


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
    drawn = draw_phases(
        require_variable(phases, "phase_label", "call .stxm.phase_map() first"),
        phase_colors(phases),
        phases.get("confidence"),
        faded=opacity == "confidence",
        legend=legend,
        scale_bar=scale_bar,
        size=size,
        title=title,
    )
    return drawn.opts(**opts) if opts else drawn


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
