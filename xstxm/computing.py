"""Lazy results brought into memory."""

from __future__ import annotations

from typing import Literal, TypeAlias

import xarray as xr

from xstxm._sums import in_memory
from xstxm.conventions import Stack
from xstxm.errors import OptionError, check_choice

Scheduler: TypeAlias = Literal["threads", "synchronous", "processes", "distributed"]


def _check_scheduler(scheduler: object) -> None:
    """Refuse a word that names no scheduler; dask also takes a client, or a function."""
    from dask.base import named_schedulers

    words = scheduler is None or callable(scheduler) or hasattr(scheduler, "get")
    if not words and scheduler not in named_schedulers:
        check_choice("scheduler", scheduler, Scheduler)  # type: ignore[arg-type]
        from distributed import default_client

        try:
            default_client()
        except ValueError as error:
            raise OptionError(
                "scheduler", scheduler, "there is no client: make one first, xstxm.connect(address)"
            ) from error


def compute(lazy: Stack, *, scheduler: Scheduler | None = None) -> Stack:
    """Return a lazy object in memory, each chunk put in its place as soon as it is there. Eager.

    Memory is that of the result and of a few chunks. ``lazy.compute()`` of xarray keeps all chunks until it joins them at the
    end, which needs the memory of the result twice. So does this on dask's distributed scheduler, but no worker joins them.

    It takes two threads more than there are processors, as some of them wait for the disk, or as many as
    ``dask.config.set(num_workers=...)`` says.

    Parameters
    ----------
    lazy
        Stack, map or any other result.
    scheduler
        ``"threads"``, where a cluster is at hand that shall not do this, ``"synchronous"``, ``"processes"`` or ``"distributed"``; that
        in force if not told.

    Returns
    -------
    DataArray or Dataset
        The same in memory.

    Raises
    ------
    OptionError
        Neither a DataArray nor a Dataset.
    ChoiceError
        A scheduler that there is not; `OptionError` where ``"distributed"`` has no client.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0).chunk(y=8)
    >>> maps = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> xstxm.compute(maps).phase_fraction.chunks is None
    True
    """
    if not isinstance(lazy, xr.DataArray | xr.Dataset):
        do = "give a DataArray or a Dataset; of a tree, call xstxm.trees.compute"
        raise OptionError("lazy", type(lazy).__name__, do)
    _check_scheduler(scheduler)
    if isinstance(lazy, xr.DataArray):
        name = "array" if lazy.name is None else lazy.name
        return compute(lazy.to_dataset(name=name), scheduler=scheduler)[name].rename(lazy.name)
    waiting = {name: variable for name, variable in lazy.variables.items() if variable.chunks is not None}
    arrays = (xr.DataArray(variable) for variable in waiting.values())
    found = in_memory(*arrays, scheduler=scheduler) if waiting else ()
    placed = dict(zip(waiting, (array.variable for array in found), strict=True))
    coords = {name: variable for name, variable in placed.items() if name in lazy.coords}
    return lazy.assign_coords(coords).assign({name: placed[name] for name in placed if name not in coords}).load()
