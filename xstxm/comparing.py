"""How far two maps of the same pixels agree: labels, fractions and composition."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._axes import match_pixels
from xstxm._kernels import agreement
from xstxm.conventions import NO_SAMPLE, UNDECIDED, annotate, without_coords
from xstxm.errors import ChoiceError, MissingVariableError, OptionError, SchemaError, check_choice, require_number
from xstxm.provenance import note, recorded

Match: TypeAlias = Literal["name", "agreement"]
Unlabelled: TypeAlias = Literal["leave_out", "count"]

_UNLABELLED = {"undecided": UNDECIDED, "no sample": NO_SAMPLE}
_WORDS = {**_UNLABELLED, "unassigned": UNDECIDED, "masked": NO_SAMPLE}
"""What labels of `phase_map` and `cluster` say of pixels without a phase."""


@recorded
def compare(
    one: xr.Dataset | xr.DataArray,
    other: xr.Dataset | xr.DataArray,
    *,
    phases: Mapping[str, str] | Match = "name",
    unlabelled: Unlabelled = "leave_out",
    confidence: float = 0.95,
) -> xr.Dataset:
    """Return how far two maps of the same pixels agree, phase by phase.

    Parameters
    ----------
    one, other
        Results of `phase_map` or of `cluster`, or their label images with the attributes that explain the values.
    phases
        Which phase of `other` is which of `one`: those of the same ``"name"``; by a mapping from the names of `other` to
        those of `one`, ``{"cluster 1": "alpha", "cluster 2": "alpha"}``; or by ``"agreement"``, the assignment of each to at
        most one that makes most pixels agree, as for clusters.
    unlabelled
        Pixels that are undecided or no sample in either map: ``"leave_out"``, or ``"count"`` them as two more classes.
    confidence
        Of the joint error beyond which two values differ.

    Returns
    -------
    Dataset
        `confusion` (phase, other_phase), pixels by their phase in `one` and in `other`, `n_compared` in all; `agreement`, the
        share on the diagonal; `share_of_one`, `share_of_other` and `overlap` (phase), the pixels that both give a phase over
        those that `one`, `other`, or either gives it; `kappa` and `kappa_stderr`, `adjusted_rand_index`. Where both have
        fractions, and compositions, of what lies in the sample of both, `other` minus `one`:
        `fraction_difference_rms`, `fraction_difference_mean` and `fraction_difference_beyond` (phase), the share of the
        pixels whose difference is beyond its joint error; and the same of `composition_difference`. A phase of `other` that
        is assigned to none is a class of its own. Lazy; Eager on the confusion with ``phases="agreement"``.

    Raises
    ------
    MissingVariableError, SchemaError
        No labels, labels that nothing explains, or other pixels.
    OptionError, ChoiceError
        Phases of other names, or a mapping that leaves one out or names one that is not there.

    Notes
    -----
    Cohen's kappa is the agreement beyond that of chance; its error is that of independent pixels (Fleiss, Cohen and
    Everitt [1]_), too small where pixels of a map resemble their neighbours. The adjusted Rand index [2]_ asks
    of all pairs of pixels whether both maps keep them together, and needs no names.

    The joint error takes the two maps as independent. Of two analyses of the same counts it is too large.

    References
    ----------
    .. [1] J. L. Fleiss, J. Cohen, B. S. Everitt, Psychol. Bull. 72, 323 (1969), https://doi.org/10.1037/h0028106
    .. [2] L. Hubert, P. Arabie, J. Classif. 2, 193 (1985), https://doi.org/10.1007/BF01908075

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> fitted = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> clusters = xstxm.phase_map(stack, n_phases=4)
    >>> found = xstxm.compare(fitted, clusters, phases="agreement")
    >>> found.confusion.dims, bool(found.kappa > 0)
    (('phase', 'other_phase'), True)
    """
    check_choice("unlabelled", unlabelled, Unlabelled)
    confidence = require_number("confidence", confidence, "a probability", above=0, below=1)
    one, other = units.dequantify(one), units.dequantify(other)
    (label, names), (label_other, names_other) = _labelled(one, "one"), _labelled(other, "other")
    if {*label.dims} != {*label_other.dims}:
        raise SchemaError(f"the maps have dims {label.dims} and {label_other.dims}: compare maps of the same pixels")
    label_other = match_pixels(label_other, label, "the other map")
    plain, plain_other = (image.drop_vars(list(image.coords)) for image in (label, label_other))
    matched = _matched(plain, plain_other, names, names_other, phases)
    classes = list(dict.fromkeys([*names, *matched]))
    counted = [*classes, *(_UNLABELLED if unlabelled == "count" else ())]
    found = _statistics(_confusion(_classes(plain, names, counted), _classes(plain_other, matched, counted), counted))
    differences = _differences(one, other, names, matched, confidence)
    told = "; ".join(f"{theirs}: {mine}" for theirs, mine in zip(names_other, matched, strict=True))
    both = xr.merge([xr.Dataset(found), xr.Dataset(differences)], join="left")  # the classes keep their order
    return both.assign_attrs(matched=told, unlabelled=unlabelled, confidence=confidence)


def _labelled(given: xr.Dataset | xr.DataArray, which: str) -> tuple[xr.DataArray, list[str]]:
    """Return a label image, 0, 1, ... or undecided or no sample, and the names of the labels. Lazy."""
    if isinstance(given, xr.Dataset):
        if "phase_label" in given and "phase" in given.coords:
            names = [str(name) for name in np.asarray(given["phase"])]
            places = {k: k for k in (UNDECIDED, NO_SAMPLE, *range(len(names)))}
            return _renumbered(given["phase_label"], places, which), names
        if "labels" in given:
            return _labelled(given["labels"], which)
        raise MissingVariableError("phase_label", given.data_vars, "call .stxm.phase_map() first")
    if not isinstance(given, xr.DataArray) or given.dtype.kind not in "iu" or "flag_meanings" not in given.attrs:
        raise SchemaError(
            f"{which!r} is no map of labels: give a result of phase_map or cluster, or whole numbers with the attributes "
            "flag_values and flag_meanings"
        )
    values = np.atleast_1d(given.attrs["flag_values"]).tolist()
    words = [word.replace("_", " ") for word in str(given.attrs["flag_meanings"]).split()]
    said = sorted(zip(values, words, strict=True))
    names = [word for _, word in said if word not in _WORDS]
    known = {**_WORDS, **{name: k for k, name in enumerate(names)}}
    return _renumbered(given, {value: known[word] for value, word in said}, which), names


def _renumbered(label: xr.DataArray, places: Mapping[int, int], which: str) -> xr.DataArray:
    """Return labels as places among the phases, or as undecided or no sample. Lazy."""
    return xr.apply_ufunc(
        _looked_up,
        label,
        kwargs={"places": places, "which": which},
        dask="parallelized",
        output_dtypes=[np.int16],
        keep_attrs=True,
    )


def _looked_up(label: np.ndarray, *, places: Mapping[int, int], which: str) -> np.ndarray:
    known = np.array(sorted(places))
    at = np.searchsorted(known, label).clip(max=len(known) - 1)
    strange = np.unique(label[known[at] != label])
    if strange.size:
        raise SchemaError(
            f"the labels of {which!r} hold {', '.join(map(str, strange[:5]))}, which none of their names belongs to (named: "
            f"{', '.join(map(str, known))}): correct the labels, or name these in flag_values and flag_meanings"
        )
    return np.array([places[value] for value in known.tolist()], dtype=np.int16)[at]


def _matched(
    label: xr.DataArray,
    other: xr.DataArray,
    names: list[str],
    names_other: list[str],
    phases: Mapping[str, str] | Match,
) -> list[str]:
    """Return what the phases of the other map are called in this one."""
    if isinstance(phases, Mapping):
        return _by_mapping(names, names_other, phases)
    check_choice("phases", phases, Match)
    if phases == "agreement":
        return _by_agreement(label, other, names, names_other)
    called = {_word(name): name for name in names}
    if called.keys() != {_word(name) for name in names_other}:
        raise OptionError(
            "phases",
            "name",
            f"one map has {', '.join(map(repr, names))}, the other {', '.join(map(repr, names_other))}: pass phases={{name in "
            "the other: name in the one}, or phases='agreement'",
        )
    return [called[_word(name)] for name in names_other]


def _word(name: str) -> str:
    """Return a name as flag_meanings spells it, which has no spaces."""
    return name.replace(" ", "_")


def _by_mapping(names: list[str], names_other: list[str], phases: Mapping[str, str]) -> list[str]:
    for name in phases:
        if name not in names_other:
            raise ChoiceError("phase of the other map", name, names_other)
    for name in phases.values():
        if name not in names:
            raise ChoiceError("phase of the one map", name, names)
    missing = [name for name in names_other if name not in phases]
    if missing:
        raise OptionError("phases", dict(phases), f"say what {', '.join(map(repr, missing))} is in the one map too")
    return [phases[name] for name in names_other]


def _by_agreement(label: xr.DataArray, other: xr.DataArray, names: list[str], names_other: list[str]) -> list[str]:
    """Return the assignment by which most pixels agree. Eager on the confusion."""
    from scipy.optimize import linear_sum_assignment

    table = np.asarray(_pairs(label, other, len(names), len(names_other)))
    mine, theirs = linear_sum_assignment(table, maximize=True)
    chosen = {names_other[k]: names[j] for j, k in zip(mine, theirs, strict=True)}
    matched = [chosen.get(name, f"{name} (other)" if name in names else name) for name in names_other]
    note("matched " + ", ".join(f"{theirs} to {mine}" for theirs, mine in chosen.items()))
    return matched


def _classes(label: xr.DataArray, names: Sequence[str], classes: list[str]) -> xr.DataArray:
    """Return the place of each pixel among the classes, -1 in none. Lazy."""
    places = [classes.index(name) if name in classes else -1 for name in (*_UNLABELLED, *names)]
    return xr.apply_ufunc(
        lambda values, table: table[values - UNDECIDED],
        label,
        kwargs={"table": np.array(places, dtype=np.int16)},
        dask="parallelized",
        output_dtypes=[np.int16],
    )


def _pairs(label: xr.DataArray, other: xr.DataArray, n: int, n_other: int) -> xr.DataArray:
    """Return how many pixels have each pair of labels, those below zero left out. Lazy."""
    pair = label.astype(np.int64) * n_other + other.astype(np.int64)
    left_out = n * n_other
    place = xr.where((label < 0) | (other < 0), left_out, pair)
    number = np.bincount(place.data.ravel(), minlength=left_out + 1)[:left_out]
    return xr.DataArray(number.reshape(n, n_other), dims=("phase", "other_phase"))


def _confusion(label: xr.DataArray, other: xr.DataArray, classes: list[str]) -> xr.DataArray:
    pairs = _pairs(label, other, len(classes), len(classes))
    return pairs.assign_coords(phase=classes, other_phase=classes)


def _statistics(confusion: xr.DataArray) -> dict[str, xr.DataArray]:
    """Return what follows from the numbers of pixels. Lazy."""
    pairs = ["phase", "other_phase"]
    outputs: list[list[str]] = [[], ["phase"], ["phase"], ["phase"], [], [], []]
    found = xr.apply_ufunc(
        agreement.agreements,
        confusion.drop_vars("other_phase"),
        input_core_dims=[pairs],
        output_core_dims=outputs,
        dask="parallelized",
        output_dtypes=[float] * len(outputs),
    )
    names = ("agreement", "share_of_one", "share_of_other", "overlap", "kappa", "kappa_stderr", "adjusted_rand_index")
    number = {"confusion": confusion, "n_compared": confusion.sum(pairs)}
    return {name: annotate(array, name) for name, array in (number | dict(zip(names, found, strict=True))).items()}


def _differences(
    one: xr.Dataset | xr.DataArray,
    other: xr.Dataset | xr.DataArray,
    names: list[str],
    matched: list[str],
    confidence: float,
) -> dict[str, xr.DataArray]:
    """Return what is known of the differences of fractions and composition. Lazy."""
    found: dict[str, xr.DataArray] = {}
    if not (isinstance(one, xr.Dataset) and isinstance(other, xr.Dataset)):
        return found
    if "phase_fraction" in one and "phase_fraction" in other:
        parts = [
            _in_order(other[name], names, matched, single=name.endswith("_stderr"))
            for name in ("phase_fraction", "phase_fraction_stderr")
        ]
        mine = [one["phase_fraction"], one["phase_fraction_stderr"]]
        found |= _difference("fraction_difference", mine, parts, confidence, None)
    if "composition" in one and "composition" in other:
        unit = str(one["composition"].attrs.get("units", "1"))
        mine, parts = (
            [units.to_units(maps[name], unit, "the composition") for name in ("composition", "composition_stderr")]
            for maps in (one, other)
        )
        found |= _difference("composition_difference", mine, parts, confidence, unit)
    return found


def _in_order(array: xr.DataArray, names: list[str], matched: list[str], *, single: bool) -> xr.DataArray:
    """Return fractions by the phases of the one map: added up where several are one, 0 where there is none.

    Errors of a sum are not known (`single`): NaN.
    """
    plain = without_coords(array, "phase")
    sample = plain.isel(phase=0).notnull()
    rows = []
    for name in names:
        at = [k for k, theirs in enumerate(matched) if theirs == name]
        row = plain.isel(phase=at).sum("phase") if at else xr.zeros_like(plain.isel(phase=0))
        rows.append(row.where(sample & (not single or len(at) < 2)))
    return xr.concat(rows, dim="phase").assign_coords(phase=names)


def _difference(
    name: str, one: Sequence[xr.DataArray], other: Sequence[xr.DataArray], confidence: float, unit: str | None
) -> dict[str, xr.DataArray]:
    from scipy.special import ndtri

    value = one[0].drop_vars([coord for coord in one[0].coords if coord != "phase"])
    difference = match_pixels(other[0].drop_vars("phase", errors="ignore"), one[0], "the other map") - one[0]
    square = match_pixels(other[1].drop_vars("phase", errors="ignore"), one[0], "the other map") ** 2 + one[1] ** 2
    dims: list[Hashable] = [dim for dim in value.dims if dim != "phase"]
    beyond = abs(difference) > float(ndtri(0.5 + confidence / 2)) * square**0.5
    known = difference.notnull() & square.notnull()
    found: dict[str, Any] = {
        f"{name}_rms": (difference**2).mean(dims) ** 0.5,
        f"{name}_mean": difference.mean(dims),
        f"{name}_beyond": beyond.astype(float).where(known).mean(dims),
    }
    kept = {"comment": "The other map minus the one, over the sample of both."}
    stamped = {}
    for key, array in found.items():
        plain = array.drop_vars([coord for coord in array.coords if coord != "phase"])
        stamped[key] = annotate(plain, key, units=None if key.endswith("_beyond") else unit, **kept)
    return stamped
