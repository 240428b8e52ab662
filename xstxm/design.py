"""Which energies to measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._components import density_to_unmix
from xstxm._design_options import Time, candidate_axis, places_of, rules_of
from xstxm._kernels.optimal_design import (
    Problem,
    Rules,
    at_chosen,
    best_choice,
    estimator,
    sensitivity,
    share_exposure,
    target_slopes,
)
from xstxm._undescribed import Cases, given_deviations, left_by_fit
from xstxm._unknowns import Background, Method
from xstxm.absorption import with_density
from xstxm.conventions import ENERGY, REFERENCE, annotate, variance_of
from xstxm.dose import (
    Amounts,
    Counts,
    Model,
    counting_variance,
    counts_at,
    sample_amounts,
)
from xstxm.energy import Window
from xstxm.errors import OptionError, ReferenceSpectrumError, check_choice, require_whole
from xstxm.provenance import note, recorded
from xstxm.units import AmountLike, EnergyLike

Criterion: TypeAlias = Literal["bias-aware", "a-optimal", "d-optimal"]
Sharing: TypeAlias = Literal["equal", "optimal"]
Weighting: TypeAlias = Literal["equal", "variance"]
Target: TypeAlias = Literal["fractions", "composition"]


@recorded
def design_energies(
    references: xr.Dataset,
    n: int,
    *,
    criterion: Criterion = "bias-aware",
    target: Target = "fractions",
    training: xr.DataArray | xr.Dataset | None = None,
    deviations: xr.DataArray | None = None,
    candidates: Sequence[EnergyLike] | xr.DataArray | None = None,
    required: Sequence[EnergyLike] = (),
    forbidden: Sequence[EnergyLike | Window] = (),
    min_spacing: float | str | None = None,
    counts: Counts | None = None,
    i0_counts: Counts | None = None,
    dwell: float | str | None = None,
    total_time: float | str | None = None,
    sharing: Sharing = "equal",
    amounts: Amounts | None = None,
    weighting: Weighting = "equal",
    method: Method = "nnls",
    background: Background = "constant",
    min_amount: AmountLike | None = None,
    signal: str = "optical_density",
) -> xr.Dataset:
    """Choose the n energies that give the best fractions, or the best composition.

    A fit of the chosen energies turns an error of the optical density there into one of the fractions, linearly. The
    criterion ``"bias-aware"`` makes the mean square of that error smallest: the variance from counting noise plus the
    squared bias from what the references do not describe. ``"a-optimal"`` takes the variance alone, ``"d-optimal"``
    the determinant of the covariance of all unknowns, background included.

    Parameters
    ----------
    references
        Reference set.
    n
        How many energies, a whole number, at least one more than there are unknowns.
    criterion
        What is made as good as possible. ``"bias-aware"`` needs `training` or `deviations`.
    target
        Whose errors count: those of all ``"fractions"`` alike, or that of the ``"composition"``, for which references
        of one composition need not be told apart. Not for ``"d-optimal"``, which counts all unknowns.
    training
        A measured stack of the same kind of sample, as optical density or counts. What the fit of all its energies
        leaves is what the references do not describe, noise included; with `counts` that noise is taken off where a
        Dataset holds its variance, else it counts as bias, which the history says.
    deviations
        Spectra (any dimension, energy) in optical density that may lie under the sample unnoticed: a contamination, a
        reference minus itself moved by 0.1 eV. Their mean square counts.
    candidates
        The energies to choose from. By default those of the training stack, else those of the references.
    required, forbidden
        Candidates that are in every choice or in none; a pair in `forbidden` is a range, both ends included.
    min_spacing
        Least distance of chosen energies; a number is in the unit of the axis.
    counts, i0_counts
        Incident counts of a pixel, and counts behind I0, at each energy, as in `distinguishability`. Without `counts`
        the noise is the same at every energy, and with ``"bias-aware"`` only that of the training stack.
    dwell
        Exposure behind `counts`; a number is in ms.
    total_time
        Exposure of a pixel at all energies together; a number is in ms. By default n times `dwell`.
    sharing
        ``"equal"`` exposure of the energies, or the ``"optimal"`` one for the chosen energies at the same total.
    amounts
        The sample of which the noise is taken, as in `distinguishability`, and with its default; with a training stack by
        default the mean of that.
    weighting
        How the measurement will be fitted: ``"equal"`` weights, as `fit` does by itself, or ``"variance"``: weights of
        1 / variance.
    method, background
        As in `fit`.
    min_amount
        Pixels of the training stack with a smaller total amount do not count; by default as in `phase_map`.
    signal
        Variable of a training Dataset.

    Returns
    -------
    Dataset
        `exposure_share` (energy), with the chosen energies, ascending; `score`, larger is better: minus the mean over
        references of the squared error of a fraction, minus that of the composition, or minus the log-determinant of
        the covariance of all unknowns, each in the unit that makes their spectra orthonormal over the candidates (a
        constant apart from that of the amounts, so these scores compare among choices of the same candidates only).
        With `counts`: `incident_counts` (energy) and `fraction_stderr` (reference). With `training` or
        `deviations`: `fraction_bias` (reference). With either, `fraction_error` (reference). Where the references carry
        a composition, `composition_stderr`, `composition_bias` and `composition_error` too. With `dwell` or `total_time` the coordinate
        `dwell_time` (energy). The attribute `search` says whether all choices were tried (``"exhaustive"``), or the best
        was taken of several exchanges, which end where no exchange of one energy helps. Eager: fits up to 20 000
        pixels of the training stack.

    Raises
    ------
    OptionError, UnitsError
        n out of range, a spacing that leaves no room for n energies, required energies that are forbidden, a bias-aware
        design without what tells the bias, a `total_time` for counts that arrive in an unknown time.
    ReferenceSpectrumError
        References that cannot be told apart at the candidates, or by any choice; a composition that is missing for some.
    EnergyRangeError
        Energies that are not candidates, or candidates that the training stack lacks.

    References
    ----------
    V. V. Fedorov, Theory of Optimal Experiments, Academic Press (1972). S. D. Silvey, D. M. Titterington and B. Torsney,
    Commun. Stat. A 7, 1379 (1978), for the shares.

    Examples
    --------
    >>> import xstxm
    >>> refs = xstxm.testing.simulate_references()
    >>> design = xstxm.design_energies(refs, 6, criterion="a-optimal", counts=5000, min_spacing="0.5 eV")
    >>> design.energy.size, float(design.fraction_stderr.max().round(2))
    (6, 0.15)
    """
    words = {"criterion": Criterion, "target": Target, "sharing": Sharing, "weighting": Weighting, "method": Method}
    said = {"criterion": criterion, "target": target, "sharing": sharing, "weighting": weighting, "method": method}
    for option, word in said.items():
        check_choice(option, word, words[option])
    bias_known = training is not None or deviations is not None
    if criterion == "d-optimal" and target != "fractions":
        raise OptionError("target", target, "a d-optimal design counts all unknowns: take criterion='a-optimal'")
    _require_what_tells(criterion, bias_known, counts, i0_counts, sharing, weighting)
    references = units.dequantify(references)
    stack = None if training is None else with_density(training, signal)
    od = None if stack is None else density_to_unmix(stack, signal, "design_energies")
    model = Model.of(references, candidate_axis(references, candidates, od), method, background)
    n = require_whole("n", n, *_limits(model), "more than the unknowns, and no more than the candidates")
    rules = rules_of(model.energy, n, required, forbidden, min_spacing)
    cases = Cases.none(model)
    if stack is not None and od is not None:
        places = places_of(np.asarray(model.energy), od[ENERGY], "candidates", "energies of the training stack")
        variance = None if counts is None else variance_of(stack, signal)
        cases = left_by_fit(od, variance, places, references, method, background, min_amount)
        note(f"trained on {cases.weight.size} pixels")
        if counts is not None and variance is None:
            note("no variance of the training stack: its noise counts as bias, beside that of the counts")
    sample = (
        cases.amounts @ cases.weight
        if stack is not None and amounts is None
        else sample_amounts(amounts, model, references)
    )
    if deviations is not None:
        cases = cases.and_spectra(given_deviations(deviations, model), sample)
    time = Time.of(n, dwell, total_time, counted=counts is not None)
    noise = np.ones(model.energy.size)
    if counts is not None:
        noise = counting_variance(model, sample, counts, i0_counts) / time.exposure
    problem = _problem(model, sample, noise, cases, criterion, target, weighting, counts is not None)
    choice = _choose(problem, model, rules, n, sharing)
    result = _result(choice, model).assign(_expected(problem, model, choice, sample, cases, counts is not None))
    named = background if isinstance(background, str) else "given"
    return _with_exposure(result, choice, model, counts, time).assign_attrs(**said, background=named)


@dataclass(frozen=True)
class _Choice:
    """Energies, how they share the exposure, and how they were found."""

    at: list[int]
    shares: np.ndarray
    score: float
    search: str


def _require_what_tells(
    criterion: Criterion,
    bias_known: bool,
    counts: Counts | None,
    i0_counts: Counts | None,
    sharing: Sharing,
    weighting: Weighting,
) -> None:
    """Refuse options that need what is not given."""
    if criterion == "bias-aware" and not bias_known:
        do = "give training=, a measured stack, or deviations=; without either take 'a-optimal' or 'd-optimal'"
        raise OptionError("criterion", criterion, do)
    if counts is not None:
        return
    if i0_counts is not None:
        raise OptionError("i0_counts", i0_counts, "the noise of I0 adds to that of counts=: give them too")
    if weighting == "variance":
        raise OptionError("weighting", weighting, "weights of 1 / variance follow from counts=: give them")
    if sharing == "optimal" and criterion == "bias-aware":
        raise OptionError("sharing", sharing, "exposure is shared to lessen counting noise: give counts=")


def _limits(model: Model) -> tuple[int, int]:
    """Return the least and the largest number of energies: a fit wants more energies than unknowns."""
    return model.basis.shape[1] + 1, model.energy.size


def _problem(
    model: Model,
    sample: np.ndarray,
    noise: np.ndarray,
    cases: Cases,
    criterion: Criterion,
    target: Target,
    weighting: Weighting,
    counted: bool,
) -> Problem:
    """Return what the kernel makes small; the noise of a training stack lies in its residuals already."""
    bias_aware = criterion == "bias-aware"
    if criterion != "d-optimal" and len(sample) < 2:
        raise ReferenceSpectrumError(
            "a single reference has a fraction of one: take criterion='d-optimal'", model.names
        )
    targets = np.eye(len(sample)) if target == "fractions" else _composition_of(model)[None]
    return Problem(
        basis=model.basis,
        to_amount=model.to_amount,
        weight=1 / noise if weighting == "variance" else np.ones_like(noise),
        noise=np.zeros_like(noise) if bias_aware and not counted else noise,
        sensitivity=sensitivity(sample[:, None], targets)[..., 0],
        moments=(cases if bias_aware else Cases.none(model)).moments(targets),
        determinant=criterion == "d-optimal",
        by_variance=weighting == "variance",
    )


def _composition_of(model: Model) -> np.ndarray:
    if model.composition is None:
        do = "give every reference one, see xstxm.reference_set, or take target='fractions'"
        raise ReferenceSpectrumError(f"target='composition' needs a composition for each reference: {do}", model.names)
    found = np.asarray(model.composition, dtype=float)
    if np.ptp(found) == 0:
        raise ReferenceSpectrumError("all references have one composition: take target='fractions'", model.names)
    return found


def _choose(problem: Problem, model: Model, rules: Rules, n: int, sharing: Sharing) -> _Choice:
    chosen, loss, tried_all = best_choice(problem, rules, n)
    if not np.isfinite(loss):
        found = ", ".join(map(repr, model.names))
        raise ReferenceSpectrumError(
            f"no {n} of the allowed energies tell {found} and the background apart: allow more", model.names
        )
    shares = np.full(n, 1 / n)
    if sharing == "optimal":
        shares, loss = share_exposure(problem, chosen)
    return _Choice(chosen, shares, -loss, "exhaustive" if tried_all else "exchange")


def _result(choice: _Choice, model: Model) -> xr.Dataset:
    names = {name: coord for name, coord in model.spectra.coords.items() if coord.dims == (REFERENCE,)}
    variables = {
        "exposure_share": annotate(xr.DataArray(choice.shares, dims=ENERGY), "exposure_share"),
        "score": annotate(xr.DataArray(choice.score), "score"),
    }
    coords = {ENERGY: model.energy[choice.at].variable, **names}
    return xr.Dataset(variables, coords=coords, attrs={"search": choice.search})


def _expected(
    problem: Problem, model: Model, choice: _Choice, sample: np.ndarray, cases: Cases, counted: bool
) -> dict[str, xr.DataArray]:
    """Return the expected errors of fractions and composition: of counting noise, of what is not described, of both."""
    problem = problem.exposed(at_chosen(choice.shares * len(choice.at), choice.at, len(problem.basis)))
    quantities, unit = {"fraction": np.eye(len(sample))}, None
    if model.composition is not None:
        quantities["composition"] = np.asarray(model.composition, dtype=float)[None]
        unit = model.composition.attrs.get("units", "1")
    result = {}
    for quantity, targets in quantities.items():
        found = {}
        if counted:
            through = (
                target_slopes(sample[:, None], targets)[..., 0] @ problem.to_amount @ estimator(problem, choice.at)
            )
            found["stderr"] = np.sqrt((through**2) @ problem.noise[choice.at])
        if cases.weight.size:
            found["bias"] = cases.bias(problem, choice.at, targets)
        if found:
            found["error"] = np.sqrt(np.sum([error**2 for error in found.values()], axis=0))
        for kind, errors in found.items():
            name = f"{quantity}_{kind}"
            array = xr.DataArray(errors, dims=REFERENCE) if quantity == "fraction" else xr.DataArray(errors[0])
            result[name] = annotate(array, name, units=unit if quantity == "composition" else None)
    return result


def _with_exposure(result: xr.Dataset, choice: _Choice, model: Model, counts: Counts | None, time: Time) -> xr.Dataset:
    if counts is not None:
        each = counts_at(counts, model.energy, "counts")[choice.at] * time.exposure
        incident = each * choice.shares * len(choice.at)
        result["incident_counts"] = annotate(xr.DataArray(incident, dims=ENERGY), "incident_counts")
    if time.total is None:
        return result
    dwell = annotate(xr.DataArray(time.total * choice.shares, dims=ENERGY), "dwell_time")
    return result.assign_coords(dwell_time=dwell)
