"""How well pairs of references are told apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.conventions import REFERENCE, require_variable
from xstxm.errors import SchemaError
from xstxm.plot._holoviews import holoviews, styled, tidy
from xstxm.plot._labels import label
from xstxm.plot._styles import require_colormap


def distinguishability(
    result: xr.Dataset, *, cmap: str = "Blues", size: int = 300, title: str | None = None, **opts: Any
) -> Any:
    """Draw the standard error of the difference of two fractions, a square for each pair of references.

    Parameters
    ----------
    result
        A result of `xstxm.distinguishability` for two or more references.
    cmap
        Colour map; it starts at zero.
    size
        Pixels of the drawing area on the screen, along each side.
    title
        Text above; by default the condition number.
    **opts
        Passed to HoloViews as options of the Overlay for the backend in use.

    Returns
    -------
    holoviews.Overlay
        Squares with their numbers: the darker, the harder to tell apart. Eager.

    Raises
    ------
    MissingVariableError
        `result` holds no `pair_stderr`.
    SchemaError
        A single reference.

    Examples
    --------
    >>> import xstxm
    >>> result = xstxm.distinguishability(xstxm.testing.simulate_references(), counts=5000)
    >>> type(xstxm.plot.distinguishability(result)).__name__
    'Overlay'
    """
    hv = holoviews()
    require_colormap(cmap)
    result = units.dequantify(result)
    pairs = require_variable(result, "pair_stderr", "call .stxm.distinguishability(counts=...) first")
    names = [str(name) for name in np.asarray(pairs[REFERENCE])]
    if len(names) < 2:
        raise SchemaError(f"{names[0]!r} is the only reference: there is no pair to draw")
    values = np.asarray(pairs, dtype=float)
    cells = [(k, j, float(values[j, k])) for j in range(1, len(names)) for k in range(j)]
    axes = [hv.Dimension("first", label=" "), hv.Dimension("second", label="  ")]
    error = hv.Dimension(("pair_stderr", label(pairs)))
    top = float(values.max()) or 1.0
    colours: dict[str, Any] = {"cmap": cmap, "clim": (0.0, top), "colorbar": True, "clabel": label(pairs)}
    corners = [(k - 0.5, j - 0.5, k + 0.5, j + 0.5, value) for k, j, value in cells]
    squares = styled(
        hv.Rectangles(corners, vdims=[error]),
        bokeh={**colours, "color": "pair_stderr", "line_color": "white", "tools": ["hover"]},
        matplotlib={**colours, "color": "pair_stderr", "edgecolor": "white"},
    )
    inks = (("black", lambda value: value <= 0.6 * top), ("white", lambda value: value > 0.6 * top))
    numbers = [_numbers([cell for cell in cells if fits(cell[2])], axes, ink) for ink, fits in inks]
    ticks = {"xticks": list(enumerate(names))[:-1], "yticks": list(enumerate(names))[1:], "xrotation": 45}
    shared = {**ticks, "xlabel": "", "ylabel": "", "title": title, "padding": 0}
    if title is None:
        shared["title"] = f"condition number {float(result['condition_number']):.3g}"
    overlay = styled(
        hv.Overlay([squares, *numbers]),
        bokeh={**shared, "frame_width": size, "frame_height": size, "hooks": [tidy], "toolbar": "above"},
        matplotlib={**shared, "fig_inches": (size / 80 + 1.8, size / 80 + 1.2), "aspect": 1},
    )
    return overlay.opts(**opts) if opts else overlay


def _numbers(cells: list[tuple[int, int, float]], axes: list[Any], ink: str) -> Any:
    texts = [(first, second, f"{value:.2g}") for first, second, value in cells]
    return styled(
        holoviews().Labels(texts, axes, "text"),
        bokeh={"text_color": ink, "text_font_size": "11pt"},
        matplotlib={"color": ink, "size": 10},
    )
