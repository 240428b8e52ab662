"""Where two analyses part: in their steps, parameters, inputs, and numbers."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from difflib import SequenceMatcher
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xstxm.errors import OptionError
from xstxm.provenance import entries, shortened

Row = tuple[str, str, Any, Any]


def diff(one: xr.DataArray | xr.Dataset, other: xr.DataArray | xr.Dataset) -> pd.DataFrame:
    """Return where two results part, as a table: no row where all is equal.

    Parameters
    ----------
    one, other
        Results of verbs of xstxm, or those read back from files.

    Returns
    -------
    DataFrame
        Columns `what` (``"step"``, ``"parameter"``, ``"input"``, ``"version"``, ``"sizes"``, ``"units"``, ``"numbers"``),
        `where`, `one` and `other`; ``""`` where one has none. In order of the steps, and then by variable: `numbers` says in
        `one` how many differ and of how many, in `other` the largest difference of those that both have. Eager.

    Raises
    ------
    OptionError
        Something else than two DataArrays or Datasets.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)[["intensity"]]
    >>> thin, thick = (xstxm.optical_density(stack, thick=limit) for limit in (2.0, 2.2))
    >>> xstxm.diff(thin, thick).iloc[0].tolist()
    ['parameter', '1 optical_density: thick', 2.0, 2.2]
    """
    for name, given in (("one", one), ("other", other)):
        if not isinstance(given, xr.DataArray | xr.Dataset):
            raise OptionError(name, type(given).__name__, "give a Dataset or a DataArray")
    rows = [*_of_steps(entries(one), entries(other)), *_of_numbers(_variables(one), _variables(other))]
    return pd.DataFrame(rows, columns=["what", "where", "one", "other"], dtype=object)


def _of_steps(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> Iterator[Row]:
    names = [[str(entry.get("operation")) for entry in record] for record in (one, other)]
    for kind, a, b, c, d in SequenceMatcher(None, names[0], names[1], autojunk=False).get_opcodes():
        if kind == "equal":
            for k, j in zip(range(a, b), range(c, d), strict=True):
                yield from _of_step(f"{k + 1} {names[0][k]}", one[k], other[j])
        else:
            yield from (("step", str(k + 1), names[0][k], "") for k in range(a, b))
            yield from (("step", str(k + 1), "", names[1][k]) for k in range(c, d))


def _of_step(where: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Row]:
    for what in ("version", "input"):
        if one.get(what) != other.get(what):
            yield what, where, one.get(what, ""), other.get(what, "")
    mine, theirs = one.get("parameters") or {}, other.get("parameters") or {}
    for name in dict.fromkeys([*mine, *theirs]):
        yield from _of_parameter(f"{where}: {name}", mine.get(name, ""), theirs.get(name, ""))


def _of_parameter(where: str, one: Any, other: Any) -> Iterator[Row]:
    """Compare arrays by their digest, by what they are where they have none."""
    said = [_digested(value) for value in (one, other)]
    digests = {isinstance(value, Mapping) and value.get("digest") for value in (one, other)}
    if said[0] != said[1] and (len(digests) > 1 or not any(digests)):
        array = any(isinstance(value, Mapping) and "array" in value for value in (one, other))
        yield "input" if array else "parameter", where, said[0], said[1]


def _digested(value: Any) -> Any:
    if isinstance(value, Mapping) and "array" in value:
        return " ".join([value["array"], str(value.get("digest", "without digest"))[:23]])
    return shortened(value)


def _variables(obj: xr.DataArray | xr.Dataset) -> dict[Hashable, xr.Variable]:
    if isinstance(obj, xr.Dataset):
        return dict(obj.variables)
    return {obj.name or "the array": obj.variable, **{name: coord.variable for name, coord in obj.coords.items()}}


def _of_numbers(one: dict[Hashable, xr.Variable], other: dict[Hashable, xr.Variable]) -> Iterator[Row]:
    for name in dict.fromkeys([*one, *other]):
        a, b = one.get(name), other.get(name)
        if a is None or b is None or a.dims != b.dims or a.shape != b.shape:
            yield "sizes", str(name), _sizes(a), _sizes(b)
        else:
            yield from _of_variable(str(name), a, b)


def _sizes(variable: xr.Variable | None) -> str:
    if variable is None:
        return ""
    return f"({', '.join(f'{dim}: {size}' for dim, size in variable.sizes.items())})"


def _of_variable(name: str, one: xr.Variable, other: xr.Variable) -> Iterator[Row]:
    """Compare two variables of the same sizes. Eager."""
    units = [str(variable.attrs.get("units", "")) for variable in (one, other)]
    if units[0] != units[1]:
        yield "units", name, units[0], units[1]
    a, b = np.asarray(one), np.asarray(other)
    numbers = a.dtype.kind in "fiubc" and b.dtype.kind in "fiubc"
    differ = np.asarray((a != b) & ~(pd.isna(a) & pd.isna(b)))
    if differ.any():
        yield (
            "numbers",
            name,
            f"{int(differ.sum())} of {a.size} differ",
            _largest(a[differ], b[differ]) if numbers else "",
        )
    elif numbers and a.dtype != b.dtype:
        yield "numbers", name, f"equal, {a.dtype}", f"equal, {b.dtype}"


def _largest(a: np.ndarray, b: np.ndarray) -> str:
    """Return the largest of the differences of finite numbers, and how many others there are."""
    kind = np.result_type(a.dtype, b.dtype, np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    largest = np.abs(a[both].astype(kind) - b[both].astype(kind)).max(initial=0.0)
    others = int((~both).sum())
    said = [f"by up to {largest:.6g}"] if both.any() else []
    return ", ".join([*said, f"{others} not finite in one or both"] if others else said)
