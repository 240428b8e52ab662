"""One spectrum scaled to every pixel.

Index letters: p pixel (any number of leading dims), e energy.
"""

from __future__ import annotations

import numpy as np


def scale(values, variance, *, spectrum, constant, known):
    """Return t and its stderr (p) of values (p, e) = t * spectrum (e), plus a free constant, by least squares.

    Energies that are NaN in a pixel are left out. The stderr follows from the variance (p, e) where it is `known`, else
    from the residual; NaN where no energy is left over.
    """
    use = np.isfinite(values)
    y = np.where(use, values, 0).astype(float)
    a = np.where(use, spectrum, 0)
    number = use.sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        if constant:
            a = np.where(use, a - (a.sum(-1) / number)[..., None], 0)
            y = np.where(use, y - (y.sum(-1) / number)[..., None], 0)
        square = (a * a).sum(-1)
        t = np.where(square > 1e-12 * (spectrum**2).sum(), (a * y).sum(-1) / square, np.nan)
        if known:
            error = np.sqrt((a * a * np.where(use, variance, 0)).sum(-1)) / square
        else:
            left = number - (2 if constant else 1)
            rest = ((y - t[..., None] * a) ** 2).sum(-1)
            error = np.sqrt(np.where(left > 0, rest / np.maximum(left, 1), np.nan) / square)
    return t.astype(values.dtype), np.where(np.isnan(t), np.nan, error).astype(values.dtype)
