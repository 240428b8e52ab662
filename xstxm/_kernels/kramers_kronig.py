"""The Kramers-Kronig transform of an absorption, exact for straight lines between its points.

Index letters: e energy at which the phase is wanted, k point of the absorption.
"""

from __future__ import annotations

import numpy as np


def phase_per_length(at, energy, absorption):
    """Return ``p(E) = E / pi P int mu(F) / (F^2 - E^2) dF`` (e), in rad over the length of mu, (k) and zero beyond.

    With the refractive index 1 - delta + i beta, mu = 2 k beta and p = -k delta. energy (k) ascends. Where a line has the
    slope s and meets the next at F, the integral of their difference is ``(s - s') [(E - F) ln |E - F| + (E + F) ln (E + F)]``.
    """
    from scipy.special import xlogy

    at = np.asarray(at, dtype=float)[:, None]
    slope = np.diff(absorption) / np.diff(energy)
    bend = -np.diff(slope, prepend=0, append=0)
    below, above = at - energy, at + energy
    bends = (xlogy(below, np.abs(below)) + xlogy(above, above)) @ bend
    ends = [0, -1]
    with np.errstate(divide="ignore"):
        steps = np.log(above[:, ends] / np.abs(below[:, ends])) @ (absorption[ends] * np.array([1, -1]))
    return (bends + steps) / (2 * np.pi)
