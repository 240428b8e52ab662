"""Results in words, with their errors and units: what a scientist reads off a plot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import xarray as xr

from stxm_explorer.messages import counted, verbatim
from stxm_explorer.wording import in_words_of_pages
from xstxm import plot

_FIELDS = "between fields"
_MOSTLY = {
    "within particles": "inside particles",
    "between particles": "from particle to particle",
    _FIELDS: "from field to field",
}


def of_split(split: xr.Dataset, name: str) -> str:
    """Return what a result of `heterogeneity` says about a quantity, and of how many members, in Markdown."""
    name = verbatim(name)
    shares = {str(scale): float(split["variance_share"].sel(scale=scale)) for scale in split["scale"].values}
    known = {scale: share for scale, share in shares.items() if math.isfinite(share)}
    total = float(split["total_variance"])
    if not known or not total > 0:
        return f"No variance of the {name} is left once the noise is taken off."
    parts = listed([f"{100 * share:.0f} % {scale}" for scale, share in known.items()])
    text = f"The variance of the {name} lies {parts}: {_most(split, known)}. Its standard deviation is "
    text += f"{math.sqrt(total):.3g} {_unit(split['standard_deviation'])}".rstrip()
    cleaned = bool(np.isfinite(split["variance_stderr"]).any())
    text += f" in all, noise {'taken off' if cleaned else 'included, as no errors are known'}."
    if below := [scale for scale, share in known.items() if share < 0]:
        text += f" A share below zero is none that can be told from zero: {listed(below)}."
    if reason := split.attrs.get("undetermined"):
        text += f" Not determined is what lies {in_words_of_pages(reason)}."
    return text


def _most(split: xr.Dataset, shares: Mapping[str, float]) -> str:
    """Return where most of the variance is, and whether the intervals tell so."""
    first, *others = sorted(shares, key=shares.__getitem__, reverse=True)
    low = float(split["variance_lower"].sel(scale=first))
    told = [scale for scale in others if _has_interval(split, scale)]
    rivals = [scale for scale in told if not float(split["variance_upper"].sel(scale=scale)) < low]
    doubts = [f"the interval of what lies {listed(rivals)} reaches as far"] if rivals else []
    doubts += [] if _has_interval(split, _FIELDS) else [f"two fields do not tell how much lies {_FIELDS}"]
    return f"it varies mostly {_MOSTLY[first]}" + (f", though {listed(doubts)}" if doubts else "")


def _has_interval(split: xr.Dataset, scale: str) -> bool:
    """Tell whether the interval of a variance says anything: two members leave one degree of freedom."""
    return scale != _FIELDS or float(split["n_members"].sel(scale=scale)) != 2


def split_rows(split: xr.Dataset) -> list[tuple[str, ...]]:
    """Return the rows of a table of the split, under a row of headings."""
    level = split["variance_lower"].attrs.get("confidence_level", 0.95)
    variance, deviation = split["variance"], split["standard_deviation"]
    rows: list[tuple[str, ...]] = [
        (
            "",
            _with_unit("variance", variance),
            f"{100 * level:g} % interval",
            "share",
            _with_unit("std. deviation", deviation),
            _with_unit("noise, taken off", variance),
            "members",
        )
    ]
    for scale, member in zip(split["scale"].values, ("pixel", "particle", "field"), strict=True):
        one = split.sel(scale=scale)
        number = {name: float(one[name]) for name in split.data_vars if split[name].dims == ("scale",)}
        rows.append(
            (
                str(scale),
                _measured(number["variance"], number["variance_stderr"]),
                _interval(number["variance_lower"], number["variance_upper"])
                if _has_interval(split, str(scale))
                else "two fields tell none",
                _plain(100 * number["variance_share"], "{:.0f} %"),
                _plain(number["standard_deviation"]),
                _plain(number["noise_variance"] + np.nan_to_num(number["sampling_variance"])),
                counted(number["n_members"], member),
            )
        )
    return rows


def of_lengths(found: xr.Dataset, name: str, *, within: bool) -> str:
    """Return what a result of `correlation_length` says about a quantity, in Markdown."""
    where = "in one particle" if within else "anywhere in a field"
    lines = []
    for field, one in _fields(found):
        length, low, high = (float(one[f"correlation_length{end}"]) for end in ("", "_lower", "_upper"))
        of = verbatim(field) or "all fields together"
        if not math.isfinite(length):
            lines.append(f"{of}: none, as there is no variance beyond the noise, or it does not fall so far.")
            continue
        level = found["correlation_length_lower"].attrs.get("confidence_level", 0.95)
        sure = f"({100 * level:g} % interval {low:.3g} to {high:.3g} µm)"
        doubt = "(no interval: it is more than a third of the particles or of the field)"
        lines.append(f"{of}: {length:.3g} µm {sure if math.isfinite(low + high) else doubt}")
    head = f"Correlation length of the {verbatim(name)}, of pixels {where}, at which their covariance is 1/e of the variance:"
    return f"{head}\n\n" + "\n".join(f"- {line}" for line in lines)


def of_blocks(found: xr.Dataset, field: str, length: float, name: str) -> str:
    """Return how much of the variance of a field is left in blocks of a length, in Markdown."""
    one = found.sel(node=field).dropna("length", subset=["variance"])
    variance, finest = one["variance"].sel(length=length, method="nearest"), one["variance"][0]
    side = float(variance["length"])
    field, name = verbatim(field), verbatim(name)
    if not float(finest) > 0:
        return f"{field} has no variance of the {name} at its pixel once the noise is taken off."
    interval = [float(one[f"variance_{end}"].sel(length=side)) for end in ("lower", "upper")]
    text = f"In blocks of {side:.3g} µm {100 * float(variance / finest):.0f} % of the variance of the {name} in {field} is left: "
    text += f"{_valued(variance)} ({_interval(*interval)}); at its pixel, {float(finest['length']):.3g} µm, it is "
    return f"{text}{_valued(finest)}."


def listed(words: Iterable[str]) -> str:
    """Return words as a list in a sentence.

    Examples
    --------
    >>> listed(["one", "two", "three"])
    'one, two and three'
    """
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _fields(found: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    if "node" not in found.dims:
        return [("", found)]
    return [(str(name), found.sel(node=name)) for name in found["node"].values]


def _valued(array: xr.DataArray) -> str:
    return f"{float(array):.3g} {_unit(array)}".rstrip()


def _measured(value: float, error: float) -> str:
    if not math.isfinite(value):
        return "not determined"
    return f"{value:.3g} ± {error:.1g}" if math.isfinite(error) else f"{value:.3g}"


def _interval(low: float, high: float) -> str:
    return f"{low:.2g} to {high:.2g}" if math.isfinite(low + high) else "no interval"


def _plain(value: float, form: str = "{:.3g}") -> str:
    return form.format(value) if math.isfinite(value) else "–"


def _unit(array: xr.DataArray) -> str:
    return plot.pretty_units(str(array.attrs.get("units", "1")))


def _with_unit(name: str, array: xr.DataArray) -> str:
    unit = _unit(array)
    return f"{name} [{unit}]" if unit else name


def of_shares(summary: xr.Dataset) -> str:
    """Return what the shares of the phases are of, and what their errors are of, in Markdown."""
    names, errors = summary["phase"].values, summary["area_fraction_sampling_stderr"].values
    material = [
        f"{verbatim(str(name))} ± {error:.2g}"
        for name, error in zip(names, errors, strict=True)
        if math.isfinite(error)
    ]
    undecided = float(summary["undecided_fraction"])
    advice = ": page *Data*, *References*, says whether these can be told apart" if undecided > 0.5 else ""
    return (
        "Shares of the sample by area, each pixel for its largest phase; "
        f"{100 * undecided:.2g} % of it is undecided{advice}. "
        "Errors are of this field: noise, and wrong labels."
        + (f" As a sample of the material: {', '.join(material)}." if material else "")
    )
