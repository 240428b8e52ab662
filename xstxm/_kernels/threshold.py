"""Where empty area ends and sample begins."""

from __future__ import annotations

import numpy as np

from xstxm._kernels.devices import on_host

EMPTY = 0.25
"""Share of the amount of the sample that the pixels below Otsu's threshold may hold to be empty area."""


def otsu(image: np.ndarray, n_bins: int) -> np.ndarray:
    """Otsu's threshold between empty area and sample; -inf where nothing is empty.

    The histogram leaves out the outermost half per cent at either end, or one wild pixel would rule it.
    """
    none = np.asarray(-np.inf, dtype=image.dtype)
    finite = image[np.isfinite(image)]
    if not finite.size:
        return none
    low, high = float(np.quantile(finite, 0.005, method="higher")), float(np.quantile(finite, 0.995, method="lower"))
    if not high - low > 1e-5 * max(abs(low), abs(high)):  # nothing to tell apart, as with amounts that add up to one
        return none
    counts, edges = map(on_host, np.histogram(finite, n_bins, range=(low, high)))
    centres = (edges[1:] + edges[:-1]) / 2
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    mean_below = np.cumsum(counts * centres) / np.maximum(below, 1)
    mean_above = (np.cumsum((counts * centres)[::-1]) / np.maximum(np.cumsum(counts[::-1]), 1))[::-1]
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    at = int(np.argmax(between))
    if mean_below[at] > EMPTY * mean_above[at + 1]:
        return none
    return np.asarray(edges[1 + at], dtype=image.dtype)
