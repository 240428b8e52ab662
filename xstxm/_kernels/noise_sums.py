"""Sums over pairs of pixels whose noise is correlated.

Index letters: y and x pixels, g group of pixels (from 1; 0 is none).
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def correlated_squares(field, group, n_groups, correlation):
    """Return sum_pq rho_pq f_p f_q over the pixels (y, x) of each group (g), for lags that are not too many."""
    found = np.zeros(n_groups + 1)
    reach_y, reach_x = correlation.shape[0] // 2, correlation.shape[1] // 2
    ny, nx = field.shape
    for y in range(ny):
        for x in range(nx):
            g = group[y, x]
            if g == 0:
                continue
            around = 0.0
            for j in range(max(y - reach_y, 0), min(y + reach_y + 1, ny)):
                for i in range(max(x - reach_x, 0), min(x + reach_x + 1, nx)):
                    if group[j, i] == g:
                        around += correlation[j - y + reach_y, i - x + reach_x] * field[j, i]
            found[g] += field[y, x] * around
    return found[1:]
