"""Normal equations of a Gauss-Newton step of `low_rank_registration`, and the standard errors of displacements.

Index letters: e frame, c component, a displacement mode, b band of rows.
"""

from __future__ import annotations

import numpy as np


def like_derivatives(va: np.ndarray, aa: np.ndarray, lam: np.ndarray, modes: int) -> np.ndarray:
    """Return the share of each map that the derivatives of the two leading maps explain, (c,)."""
    n = len(lam)
    leading = [a * n + c for a in range(modes) for c in range(min(2, n))]
    inner = aa[np.ix_(leading, leading)]
    explained = np.linalg.lstsq(inner, va[:, leading].T, rcond=1e-9)[0]
    return np.einsum("cj,jc->c", va[:, leading], explained) / lam


class NormalEquations:
    """The normal equations of a step, for any choice of the candidate components."""

    def __init__(self, u, lam, va, aa, scores, noise, live, modes) -> None:
        self.u, self.lam, self.noise, self.live, self.modes = u, lam, noise, live, modes
        self.va, self.aa, self.scores = va.astype(float), aa.astype(float), scores

    def solve(self, keep: np.ndarray, prior: np.ndarray, pull: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return step and standard error of every mode, both (e, a)."""
        u, lam, n_candidates = self.u[:, keep], self.lam[keep], len(self.lam)
        n, n_kept, modes = len(u), len(keep), self.modes
        at = np.concatenate([a * n_candidates + keep for a in range(modes)])
        va = self.va[np.ix_(keep, at)]
        h = (self.aa[np.ix_(at, at)] - va.T @ (va / lam[:, None])).reshape(modes, n_kept, modes, n_kept)
        projector = np.eye(n) - u @ u.T
        normal = np.einsum("ef,ec,acbd,fd->aebf", projector, u, h, u, optimize=True).reshape(modes * n, -1) / self.noise
        frames, maps = self.scores[:, :n, at], self.scores[:, n:, at][:, keep]
        left = (frames - u @ maps).reshape(-1, n, modes, n_kept)
        bands = np.einsum("beac,ec->bae", left, u).reshape(len(left), -1) / self.noise
        full = normal + 1e-6 * np.trace(normal) / len(normal) * np.eye(len(normal))
        right = bands.sum(0)
        for a in range(modes):
            own = slice(a * n, (a + 1) * n)
            full[own, own] += prior[a] + np.ones((n, n))
            right[own] += pull[a]
        inverse = np.linalg.inv(full)
        delta = (inverse @ right).reshape(modes, n).T
        return delta, _standard_errors(inverse, normal, bands, self.live, modes)


def _standard_errors(
    inverse: np.ndarray, normal: np.ndarray, bands: np.ndarray, live: np.ndarray, modes: int
) -> np.ndarray:
    """Return standard errors (e, a) of displacements, the mean of the live frames zero, from the scatter of the bands' scores.

    The sandwich estimate sees what the noise model does not: correlated noise, patterns, contrast that the model
    lacks. A few bands give it few degrees of freedom, so half of it is the common ratio to the plain estimate.
    """
    n = len(live)
    centring = np.kron(np.eye(modes), np.eye(n) - live / live.sum())
    centre = centring @ inverse
    scatter = centre @ (bands - bands.mean(0)).T * np.sqrt(len(bands) / (len(bands) - 1))
    plain = np.einsum("ij,ij->i", centre @ normal, centre)
    ratio = (scatter**2).sum(1) / np.maximum(plain, 1e-30)
    common = np.median(ratio[np.tile(live, modes)])
    prior = np.maximum(np.einsum("ij,ij->i", centre, centring) - plain, 0)  # of frames that hold little
    return np.sqrt(plain * (ratio + common) / 2 + prior).reshape(modes, n).T
