"""What writers have in common: which variable they write, what of it they round, and what they leave out, which is told."""

from __future__ import annotations

from collections.abc import Container, Iterable

import numpy as np
import xarray as xr

from xstxm.conventions import require_variable
from xstxm.errors import MetadataWarning, SchemaError, shown, warn


def chosen(obj: xr.DataArray | xr.Dataset, signal: str | None, program: str) -> xr.DataArray:
    """Return the array that is written: a DataArray itself, or a variable of a Dataset, its only one by default.

    Raises
    ------
    SchemaError, MissingVariableError
        It is none, has several and none was named, or lacks the one that was.
    """
    if isinstance(obj, xr.DataArray):
        return obj
    if not isinstance(obj, xr.Dataset):
        raise SchemaError(f"{program} holds a variable, found a {type(obj).__name__}: give a DataArray or a Dataset")
    if signal is None and len(obj.data_vars) == 1:
        signal = str(next(iter(obj.data_vars)))
    if signal is None:
        raise SchemaError(f"{program} holds one variable (found: {', '.join(map(str, obj.data_vars))}): pass signal=")
    return require_variable(obj, signal, "pass signal= with the name of a variable")


def warn_of_loss(holds: str, names: Iterable[object], kept: Container[object]) -> None:
    """Name the variables and coordinates that are not written, and the writers that keep them.

    Parameters
    ----------
    holds
        What a file of the format holds, e.g. ``"TIFF holds images"``.
    names
        Variables and coordinates of what is written.
    kept
        Those that the file keeps.
    """
    lost = [str(name) for name in names if name not in kept]
    if lost:
        warn(
            f"{holds}: {', '.join(lost)} not written (write_netcdf and write_zarr keep everything)",
            MetadataWarning,
        )


class SinglePrecision:
    """Makes blocks of numbers float32, and remembers whether that rounded any."""

    def __init__(self, name: object, program: str) -> None:
        self._name, self._program = name, program
        self.rounded = False

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """Return a block as float32.

        Raises
        ------
        SchemaError
            A number is too large for it.
        """
        with np.errstate(over="ignore"):
            single = block.astype("<f4")
        if (np.isinf(single) & np.isfinite(block)).any():
            largest = shown(np.abs(block[np.isfinite(block)]).max())
            raise SchemaError(f"{self._name!r} has numbers up to {largest}, beyond float32: divide it first")
        self.rounded |= not np.array_equal(single, block, equal_nan=block.dtype.kind == "f")
        return single

    def tell(self) -> None:
        """Warn where numbers were rounded."""
        if self.rounded:
            warn_of_rounding(self._name, "float32", self._program)


def warn_of_rounding(name: object, to: str, program: str) -> None:
    """Say that numbers were rounded, and to what."""
    warn(f"{name!r} was rounded to {to} for {program}", MetadataWarning)
