"""How a stack is cut into chunks, in its file and by dask, and what to type where that costs time or memory."""

from __future__ import annotations

import html
import math
import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import xarray as xr

from xstxm._sums import n_workers
from xstxm.conventions import ENERGY
from xstxm.errors import OptionError, PerformanceWarning, by_reason, size_text, store_by_spectra, warn
from xstxm.io._cuts import Cut
from xstxm.io._pixels_first import block_of, chunks_of
from xstxm.io.formats import recognised
from xstxm.options import get_options

GOOD_BYTES = 2**26
"""Bytes of a chunk of dask that is worth its task and fits many times into memory."""
_SMALL_BYTES, _LARGE_BYTES = 2**20, 2**28
_MANY = 100
"""Chunks of which the cost of a task each is felt."""
_WORTH_BYTES = 2**26
"""Arrays below are read in no time, however they are cut."""
_HELD = 3
"""Chunks that a thread holds: the one it reads, the one it works on, and what becomes of it."""
_NOTHING = "nothing to change"


@dataclass(frozen=True, repr=False)
class ChunkReport:
    """Chunks of the variables of a stack, and advice; prints as both."""

    table: pd.DataFrame
    """A row for each variable of two dimensions or more, see `chunk_report`."""
    advice: tuple[str, ...]
    """What to change, and the call to type; empty where all is well."""

    def __repr__(self) -> str:
        said = "\n".join(f"- {line}" for line in self.advice) or _NOTHING
        return f"{self._shown().to_string()}\n\n{said}" if len(self.table) else said

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{html.escape(line)}</li>" for line in self.advice or (_NOTHING,))
        return f"{self._shown().to_html()}<ul>{items}</ul>"

    def _shown(self) -> pd.DataFrame:
        """Return the table with a column for each variable, without what is not known of any."""
        return self.table.dropna(axis="columns", how="all").T


def chunk_report(obj: xr.Dataset | xr.DataArray) -> ChunkReport:
    """Return how a stack is cut into chunks, in its file and by dask, with advice where that costs time or memory.

    Parameters
    ----------
    obj
        A stack or a result, as `open_stack` or `xarray.open_zarr` opens it, before or after `.chunk`.

    Returns
    -------
    ChunkReport
        Prints as a table and advice. Its `table` is a DataFrame with a row for each variable of two dimensions or more:
        `megabytes` (of 1e6 bytes), `chunks`, their number, `chunk`, the shape of the largest, and `chunk_megabytes` of
        dask; `stored_chunk`, `stored_chunks` and `stored_megabytes` before compression, `shard` and `codec` of the file,
        as far as it says; and `reads`, how often each stored chunk is read, on average. None where there is nothing to say.
        Its `advice` are sentences with the call to type. Lazy: computes nothing, and reads no numbers.

    Raises
    ------
    OptionError
        Neither a Dataset nor a DataArray.

    Notes
    -----
    Advice is given on arrays of 64 MiB and more; on smaller ones above `rechunk_limit`, how they are cut but not into how many. A thread holds about three chunks. `reads` supposes that the chunks of
    the file begin at the first number, and is that of the blocks which dask reads, before any `.chunk` behind them.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(32, 48), seed=0)[["intensity"]].chunk(y=16)
    >>> report = xstxm.chunk_report(stack)
    >>> report.table.loc["intensity", "chunk"], report.advice
    ((121, 16, 48), ())
    """
    if not isinstance(obj, xr.Dataset | xr.DataArray):
        raise OptionError("obj", type(obj).__name__, "give a Dataset or a DataArray")
    stack = obj if isinstance(obj, xr.Dataset) else obj.to_dataset(name=obj.name or "array")
    named = stack.encoding.get("source") or obj.encoding.get("source")
    source = Path(named) if named and recognised(named) else None
    images = {str(name): variable for name, variable in stack.variables.items() if variable.ndim > 1}
    cuts = {name: Cut.of(variable, alone=len(images) == 1) for name, variable in images.items()}
    rows = {name: cut.row() for name, cut in cuts.items()}
    said = {name: advice for name, cut in cuts.items() if (advice := _advice(cut, source))}
    return ChunkReport(pd.DataFrame.from_dict(rows, orient="index").rename_axis("variable"), tuple(by_reason(said)))


def warn_of_frames(stack: xr.Dataset, source: Path | None) -> None:
    """Warn of lazy arrays above `rechunk_limit` whose file cuts the energies apart, with the command that mends it."""
    large = {str(n): v for n, v in stack.variables.items() if v.chunks and v.nbytes > get_options().rechunk_limit}
    said = {name: said for name, array in large.items() if (said := _of_energies(Cut.of(array), source))}
    for line in by_reason(said):
        warn(f"{source.name}: {line}" if source else line, PerformanceWarning)


def _advice(cut: Cut, source: Path | None) -> str | None:
    """Return the first thing to change, None where there is nothing."""
    large = cut.variable.nbytes >= _WORTH_BYTES
    reasons = (_of_energies, _of_no_chunks, _of_cuts, _of_spectra, *((_of_sizes, _of_machine) if large else ()))
    if not (large or cut.variable.nbytes > get_options().rechunk_limit) or not (cut.chunk or cut.from_file):
        return None
    return next((said for reason in reasons if (said := reason(cut, source))), None)


def _of_no_chunks(cut: Cut, source: Path | None) -> str | None:
    if cut.chunk is not None or cut.variable.nbytes <= get_options().rechunk_limit:
        return None
    return f"not in chunks: the first verb reads all {size_text(cut.variable.nbytes)} into memory. {_open(cut, source)}"


def _of_energies(cut: Cut, source: Path | None) -> str | None:
    if not cut.by_energy:
        return None
    n, held = cut.variable.sizes[ENERGY], cut.energies(cut.stored)
    if cut.merged:
        cost = f"and dask holds almost all of the {size_text(cut.variable.nbytes)} to put them together"
    elif (cut.reads or 0) > 1.5:
        cost = f"and each stored chunk is read {cut.reads:.3g} times"
    else:
        cost = "so a spectrum needs all of them"
    return (
        f"stored by {held} of {n} energies, {cost}. For all but what looks at whole images, as level_lines does, store it by spectra, once, "
        f"and open that with chunks={{}}: {store_by_spectra(source)}"
    )


def _of_spectra(cut: Cut, source: Path | None) -> str | None:
    held, n = cut.energies(cut.chunk), cut.variable.sizes.get(ENERGY, 1)
    if held >= n:
        return None
    do = _open(cut, source)
    if (
        not cut.from_file and cut.variable.nbytes > get_options().rechunk_limit
    ):  # dask would hold all of it to merge them
        do = f"Store it by spectra, once, and open that with chunks={{}}: {store_by_spectra()}"
    return f"cut by {held} of {n} energies: good for what looks at images, while a spectrum needs all of them. {do}"


def _of_cuts(cut: Cut, source: Path | None) -> str | None:
    if (cut.reads or 0) <= 1.5:
        return None
    return f"each stored chunk is read {cut.reads:.3g} times, since chunks of dask cut it. {_open(cut, source)}"


def _of_sizes(cut: Cut, source: Path | None) -> str | None:
    if cut.chunk is None:
        return None
    size = math.prod(cut.chunk) * cut.variable.dtype.itemsize
    if size < _SMALL_BYTES and cut.n_chunks > _MANY:
        return f"{cut.n_chunks} chunks of {size_text(size)}: tasks cost more than what they do. {_open(cut, source)}"
    if math.prod(cut.stored or ()) * cut.variable.dtype.itemsize > _LARGE_BYTES:
        return f"stored in chunks of {size_text(size)}: each thread holds about {_HELD} of them. Store it in smaller ones, once: {store_by_spectra(source)}"
    if size > _LARGE_BYTES:
        return f"chunks of {size_text(size)}: each thread holds about {_HELD} of them. {_open(cut, source)}"
    return None


def _of_machine(cut: Cut, source: Path | None) -> str | None:
    if cut.chunk is None:
        return None
    threads, busy, memory = n_workers(), n_workers(waiting=0), _memory()
    held = _HELD * threads * math.prod(cut.chunk) * cut.variable.dtype.itemsize
    if cut.n_chunks < busy <= (cut.n_stored or busy):
        each = cut.variable.nbytes // (2 * busy)
        chunks = "one chunk" if cut.n_chunks == 1 else f"{cut.n_chunks} chunks"
        return f"{chunks} for {busy} threads: some have nothing to do. {_open(cut, source, each)}"
    if memory and min(held, _HELD * cut.variable.nbytes) > memory / 2:
        return (
            f"{threads} threads hold about {size_text(held)} of chunks, and this machine has {size_text(memory)}: "
            f"dask.config.set(num_workers={max(1, int(threads * memory / 2 // held))}), or smaller chunks"
        )
    return None


def _open(cut: Cut, source: Path | None, limit: int = GOOD_BYTES) -> str:
    """Return the call that opens, or cuts, a variable in chunks of about so many bytes, whole ones of its file."""
    variable = cut.variable
    base = chunks_of(variable) if cut.stored is None or cut.by_energy else cut.stored
    if cut.from_file and base == cut.stored and math.prod(base) * variable.dtype.itemsize >= GOOD_BYTES // 16:
        sizes = {}  # as they are stored
    else:
        block = block_of(variable, base, min(limit, GOOD_BYTES))
        sizes = {dim: -1 if n == variable.sizes[dim] else n for dim, n in zip(variable.dims, block, strict=True)}
    if not cut.from_file:
        return (
            f"Call .chunk({', '.join(f'{dim}={n}' for dim, n in sizes.items())}){'' if cut.alone else ' on it alone'}"
        )
    if source is None:
        return f"Open it with chunks={sizes}"
    return f"Open it in chunks: xstxm.open_stack({str(source)!r}, chunks={sizes})"


def _memory() -> int | None:
    """Return the memory of this machine in bytes, None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
