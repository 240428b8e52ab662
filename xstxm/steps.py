"""How far long work in memory is, told to whoever listens, who may end it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType

_listener: ContextVar[Callable[[float | None], object] | None] = ContextVar("listener", default=None)


class report_progress:
    """Have a function called at each step of the eager work that this thread does in a ``with`` block.

    `nmf`, `mcr`, `cluster` and `estimate_shifts` tell; of lazy results dask's own callbacks tell. What the function raises
    ends the work.

    Parameters
    ----------
    told
        Is given the share of the work that is done at most, None where nobody knows.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> shares = []
    >>> with xstxm.report_progress(shares.append):
    ...     found = xstxm.nmf(stack, 2, n_starts=2)
    >>> 0 < shares[0] < 1
    True
    """

    def __init__(self, told: Callable[[float | None], object]) -> None:
        self._told = told

    def __enter__(self) -> None:
        self._token = _listener.set(self._told)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _listener.reset(self._token)


def tell_step(share: float | None = None) -> None:
    """Tell who listens that a step is done."""
    if (listener := _listener.get()) is not None:
        listener(share)
