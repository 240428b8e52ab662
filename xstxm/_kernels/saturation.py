"""Energies at which a pixel lies above a limit of the optical density, judged by what the others predict, left out.

Index letters: e energy, p pixel, u unknown (background terms, then references).
"""

from __future__ import annotations

import numpy as np

BLOCK = 4096
"""Pixels that are worked on at once."""
LEAST_KNOWN = 0.01
"""Smallest share of the information on any mixture of the unknowns that the energies left have to hold: errors ten times as
large as those of all energies."""


def without_saturated(od: np.ndarray, design: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return spectra (e, p) with NaN where a pixel lies above a limit, and how many values (p) remain and were left out.

    A value that came out high by noise would be left out and a low one kept, which biases what is left. So pixels with a
    value above the limit are fitted at the energies below it, free in sign, and the fit decides at all energies. Where
    the energies left no longer tell the unknowns (u, e) apart, none remains.
    """
    basis = np.linalg.qr(design.T)[0]
    kept = np.empty(od.shape, od.dtype)
    remain, left_out = np.empty((2, od.shape[1]), np.int32)
    for start in range(0, od.shape[1], BLOCK):
        at = slice(start, start + BLOCK)
        block = kept[:, at]
        block[:] = od[:, at]
        finite = np.isfinite(block)
        before = finite.sum(0)
        with np.errstate(invalid="ignore"):
            thick = np.flatnonzero((block > limit).any(0))
        if thick.size:
            finite[:, thick] = _predicted_below(block[:, thick].astype(float), finite[:, thick], basis, limit)
            block[~finite] = np.nan
        remain[at] = finite.sum(0)
        left_out[at] = before - remain[at]
    return kept, remain, left_out


def _predicted_below(od: np.ndarray, finite: np.ndarray, basis: np.ndarray, limit: float) -> np.ndarray:
    value = np.where(finite, od, 0)
    kept = finite & (value <= limit)
    moment = _information(kept, basis)
    target = (basis.T @ np.where(kept, value, 0)).T
    known = np.linalg.eigvalsh(moment)[:, 0] > LEAST_KNOWN
    moment[~known] = np.eye(basis.shape[1])
    model = basis @ np.linalg.solve(moment, target[..., None])[..., 0].T
    kept = finite & (model <= limit) & known
    known &= np.linalg.eigvalsh(_information(kept, basis))[:, 0] > LEAST_KNOWN
    return kept & known


def _information(kept: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Return the moments (p, u, u) of orthonormal spectra over the energies kept; all energies give the unit matrix."""
    products = np.einsum("eu,ev->uve", basis, basis)
    return np.moveaxis(products @ kept.astype(float), -1, 0)
