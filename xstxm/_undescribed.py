"""What references do not describe: the residuals of a training stack, or given spectra."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._axes import match_energy
from xstxm._components import sample_spectra
from xstxm._kernels.optimal_design import (
    Problem,
    estimator,
    noise_moments,
    positive_part,
    second_moments,
    sensitivity,
    target_slopes,
)
from xstxm._unknowns import Background, Method
from xstxm.conventions import ENERGY, REFERENCE
from xstxm.dose import Model
from xstxm.errors import IncompatibleUnitsError, SchemaError
from xstxm.fitting import fit
from xstxm.roi import sample_threshold
from xstxm.units import AmountLike

MAX_PIXELS = 20_000
"""Pixels of a training stack that are fitted."""


@dataclass(frozen=True)
class Cases:
    """Samples and what lies in their optical density that is neither reference nor background."""

    amounts: np.ndarray
    """Amounts of the sample (r, p)."""
    deviation: np.ndarray
    """Optical density that is not described (e, p)."""
    weight: np.ndarray
    """Weight of a case in a mean (p)."""
    variance: np.ndarray
    """Known variance of the measured optical density (m, p), m the energies measured; of shape (0, p) without."""
    spread: np.ndarray
    """How its noise comes into the deviations (e, m)."""

    @classmethod
    def none(cls, model: Model) -> Cases:
        """Return no cases."""
        n_energies, count = len(model.basis), len(model.to_amount)
        return cls(
            np.empty((count, 0)), np.empty((n_energies, 0)), np.empty(0), np.empty((0, 0)), np.empty((n_energies, 0))
        )

    def and_spectra(self, spectra: np.ndarray, amounts: np.ndarray) -> Cases:
        """Return the cases and one more for each spectrum (e, p) under a sample; its mean adds to that of the others."""
        count = spectra.shape[1]
        return Cases(
            np.hstack([self.amounts, np.repeat(amounts[:, None], count, axis=1)]),
            np.hstack([self.deviation, spectra]),
            np.hstack([self.weight, np.full(count, 1 / count)]),
            np.hstack([self.variance, np.zeros((len(self.variance), count))]),
            self.spread,
        )

    def moments(self, targets: np.ndarray) -> np.ndarray:
        """Return `second_moments` (r, s, e, f) for targets (t, k), known noise left out; (0, 0, e, e) without cases."""
        if not self.weight.size:
            return np.empty((0, 0, len(self.deviation), len(self.deviation)))
        scales = self.weight * sensitivity(self.amounts, targets)
        found = second_moments(self.deviation, scales)
        if not len(self.variance):
            return found
        return positive_part(found - noise_moments(self.variance, self.spread, scales))

    def bias(self, problem: Problem, chosen: list[int], targets: np.ndarray) -> np.ndarray:
        """Return the root mean square error of each target (t) in a fit of the chosen energies, known noise left out."""
        to_amount = problem.to_amount @ estimator(problem, chosen)
        slopes = target_slopes(self.amounts, targets)
        square = np.einsum("trp,rp->tp", slopes, to_amount @ self.deviation[chosen]) ** 2
        through = to_amount @ self.spread[chosen]
        noise = [((of_one.T @ through).T ** 2 * self.variance).sum(0) for of_one in slopes]
        return np.asarray(np.sqrt(np.maximum((square - noise) @ self.weight, 0)))


def left_by_fit(
    od: xr.DataArray,
    variance: xr.DataArray | None,
    places: np.ndarray,
    references: xr.Dataset,
    method: Method,
    background: Background,
    min_amount: AmountLike | None,
) -> Cases:
    """Return what a fit of all energies of a stack leaves at some places of its axis, for pixels that hold sample.

    What is left is that of a fit without bounds: a bound leaves noise of its own, and hides it from the known variance.

    Eager: reads the stack, and fits a sample of its pixels.
    """
    if variance is not None:
        both = np.isfinite(od) & np.isfinite(variance)
        od, variance = od.where(both), variance.where(both)  # so that both samples are of the same pixels
    data = sample_spectra(od, MAX_PIXELS, 0)
    pixels = xr.DataArray(data, dims=(ENERGY, "pixel"), coords={ENERGY: od[ENERGY].variable}, attrs={"units": "1"})
    fitted = fit(pixels, references, method=method, background=background)
    amounts = np.asarray(fitted["component_map"])
    total = fitted["component_map"].sum(REFERENCE, keep_attrs=True)
    held = np.asarray((total >= sample_threshold(total, min_amount)) & (total > 0))
    if not held.any():
        raise SchemaError("no pixel of the training stack holds sample: lower min_amount, or check the references")
    everywhere = Model.of(references, od[ENERGY], method, background)
    spread = everywhere.to_residual[places]
    left = spread @ (data[:, held] - everywhere.offset[:, None])
    known = np.empty((0, left.shape[1])) if variance is None else sample_spectra(variance, MAX_PIXELS, 0)[:, held]
    return Cases(amounts[:, held], left, np.full(left.shape[1], 1 / left.shape[1]), known, spread[:, : len(known)])


def given_deviations(deviations: xr.DataArray, model: Model) -> np.ndarray:
    """Return spectra (e, p) in optical density that may lie under a sample. Eager."""
    plain = units.dequantify(deviations)
    found = units.units_of(plain, "the deviations", "1")
    if found != "1":
        do = "give optical densities: a spectrum in 1/nm times a thickness"
        raise IncompatibleUnitsError("the deviations", found, "1", do)
    if ENERGY not in plain.dims or plain.ndim > 2:
        raise SchemaError(f"the deviations have dims {plain.dims}: give spectra (any dimension, energy)")
    rows = match_energy(plain.astype(float), model.energy, what="the deviations", whose="the candidates")
    values = np.asarray(rows.transpose(ENERGY, ...)).reshape(model.energy.size, -1)
    if not np.isfinite(values).all() or not values.any():
        raise SchemaError("the deviations hold values that are not finite, or nothing but zeros")
    return values
