"""How far long work in memory is, told to whoever listens, who may end it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from xstxm.errors import OptionError

_listener: ContextVar[Callable[[float | None], object] | None] = ContextVar("listener", default=None)


class report_progress:
    """Have a function called at each step of the eager work that this thread does in a ``with`` block.

    `nmf`, `mcr`, `cluster` and `estimate_shifts` tell; so do `compute`, `convert` and what writes stacks, and verbs that look at
    a whole lazy stack, of each pass over it. Of what xarray computes dask's own callbacks tell, and nobody of what a cluster
    does. A stack in memory is one step of `write_zarr` and `write_netcdf`. What the function raises ends the work; a file that
    is not complete is not left.

    Parameters
    ----------
    told
        Is given the share of the work, or of the pass, that is done at most, None where nobody knows.

    Raises
    ------
    OptionError
        It cannot be called.

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
        if not callable(told):
            raise OptionError("told", told, "give a function, which is called with the share that is done, e.g. print")
        self._told = told

    def __enter__(self) -> None:
        self._token = _listener.set(self._told)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _listener.reset(self._token)


def followed() -> dict[str, Any]:
    """Return options of dask's `compute` with which who listens hears the share of its tasks that is done.

    They go along with a call: of callbacks that are registered, which hear it too, dask keeps one set for all threads, and loses
    it where two compute at once.
    """
    if (told := _listener.get()) is None:
        return {}
    from dask.callbacks import Callback

    def report(key: Any, result: Any, dsk: Any, state: Any, worker: Any) -> None:
        left = sum(len(state[name]) for name in ("ready", "waiting", "running"))
        told(len(state["finished"]) / max(1, len(state["finished"]) + left))

    return {"callbacks": [(None, None, None, report, None), *Callback.active]}


def tell_step(share: float | None = None) -> None:
    """Tell who listens that a step is done."""
    if (told := _listener.get()) is not None:
        told(share)


@contextmanager
def stage(number: int, stages: int) -> Iterator[None]:
    """Have what tells in a ``with`` block be one of several stages of a work, counted from 1."""
    if (told := _listener.get()) is None:
        yield
        return
    with report_progress(lambda share: told(share if share is None else (number - 1 + share) / stages)):
        yield
