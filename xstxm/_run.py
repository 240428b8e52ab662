"""A recipe applied to many files: what is done is skipped, what fails stops nothing else."""

from __future__ import annotations

import hashlib
import json
import signal
import time
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any, Literal, TypeAlias

import xarray as xr

import xstxm
from xstxm._recipe_record import verbs
from xstxm.errors import OptionError, RecipeError, StxmError
from xstxm.io._replacing import remove_unfinished
from xstxm.recipes import Recipe

State: TypeAlias = Literal["written", "skipped", "failed"]

STAMP = "xstxm_run"
"""Attribute of a result that says by which recipe and of which file it was made."""


@dataclass(frozen=True)
class Done:
    """What became of a file."""

    file: Path
    state: State
    seconds: float
    reason: str = ""
    warned: tuple[str, ...] = ()
    """What warnings said on the way."""


def run_files(
    recipe: Recipe, files: Sequence[Path], output: Path, *, overwrite: bool = False, jobs: int = 1
) -> Generator[Done, None, None]:
    """Apply a recipe, with all its inputs, to files and write a netCDF of each; yield what became of them as they end. Eager.

    An interrupt ends all work at once; each file that is there then is complete.
    """
    outputs = _outputs(files, output)
    if jobs == 1:
        for file, path in outputs.items():
            yield _one(recipe, file, path, overwrite)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        try:
            with _interrupts_ignored():  # the workers inherit that: this process alone is told
                waiting = [pool.submit(_one, recipe, file, path, overwrite) for file, path in outputs.items()]
            yield from (future.result() for future in as_completed(waiting))
        except BaseException:
            with _interrupts_ignored():
                _end(pool)
                for path in outputs.values():
                    remove_unfinished(path)
            raise


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(pool: ProcessPoolExecutor) -> None:
    """End the workers amid their work: an exception would become the result of a file, and the next one be begun."""
    workers = active_children()
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.join()
    pool.shutdown(cancel_futures=True)  # waits for the pool's own thread, which fails if the interpreter ends first


def _outputs(files: Sequence[Path], output: Path) -> dict[Path, Path]:
    """Return where the result of each file goes; two of one place are refused."""
    outputs = {file: output / f"{file.stem}.nc" for file in files}
    places = list(outputs.values())
    if twice := sorted({path.name for path in places if places.count(path) > 1}):
        raise OptionError(
            "files", [str(file) for file in files], f"several would be {', '.join(twice)}: run them apart"
        )
    if onto := [path.name for path in places if path.resolve() in {file.resolve() for file in files}]:
        raise OptionError("output", str(output), f"{', '.join(onto)} would replace its own file: give another folder")
    return outputs


def _one(recipe: Recipe, file: Path, path: Path, overwrite: bool) -> Done:
    begun = time.perf_counter()
    with warnings.catch_warnings(record=True) as told:
        try:
            state, reason = _written(recipe, file, path, overwrite)
        except (StxmError, OSError, ValueError, TypeError, KeyError, MemoryError, RuntimeError) as error:
            state, reason = "failed", " ".join(str(error).split()) or type(error).__name__
    warned = tuple(dict.fromkeys(str(warning.message) for warning in told))
    return Done(file, state, time.perf_counter() - begun, reason, warned)


def _written(recipe: Recipe, file: Path, path: Path, overwrite: bool) -> tuple[State, str]:
    """Eager: the result goes into its file."""
    stamp = _stamp(recipe, file)
    if path.exists():
        found = _found_stamp(path)
        if found == stamp and not overwrite:
            return "skipped", "done before"
        if not overwrite:
            differs = (
                "no run"
                if found is None
                else "another recipe, input or version"
                if _same_file(found, stamp)
                else "another file"
            )
            raise RecipeError(
                f"{path.name} exists, made by {differs}: pass --overwrite to replace it, or another folder"
            )
    with open_as(recipe, file) as stack:
        result = recipe.apply(stack)
        if isinstance(result, xr.DataTree):
            raise RecipeError("the last step makes a tree, of which no single netCDF is written: end before it")
        path.parent.mkdir(parents=True, exist_ok=True)
        xstxm.write_netcdf(result.assign_attrs({STAMP: stamp}).compute(), path, overwrite=True)
    return "written", ""


def open_as(recipe: Recipe, file: Path) -> xr.Dataset | xr.DataArray:
    """Open a file as the recipe's own stack was."""
    if recipe.reader is None:
        return xstxm.open_stack(file)
    for name, value in recipe.reader.parameters.items():
        if isinstance(value, Mapping) and "array" in value:
            raise RecipeError(
                f"{recipe.reader.verb} was given {value['array']} as {name}, which a recipe does not hold: open the stack with "
                "a list or a text file of them, or apply the recipe in Python"
            )
    return verbs()[recipe.reader.verb](file, **recipe.reader.parameters)


def _stamp(recipe: Recipe, file: Path) -> str:
    """Return which recipe, inputs, version and file make a result."""
    known = file.stat()
    made_by = hashlib.sha256(f"{recipe.digest} {xstxm.__version__}".encode()).hexdigest()
    return json.dumps({"recipe": made_by, "file": [file.name, known.st_size, known.st_mtime_ns]})


def _found_stamp(path: Path) -> str | None:
    """Return the stamp of a file that exists; None where it has none."""
    try:
        with xr.open_dataset(path, engine="h5netcdf") as found:
            return found.attrs.get(STAMP) or _of_only(found)
    except (OSError, ValueError, KeyError):
        return None


def _of_only(found: xr.Dataset) -> str | None:
    """Return the stamp of an array, which is the only variable of its file."""
    return next((item.attrs[STAMP] for item in found.data_vars.values() if STAMP in item.attrs), None)


def _same_file(one: str, other: str) -> bool:
    try:
        found: Mapping[str, Any] = json.loads(one)
        return bool(found["file"] == json.loads(other)["file"])
    except (ValueError, KeyError, TypeError):
        return False
