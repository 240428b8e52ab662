"""Sums over the pixels of a block of frames: how frames resemble each other, and what is missing in them."""

from __future__ import annotations

import numpy as np

BLOCK = 1 << 14
"""Pixels that are held in float64 at once."""


def frame_sums(frames: np.ndarray, mean: np.ndarray, dark: np.ndarray, bright: np.ndarray, common: np.ndarray):
    """Return the sums over pixels (e, e + 2): products of centred frames, dark pixels, missing pixels.

    Parameters
    ----------
    frames
        Counts, shape (e, ...).
    mean
        Mean of each frame, shape (e).
    dark
        Counts of each frame below which a bright pixel of one count on average is dark, shape (e).
    bright
        Average counts of the pixels to look for darkness in, NaN elsewhere, shape (...).
    common
        Pixels measured in most frames, shape (...).
    """
    # e, f = energy; p = pixel
    n = len(frames)
    flat, level, usual = frames.reshape(n, -1), bright.ravel(), common.ravel()
    sums = np.zeros((n, n + 2))
    for start in range(0, level.size, BLOCK):
        at = slice(start, start + BLOCK)
        centred = flat[:, at].astype(float)
        missing = np.isnan(centred)
        sums[:, n] += (centred < dark[:, None] * level[at]).sum(1)
        sums[:, n + 1] += (missing & usual[at]).sum(1)
        centred -= mean[:, None]
        centred[missing] = 0
        sums[:, :n] += centred @ centred.T
    return sums


def similarity(products: np.ndarray, reach: int):
    """Return the share of each frame's variance that the nearest others explain by a linear combination.

    `products` (e, e) are those of centred frames in order of energy; `reach` frames on either side count.
    A share, not a correlation: where contrast inverts across an edge the coefficients change sign, and a
    frame between two bad ones still has good ones to lean on.
    """
    n = len(products)
    explained = np.full(n, np.nan)
    for e in range(n):
        near = np.argsort(np.abs(np.arange(n) - e), kind="stable")[1 : 2 * reach + 1]
        if near.size and products[e, e] > 0:
            weights = np.linalg.lstsq(products[np.ix_(near, near)], products[near, e], rcond=1e-10)[0]
            explained[e] = np.clip(products[near, e] @ weights / products[e, e], 0, 1)
    return explained


def excess_odds(explained: np.ndarray, reach: int):
    """Return how much larger the odds of being unexplained are than usual among the nearest frames."""
    odds = np.log(np.maximum(1 - explained, 1e-12)) - np.log(np.maximum(explained, 1e-12))
    n = len(odds)
    near = [np.argsort(np.abs(np.arange(n) - e), kind="stable")[1 : 2 * reach + 1] for e in range(n)]
    return np.array([np.exp(odds[e] - np.median(odds[near[e]])) for e in range(n)])
