"""A recipe applied to many files: what is done is skipped, what fails stops nothing else."""

from __future__ import annotations

import hashlib
import json
import math
import signal
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import active_children, current_process, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import xarray as xr

import xstxm
from xstxm._recipe_record import verbs
from xstxm.conventions import ENERGY
from xstxm.errors import ClusterError, IncompleteWarning, NoRoomError, OptionError, RecipeError, StxmError, heard
from xstxm.io._replacing import remove_unfinished, require_place, run_of_files, written_for
from xstxm.io.folders import version_of
from xstxm.options import get_options
from xstxm.recipes import Recipe
from xstxm.steps import report_progress

if TYPE_CHECKING:
    from distributed import Client

State: TypeAlias = Literal["written", "incomplete", "skipped", "failed"]
"""Incomplete is a result of what is there of a file that lacks something."""

Place: TypeAlias = Path | str
"""A file or folder of this machine, or a URL."""
STAMP = "xstxm_run"
"""Attribute of a result that says by which recipe and of which file it was made."""
LACKS = "xstxm_run_lacks"
"""Attribute that says what that file lacked."""


_GUARD = 'in a script, call batch with jobs below `if __name__ == "__main__":`, as processes run what is above it again'


@dataclass(frozen=True)
class Done:
    """What became of a file."""

    file: Place
    state: State
    seconds: float
    reason: str = ""
    warned: tuple[str, ...] = ()
    """What warnings said on the way."""

    @property
    def name(self) -> str:
        """The last part of its path or URL."""
        return PurePath(self.file).name


def run_files(
    recipe: Recipe,
    files: Sequence[Place],
    output: Path,
    *,
    overwrite: bool = False,
    jobs: int = 1,
    client: Client | None = None,
) -> Generator[Done, None, None]:
    """Apply a recipe, with all its inputs, to files and write a netCDF of each; yield what became of them as they end. Eager.

    The work is done here, by `jobs` processes, or by the workers of a cluster. After an interrupt each file that is there is complete.
    So it is on a disk that is full, which ends the run: no other file would fit.
    """
    require_place(output)
    outputs = _outputs(files, output)
    if client is not None and jobs != 1:
        raise OptionError(
            "jobs", jobs, "the workers of the cluster say how many files at once: leave one of the two out"
        )
    if jobs != 1:
        _require_main()
    output.mkdir(parents=True, exist_ok=True)  # a worker that makes it may make it on a disk that nobody else sees
    with run_of_files() as run, _how_to_go_on():
        remove_unfinished(outputs.values(), run)  # by runs that were killed
        task = Task(recipe, overwrite, run, xstxm.__version__)
        if client is not None:
            yield from _on_cluster(client, task, outputs, output)
        elif jobs == 1:
            yield from (task.do(file, path) for file, path in outputs.items())
        else:
            yield from _in_processes(jobs, task, outputs)


def _require_main() -> None:
    """Refuse to start processes where one of them runs the script of its parent again, as those that are spawned do.

    Raises
    ------
    ClusterError
        The call of the script is not below `if __name__ == "__main__":`.
    """
    if getattr(current_process(), "_inheriting", False):
        raise ClusterError(_GUARD)
    if current_process().daemon:
        raise ClusterError(
            "a daemonic process, as a worker of a pool is, starts no others: call batch with jobs=1 there"
        )


@contextmanager
def _how_to_go_on() -> Iterator[None]:
    """Say of a full disk what becomes of the other files."""
    try:
        yield
    except NoRoomError as error:
        then = "What is done is written: start again to go on"
        raise NoRoomError(Path(error.path), error.needed, error.free, then) from error


def _in_processes(jobs: int, task: Task, outputs: Mapping[Place, Path]) -> Generator[Done, None, None]:
    others, workers = active_children(), []
    waiting: list[Future[Done]] = []
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        try:
            with _interrupts_ignored():  # the workers inherit that: this process alone is told
                waiting.extend(pool.submit(task.do, file, path) for file, path in outputs.items())
                workers = [child for child in active_children() if child not in others]
            yield from (future.result() for future in as_completed(waiting))
        except BaseException as error:
            with _interrupts_ignored():
                _end(pool, workers)
                remove_unfinished(outputs.values(), task.asked_by)
            if isinstance(error, BrokenProcessPool):
                do = "it may be short of memory: start again, which goes on, with fewer jobs"
                do = (
                    do
                    if any(future.done() and not future.exception() for future in waiting)
                    else f"{_GUARD}; else {do}"
                )
                raise ClusterError(f"one of {jobs} processes was killed: {do}") from error
            raise


def _on_cluster(client: Client, task: Task, outputs: Mapping[Place, Path], output: Path) -> Generator[Done, None, None]:
    from xstxm import _cluster

    places = {file: (_anywhere(file), path.absolute()) for file, path in outputs.items()}
    with _cluster.quiet():
        try:
            with _cluster.present(client):
                _cluster.require_alike(client, output)
                with _cluster.ready(client):
                    yield from _tried_twice(client, task, places)
        except (ClusterError, NoRoomError):
            remove_unfinished(outputs.values(), task.asked_by)
            raise
        remove_unfinished(outputs.values(), task.asked_by)  # by workers that were killed


def _tried_twice(client: Client, task: Task, places: Mapping[Place, tuple[Place, Path]]) -> Generator[Done, None, None]:
    """Yield what became of files; a worker that dies takes all it holds along, so more than the one file is blamed at first."""
    from xstxm import _cluster

    killed = []
    for file, ended in _cluster.each(client, Task.do, task, places):
        if isinstance(ended, _cluster.Killed):
            killed.append(file)
        else:
            yield replace(ended, file=file)
    for file, ended in _cluster.each(client, Task.do, task, {file: places[file] for file in killed}):
        dead = isinstance(ended, _cluster.Killed)
        yield Done(file, "failed", math.nan, str(ended)) if dead else replace(ended, file=file)


def _anywhere(file: Place) -> Place:
    """Return what finds a file from any folder: workers start elsewhere."""
    return file.absolute() if isinstance(file, Path) else file


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(pool: ProcessPoolExecutor, workers: Sequence[BaseProcess]) -> None:
    """End the workers amid their work: an exception would become the result of a file, and the next one be begun."""
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.join()
    pool.shutdown(cancel_futures=True)  # waits for the pool's own thread, which fails if the interpreter ends first


def _outputs(files: Sequence[Place], output: Path) -> dict[Place, Path]:
    """Return where the result of each file goes; two of one place are refused."""
    outputs = {file: output / f"{PurePath(file).stem}.nc" for file in files}
    if twice := sorted(path.name for path, n in Counter(outputs.values()).items() if n > 1):
        raise OptionError(
            "files", [str(file) for file in files], f"several would be {', '.join(twice)}: run them apart"
        )
    own = {file.resolve() for file in outputs if isinstance(file, Path)}
    if onto := [path.name for path in outputs.values() if path.resolve() in own]:
        raise OptionError("output", str(output), f"{', '.join(onto)} would replace its own file: give another folder")
    return outputs


@dataclass(frozen=True)
class Task:
    """What is done to each file, the same whenever and wherever it is done again."""

    recipe: Recipe
    overwrite: bool
    asked_by: str
    """The run that wants it, to which unfinished files belong."""
    version: str

    def do(self, file: Place, path: Path) -> Done:
        """Apply the recipe to a file. Eager.

        Raises
        ------
        NoRoomError
            The disk is full, which is not the fault of the file.
        """
        if self.version != xstxm.__version__:  # of a worker that came later
            return Done(file, "failed", 0.0, f"a worker has xstxm {xstxm.__version__}: install {self.version} there")
        begun = time.perf_counter()
        with heard() as told, report_progress(_not_told), written_for(self.asked_by):
            try:
                state, reason = _written(self.recipe, file, path, self.overwrite, told)
            except NoRoomError:
                raise
            except (StxmError, OSError, ValueError, TypeError, KeyError, MemoryError, RuntimeError) as error:
                state, reason = "failed", " ".join(str(error).split()) or type(error).__name__
        return Done(file, state, time.perf_counter() - begun, reason, tuple(dict.fromkeys(map(str, told))))


def _not_told(share: float | None) -> None:
    """Keep to itself how far a step is: who listens is told of files."""


def _written(recipe: Recipe, file: Place, path: Path, overwrite: bool, told: list[Warning]) -> tuple[State, str]:
    """Eager: the result goes into its file."""
    stamp = _stamp(recipe, file)
    if path.exists():
        found, lacks = _found_stamp(path)
        if found == stamp and not (lacks or overwrite):
            return "skipped", "done before"
        if not (overwrite or (lacks and _more_of(found, stamp))):
            raise RecipeError(
                f"{path.name} exists, made by {_other(found, stamp)}: pass overwrite=True to replace it, or another folder"
            )
    with open_as(recipe, file) as stack:
        result = recipe.apply(_merged(stack))
        if isinstance(result, xr.DataTree):
            raise RecipeError("the last step makes a tree, of which no single netCDF is written: end before it")
        computed = xstxm.compute(result)
        lacks = "; ".join(dict.fromkeys(str(one) for one in told if isinstance(one, IncompleteWarning)))
        stamps = {STAMP: stamp, LACKS: lacks} if lacks else {STAMP: stamp}
        xstxm.write_netcdf(computed.assign_attrs(stamps), path, overwrite=True)
    return ("incomplete", lacks) if lacks else ("written", "")


def open_as(recipe: Recipe, file: Place) -> xr.Dataset | xr.DataArray:
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


def _merged(stack: Any) -> Any:
    """Return a stack with whole spectra in its chunks, once for all verbs, where that is cheap."""
    if not isinstance(stack, xr.DataArray | xr.Dataset) or stack.nbytes > get_options().rechunk_limit:
        return stack
    variables = stack.variables.values() if isinstance(stack, xr.Dataset) else [stack.variable]
    frames = any(len(variable.chunksizes.get(ENERGY, ())) > 1 for variable in variables)
    return stack.chunk({ENERGY: -1}) if frames else stack


def _stamp(recipe: Recipe, file: Place) -> str:
    """Return which recipe, inputs, version and file make a result."""
    made_by = hashlib.sha256(f"{recipe.digest} {xstxm.__version__}".encode()).hexdigest()
    return json.dumps({"recipe": made_by, "file": [PurePath(file).name, *version_of(file)]})


def _found_stamp(path: Path) -> tuple[str | None, str]:
    """Return the stamp of a file that exists, None where it has none, and what the stack that it was made of lacked."""
    try:
        with xr.open_dataset(path, engine="h5netcdf") as found:
            for item in (found, *found.data_vars.values()):  # an array is the only variable of its file
                if STAMP in item.attrs:
                    return item.attrs[STAMP], item.attrs.get(LACKS, "")
    except (OSError, ValueError, KeyError):
        pass
    return None, ""


def _more_of(found: str | None, stamp: str) -> bool:
    """Tell whether two stamps are of one recipe and of a file of one name, of which there may be more now."""
    one, other = _read_stamp(found), _read_stamp(stamp)
    return (one["recipe"], one["file"][:1]) == (other["recipe"], other["file"][:1])


def _other(found: str | None, stamp: str) -> str:
    """Return what made a result of another stamp."""
    if found is None:
        return "no run"
    same = _read_stamp(found)["file"] == _read_stamp(stamp)["file"]
    return "another recipe, input or version" if same else "another file"


def _read_stamp(stamp: str | None) -> dict[str, Any]:
    try:
        return {"recipe": None, "file": [], **json.loads(stamp or "{}")}
    except (ValueError, TypeError):
        return {"recipe": None, "file": []}
