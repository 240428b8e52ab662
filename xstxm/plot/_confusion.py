"""How far two maps agree, phase by phase."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.conventions import require_variable
from xstxm.plot._holoviews import holoviews
from xstxm.plot._squares import numbered_squares


def confusion(
    result: xr.Dataset, *, cmap: str = "Blues", size: int = 300, title: str | None = None, **opts: Any
) -> Any:
    """Draw how many pixels of each phase in one map are which phase in the other.

    Parameters
    ----------
    result
        A result of `xstxm.compare`.
    cmap
        Colour map of the share of a row, from 0 to 1.
    size
        Pixels of the drawing area on the screen, along each side.
    title
        Text above; by default agreement and kappa.
    **opts
        Passed to HoloViews as options of the Overlay for the backend in use.

    Returns
    -------
    holoviews.Overlay
        A square for each pair with its number of pixels: rows are the one map, columns the other, the first phase in the upper
        left corner. Eager.

    Raises
    ------
    MissingVariableError
        `result` holds no `confusion`.
    OptionError
        No colour map has that name.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> type(xstxm.plot.confusion(xstxm.compare(phases, phases))).__name__
    'Overlay'
    """
    hv = holoviews()
    result = units.dequantify(result)
    table = require_variable(result, "confusion", "call xstxm.compare(one, other) first")
    names, names_other = ([str(name) for name in np.asarray(table[dim])] for dim in ("phase", "other_phase"))
    number = np.asarray(table.transpose("phase", "other_phase"))
    share = number / np.maximum(number.sum(1, keepdims=True), 1)
    last = len(names) - 1
    places = np.ndindex(number.shape)
    overlay = numbered_squares(
        [(k, last - j, str(number[j, k]), float(share[j, k]), int(number[j, k])) for j, k in places],
        [hv.Dimension("share", label="Share of the row"), hv.Dimension("pixels", label="Pixels")],
        top=1.0,
        cmap=cmap,
        size=size,
        xticks=list(enumerate(names_other)),
        yticks=list(enumerate(reversed(names))),
        xlabel="Other map",
        ylabel="One map",
        title=f"agreement {float(result['agreement']):.4g}, kappa {float(result['kappa']):.4g}"
        if title is None
        else title,
    )
    return overlay.opts(**opts) if opts else overlay
