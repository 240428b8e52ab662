"""Chemical phases: labels with confidence, fractions and composition with errors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._kernels import propagation
from xstxm._unknowns import Background, Method
from xstxm.absorption import optical_density
from xstxm.clustering import spectral_clusters
from xstxm.conventions import (
    ENERGY,
    NO_SAMPLE,
    OTHER_REFERENCE,
    PALETTE,
    REFERENCE,
    UNDECIDED,
    annotate,
    as_float,
    density_of,
    flag_attrs,
    pixel_dims,
    quality_bits,
    quality_of,
    require_energy,
    require_variable,
    signal_of,
)
from xstxm.errors import OptionError, ReferenceSpectrumError, SchemaError, StxmWarning, require_number
from xstxm.fitting import FitNoise, Selection, fit
from xstxm.provenance import describe, recorded
from xstxm.roi import sample_threshold
from xstxm.units import EnergyMove

_ON_REQUEST = ("energy_shift", "energy_shift_stderr", "broadening", "broadening_stderr", "n_energies", "quality")
"""What a fit adds where it is asked to move the references or to leave energies out."""


@recorded
def phase_map(
    stack: xr.DataArray | xr.Dataset,
    references: xr.Dataset | None = None,
    *,
    method: Method = "nnls",
    background: Background = "constant",
    noise: FitNoise | xr.DataArray | None = None,
    selection: Selection | None = None,
    max_references: int | None = None,
    false_discovery_rate: float = 0.05,
    energy_shift: EnergyMove | None = None,
    broadening: EnergyMove | None = None,
    max_optical_density: float | None = None,
    covariance: bool = False,
    min_confidence: float = 0.95,
    min_amount: float | None = None,
    n_phases: int | None = None,
    n_components: int | None = None,
    seed: int = 0,
    signal: str = "optical_density",
) -> xr.Dataset:
    """Map chemical phases: which one, how much of each, how sure.

    Chemical phase, that is; the phase of the wave that ptychography measures is another thing. Every
    pixel is fitted as ``od = sum_k c_k a_k + background``; the fraction of a phase is
    ``f_k = c_k / sum(c)``, the composition ``sum_k f_k x_k``, the label the phase with the largest
    fraction.

    Parameters
    ----------
    stack
        Stack or array of optical density. A Dataset without it is taken from counts by
        `optical_density` first.
    references
        Reference set, per formula unit or per length on one scale, as amounts are compared. By default the
        `reference_spectra` of the Dataset; without any, phases are found by SVD and k-means on
        thickness-normalised scores, see `cluster`, and named ``cluster 1`` to ``cluster n``, in the order of area.
    method, background, noise
        As in `fit`; without references only the background is used.
    selection, max_references, false_discovery_rate, energy_shift, broadening, max_optical_density
        As in `fit`.
    covariance
        Add `phase_fraction_covariance` (phase, other_phase, pixel dims), with which `strain`, `concentration` and
        `phase_summary` have exact errors.
    min_confidence
        Labels below this confidence become `undecided` (-2).
    min_amount
        Pixels with a smaller total amount hold no sample (-1), in units of the amount (without references: the
        root mean square over energy of the optical density, background removed); by default Otsu's
        threshold of the map, or none where the map has no empty area: where the pixels below the threshold
        hold more than a quarter of what those above it hold.
    n_phases, n_components, seed
        Without references: number of clusters and of eigenspectra, chosen from the data by default, and
        the seed of the k-means starts.
    signal
        Variable of a Dataset that is fitted.

    Returns
    -------
    Dataset
        `phase_fraction`, `phase_fraction_stderr` (phase, pixel dims), `phase_label` (pixel dims, int16),
        `confidence`, `total_amount`, `quality` (pixel dims), `min_amount` (a number, the threshold that was
        used; -inf for none), `phase_spectra` (phase, energy); with references `confidence_bias`, `n_active` and
        `reduced_chi2` (pixel dims) of the fit, what it adds for `energy_shift`, `broadening` and `max_optical_density`, and `composition`,
        `composition_stderr` (pixel dims) where the references carry a composition.
        Coordinates `phase` and `color` along phase, and what else the references carry (`phase_composition`,
        `cell_chain`, ...) where all references of a phase agree. Fractions and composition are NaN where there is no
        sample; a pixel that cannot be fitted is NaN, undecided, and ``not_measured`` in `quality`; one outside the
        `mask` of the Dataset is no sample. Lazy with references (``selection="f-test"`` as in `fit`); eager on the
        scores without.

    Raises
    ------
    MissingVariableError
        The Dataset has neither optical density nor counts.
    EnergyRangeError, ReferenceSpectrumError
        The references do not fit the stack.
    OptionError
        `min_confidence` outside [0, 1], or options of the fit without references.

    Notes
    -----
    Errors and confidence come from the covariance of the amounts with no reference held at zero, whether the
    constraint or a `selection` put it there: a label is sure only where the data alone rule the others out. After a
    `selection` the confidence of the label is what the fit of all references gives it, which takes a fit more.

    With ``method="fcls"`` the amounts of every pixel add up to one, the empty ones included: cut those out with a
    `mask` variable in the Dataset.

    The confidence is the probability that the labelled phase is the largest of all, for Gaussian errors of the size of
    the residual, or of the variance where there is one, by the method of Mendell and Elston [1]_. An amount that is not
    allowed below zero draws the others along, one more than the next; `confidence_bias` is what that adds to the
    confidence on average, were all amounts that are zero truly zero. It is not taken off: pixel by pixel the confidence
    with it is the better one. Over many pixels it does not average out, see `phase_summary`. After a `selection`, which
    leaves out what is small of either sign, it is zero.

    References
    ----------
    .. [1] N. R. Mendell, R. C. Elston, Biometrics 30, 41 (1974), https://doi.org/10.2307/2529616

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> phases.phase_fraction.dims
    ('phase', 'y', 'x')
    """
    min_confidence = require_number("min_confidence", min_confidence, "a probability", least=0, most=1)
    stack = units.dequantify(stack)
    require_energy(stack)
    if isinstance(stack, xr.Dataset) and signal == "optical_density" and signal not in stack:
        require_variable(stack, "intensity", "give optical density, or the counts to make it from as 'intensity'")
        stack = optical_density(stack)
    array = signal_of(stack, signal)
    if 0 in array.shape:
        raise SchemaError(f"the stack is empty {dict(array.sizes)}: select fewer or other pixels away")
    if references is None and not (isinstance(stack, xr.Dataset) and "reference_spectra" in stack):
        _require_no_fit(
            noise=noise,
            selection=selection,
            max_references=max_references,
            energy_shift=energy_shift,
            broadening=broadening,
            max_optical_density=max_optical_density,
            covariance=covariance or None,
        )
        phases = _from_clusters(
            as_float(density_of(stack, signal)),
            background,
            min_amount,
            n_clusters=n_phases,
            n_components=n_components,
            seed=seed,
        )
    else:
        options: dict[str, Any] = {
            "method": method,
            "background": background,
            "noise": noise,
            "max_optical_density": max_optical_density,
            "covariance": True,
            "signal": signal,
        }
        fitted = fit(
            stack,
            references,
            selection=selection,
            max_references=max_references,
            false_discovery_rate=false_discovery_rate,
            energy_shift=energy_shift,
            broadening=broadening,
            **options,
        )
        whole = None if selection is None else _quiet_fit(stack, references, **options, **_move_of(fitted))
        phases = _from_fit(fitted, whole, min_amount, covariance)
    undecided = ~(phases["confidence"] >= min_confidence) & (phases["phase_label"] != NO_SAMPLE)
    label = phases["phase_label"].where(~undecided, UNDECIDED).astype(np.int16)
    failed = phases["total_amount"].isnull()
    if isinstance(stack, xr.Dataset) and "mask" in stack:
        label = label.where(stack["mask"], np.int16(NO_SAMPLE))
        failed = failed & stack["mask"]
    phases["phase_label"] = annotate(label, "phase_label", **_label_attrs(phases["phase"]))
    phases["quality"] = quality_bits({"not_measured": failed}, phases.get("quality", quality_of(stack)))
    return phases.assign_attrs(min_confidence=min_confidence)


def _require_no_fit(**options: Any) -> None:
    """Refuse options of a fit where there are no references to fit."""
    for name, value in options.items():
        if value is not None:
            raise OptionError(name, describe(value), "it belongs to a fit of references: pass references too")


def _quiet_fit(*args: Any, **options: Any) -> xr.Dataset:
    """Fit once more, without the warnings that were given before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StxmWarning)
        return fit(*args, **options)


def _move_of(fitted: xr.Dataset) -> dict[str, float]:
    """Return how far the references of a fit were moved, so that another fit need not look for it."""
    return {name: float(fitted[name]) for name in ("energy_shift", "broadening") if name in fitted}


def _from_fit(
    fitted: xr.Dataset, whole: xr.Dataset | None, min_amount: float | None, with_covariance: bool
) -> xr.Dataset:
    """Return the phases of a fit; `whole` is that of all references, where some were chosen."""
    every = fitted if whole is None else whole
    determined = every["reduced_chi2"].notnull()
    amount, covariance = fitted["component_map"].where(determined), fitted["component_map_covariance"]
    names, membership = _membership(amount)
    total_units = amount.attrs["units"]
    fraction, stderr, total = _per_pixel(
        propagation.phase_fractions, amount, covariance, [["phase"], ["phase"], []], {"membership": membership}
    )
    threshold = sample_threshold(total, min_amount)
    empty = total < threshold
    label, confidence, bias = _judged(amount, covariance, every, membership, empty)
    if whole is not None:  # a choice leaves out what is small, of either sign
        bias = confidence.where(confidence.isnull(), 0)
    dims = pixel_dims(total)
    phases = xr.Dataset(
        {
            "phase_fraction": annotate(fraction.where(~empty).transpose("phase", *dims), "phase_fraction"),
            "phase_fraction_stderr": annotate(stderr.where(~empty).transpose("phase", *dims), "phase_fraction_stderr"),
            "phase_label": label,
            "confidence": annotate(confidence, "confidence"),
            "confidence_bias": annotate(bias, "confidence_bias"),
            "total_amount": annotate(total, "total_amount", units=total_units),
            "min_amount": annotate(threshold, "min_amount", units=total_units),
            "phase_spectra": _phase_spectra(fitted["reference_spectra"], names),
            "n_active": fitted["n_active"].where(determined, 0),
            "reduced_chi2": fitted["reduced_chi2"].where(determined),
            **{name: fitted[name] for name in _ON_REQUEST if name in fitted},
        }
    )
    phases = phases.drop_vars([name for name in phases.coords if REFERENCE in phases[name].dims])
    if with_covariance:
        phases["phase_fraction_covariance"] = _covariance(amount, covariance, names, membership, empty)
    if "composition" in amount.coords:
        _require_compositions(amount)
        phases = phases.assign(_composition(amount, covariance, empty))
    return phases.assign_coords(_phase_coords(names, amount))


def _judged(
    amount: xr.DataArray, covariance: xr.DataArray, every: xr.Dataset, membership: np.ndarray, empty: xr.DataArray
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Return the largest phase of each pixel, the probability that the fit of every reference gives it, and its bias."""
    options = {"membership": membership}
    (largest,) = _per_pixel(propagation.phase_label, amount, covariance, [[]], options, dtypes=[np.int16])
    label = largest.where(~empty, NO_SAMPLE).drop_attrs()
    judged, spread = every["component_map"], every["component_map_covariance"]
    (confidence,) = _per_pixel(propagation.chance_of_label, judged, spread, [[]], options, others=[label])
    about = [label, confidence]
    (bias,) = _per_pixel(propagation.bias_of_chance, judged, spread, [[]], options, others=about)
    return label, confidence, bias


def _covariance(
    amount: xr.DataArray, covariance: xr.DataArray, names: list[str], membership: np.ndarray, empty: xr.DataArray
) -> xr.DataArray:
    pair = ["phase", "other_phase"]
    (found,) = _per_pixel(propagation.fraction_covariance, amount, covariance, [pair], {"membership": membership})
    named = found.where(~empty).transpose(*pair, *pixel_dims(empty)).assign_coords(other_phase=names)
    return annotate(named, "phase_fraction_covariance")


def _per_pixel(
    func: Any,
    amount: xr.DataArray,
    covariance: xr.DataArray,
    outputs: list[list[str]],
    kwargs: dict[str, Any],
    *,
    dtypes: list[Any] | None = None,
    others: Sequence[xr.DataArray] = (),
) -> tuple[xr.DataArray, ...]:
    plain = amount.drop_vars([name for name, coord in amount.coords.items() if REFERENCE in coord.dims])
    other = covariance.drop_vars(
        [name for name, coord in covariance.coords.items() if {REFERENCE, OTHER_REFERENCE} & {*coord.dims}]
    )
    found = xr.apply_ufunc(
        func,
        plain,
        other,
        *others,
        input_core_dims=[[REFERENCE], [REFERENCE, OTHER_REFERENCE], *[[]] * len(others)],
        output_core_dims=outputs,
        dask="parallelized",
        output_dtypes=dtypes or [amount.dtype] * len(outputs),
        dask_gufunc_kwargs={"output_sizes": {dim: len(kwargs["membership"]) for dims in outputs for dim in dims}},
        kwargs=kwargs,
        keep_attrs=True,
    )
    return found if isinstance(found, tuple) else (found,)


def _require_compositions(amount: xr.DataArray) -> None:
    """Refuse a composition that only some references have: every pixel's would be NaN."""
    without = [
        str(name) for name, x in zip(amount[REFERENCE].data, amount["composition"].data, strict=True) if np.isnan(x)
    ]
    if without:
        raise ReferenceSpectrumError(
            f"no composition for {', '.join(map(repr, without))}: give every reference one, or drop_vars('composition')",
            without,
        )


def _composition(amount: xr.DataArray, covariance: xr.DataArray, empty: xr.DataArray) -> dict[str, xr.DataArray]:
    value = amount.coords["composition"]
    mean, stderr = _per_pixel(
        propagation.composition, amount, covariance, [[], []], {"value": np.asarray(value, dtype=float)}
    )
    unit = str(value.attrs.get("units", "1"))
    label = str(value.attrs.get("long_name", "Composition"))
    return {
        "composition": annotate(mean.where(~empty), "composition", units=unit, long_name=label),
        "composition_stderr": annotate(
            stderr.where(~empty), "composition_stderr", units=unit, long_name=f"Standard error of {label}"
        ),
    }


def _membership(amount: xr.DataArray) -> tuple[list[str], np.ndarray]:
    """Return the phases, and which references belong to each: references that share a `phase` are added up."""
    labels = _phase_labels(amount)
    names = list(dict.fromkeys(labels))
    return names, np.array([[label == name for label in labels] for name in names], dtype=float)


def _phase_labels(array: xr.DataArray) -> list[str]:
    """Return the phase of each reference, which is its own where none is given."""
    names = [str(name) for name in np.asarray(array[REFERENCE])]
    given = [str(name) for name in np.asarray(array.coords["phase"])] if "phase" in array.coords else names
    return [label or name for label, name in zip(given, names, strict=True)]


def _phase_coords(names: list[str], amount: xr.DataArray) -> dict[str, Any]:
    """Return the coordinates along phase: name, colour, and what all references of a phase agree on."""
    labels = _phase_labels(amount)
    given = [str(color) for color in np.asarray(amount.coords["color"])] if "color" in amount.coords else []
    chosen = dict(zip(reversed(labels), reversed(given), strict=False)) if given else {}
    colors = [chosen.get(name) or PALETTE[k % len(PALETTE)] for k, name in enumerate(names)]
    carried: dict[Any, Any] = {
        "phase_composition" if name == "composition" else name: ("phase", _agreed(coord, labels, names), coord.attrs)
        for name, coord in amount.coords.items()
        if coord.dims == (REFERENCE,) and name not in (REFERENCE, "phase", "color")
    }
    return {**carried, "phase": ("phase", names), "color": ("phase", colors)}


def _agreed(coord: xr.DataArray, labels: list[str], names: list[str]) -> np.ndarray:
    """Return the value that all references of each phase share; NaN, or no word, where they differ."""
    values = np.asarray(coord)
    values = values.astype(float) if values.dtype.kind in "iufb" else values.astype(str)
    nothing = np.nan if values.dtype.kind == "f" else ""
    rows = [values[[label == name for label in labels]] for name in names]
    return np.array([row[0] if (row == row[0]).all() else nothing for row in rows])


def _phase_spectra(spectra: xr.DataArray, names: list[str]) -> xr.DataArray:
    """Return the reference of each phase; the mean where several share it."""
    plain = spectra.drop_vars([name for name, coord in spectra.coords.items() if REFERENCE in coord.dims])
    labels = _phase_labels(spectra)
    rows = [plain.isel({REFERENCE: [k for k, label in enumerate(labels) if label == name]}) for name in names]
    joined = xr.concat([row.mean(REFERENCE) for row in rows], dim="phase")
    return annotate(joined, "phase_spectra", units=spectra.attrs["units"])


def _from_clusters(od: xr.DataArray, background: Background, min_amount: float | None, **options: Any) -> xr.Dataset:
    """Eager on the scores."""
    if od.sizes[ENERGY] < 2:
        raise SchemaError("a single energy has no spectra to group: give references or a stack of more energies")
    usable = xr.ones_like(od.isel({ENERGY: 0}, drop=True), dtype=bool).drop_attrs(deep=False)
    found = spectral_clusters(od, usable, background=background, min_amount=min_amount, called="n_phases", **options)
    label, total, threshold = found["labels"], found["total_amount"], found["min_amount"]
    names = [f"cluster {k + 1}" for k in range(found.sizes["cluster"])]
    member = xr.concat([label == k + 1 for k in range(len(names))], dim="phase")
    fraction = member.astype(od.dtype).where(label > 0)
    return xr.Dataset(
        {
            "phase_fraction": annotate(fraction, "phase_fraction"),
            "phase_fraction_stderr": annotate(xr.full_like(fraction, np.nan), "phase_fraction_stderr"),
            "phase_label": (label - 1).where(label > 0, UNDECIDED).where(~(total < threshold), NO_SAMPLE),
            "confidence": annotate(found["confidence"], "confidence"),
            "total_amount": total,
            "min_amount": threshold,
            "phase_spectra": annotate(
                found["cluster_spectra"].drop_vars("cluster").rename(cluster="phase"),
                "phase_spectra",
                units=od.attrs.get("units", "1"),
            ),
        },
        coords={"phase": ("phase", names), "color": ("phase", [PALETTE[k % len(PALETTE)] for k in range(len(names))])},
    )


def _label_attrs(phase: xr.DataArray) -> dict[str, Any]:
    names = [str(name) for name in np.asarray(phase)]
    values = {"undecided": UNDECIDED, "no sample": NO_SAMPLE, **{name: k for k, name in enumerate(names)}}
    return flag_attrs(values, masks=False)
