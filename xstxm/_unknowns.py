"""The unknowns of a fit: references and background terms, and whether the energies determine them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm._axes import match_energy
from xstxm.conventions import ENERGY, REFERENCE, annotate
from xstxm.errors import CollinearityWarning, ReferenceSpectrumError, SchemaError, check_choice, warn

Method: TypeAlias = Literal["lstsq", "nnls", "fcls"]
BackgroundName: TypeAlias = Literal["none", "constant", "linear"]
Background: TypeAlias = "BackgroundName | xr.DataArray"

TERM = "term"
PART = "part"
"""Coordinate along energy of a stack of several quantities: each has a background of its own."""
MAX_REFERENCES = 60
INDEPENDENT = 1e-10
"""Part of a unit-length spectrum outside the span of the others, below which it is one of their mixtures."""
DISTINCT = 1e-4
"""That part below which no realistic measurement sees it: the noise of 10^8 counts in a pixel is 10^-4 of what it absorbs."""


def background_spectra(background: Background, energy: xr.DataArray) -> xr.DataArray:
    """Return the background terms (term, energy)."""
    if isinstance(background, xr.DataArray):
        return _given_background(background, energy)
    if not isinstance(background, str):
        raise SchemaError(
            f"the background is a {type(background).__name__}: give 'none', 'constant', 'linear' or a DataArray "
            "(term, energy) with an energy coordinate"
        )
    check_choice("background", background, BackgroundName)
    axis = np.asarray(energy, dtype=float)
    half = np.ptp(axis) / 2 or 1.0
    scaled = (axis - (axis.min() + half)) / half
    rows = {"none": {}, "constant": {"constant": np.ones_like(axis)}}
    rows["linear"] = {**rows["constant"], "slope": scaled}
    named = rows[background]
    if PART in energy.coords:
        part = np.asarray(energy[PART])
        named = {
            f"{name} of {of}": row * (part == of) for of in dict.fromkeys(part.tolist()) for name, row in named.items()
        }
    values = np.array(list(named.values())).reshape(len(named), axis.size)
    coords = {TERM: np.array(list(named), dtype=str), ENERGY: energy.variable}
    return annotate(xr.DataArray(values, dims=(TERM, ENERGY), coords=coords), "background_spectra")


def _given_background(background: xr.DataArray, energy: xr.DataArray) -> xr.DataArray:
    if set(background.dims) != {TERM, ENERGY}:
        raise SchemaError(f"the background has dims {background.dims}, wanted ('term', 'energy')")
    matched = match_energy(background.transpose(TERM, ENERGY).astype(float), energy, what="the background")
    if not bool(np.isfinite(matched).all()):
        raise SchemaError("the background holds values that are not finite: repair or drop those energies first")
    if TERM not in matched.coords:
        matched = matched.assign_coords({TERM: [f"term {k + 1}" for k in range(matched.sizes[TERM])]})
    return annotate(matched, "background_spectra")


def _labels(spectra: xr.DataArray, terms: xr.DataArray) -> tuple[list[str], list[str]]:
    """Return what messages call the references and the background terms."""
    references = [repr(str(name)) for name in np.asarray(spectra[REFERENCE]).tolist()]
    return references, [f"the {name} background" for name in np.asarray(terms[TERM]).tolist()]


def require_determined(
    spectra: xr.DataArray, terms: xr.DataArray, method: Method, *, there: str = "the stack has"
) -> None:
    """Raise `ReferenceSpectrumError` where a fit of references and background terms has no unique solution.

    Warn where it has one that only data without noise would find. `there` introduces the number of energies.
    """
    _require_enough_energies(spectra, terms, method, there)
    _require_independent(spectra, terms, method)


def _require_enough_energies(spectra: xr.DataArray, terms: xr.DataArray, method: Method, there: str) -> None:
    references, backgrounds = _labels(spectra, terms)
    needed = len(references) + len(backgrounds) + (0 if method == "fcls" else 1)
    if len(references) > MAX_REFERENCES:
        raise ReferenceSpectrumError(
            f"a fit takes at most {MAX_REFERENCES} references, found {len(references)}: select some"
        )
    found = spectra.sizes[ENERGY]
    if found < needed:
        raise ReferenceSpectrumError(
            f"a fit of {', '.join(references + backgrounds)} needs at least {needed} energies, {there} {found}: "
            "take fewer references" + (", or background='none'" if backgrounds else "")
        )


def _require_independent(spectra: xr.DataArray, terms: xr.DataArray, method: Method) -> None:
    """Raise an error that names the references and background terms that are mixtures of each other, or warn of them."""
    references, backgrounds = _labels(spectra, terms)
    design = np.concatenate([np.asarray(terms, dtype=float), np.asarray(spectra, dtype=float)])
    if method == "fcls":
        # the fixed sum tells apart spectra that differ by a factor
        size = np.abs(design).max()
        design = np.column_stack([design, size * np.repeat([0.0, 1.0], [len(backgrounds), len(references)])])
    norm = np.linalg.norm(design, axis=1, keepdims=True)
    unit = design / np.where(norm > 0, norm, 1)
    singular, directions = np.linalg.svd(unit.T, full_matrices=False)[1:]
    if singular[-1] > DISTINCT:
        return
    alike = singular[-1] > INDEPENDENT * singular[0]
    part = np.abs(directions[-1])
    involved = part > (0.1 * part.max() if alike else 1e-3)
    terms_involved, references_involved = involved[: len(backgrounds)], involved[len(backgrounds) :]
    culprits = [name for name, part in zip(references, references_involved, strict=True) if part]
    others = [name for name, part in zip(backgrounds, terms_involved, strict=True) if part]
    condition = singular[0] / max(singular[-1], np.finfo(float).eps * singular[0])
    who, remedy = _who(culprits, others), _remedy(culprits, others)
    if alike:
        warn(
            f"{who} are so nearly mixtures of each other at these energies (condition number {condition:.0e}) that no "
            f"realistic number of counts tells them apart: {remedy}",
            CollinearityWarning,
        )
        return
    raise ReferenceSpectrumError(
        f"{who} cannot be told apart at these energies (condition number {condition:.0e}): {remedy}",
        [name.strip("'") for name in culprits],
    )


def _who(culprits: list[str], others: list[str]) -> str:
    parts = ([f"reference{'s' if len(culprits) > 1 else ''} {culprits[0]}", *culprits[1:]] if culprits else []) + others
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _remedy(culprits: list[str], others: list[str]) -> str:
    if not culprits:
        return "give independent background terms"
    if others:
        return f"pass background='none', or leave out {culprits[0]}"
    return f"leave out {culprits[-1]}, or use energies at which they differ"
