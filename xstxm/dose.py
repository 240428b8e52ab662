"""What references tell apart at a dose: counting noise, and the errors that follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._axes import match_energy
from xstxm._kernels.optimal_design import fraction_slopes
from xstxm._references_at import checked_absorption, references_at
from xstxm._unknowns import Background, Method, background_spectra, require_determined
from xstxm.conventions import (
    ENERGY,
    OTHER_REFERENCE,
    REFERENCE,
    annotate,
    composition_number,
    require_compositions,
    require_energy,
)
from xstxm.energy import given_energies
from xstxm.errors import (
    EnergyRangeError,
    OptionError,
    ReferenceSpectrumError,
    check_choice,
    require_number,
)
from xstxm.provenance import note, recorded
from xstxm.units import EnergyLike

Amounts: TypeAlias = "Mapping[str, float | str] | xr.DataArray"
Counts: TypeAlias = "float | xr.DataArray"


@recorded
def distinguishability(
    references: xr.Dataset,
    *,
    counts: Counts,
    energies: Sequence[EnergyLike] | xr.DataArray | None = None,
    amounts: Amounts | None = None,
    i0_counts: Counts | None = None,
    method: Method = "nnls",
    background: Background = "constant",
) -> xr.Dataset:
    """Return how well references are told apart at a dose, before anything is measured.

    Counting noise gives the optical density d of one pixel the variance ``v = exp(d) / counts + 1 / i0_counts``. No
    unbiased estimate of the amounts has a smaller covariance than the Cramer-Rao bound, the inverse of
    ``sum_e x_e x_e' / v_e`` with x_e the references and the background at an energy; a fit with weights 1 / v reaches it.

    Parameters
    ----------
    references
        Reference set.
    counts
        Incident counts of a pixel at each energy, a number or an array along energy such as `i0`.
    energies
        The energies to measure, in any order; one that is given twice is measured twice. By default those of
        the references between which all of them have data.
    amounts
        The sample: the name of each reference to its amount, a number in the unit of amounts or a string as ``"60 nm"``.
        By default an equal mixture whose largest optical density is 1 at the energies of the references, between which all
        of them have data; it does not depend on `energies`, so that choices of them compare. With ``method="fcls"`` an
        equal mixture whose amounts add up to one.
    i0_counts
        Counts behind I0 at each energy, where it is measured; its noise is left out by default.
    method, background
        As in `fit`: what is unknown besides the amounts, and whether their sum is. Bounds are not in use: the
        amounts are those of a pixel away from them.

    Returns
    -------
    Dataset
        `amount`, `amount_stderr` (reference) in the unit of amounts, `fraction`, `fraction_stderr` (reference),
        `amount_correlation`, `fraction_correlation` and `pair_stderr` (reference, other_reference), the standard
        error of the difference of two fractions; `condition_number` of the references and the background at
        unit length; `composition_stderr`, a number, where the references carry a composition. The attribute `worst_pair` names
        the two references that are hardest to tell apart. Eager.

    Raises
    ------
    ReferenceSpectrumError
        References that are mixtures of each other or of the background at these energies, too few energies, or a
        composition that is missing for some references.
    EnergyRangeError
        Energies beyond the data of the references.
    OptionError, UnitsError
        Counts or amounts that make no sense.

    Warns
    -----
    CollinearityWarning
        References that are so nearly mixtures of each other that no realistic dose tells them apart.

    References
    ----------
    S. M. Kay, Fundamentals of Statistical Signal Processing: Estimation Theory, Prentice Hall (1993), chapter 3.

    Examples
    --------
    >>> import xstxm
    >>> refs = xstxm.testing.simulate_references()
    >>> result = xstxm.distinguishability(refs, counts=5000)
    >>> result.attrs["worst_pair"]
    'epsilon-Li0.4V2O5 and delta-LiV2O5'
    >>> result[["amount_stderr", "fraction_stderr"]].reset_coords(drop=True).to_dataframe().round(2)  # doctest: +NORMALIZE_WHITESPACE
                       amount_stderr  fraction_stderr
    reference
    alpha-V2O5                  4.03             0.04
    epsilon-Li0.4V2O5           6.76             0.07
    delta-LiV2O5                5.15             0.06
    gamma-LiV2O5                3.10             0.03
    """
    check_choice("method", method, Method)
    references = units.dequantify(references)
    model = Model.of(references, energy_axis(references, energies), method, background)
    sample = sample_amounts(amounts, model, references)
    variance = counting_variance(model, sample, counts, i0_counts)
    basis, to_amount = model.basis, model.to_amount
    covariance = to_amount @ np.linalg.inv((basis.T / variance) @ basis) @ to_amount.T
    result = _errors(covariance, sample, model)
    pair = _worst_pair(result["pair_stderr"])
    told = {"method": method, "background": background if isinstance(background, str) else "given"}
    if pair:
        note(f"worst pair {pair}")
    return result.assign_attrs({**told, **({"worst_pair": pair} if pair else {})})


def _composition(spectra: xr.DataArray) -> xr.DataArray:
    """Return the composition of every reference: ions per formula unit, or a concentration."""
    composition = require_compositions(spectra)
    if not units.same_kind(composition.attrs.get("units", "1"), "mol/m**3"):
        composition_number(composition)  # or raises
    return composition


@dataclass(frozen=True)
class Model:
    """What is fitted, at energies that may be measured."""

    spectra: xr.DataArray
    """References (reference, energy)."""
    terms: xr.DataArray
    """Background (term, energy)."""
    basis: np.ndarray
    """Orthonormal spectra of the unknowns (e, u)."""
    to_amount: np.ndarray
    """Amounts from the unknowns (r, u)."""
    condition: float
    fixed_sum: bool
    composition: xr.DataArray | None
    """Composition (reference), None where the references carry none."""

    @classmethod
    def of(cls, references: xr.Dataset, energy: xr.DataArray, method: Method, background: Background) -> Model:
        """Return references and background at energies; refuse what has no unique solution there."""
        spectra = references_at(references, energy, what="the energies")
        terms = background_spectra(background, energy)
        require_determined(spectra, terms, method, there="there are")
        composition = _composition(spectra) if "composition" in spectra.coords else None
        n_references, n_terms = spectra.sizes[REFERENCE], len(terms)
        free = np.eye(n_references + n_terms)
        if method == "fcls":  # amounts that add up to zero are all that is free
            free = np.delete(free, 0, axis=1)
            free[0, : n_references - 1] = -1
        design = np.concatenate([np.asarray(spectra), np.asarray(terms)]).T @ free
        design_length = np.linalg.norm(design, axis=0)
        basis, triangle = np.linalg.qr(design / design_length)
        to_amount = np.linalg.solve(triangle.T, (free[:n_references] / design_length).T).T
        condition = float(np.linalg.cond(triangle))
        return cls(spectra, terms, basis, to_amount, condition, method == "fcls", composition)

    @property
    def energy(self) -> xr.DataArray:
        """The energies."""
        return self.spectra[ENERGY]

    @property
    def names(self) -> list[str]:
        """Names of the references."""
        return [str(name) for name in np.asarray(self.spectra[REFERENCE])]

    @property
    def amount_unit(self) -> str:
        """Unit of the amounts."""
        return units.derive("1", units.units_of(self.spectra))

    @property
    def offset(self) -> np.ndarray:
        """Optical density (e) of a sample whose unknowns are zero."""
        spectra = np.asarray(self.spectra)
        return spectra[0] if self.fixed_sum else np.zeros(spectra.shape[1])

    @property
    def to_residual(self) -> np.ndarray:
        """What a fit without bounds leaves of spectra (e, e)."""
        return np.eye(len(self.basis)) - self.basis @ self.basis.T

    def density(self, amounts: np.ndarray) -> np.ndarray:
        """Return the optical density (e) of a sample."""
        return np.asarray(amounts @ np.asarray(self.spectra))


def energy_axis(references: xr.Dataset, energies: Sequence[EnergyLike] | xr.DataArray | None) -> xr.DataArray:
    """Return given energies as a coordinate, by default the references' own between the ends that all of them reach."""
    absorption = checked_absorption(references)
    own = require_energy(absorption)
    if energies is not None:
        axis = units.dequantify(energies) if isinstance(energies, xr.DataArray) else energies
        return _coordinate(given_energies(axis, own), own)
    inside = _between_ends(absorption)
    if inside.size < own.size:
        ends = f"{inside.min():g} to {inside.max():g} {units.units_of(own)}"
        note(f"energies from {ends}, where all references have data")
    return _coordinate(inside, own)


def _between_ends(absorption: xr.DataArray) -> np.ndarray:
    """Return the energies of references between which all of them have data."""
    finite = np.isfinite(np.asarray(absorption))
    values = np.asarray(absorption[ENERGY], dtype=float)
    low, high = max(values[row].min() for row in finite), min(values[row].max() for row in finite)
    inside = values[(values >= low) & (values <= high)]
    if not inside.size:
        raise EnergyRangeError("no energy is common to all references: check the energy units, or give energies=")
    return np.asarray(inside)


def _coordinate(values: np.ndarray, like: xr.DataArray) -> xr.DataArray:
    return xr.DataArray(values, dims=ENERGY, coords={ENERGY: (ENERGY, values, like.attrs)})[ENERGY]


def sample_amounts(amounts: Amounts | None, model: Model, references: xr.Dataset) -> np.ndarray:
    """Return the amounts (r) of the sample, by default an equal mixture of the stated thickness, whatever the energies."""
    if amounts is not None:
        values = _given_amounts(amounts, model.names, model.amount_unit)
        if model.fixed_sum and not np.isclose(values.sum(), 1):
            raise OptionError("amounts", values.tolist(), "with method='fcls' the amounts add up to one")
        return values
    equal = np.full(len(model.names), 1 / len(model.names))
    if model.fixed_sum:
        return equal
    absorption = checked_absorption(references)
    whole = references_at(references, _coordinate(_between_ends(absorption), absorption[ENERGY]))
    thickest = float((equal @ np.asarray(whole)).max())
    if not thickest > 0:
        raise ReferenceSpectrumError(
            "an equal mixture of the references absorbs nothing: give the sample as amounts=",
            model.names,
        )
    return equal / thickest


def _given_amounts(amounts: Amounts, names: list[str], unit: str) -> np.ndarray:
    if isinstance(amounts, xr.DataArray):
        plain = units.dequantify(amounts)
        if plain.dims != (REFERENCE,) or REFERENCE not in plain.coords:
            raise OptionError("amounts", plain.dims, "give an array along reference with its names")
        plain = units.to_units(plain, unit, "amounts") if "units" in plain.attrs else plain
        amounts = dict(
            zip(map(str, np.asarray(plain[REFERENCE])), np.asarray(plain, dtype=float).tolist(), strict=True)
        )
    if not isinstance(amounts, Mapping) or set(amounts) != set(names):
        found = sorted(map(str, amounts)) if isinstance(amounts, Mapping) else amounts
        wanted = ", ".join(f"{name!r}: ..." for name in names)
        raise OptionError("amounts", found, f"give one amount for each reference by its name, {{{wanted}}}")
    values = np.array([units.to_magnitude(amounts[name], unit, f"amount of {name!r}") for name in names])
    if not ((values >= 0).all() and values.sum() > 0):
        raise OptionError("amounts", values.tolist(), "amounts are not negative, and one is above zero")
    return values


def counting_variance(model: Model, amounts: np.ndarray, counts: Counts, i0_counts: Counts | None) -> np.ndarray:
    """Return the variance (e) of the optical density of a sample, exp(od) / counts + 1 / i0_counts."""
    variance = np.exp(model.density(amounts)) / counts_at(counts, model.energy, "counts")
    return variance if i0_counts is None else variance + 1 / counts_at(i0_counts, model.energy, "i0_counts")


def counts_at(counts: Counts, energy: xr.DataArray, option: str) -> np.ndarray:
    """Return counts (e) given as a number or along energy; all above zero."""
    if isinstance(counts, xr.DataArray):
        plain = units.to_units(units.dequantify(counts).astype(float), "count", option)
        if plain.dims not in ((), (ENERGY,)):
            raise OptionError(
                option, plain.dims, "give a number, or counts along energy: average over the pixels first"
            )
        plain = match_energy(plain, energy, what=option, whose="the energies") if plain.dims else plain
        values = np.broadcast_to(np.asarray(plain), energy.shape)
    else:
        number = require_number(option, counts, "a number of counts, or an array along energy,", above=0)
        values = np.full(energy.shape, number)
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise OptionError(option, values[~(values > 0)].tolist(), "give counts above zero at every energy")
    return values


def fraction_covariance(covariance: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """Return the covariance of the fractions (r, s), to first order, from that of the amounts."""
    slopes = fraction_slopes(amounts[:, None])[..., 0]
    return np.asarray(slopes @ covariance @ slopes.T)


def _errors(covariance: np.ndarray, amounts: np.ndarray, model: Model) -> xr.Dataset:
    """Return amounts and fractions of a sample with their errors, from the covariance of the amounts."""
    of_fractions = fraction_covariance(covariance, amounts)
    variance = np.diag(of_fractions)
    pairs = variance[:, None] + variance - 2 * of_fractions
    one, two = (REFERENCE,), (REFERENCE, OTHER_REFERENCE)
    rows = {
        "amount": (one, amounts, model.amount_unit),
        "amount_stderr": (one, np.sqrt(np.diag(covariance)), model.amount_unit),
        "fraction": (one, amounts / amounts.sum(), None),
        "fraction_stderr": (one, np.sqrt(np.maximum(variance, 0)), None),
        "amount_correlation": (two, _correlation(covariance), None),
        "fraction_correlation": (two, _correlation(of_fractions), None),
        "pair_stderr": (two, np.sqrt(np.maximum(pairs, 0)), None),
        "condition_number": ((), np.asarray(model.condition), None),
    }
    arrays = {
        name: annotate(xr.DataArray(data, dims=dims), name, units=unit) for name, (dims, data, unit) in rows.items()
    }
    if model.composition is not None:
        x = np.asarray(model.composition, dtype=float)
        error = np.sqrt(max(x @ of_fractions @ x, 0))
        unit = model.composition.attrs.get("units", "1")
        arrays["composition_stderr"] = annotate(xr.DataArray(error), "composition_stderr", units=unit)
    along = {name: coord for name, coord in model.spectra.coords.items() if coord.dims == one}
    names = model.spectra[REFERENCE].data
    return xr.Dataset(arrays).assign_coords({**along, OTHER_REFERENCE: (OTHER_REFERENCE, names)})


def _correlation(covariance: np.ndarray) -> np.ndarray:
    """Return a correlation matrix; NaN where there is no error."""
    error = np.sqrt(np.maximum(np.diag(covariance), 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return covariance / (error[:, None] * error)


def _worst_pair(pairs: xr.DataArray) -> str:
    """Return the names of the two references whose fractions are known worst against each other."""
    values, names = np.asarray(pairs), np.asarray(pairs[REFERENCE])
    first, second = np.unravel_index(int(np.argmax(np.triu(values, 1))), values.shape)
    return f"{names[first]} and {names[second]}" if first != second else ""
