"""Lines of a scan that are brighter or darker as a whole than the lines beside them."""

from __future__ import annotations

import warnings

import numpy as np


def line_steps(frame: np.ndarray):
    """Return the median step from each line to the next (lines - 1), and its standard error.

    Lines along the first axis. A median over the line, so that structure which changes in less than half
    of it does not count.
    """
    steps = np.diff(frame, axis=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        median = np.nanmedian(steps, axis=1)
        spread = 1.4826 * np.nanmedian(np.abs(steps - median[:, None]), axis=1)
    number = np.isfinite(steps).sum(axis=1)
    return median, 1.2533 * spread / np.sqrt(np.maximum(number, 1))


def line_offsets(frame: np.ndarray, max_lines: int, significance: float):
    """Return what each line lies above the course of the frame, 0 where that is not significant.

    The steps add up to a profile; its running median over 2 * max_lines + 1 lines is the course of the sample,
    which stays. A line without a step on one side, because it is missing, starts anew.
    """
    from scipy import ndimage

    median, error = line_steps(frame)
    known = np.isfinite(median)
    profile = np.concatenate([[0.0], np.cumsum(np.where(known, median, 0.0))])
    course = ndimage.median_filter(profile, size=2 * max_lines + 1, mode="nearest")
    offset = profile - course
    beside = np.concatenate([[np.nan], np.where(known, error, np.nan), [np.nan]])
    error = np.fmax(beside[:-1], beside[1:])
    return np.where(np.abs(offset) > significance * error, offset, 0.0)
