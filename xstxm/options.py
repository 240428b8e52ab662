"""Package options, set for the session or within a ``with`` block."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from types import TracebackType
from typing import Any

from xstxm.errors import ChoiceError


@dataclass(frozen=True)
class Options:
    """The options and their defaults."""

    energy_tolerance: float = 0.010
    """Two energies closer than this (eV) are the same energy."""
    rechunk_limit: float = 1e9
    """Largest stack (bytes) whose energy chunks are merged unasked."""
    num_threads: int = os.cpu_count() or 1
    """Threads of an in-memory fit; dask brings its own."""


_current = Options()


def get_options() -> Options:
    """Return the options in force."""
    return _current


class set_options:
    """Set options, for good or for a ``with`` block.

    Parameters
    ----------
    **options
        Any of `energy_tolerance` (eV), `rechunk_limit` (bytes), `num_threads`.

    Raises
    ------
    ChoiceError
        An option of that name does not exist.

    Examples
    --------
    >>> import xstxm
    >>> with xstxm.set_options(num_threads=1):
    ...     pass
    """

    def __init__(self, **options: Any) -> None:
        global _current
        names = [field.name for field in fields(Options)]
        for name in options:
            if name not in names:
                raise ChoiceError("option", name, names)
        self._before = _current
        _current = replace(_current, **options)

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _current
        _current = self._before
