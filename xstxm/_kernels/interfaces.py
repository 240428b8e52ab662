"""Where labels of an image change, and how long the boundary is.

Index letters: y and x pixels, k and j phases.
"""

from __future__ import annotations

import numpy as np


def interfaces(label, *, spacing, n_phases, max_gap, undecided):
    """Return the pixels (y, x) at an interface, and its length (k, j) between two phases, of one labelled image.

    Two pixels of different phases (labels from 0) along a row, a column or a diagonal make a crossing, with at most
    `max_gap` undecided pixels between them. The length follows from the numbers of crossings by Cauchy and
    Crofton's formula, L = 1/2 sum(angle * distance of lines * crossings) over the four directions.
    """
    marked = np.zeros(label.shape, dtype=bool)
    length = np.zeros((n_phases, n_phases))
    for (down, right), weight in _directions(*spacing):
        for reach in range(1, max_gap + 2):
            first, *between, last = (_shifted(label.shape, down, right, step, reach) for step in range(reach + 1))
            a, b = label[first], label[last]
            crossing = (a >= 0) & (b >= 0) & (a != b)
            for place in between:
                crossing &= label[place] == undecided
            np.add.at(length, (a[crossing], b[crossing]), weight)
            if not (down and right):
                for place in (first, *between, last):
                    marked[place] |= crossing
    return marked, length + length.T


def _directions(dy, dx):
    """Yield the four steps (down, right) with the weight of a crossing, half the angle times the distance of lines."""
    diagonal = np.arctan2(dy, dx)
    across = dx * dy / np.hypot(dx, dy)
    yield (0, 1), diagonal * dy / 2
    yield (1, 0), (np.pi / 2 - diagonal) * dx / 2
    yield (1, 1), np.pi / 8 * across
    yield (1, -1), np.pi / 8 * across


def _shifted(shape, down, right, step, reach):
    """Return the window of an image of what lies `step` steps along, where all `reach` steps stay inside."""
    rows, columns = shape
    top = slice(step * down, max(rows - (reach - step) * down, 0))
    if right >= 0:
        return top, slice(step * right, max(columns - (reach - step) * right, 0))
    return top, slice((reach - step) * -right, max(columns - step * -right, 0))
