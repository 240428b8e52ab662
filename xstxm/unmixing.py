"""Unmixing without, or with some, reference spectra: spectra of components and how much of each a pixel holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._components import (
    best_of,
    component_dataset,
    density_to_unmix,
    require_components,
    sample_spectra,
    warn_unconverged,
)
from xstxm._kernels import alternating
from xstxm._kernels.alternating import Factors, Rules
from xstxm._unknowns import Method
from xstxm.conventions import ENERGY, REFERENCE
from xstxm.errors import ChoiceError, MetadataWarning, OptionError, check_choice, require_number, require_whole, warn
from xstxm.provenance import note, recorded
from xstxm.references import references_at
from xstxm.steps import tell_step

NmfInit: TypeAlias = Literal["pure", "nndsvda", "nndsvd", "random"]
McrInit: TypeAlias = Literal["pure", "random"]
Spectra: TypeAlias = Literal["nonnegative", "unimodal", "free"]

STRIDE = 10
"""Iterations of scikit-learn between two entries of the convergence record."""
MUCH = 0.01
"""Share of the sum of squares above which negative values are more than noise."""


@recorded
def nmf(
    stack: xr.DataArray | xr.Dataset,
    n_components: int,
    *,
    init: NmfInit = "pure",
    n_starts: int = 4,
    max_iterations: int = 1000,
    tolerance: float = 1e-3,
    sample: int = 10_000,
    seed: int = 0,
    signal: str = "optical_density",
) -> xr.Dataset:
    """Factorise a stack into non-negative spectra and non-negative amounts, with scikit-learn.

    ``min || max(od, 0) - sum_c a_c s_c ||^2`` with a >= 0 and s >= 0, by coordinate descent on a sample of the
    pixels; then the amounts of every pixel are the exact non-negative fit of the spectra to the optical density
    as it is.

    Parameters
    ----------
    stack
        Optical density: an array, or a Dataset that holds it as `signal`. Any dimensions besides energy.
    n_components
        Number of components, below the number of energies, 60 at most.
    init
        First start: ``"pure"``, the most extreme pixels (successive projections), ``"nndsvda"`` or ``"nndsvd"``, from
        the singular value decomposition (the former with zeros filled by the mean), or ``"random"``. Further starts
        are random.
    n_starts
        Number of starts; the first of those whose residual is within 1 % of the smallest is kept.
    max_iterations
        Limit on the iterations of a start.
    tolerance
        A start has converged when an iteration lowers the residual by less than this share of it.
    sample
        Largest number of pixels that are factorised: drawn at random where the stack has more.
    seed
        Seed of sample and starts: the same seed gives the same result, whatever the chunks.
    signal
        Variable of a Dataset that is unmixed.

    Returns
    -------
    Dataset
        `component_spectra` (component, energy), scaled to a maximum of one, `component_amount` and
        `component_amount_stderr` (component, pixel dims), which carry the optical density, `residual_rms`,
        `r_factor` (pixel dims); `contribution` (component), in whose order the components come;
        `component_angle` (component) in deg, how far another equally good start found the spectrum, NaN where there is
        none: of one start, or where the residual of every other start is more than 1 % larger; `convergence`, `change` (iteration) of the best start, `start_rms` (start). Eager on the sample, which
        takes two passes over a lazy stack; the maps are lazy.

    Raises
    ------
    OptionError
        More components than energies less one, than 60, or than the stack holds independent spectra.
    SchemaError
        No pixel is finite at every energy, one energy only, or zero everywhere.
    ChoiceError
        Unknown start.

    Warns
    -----
    ConvergenceWarning
        The best start did not converge.
    MetadataWarning
        Negative values carry more than 1 % of the sum of squares: I0 is wrong, or the data are no absorption.

    Notes
    -----
    Non-negative factorisation takes no negative values, and the noise of thin pixels is negative half of the time. In
    the sample they count as zero; attribute `negative_fraction` and the history say how many there were. `mcr` solves
    the same problem with the data as they are.

    References
    ----------
    Cichocki and Phan, IEICE Trans. Fundamentals E92-A, 708 (2009), doi 10.1587/transfun.E92.A.708.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> xstxm.nmf(stack, 3, n_starts=1).component_amount.dims
    ('component', 'y', 'x')
    """
    check_choice("init", init, NmfInit)
    n_starts, max_iterations, sample, seed = _require_settings(n_starts, max_iterations, sample, seed)
    tolerance = require_number("tolerance", tolerance, "a share of the residual", above=0, below=1)
    od = density_to_unmix(stack, signal, "nmf")
    data = sample_spectra(od, sample, seed)
    n_components = require_components(data, n_components, od.dtype)
    fraction = _count_negative(data)
    positive = np.maximum(data, 0).T
    first = _pure_start(data, n_components) if init == "pure" else init
    runs = [
        _factorise(
            positive,
            "random" if start else first,
            n_components,
            max_iterations,
            tolerance,
            seed + start,
            (start / n_starts, (start + 1) / n_starts),
        )
        for start in range(n_starts)
    ]
    best = best_of(runs)
    iteration = np.minimum(STRIDE * np.arange(1, len(best.rms) + 1), max_iterations)
    warn_unconverged("nmf", best, int(iteration[-1]), tolerance)
    top = best.spectra.max(1)
    scale = np.where(top > 0, top, 1)
    result = component_dataset(od, runs, method="nnls", scale=scale, spectra_units="1", iteration=iteration)
    return result.assign_attrs(negative_fraction=fraction)


def _require_settings(n_starts: int, max_iterations: int, sample: int, seed: int) -> tuple[int, int, int, int]:
    return (
        require_whole("n_starts", n_starts),
        require_whole("max_iterations", max_iterations),
        require_whole("sample", sample, 2),
        require_whole("seed", seed, 0, 2**31),
    )


def _count_negative(data: np.ndarray) -> float:
    """Return the share of negative values; tell the record, and warn where they are more than noise."""
    below = np.minimum(data, 0)
    fraction = float((below < 0).mean())
    note(f"{fraction:.2%} of the sampled values were negative and counted as zero")
    share = float((below**2).sum() / (data**2).sum())
    if share > MUCH:
        warn(
            f"negative optical density carries {share:.0%} of the sum of squares and counts as zero: check I0, or use "
            "mcr, which takes the data as they are",
            MetadataWarning,
        )
    return fraction


def _pure_start(data: np.ndarray, n_components: int) -> np.ndarray:
    rules = alternating.nonnegative(n_components, len(data))
    start = next(alternating.starts(data, np.empty((0, len(data))), rules, 1, pure_first=True, seed=0))
    return alternating.feasible(start, rules)


def _factorise(
    positive: np.ndarray,
    start: np.ndarray | str,
    n_components: int,
    max_iterations: int,
    tolerance: float,
    seed: int,
    share: tuple[float, float],
) -> Factors:
    """Run scikit-learn on spectra (pixel, energy), a few iterations at a time to keep a record.

    The start is a word that scikit-learn knows, or spectra (component, energy); `share` of all work are its begin and end.
    """
    from sklearn.decomposition import non_negative_factorization

    spectra: Any = None if isinstance(start, str) else start
    amounts: Any = None if isinstance(start, str) else _fitted(positive, start)
    rounding = 1e-7 * np.sqrt(np.mean(positive**2))
    rms: list[float] = [np.inf]
    change: list[float] = []
    converged = False
    for done in range(0, max_iterations, STRIDE):
        before = None if spectra is None else spectra.copy()  # scikit-learn works in place
        steps = min(STRIDE, max_iterations - done)
        tell_step(share[0] + (share[1] - share[0]) * (done + steps) / max_iterations)
        amounts, spectra, _ = non_negative_factorization(
            positive,
            amounts,
            spectra,
            n_components=n_components,
            init=start if spectra is None else "custom",
            max_iter=steps,
            tol=0.0,
            random_state=seed,
        )
        rms.append(np.sqrt(np.mean((positive - amounts @ spectra) ** 2)))
        change.append(np.nan if before is None else _turn(before, spectra) / steps)
        converged = bool(rms[-1] >= rms[-2] * (1 - tolerance * steps) or rms[-1] <= rounding)
        if converged:
            break
    return Factors(spectra, amounts.T, np.array(rms[1:]), np.array(change), converged)


def _fitted(positive: np.ndarray, spectra: np.ndarray) -> np.ndarray:
    guess = np.full(len(positive), (1 << len(spectra)) - 1)
    amounts, _ = alternating.solve_amounts(positive.T, spectra, "nnls", guess, (positive**2).sum())
    return np.ascontiguousarray(amounts.T)


def _turn(before: np.ndarray, after: np.ndarray) -> float:
    """Return the largest change of a spectrum of unit length: coordinate descent lets the scale drift."""
    unit = [spectra / np.maximum(np.linalg.norm(spectra, axis=1, keepdims=True), 1e-300) for spectra in (before, after)]
    return alternating.largest_change(*unit)


@recorded
def mcr(
    stack: xr.DataArray | xr.Dataset,
    n_components: int,
    *,
    method: Method = "nnls",
    spectra: Spectra = "nonnegative",
    references: xr.Dataset | None = None,
    freedom: float | Mapping[str, float] = 0.0,
    init: McrInit = "pure",
    n_starts: int = 4,
    max_iterations: int = 500,
    tolerance: float = 1e-3,
    sample: int = 10_000,
    seed: int = 0,
    signal: str = "optical_density",
) -> xr.Dataset:
    """Resolve spectra and amounts by alternating least squares under constraints (MCR-ALS).

    ``min || od - sum_c a_c s_c ||^2`` over amounts and spectra in turn, each half solved exactly on a sample of the
    pixels, so that the residual never grows; then the amounts of every pixel are the exact fit of the spectra.

    Parameters
    ----------
    stack
        Optical density: an array, or a Dataset that holds it as `signal`. Any dimensions besides energy.
    n_components
        Number of components, those with a reference included; below the number of energies, 60 at most.
    method
        Constraint on the amounts, as in `fit`: none (``"lstsq"``), a >= 0 (``"nnls"``), or a >= 0 and sum(a) = 1
        (``"fcls"``, closure).
    spectra
        Constraint on the spectra that the data alone decide: ``"nonnegative"``, ``"unimodal"`` (non-negative, and
        rising to one maximum before they fall), or ``"free"``.
    references
        Reference set whose spectra are the first components, interpolated onto the stack's energies.
    freedom
        How far a reference may move at each energy, as a share of its largest absolute value: 0 keeps it as it
        is, 0.1 bounds it, inf takes it as a start only. One number, or a number for each name (0 for the others).
    init
        Start of the spectra without a reference: ``"pure"``, the most extreme pixels (successive projections), or
        ``"random"`` pixels. Further starts are random.
    n_starts
        Number of starts; the first of those whose residual is within 1 % of the smallest is kept.
    max_iterations
        Limit on the iterations of a start.
    tolerance
        A start has converged when an iteration lowers the residual by less than this share of it.
    sample
        Largest number of pixels that the spectra are resolved from: drawn at random where the stack has more.
    seed
        Seed of sample and starts: the same seed gives the same result, whatever the chunks.
    signal
        Variable of a Dataset that is unmixed.

    Returns
    -------
    Dataset
        `component_spectra` (component, energy), `component_amount` and `component_amount_stderr` (component, pixel
        dims), `residual_rms`, `r_factor` (pixel dims); `contribution` (component); `component_angle` (component) in
        deg, how far another equally good start found the spectrum, NaN where there is none: of one start (there is no more
        where references hold all spectra), or where the residual of every other is more than 1 % larger; `convergence`, `change` (iteration) of the best
        start, `start_rms` (start); coordinate `origin` (component), the name of the reference or ``resolved``.
        Resolved components follow the references in the order of their contribution, their spectra scaled to a
        maximum of one, or to that of the references, whose units they share; with ``"fcls"`` the sum sets the scale.
        Eager on the sample, which takes two passes over a lazy stack; the maps are lazy.

    Raises
    ------
    OptionError
        More components than energies less one, than 60, than independent spectra, or fewer than references; constraints
        that hold nothing.
    SchemaError
        No pixel is finite at every energy, one energy only, or components that are mixtures of each other.
    ReferenceSpectrumError, EnergyRangeError
        References that cannot be used, or that do not cover the stack.
    ChoiceError
        Unknown method, constraint, start or name in `freedom`.

    Warns
    -----
    ConvergenceWarning
        The best start did not converge.

    Notes
    -----
    Constraints narrow the solutions down, rarely to one: where no pixel is pure and no energy is selective, other
    spectra describe the data as well (rotational ambiguity). `component_angle` shows how far apart equally
    good solutions were found, which is at least the ambiguity that there is.

    References
    ----------
    Tauler, Chemom. Intell. Lab. Syst. 30, 133 (1995), doi 10.1016/0169-7439(95)00047-X; successive projections:
    Araujo et al., Chemom. Intell. Lab. Syst. 57, 65 (2001), doi 10.1016/S0169-7439(01)00119-8; unimodality: Bro and
    Sidiropoulos, J. Chemom. 12, 223 (1998).

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> known = xstxm.testing.simulate_references().isel(reference=[0])
    >>> resolved = xstxm.mcr(stack, 3, references=known, tolerance=1e-2, n_starts=1)
    >>> resolved.origin.values.tolist(), resolved.component_amount.attrs["units"]
    (['alpha-V2O5', 'resolved', 'resolved'], 'nm')
    """
    check_choice("method", method, Method)
    check_choice("spectra", spectra, Spectra)
    check_choice("init", init, McrInit)
    n_starts, max_iterations, sample, seed = _require_settings(n_starts, max_iterations, sample, seed)
    tolerance = require_number("tolerance", tolerance, "a share of the residual", above=0, below=1)
    od = density_to_unmix(stack, signal, "mcr")
    known = None if references is None else references_at(references, od[ENERGY])
    names = [] if known is None else [str(name) for name in np.asarray(known[REFERENCE])]
    reach = _freedom(freedom, names)
    if method == "lstsq" and spectra == "free" and not np.isfinite(reach).any():
        told = "with method='lstsq' it leaves nothing to resolve by: pass spectra='nonnegative', or call .stxm.pca()"
        raise OptionError("spectra", spectra, told)
    data = sample_spectra(od, sample, seed)
    n_components = require_components(data, n_components, od.dtype, closed=method == "fcls")
    if len(names) > n_components:
        told = f"each of the {len(names)} references is a component: ask for {len(names)} or more"
        raise OptionError("n_components", n_components, told)
    given = np.empty((0, len(data))) if known is None else np.asarray(known, dtype=float)
    rules = _rules(method, spectra, given, reach, n_components, np.asarray(od[ENERGY]))
    if rules.held.all():
        n_starts = 1
    starts = alternating.starts(data, given, rules, n_starts, pure_first=init == "pure", seed=seed)
    runs = [
        alternating.alternate(data, start, rules, max_iterations=max_iterations, tolerance=tolerance)
        for start in starts
    ]
    best = best_of(runs)
    warn_unconverged("mcr", best, len(best.rms), tolerance)
    result = component_dataset(
        od,
        runs,
        method=method,
        scale=_scale(best, rules, given),
        spectra_units="1" if known is None else units.units_of(known),
        n_first=len(names),
    )
    origin = [*names, *["resolved"] * (n_components - len(names))]
    return result.assign_coords(origin=("component", origin)).assign_attrs(spectra=spectra)


def _freedom(freedom: float | Mapping[str, float], names: list[str]) -> np.ndarray:
    """Return how far each reference may move, as a share of its largest value."""
    each = freedom if isinstance(freedom, Mapping) else dict.fromkeys(names, freedom)
    what = "a share of the reference's largest value"
    if not names and (
        each or (not isinstance(freedom, Mapping) and require_number("freedom", freedom, what, finite=False) != 0)
    ):
        raise OptionError("freedom", freedom, "it belongs to references: pass references=... too")
    for name in each:
        if name not in names:
            raise ChoiceError("reference in freedom", name, names)
    share = {name: require_number("freedom", value, what, least=0, finite=False) for name, value in each.items()}
    return np.array([share.get(name, 0.0) for name in names], dtype=float)


def _rules(
    method: Method, spectra: Spectra, given: np.ndarray, reach: np.ndarray, n_components: int, energy: np.ndarray
) -> Rules:
    resolved = np.arange(n_components) >= len(given)
    resolved[: len(given)] = np.isinf(reach)
    lower = np.full((n_components, energy.size), -np.inf if spectra == "free" else 0.0)
    upper = np.full_like(lower, np.inf)
    held = np.flatnonzero(~resolved)
    room = reach[held, None] * np.abs(given[held]).max(1, keepdims=True)
    lower[held], upper[held] = given[held] - room, given[held] + room
    return Rules(method, resolved, lower, upper, np.argsort(energy, kind="stable") if spectra == "unimodal" else None)


def _scale(best: Factors, rules: Rules, given: np.ndarray) -> np.ndarray:
    """Return what the spectra are divided by: the free ones to a maximum of one, or that of the references."""
    scale = np.ones(len(best.spectra))
    if rules.method == "fcls":
        return scale
    goal = np.abs(given).max(1).mean() if len(given) else 1.0
    top = np.take_along_axis(best.spectra, np.abs(best.spectra).argmax(1)[:, None], 1)[:, 0]
    scale[rules.resolved] = (
        np.where(top == 0, 1, top if rules.method == "lstsq" else np.abs(top))[rules.resolved] / goal
    )
    return scale
