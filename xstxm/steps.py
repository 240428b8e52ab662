"""How far long work in memory is, told to whoever listens, who may end it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_listener: ContextVar[Callable[[float | None], object] | None] = ContextVar("listener", default=None)


@contextmanager
def report_progress(told: Callable[[float | None], object]) -> Iterator[None]:
    """Have a function called at each step of the eager work that this thread does in the ``with`` block.

    `nmf`, `mcr`, `cluster` and `estimate_shifts` tell; lazy results tell dask's own callbacks. What the function raises
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
    token = _listener.set(told)
    try:
        yield
    finally:
        _listener.reset(token)


def tell_step(share: float | None = None) -> None:
    """Tell who listens that a step is done."""
    if (listener := _listener.get()) is not None:
        listener(share)
