"""How well pairs of references are told apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.conventions import REFERENCE, require_variable
from xstxm.errors import SchemaError
from xstxm.plot._holoviews import holoviews
from xstxm.plot._labels import label
from xstxm.plot._squares import numbered_squares


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
    OptionError
        No colour map has that name.

    Examples
    --------
    >>> import xstxm
    >>> result = xstxm.distinguishability(xstxm.testing.simulate_references(), counts=5000)
    >>> type(xstxm.plot.distinguishability(result)).__name__
    'Overlay'
    """
    hv = holoviews()
    result = units.dequantify(result)
    pairs = require_variable(result, "pair_stderr", "call .stxm.distinguishability(counts=...) first")
    names = [str(name) for name in np.asarray(pairs[REFERENCE])]
    if len(names) < 2:
        raise SchemaError(f"{names[0]!r} is the only reference: there is no pair to draw")
    values = np.asarray(pairs, dtype=float)
    places = [(j, k) for j in range(1, len(names)) for k in range(j)]
    overlay = numbered_squares(
        [(k, j, f"{values[j, k]:.2g}", float(values[j, k])) for j, k in places],
        [hv.Dimension(("pair_stderr", label(pairs)))],
        top=float(values.max()) or 1.0,
        cmap=cmap,
        size=size,
        axes=[hv.Dimension("first", label=" "), hv.Dimension("second", label="  ")],
        xticks=list(enumerate(names))[:-1],
        yticks=list(enumerate(names))[1:],
        xlabel="",
        ylabel="",
        title=f"condition number {float(result['condition_number']):.3g}" if title is None else title,
    )
    return overlay.opts(**opts) if opts else overlay
