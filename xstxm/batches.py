"""One recipe, many files: on this computer or on a cluster."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from xstxm.errors import MissingDependencyError, OptionError, StxmWarning, require_whole, warn
from xstxm.io.folders import each_of
from xstxm.recipes import Recipe
from xstxm.steps import tell_step

if TYPE_CHECKING:
    from distributed import Client

_COLUMNS = ("file", "state", "seconds", "reason", "warned")


def batch(
    recipe: Recipe,
    files: Iterable[str | Path],
    output: str | Path,
    *,
    client: Client | None = None,
    jobs: int = 1,
    overwrite: bool = False,
) -> pd.DataFrame:
    """Apply a recipe to files, and write a netCDF of each into a folder.

    What the same recipe, inputs and version made of the same file before (name, size, time of change; those of all files of an SDF scan or a
    folder) is skipped, so an interrupted call goes on when it is repeated. A file that fails stops no other.

    Parameters
    ----------
    recipe
        With all its inputs, see `Recipe.with_inputs`.
    files
        Stack files, or URLs of such as `open_stack` takes, which are opened as that of the recipe was; a pattern stands for the files that
        match it, a folder for one stack, of files of one energy each.
    output
        Folder for the results, ``<name of the file>.nc`` each; it is made where it is not there. Each is written completely or not at all.
    client
        Of a dask cluster whose workers do it, a file at a time on each of their threads. They have to see files and output under the same
        names as this process, and have the same xstxm. The file of a worker that dies is done again by another one.
    jobs
        Processes that do it, without a cluster. They run the script that calls it once more: there, call it below
        ``if __name__ == "__main__":``.
    overwrite
        Do again, and replace, what is there.

    Returns
    -------
    DataFrame
        A row of each file, in their order: `file`, `state`, `seconds` (NaN where nobody lived to tell), the `reason` of it, and what
        warnings said, `warned`. States are ``"written"``; ``"incomplete"``, written of a file that lacks frames, rows or chunks, the reason
        says which, and done again the next time; ``"skipped"``, done before; and ``"failed"``. Eager; `report_progress` is told of each file.

    Raises
    ------
    OptionError
        Two files would have one result, a result would replace its file, or the output is a URL.
    RecipeError
        An input of the recipe is missing.
    FileFormatError
        Nothing matches a pattern.
    ClusterError
        A worker lacks xstxm or has another version, or does not see the output folder; or the scheduler went away.
    NoRoomError
        The disk of the output is full. No other file is begun; what is done is written, and the same call goes on.

    Warns
    -----
    StxmWarning
        After an interrupt, where workers of a cluster complete the files that they are at; another interrupt leaves them to it.

    Examples
    --------
    >>> import tempfile, xstxm
    >>> from pathlib import Path
    >>> night = Path(tempfile.mkdtemp())
    >>> for k in range(2):
    ...     stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=k)[["intensity"]]
    ...     path = xstxm.write_nxstxm(stack, night / f"scan{k}.hdf5")
    >>> references = xstxm.testing.simulate_references()
    >>> maps = xstxm.phase_map(xstxm.open_stack(path), references)
    >>> recipe = xstxm.Recipe.from_result(maps, {"references": references})
    >>> table = xstxm.batch(recipe, sorted(night.glob("*.hdf5")), night / "maps")
    >>> table["state"].tolist(), sorted(path.name for path in (night / "maps").iterdir())
    (['written', 'written'], ['scan0.nc', 'scan1.nc'])
    """
    from xstxm._run import run_files

    if not isinstance(recipe, Recipe):
        raise OptionError("recipe", recipe, "give a Recipe: xstxm.Recipe.load(path) reads one")
    if isinstance(files, str | Path):
        raise OptionError("files", files, "give a list of files, e.g. sorted(pathlib.Path('night').glob('*.hdf5'))")
    _check_client(client)
    jobs = require_whole("jobs", jobs)
    paths, rows = list(dict.fromkeys(each_of(files))), {}
    if not paths:
        warn("batch was given no file: look at the folder and the pattern", StxmWarning)
    for done in run_files(
        recipe.with_inputs(), paths, Path(output).expanduser(), overwrite=overwrite, jobs=jobs, client=client
    ):
        rows[done.file] = (str(done.file), done.state, done.seconds, done.reason, "; ".join(done.warned))
        tell_step(len(rows) / len(paths))
    return pd.DataFrame([rows[path] for path in paths], columns=_COLUMNS)


def _check_client(client: object) -> None:
    if client is None:
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingDependencyError("a client", "distributed", "distributed") from error
    if not isinstance(client, Client):
        raise OptionError("client", client, "give a distributed.Client, e.g. distributed.Client('tcp://10.0.0.5:8786')")
    if client.status != "running":
        raise OptionError("client", client, "it is closed: make another one")
