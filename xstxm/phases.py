"""Chemical phases: labels with confidence, fractions and composition with errors."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

from xstxm import provenance, units
from xstxm._apply import is_lazy, mixed_block, over_energy, threads_for
from xstxm._axes import match_pixels
from xstxm._device import on_device, require_host
from xstxm._fit_of_counts import in_one_pass
from xstxm._fitted_phases import label_attrs, phases_of_fit
from xstxm._shape_scores import amount_of
from xstxm._unknowns import Background, Method, background_spectra
from xstxm.absorption import holds_counts, with_density, with_incident
from xstxm.clustering import density_field, spectral_clusters
from xstxm.conventions import (
    ENERGY,
    NO_SAMPLE,
    PALETTE,
    UNDECIDED,
    annotate,
    quality_bits,
    quality_of,
    require_energy,
    signal_of,
    used_pixels,
    validate,
)
from xstxm.decomposition import COMPONENT, floating
from xstxm.errors import OptionError, SchemaError, heard, require_number
from xstxm.fitting import FitNoise, Selection, fit
from xstxm.provenance import describe, note, recorded
from xstxm.units import AmountLike, EnergyMove


@recorded
@on_device
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
    min_amount: AmountLike | None = None,
    clusters: xr.Dataset | None = None,
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
        Pixels with a smaller total amount hold no sample (-1), in units of the amount or with a unit (without references: the
        root mean square over energy of the optical density, background removed); by default Otsu's
        threshold of the map, or none where the map has no empty area: where the pixels below the threshold
        hold more than a quarter of what those above it hold.
    clusters
        In place of references: a result of `cluster` for these pixels, whose clusters are the phases.
    n_phases, n_components, seed
        Without references or clusters: number of clusters and of eigenspectra, chosen from the data by default, and
        the seed of the k-means starts.
    signal
        Variable of a Dataset that is fitted.

    Returns
    -------
    Dataset
        `phase_fraction`, `phase_fraction_stderr` (phase, pixel dims), `phase_label` (pixel dims, int16),
        `confidence`, `total_amount`, `quality` (pixel dims), `min_amount` (a number, the threshold that was
        used; -inf for none), `phase_spectra` (phase, energy); with references `confidence_bias`, and of the fit
        `n_active`, `n_energies`, `reduced_chi2` (pixel dims) and what it adds for `energy_shift` and `broadening`;
        `composition`, `composition_stderr` (pixel dims) where the references carry a composition.
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

    With ``method="fcls"`` the amounts of every pixel add up to one, the empty ones included. There Otsu's threshold is
    taken of the root mean square over energy of the optical density that the references explain, background removed;
    `min_amount` of the result stays -inf. ``min_amount=0`` takes every pixel for sample, a `mask` variable in the
    Dataset those of the mask.

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
    referenced = clusters is None and (
        references is not None or (isinstance(stack, xr.Dataset) and "reference_spectra" in stack)
    )
    explained = method == "fcls" and min_amount is None
    asked = noise, selection, max_optical_density, energy_shift, broadening
    if referenced and not explained and holds_counts(stack, signal) and in_one_pass(stack, *asked):
        stack = with_incident(stack)
        array = signal_of(stack, "intensity")
    else:
        stack = with_density(stack, signal)
        array = signal_of(stack, signal)
    require_energy(stack)
    if 0 in array.shape:
        raise SchemaError(f"the stack is empty {dict(array.sizes)}: select fewer or other pixels away")
    chosen = {"selection": selection, "max_references": max_references}
    moved = {"energy_shift": energy_shift, "broadening": broadening}
    of_data = {"noise": noise, "max_optical_density": max_optical_density}
    if not referenced:
        require_host(array, "phase_map without references")
        given = {**chosen, **moved, **of_data, "covariance": covariance or None}
        _refuse("it belongs to a fit of references: pass references too", **given)
        found: dict[str, Any] = {"n_phases": n_phases, "min_amount": min_amount, "n_components": n_components}
        if clusters is not None:
            _refuse("phases are those of the clusters: leave it out", references=references, **found)
            phases = _from_clusters(_given(clusters, array), stack)
        else:
            phases = _from_clusters(_clusters(stack, signal, background=background, seed=seed, **found), stack)
    else:
        _refuse("phases are those of the references: leave it out", n_phases=n_phases, n_components=n_components)
        options = {"method": method, "background": background, "false_discovery_rate": false_discovery_rate, **of_data}
        fitted, whole = _fits(stack, references, chosen, moved, {**options, "covariance": True, "signal": signal})
        density = None
        if explained:
            note("sample by the optical density that the references explain, as amounts add up to one everywhere")
            density = _explained(array, fitted["reference_spectra"], background)
        phases = phases_of_fit(fitted, whole, min_amount, covariance, density)
    return _labelled(phases, stack, min_confidence)


def _refuse(do: str, **options: Any) -> None:
    """Refuse options that say nothing here."""
    for name, value in options.items():
        if value is not None:
            raise OptionError(name, describe(value), do)


def _fits(
    stack: xr.DataArray | xr.Dataset,
    references: xr.Dataset | None,
    chosen: dict[str, Any],
    moved: dict[str, Any],
    options: dict[str, Any],
) -> tuple[xr.Dataset, xr.Dataset | None]:
    """Return the fit, and where it chooses among the references that of all of them, without its warnings again."""
    fitted = fit(stack, references, **chosen, **moved, **options)
    if chosen["selection"] is None:
        return fitted, None
    found: dict[str, Any] = {name: float(fitted[name]) for name in moved if name in fitted}
    with heard():
        return fitted, fit(stack, references, **found, **options)


def _explained(array: xr.DataArray, spectra: xr.DataArray, background: Background) -> xr.DataArray:
    """Return the root mean square over energy of what references can describe, the background removed (pixel dims). Lazy."""
    terms = np.asarray(background_spectra(background, array[ENERGY]), dtype=float)
    both = np.concatenate([terms, np.asarray(spectra.transpose(..., ENERGY), dtype=float)])
    basis = np.linalg.qr(both.T)[0][:, len(terms) :]
    whole = floating(array).chunk({ENERGY: -1}) if is_lazy(array) else floating(array)
    projected = over_energy(
        _scores_of_known,
        whole,
        verb="phase_map",
        output_dims=[[COMPONENT]],
        output_sizes={COMPONENT: basis.shape[1]},
        kwargs={"basis": basis, "threads": threads_for(whole)},
    )
    return amount_of(projected, len(basis))


def _scores_of_known(spectra: np.ndarray, basis: np.ndarray, threads: int) -> np.ndarray:
    """Return spectra (..., energy) @ basis (energy, component); a value that is missing is taken to be the mean of the others."""
    found = mixed_block(spectra, basis, threads=threads)
    lost = ~np.isfinite(found).all(-1)
    if lost.any():
        some = spectra[lost]
        known = ~np.isnan(some)
        with np.errstate(invalid="ignore"):
            mean = np.where(known, some, 0).sum(-1, keepdims=True) / known.sum(-1, keepdims=True).astype(some.dtype)
            found[lost] = mixed_block(np.where(known, some, mean), basis, threads=threads)
    return found


def _labelled(phases: xr.Dataset, stack: xr.DataArray | xr.Dataset, min_confidence: float) -> xr.Dataset:
    """Return phases whose labels say where they are not sure, and where there is no sample."""
    undecided = ~(phases["confidence"] >= min_confidence) & (phases["phase_label"] != NO_SAMPLE)
    label = phases["phase_label"].where(~undecided, np.int16(UNDECIDED)).astype(np.int16)
    if isinstance(stack, xr.Dataset) and "mask" in stack:
        label = label.where(stack["mask"], np.int16(NO_SAMPLE))
    phases["phase_label"] = annotate(label, "phase_label", **label_attrs(phases["phase"]))
    return phases.assign_attrs(min_confidence=min_confidence)


def _clusters(
    stack: xr.DataArray | xr.Dataset,
    signal: str,
    n_phases: int | None,
    min_amount: AmountLike | None,
    **options: Any,
) -> xr.Dataset:
    """Eager on the scores."""
    field = density_field(stack, signal)
    if field.array.sizes[ENERGY] < 2:
        raise SchemaError("a single energy has no spectra to group: give references or a stack of more energies")
    counted: dict[str, Any] = {"n_clusters": n_phases, "min_amount": {"": min_amount}, "called": "n_phases"}
    return spectral_clusters({"": field}, **counted, **options)[""]


def _given(clusters: xr.Dataset, array: xr.DataArray) -> xr.Dataset:
    """Return clusters of the pixels of an array, or say why they are none."""
    validate(clusters, "cluster")
    match_pixels(clusters["labels"], array, "the image of clusters")
    for entry in provenance.entries(clusters)[-1:]:
        if entry["operation"] == "cluster":
            note(f"clusters by {json.dumps(provenance.shortened(entry['parameters']))}")
    return clusters


def _from_clusters(found: xr.Dataset, stack: xr.DataArray | xr.Dataset) -> xr.Dataset:
    label, total, threshold = found["labels"], found["total_amount"], found["min_amount"]
    names = [f"cluster {k + 1}" for k in range(found.sizes["cluster"])]
    member = xr.concat([label == k + 1 for k in range(len(names))], dim="phase")
    fraction = member.astype(total.dtype).where(label > 0)
    return xr.Dataset(
        {
            "phase_fraction": annotate(fraction, "phase_fraction"),
            "phase_fraction_stderr": annotate(xr.full_like(fraction, np.nan), "phase_fraction_stderr"),
            "phase_label": (label - 1).where(label > 0, UNDECIDED).where(~(total < threshold), NO_SAMPLE),
            "confidence": annotate(found["confidence"], "confidence"),
            "quality": quality_bits({"not_measured": used_pixels(total.isnull(), stack, False)}, quality_of(stack)),
            "total_amount": total,
            "min_amount": threshold,
            "phase_spectra": annotate(
                found["cluster_spectra"].drop_vars("cluster").rename(cluster="phase"),
                "phase_spectra",
                units=found["cluster_spectra"].attrs["units"],
            ),
        },
        coords={"phase": ("phase", names), "color": ("phase", [PALETTE[k % len(PALETTE)] for k in range(len(names))])},
    )
