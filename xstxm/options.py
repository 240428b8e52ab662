"""Package options, set for the session or within a ``with`` block."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from xstxm.errors import OptionError, n_bytes, require_number, require_whole


@dataclass(frozen=True)
class Options:
    """The options and their defaults."""

    energy_tolerance: float = 0.010
    """Two energies closer than this (eV) are the same energy."""
    rechunk_limit: float = 1e9
    """Largest stack (bytes) whose energy chunks are merged unasked."""
    num_threads: int = os.cpu_count() or 1
    """Threads of a fit, an optical density or a decomposition in memory; dask brings its own."""
    progress: bool = False
    """Say on standard error which node of a tree is at work."""

    def __post_init__(self) -> None:
        require_number("energy_tolerance", self.energy_tolerance, least=0)
        limit = n_bytes(self.rechunk_limit)
        if not limit >= 0:
            raise OptionError("rechunk_limit", self.rechunk_limit, 'give bytes, or a text with a unit, e.g. "2 GB"')
        object.__setattr__(self, "rechunk_limit", limit)
        object.__setattr__(self, "num_threads", require_whole("num_threads", self.num_threads))


_current = Options()


def get_options() -> Options:
    """Return the options in force."""
    return _current


class set_options:
    """Set options, for good or for a ``with`` block.

    Parameters
    ----------
    energy_tolerance
        Two energies closer than this (eV) are the same energy.
    rechunk_limit
        Largest stack, in bytes or as ``"2 GB"``, whose energy chunks are merged unasked, and whose chunks wait for those around them.
    num_threads
        Threads of a fit, an optical density or a decomposition in memory.
    progress
        Say on standard error which node of a tree is at work.

    Raises
    ------
    OptionError
        A value that makes no sense.

    Examples
    --------
    >>> import xstxm
    >>> with xstxm.set_options(num_threads=1):
    ...     pass
    """

    def __init__(
        self,
        *,
        energy_tolerance: float | None = None,
        rechunk_limit: float | str | None = None,
        num_threads: int | None = None,
        progress: bool | None = None,
    ) -> None:
        global _current
        given: dict[str, Any] = {
            "energy_tolerance": energy_tolerance,
            "rechunk_limit": rechunk_limit,
            "num_threads": num_threads,
            "progress": progress,
        }
        self._before = _current
        _current = replace(_current, **{name: value for name, value in given.items() if value is not None})

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _current
        _current = self._before
