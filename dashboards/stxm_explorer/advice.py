"""What there is to say of references beside a stack, in plain words."""

from __future__ import annotations

import numpy as np
import xarray as xr

from stxm_explorer.messages import verbatim


def uncovered(references: xr.Dataset, energy: xr.DataArray, label: str) -> list[str]:
    """Return a sentence for each set of references that does not have data at all energies of a field.

    Parameters
    ----------
    references
        Reference set.
    energy
        Energies of the field that are used.
    label
        Name of the field.
    """
    wanted = np.asarray(energy, dtype=float)
    if not wanted.size:
        return []
    low, high, unit = float(wanted.min()), float(wanted.max()), energy.attrs.get("units", "eV")
    elsewhere, shorter, said = [], {}, []
    for name, (start, stop) in ranges(references).items():
        if stop < low or start > high:
            elsewhere.append(name)
        elif start > low or stop < high:
            shorter[name] = (max(start, low), min(stop, high))
    if elsewhere:
        said.append(
            f"{_listed(elsewhere)}: no data between {low:.6g} and {high:.6g} {unit}, where {label} was measured. "
            "The spectra are of another edge, or their energies in another unit: choose others, or leave them out."
        )
    if shorter:
        start, stop = max(one for one, _ in shorter.values()), min(one for _, one in shorter.values())
        do = f"use {label} from {start:.6g} to {stop:.6g} {unit} (page Prepare)" if start < stop else "choose others"
        said.append(f"{_listed([*shorter])}: data for a part of the energies of {label} only. To fit them, {do}.")
    return said


def ranges(references: xr.Dataset) -> dict[str, tuple[float, float]]:
    """Return between which energies each reference has data."""
    energy = np.asarray(references["energy"], dtype=float)
    found = {}
    for name, spectrum in zip(references["reference"].values, references["absorption"].values, strict=True):
        known = energy[np.isfinite(spectrum)]
        found[str(name)] = (float(known.min()), float(known.max())) if known.size else (np.inf, -np.inf)
    return found


def told_apart(result: xr.Dataset, counts: float, of: str = "") -> str:
    """Return a sentence, in Markdown, on the two references that are hardest to tell apart, at counts that are those `of` a field."""
    pairs = np.asarray(result["pair_stderr"], dtype=float)
    names = [str(name) for name in result["reference"].values]
    first, second = divmod(int(np.nanargmax(pairs)), len(names))
    error = pairs[first, second]
    much = "well told apart" if error < 0.05 else "told apart roughly" if error < 0.2 else "hardly told apart"
    pair = f"**{verbatim(names[first])}** and **{verbatim(names[second])}** are "
    pair += "the hardest pair, and " if len(names) > 2 else ""
    whose = f", the median of {verbatim(of)}," if of else ","
    return (
        f"At {counts:,.0f} incident counts for each pixel and energy{whose} in an equal mixture whose largest optical density is "
        f"1, {pair}{much}: the difference of their fractions is uncertain by ± {error:.2g}."
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
