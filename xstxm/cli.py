"""The `xstxm` command: look at a file, map it, see it in the browser."""

from __future__ import annotations

import os
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, TaskProgressColumn
from rich.table import Table

import xstxm
from xstxm import _run, _warming
from xstxm._commands.mapping import (
    mapped,
    report,
    require_free,
)
from xstxm._commands.reading import StackFile, reads_a_stack
from xstxm._commands.scheduling import connected
from xstxm._commands.serving import WITHOUT_LOGIN, Serving, check_login, has_login
from xstxm._commands.speaking import INTERRUPTED, Commands, compiling_is_told, in_words_of, note, out, progress, say
from xstxm.errors import NoRoomError, OptionError, StxmWarning
from xstxm.exploring import dashboard_script, require_panel
from xstxm.io._replacing import require_place
from xstxm.io.converting import open_any
from xstxm.io.folders import each_of

__all__ = ["app", "dashboard_script", "main"]

app = typer.Typer(
    cls=Commands,
    help="X-ray spectromicroscopy stacks to quantitative phase and composition maps.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Reader = Mapping[str, Any]
"""The options of `open_stack` that were given."""


def _print_version(asked: bool) -> None:
    if asked:
        say(xstxm.__version__)
        raise typer.Exit


@app.callback()
def _xstxm(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
@reads_a_stack
def info(file: StackFile, reader: Reader) -> None:
    """Say what a stack file holds."""
    say(repr(xstxm.open_stack(file, chunks={}, **reader).stxm))


@app.command()
def formats() -> None:
    """List the file formats that are read and written, and which readers have met no real file."""
    table = Table("engine", "files", "written by", "writer", "experimental")
    for name, row in xstxm.formats().iterrows():
        table.add_row(str(name), row["files"], row["written_by"], row["writer"], row["experimental"])
    out.print(table)


@app.command()
@reads_a_stack
def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Scan: a file, a folder of files of one energy each, a Zarr store, or the URL of one.",
        ),
    ],
    target: Annotated[Path, typer.Argument(help="What to write: .zarr, .nc, .hdf5, .dat, .hdr or .tif.")],
    to: Annotated[
        str | None, typer.Option(help="zarr, netcdf, nxstxm, ncb, sdf or tiff, where the ending does not say it.")
    ] = None,
    memory: Annotated[str, typer.Option(help='About how much memory to use, e.g. "2 GiB".')] = "512 MiB",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    *,
    reader: Reader,
) -> None:
    """Rewrite a scan of any size in another format."""
    with progress(BarColumn(), TaskProgressColumn()) as bar:
        task = bar.add_task(f"writing {target.name}", total=1.0)
        written = xstxm.convert(
            source,
            target,
            to=to,
            overwrite=overwrite,
            memory=memory,
            reader=reader,
            progress=lambda share: bar.update(task, completed=share),
        )
    say(f"wrote {written}")


@app.command("map")
@reads_a_stack
def map_stack(
    file: StackFile,
    references: Annotated[
        list[Path] | None,
        typer.Option("--references", "-r", help="Reference spectra: a table, or a file each; repeat -r for each file."),
    ] = None,
    reference_units: Annotated[
        str | None, typer.Option(help="Units of the references: 1 (optical density), 1/nm, cm**2/g.")
    ] = None,
    energy_units: Annotated[
        str | None, typer.Option(help="Units of the energies of the references, where they do not say: eV or keV.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the maps.")] = Path("maps"),
    composition: Annotated[
        list[str] | None, typer.Option(help="Composition of a reference, e.g. V2O5=0; repeat for each.")
    ] = None,
    sel_energy: Annotated[
        tuple[str, str] | None, typer.Option(help='Lowest and highest energy to use, e.g. "510 eV" "545 eV".')
    ] = None,
    i0: Annotated[Path | None, typer.Option(help="I0 spectrum; else the brightest tenth of the pixels.")] = None,
    i0_units: Annotated[str | None, typer.Option(help="Units of the I0 spectrum: count or count/ms.")] = None,
    method: Annotated[str, typer.Option(help="lstsq, nnls or fcls.")] = "nnls",
    background: Annotated[str, typer.Option(help="none, constant or linear.")] = "constant",
    noise: Annotated[
        str | None, typer.Option(help="poisson: of counted photons; else from what the fit leaves.", show_default=False)
    ] = None,
    selection: Annotated[str | None, typer.Option(help="bic or f-test: as few references as a pixel needs.")] = None,
    energy_shift: Annotated[str | None, typer.Option(help='Of the stack to its references: fit, or "200 meV".')] = None,
    max_optical_density: Annotated[float | None, typer.Option(help="Leave out energies that are thicker.")] = None,
    min_amount: Annotated[
        str | None, typer.Option(help='Least amount that counts as sample, e.g. 60 or "60 nm".')
    ] = None,
    min_confidence: Annotated[float, typer.Option(help="Labels less sure than this are undecided.")] = 0.95,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace maps that are there.")] = False,
    *,
    reader: Reader,
) -> None:
    """Map the chemical phases of a stack and write the maps (netCDF, PNG)."""
    require_free(output, overwrite)
    if i0 is not None and i0_units is None:
        raise OptionError("i0", str(i0), "say what its numbers are: add --i0-units count or --i0-units count/ms")
    stack = xstxm.open_stack(file, **reader)
    if sel_energy is not None:
        stack = xstxm.sel_energy(stack, *map(_number_or_text, sel_energy))
    given = None if i0 is None else xstxm.read_i0(i0, units=i0_units)
    if i0 is not None or noise is not None:
        stack = xstxm.optical_density(stack, given, noise=noise)  # type: ignore[arg-type]
    known = None
    if references:
        known = xstxm.read_references(
            references if len(references) > 1 else references[0],
            composition=_compositions(composition),
            units=reference_units,
            energy_units=energy_units,
        )
    phases = mapped(
        stack,
        known,
        method=method,
        background=background,
        selection=selection,
        energy_shift=energy_shift,
        max_optical_density=max_optical_density,
        min_amount=None if min_amount is None else _number_or_text(min_amount),
        min_confidence=min_confidence,
    )
    report(phases, output)
    used = {"references": known, "i0": given}
    recipe = xstxm.Recipe.from_result(phases, {name: data for name, data in used.items() if data is not None})
    path = recipe.save(output / "recipe.toml", overwrite=True)
    say(f"the same of other files: xstxm run {path} FILES... -o FOLDER")


@app.command("run")
def run_recipe(
    recipe: Annotated[Path, typer.Argument(help="Recipe: a .toml that Recipe.save or xstxm map wrote.")],
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILES...",
            help="Stack files, e.g. night/*.hdr, or URLs; a folder is one stack, of files of one energy each.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results, a .nc of each file.")],
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="NAME=PATH of an input of the recipe; repeat for each.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do again, and replace, what is there.")] = False,
    jobs: Annotated[int, typer.Option(help="Files at once, in processes of this computer.", min=1)] = 1,
    scheduler: Annotated[
        str | None, typer.Option(help="Dask scheduler whose workers do it, e.g. tcp://10.0.0.5:8786.")
    ] = None,
    dask_log: Annotated[
        Path | None, typer.Option(help="File to add to what dask says of the scheduler and its workers.")
    ] = None,
) -> None:
    """Apply a recipe to files; what the same recipe made of the same file before is skipped."""
    require_place(output)
    ready, places = xstxm.Recipe.load(recipe).with_inputs(_pairs(inputs)), each_of(files)
    table, states = Table("file", "state", "seconds", "reason"), []
    options: dict[str, Any] = {"overwrite": overwrite, "jobs": jobs}
    try:
        with (
            connected(scheduler, dask_log) as client,
            closing(_run.run_files(ready, places, output, client=client, **options)) as ended,
        ):
            for done in _told_as_they_end(ended, len(places)):
                warned = f"warnings: {len(done.warned)}" if done.warned else ""
                table.add_row(
                    done.name,
                    done.state,
                    f"{done.seconds:.1f}",
                    escape(in_words_of({"overwrite": "--overwrite"}, done.reason) or warned),
                )
                states.append(done.state)
    except KeyboardInterrupt as error:
        out.print(table)
        note(f"interrupted, {len(states)} of {len(places)} files are done: start the same command again to go on")
        raise typer.Exit(INTERRUPTED) from error
    except NoRoomError:
        out.print(table)
        raise
    out.print(table)
    if not {"failed", "incomplete"}.isdisjoint(states):
        raise typer.Exit(1)


def _told_as_they_end(ended: Iterator[_run.Done], n_files: int) -> Iterator[_run.Done]:
    told: set[str] = set()
    with progress() as shown, compiling_is_told():
        task = shown.add_task(f"0 of {n_files} files")
        for k, done in enumerate(ended, 1):
            shown.update(task, description=f"{k} of {n_files} files")
            note(f"{k} of {n_files}: {done.name} {done.state}")
            for text in (text for text in done.warned if text not in told):  # of the others the table has the number
                named = text if text.startswith(f"{done.name}: ") else f"{done.name}: {text}"
                warnings.warn(named, StxmWarning, stacklevel=2)
                told.add(text)
            yield done


@app.command("diff")
def diff_results(
    one: Annotated[Path, typer.Argument(help="Result of one analysis, or a scan: a file, a Zarr store.")],
    other: Annotated[Path, typer.Argument(help="That of the other.")],
) -> None:
    """Say where two analyses part: steps, parameters, inputs, numbers. Exit status: 0 nowhere, 1 somewhere, 2 trouble."""
    with closing(open_any(one)) as a, closing(open_any(other)) as b:
        found = xstxm.diff(a, b)  # type: ignore[arg-type]  # it refuses trees itself
    if found.empty:
        say("no difference: the same steps and inputs, every number equal")
        return
    table = Table("what", "where", escape(str(one)), escape(str(other)))
    for row in found.itertuples(index=False):
        table.add_row(*(escape(str(cell)) for cell in row))
    out.print(table)
    raise typer.Exit(1)


@app.command()
def warmup(
    everything: Annotated[
        bool, typer.Option("--all", help="Also fits by noise, chosen references, clusters and alignment: minutes.")
    ] = False,
) -> None:
    """Compile what the usual maps need, and keep it on disk: no later start waits for it."""
    takes = f"compiling: {'minutes' if everything else 'up to a minute'} of a processor, more where it is busy"
    with progress() as shown, compiling_is_told(lambda _: note(takes)):
        shown.add_task("compiling")
        started = time.perf_counter()
        n = _warming.warm(everything=everything)
    took = f"compiled {n} functions in {time.perf_counter() - started:.0f} s" if n else "nothing to compile"
    say(f"{took}; they are kept in {_warming.kept_in()}")


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")] = Path("demo-output"),
    size: Annotated[int, typer.Option(help="Pixels along the longer side.", min=32)] = 192,
    seed: Annotated[int, typer.Option(help="Seed of the synthetic sample.")] = 0,
) -> None:
    """Simulate a LixV2O5 stack, write it as a file, read it back, map it."""
    require_place(output)
    output.mkdir(parents=True, exist_ok=True)
    path, spectra = output / "lixv2o5.hdf5", output / "lixv2o5-references.csv"
    with progress() as shown:
        shown.add_task("simulating a stack of LixV2O5 particles (synthetic)")
        known = xstxm.testing.simulate_references()
        simulated = xstxm.testing.simulate_stack(shape=(size * 3 // 4, size), seed=seed)
        xstxm.write_nxstxm(simulated[["intensity"]], path, overwrite=True)  # a file holds no ground truth
        xstxm.write_csv(known["absorption"].reset_coords(drop=True), spectra, overwrite=True)
    stack = xstxm.open_stack(path)
    say(repr(stack.stxm))
    report(mapped(stack, known), output)
    named = zip(known["reference"].values, known["composition"].values, strict=True)
    options = " ".join(f"--composition {name}={value:g}" for name, value in named)
    say(f"\nThe same by hand: xstxm map {path} -r {spectra} --reference-units 1/nm {options} -o maps")
    say(f"See it in the browser: xstxm dashboard {path}   (in the checkout: make dashboard)")


@app.command()
def dashboard(
    file: Annotated[Path | None, typer.Argument(help="Stack to open at the start.", show_default=False)] = None,
    root: Annotated[Path | None, typer.Option(help="Folder whose files can be opened.", show_default="here")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder that files may be written to; else there are downloads only.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the server.", min=1, max=65_535)] = 5006,
    address: Annotated[
        str, typer.Option(help="Address to listen at; another than this computer's own needs an origin.")
    ] = "127.0.0.1",
    allow_websocket_origin: Annotated[
        list[str] | None,
        typer.Option(help="HOST[:PORT] of a page as the browser shows it, e.g. behind a proxy; repeat for each."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Dask scheduler that does the work, e.g. tcp://10.0.0.5:8786.")
    ] = None,
    max_sessions: Annotated[int, typer.Option(help="Pages that may be open at once.", min=1)] = 20,
    session_minutes: Annotated[
        float, typer.Option(help="Minutes that a page is kept after its window was closed.", min=0.1)
    ] = 5.0,
    check_minutes: Annotated[float, typer.Option(help="Minutes between looks for closed pages.", min=0.1)] = 1.0,
    show: Annotated[bool, typer.Option("--show/--no-show", help="Open a browser window.")] = True,
) -> None:
    """Serve the explorer; only files under the root folder can be opened, on this computer only unless told otherwise.

    A log-in is set by environment variables, which no list of processes shows: PANEL_BASIC_AUTH, or PANEL_OAUTH_PROVIDER and its like.
    """
    require_panel()
    serving = Serving(
        root=(root or (file.parent if file else Path.cwd())).resolve(),
        file=file,
        output=output,
        address=address,
        port=port,
        origins=tuple(allow_websocket_origin or ()),
        scheduler=scheduler,
        max_sessions=max_sessions,
        session_minutes=session_minutes,
        check_minutes=check_minutes,
        show=show,
    )
    serving.check()
    check_login(os.environ)
    if not serving.is_local and not has_login(os.environ):
        note(WITHOUT_LOGIN, style="yellow")
    say(f"serving {serving.root} at http://{serving.hosts[0]}/explorer (stop with Ctrl-C)")
    raise typer.Exit(subprocess.call(serving.command(), env=serving.environment(os.environ)))


def _compositions(given: list[str] | None) -> dict[str, float] | None:
    if not given:
        return None
    pairs = [entry.partition("=") for entry in given]
    try:
        return {name.strip(): float(value) for name, _, value in pairs}
    except ValueError as error:
        raise OptionError("composition", given, "write each as NAME=NUMBER, e.g. V2O5=0") from error


def _pairs(given: list[str] | None) -> dict[str, Path]:
    pairs = [entry.partition("=") for entry in given or []]
    if wrong := [name for name, equals, path in pairs if not (name and equals and path)]:
        raise OptionError("input", wrong, "write each as NAME=PATH, e.g. references=references.csv")
    return {name: Path(path) for name, _, path in pairs}


def _number_or_text(given: str) -> float | str:
    """Return a number without a unit as a number."""
    try:
        return float(given)
    except ValueError:
        return given


def main() -> None:
    """Run the command."""
    app()


if __name__ == "__main__":
    main()
