"""The `xstxm` command: look at a file, map it, see it in the browser."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import xarray as xr
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

import xstxm
from xstxm import _run
from xstxm.conventions import NO_SAMPLE
from xstxm.errors import MissingDependencyError, OptionError, StxmError
from xstxm.io.converting import open_any

app = typer.Typer(
    help="X-ray spectromicroscopy stacks to quantitative phase and composition maps.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()

StackFile = Annotated[Path, typer.Argument(help="Stack, in any format that xstxm formats lists.", show_default=False)]


def _print_version(asked: bool) -> None:
    if asked:
        console.print(xstxm.__version__, highlight=False)
        raise typer.Exit


@app.callback()
def _xstxm(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def info(file: StackFile) -> None:
    """Say what a stack file holds."""
    stack = xstxm.open_stack(file, chunks={})
    console.print(repr(stack.stxm), markup=False, highlight=False, soft_wrap=True)


@app.command()
def formats() -> None:
    """List the file formats that are read and written, and which readers have met no real file."""
    table = Table("engine", "files", "written by", "writer", "experimental")
    for name, row in xstxm.formats().iterrows():
        table.add_row(str(name), row["files"], row["written_by"], row["writer"], row["experimental"])
    console.print(table)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="Scan: a file, a folder of files of one energy each, a Zarr store.")],
    target: Annotated[Path, typer.Argument(help="What to write: .zarr, .nc, .hdf5, .dat, .hdr or .tif.")],
    to: Annotated[
        str | None, typer.Option(help="zarr, netcdf, nxstxm, ncb, sdf or tiff, where the ending does not say it.")
    ] = None,
    memory: Annotated[str, typer.Option(help='About how much memory to use, e.g. "2 GiB".')] = "512 MiB",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Rewrite a scan of any size in another format."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"writing {target.name}", total=1.0)
        written = xstxm.convert(
            source,
            target,
            to=to,
            overwrite=overwrite,
            memory=memory,
            progress=lambda share: bar.update(task, completed=share),
        )
    console.print(f"wrote {written}", markup=False, highlight=False, soft_wrap=True)


@app.command("map")
def map_stack(
    file: StackFile,
    references: Annotated[
        list[Path] | None,
        typer.Option("--references", "-r", help="Reference spectra: a table, or a file each; repeat -r for each file."),
    ] = None,
    reference_units: Annotated[
        str | None, typer.Option(help="Units of the references: 1 (optical density), 1/nm, cm**2/g.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the maps.")] = Path("maps"),
    composition: Annotated[
        list[str] | None, typer.Option(help="Composition of a reference, e.g. V2O5=0; repeat for each.")
    ] = None,
    energies: Annotated[
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
) -> None:
    """Map the chemical phases of a stack and write the maps (netCDF, PNG)."""
    _require_free(output, overwrite)
    if i0 is not None and i0_units is None:
        raise OptionError("i0", str(i0), "say what its numbers are: add --i0-units count or --i0-units count/ms")
    stack = xstxm.open_stack(file)
    if energies is not None:
        stack = xstxm.sel_energy(stack, *energies)
    given = None if i0 is None else xstxm.read_i0(i0, units=i0_units)
    if i0 is not None or noise is not None:
        stack = xstxm.optical_density(stack, given, noise=noise)  # type: ignore[arg-type]
    known = _read_references(references, _compositions(composition), reference_units) if references else None
    phases = _compute(
        stack,
        known,
        method=method,
        background=background,
        selection=selection,
        energy_shift=energy_shift,
        max_optical_density=max_optical_density,
        min_amount=_number_or_text(min_amount),
        min_confidence=min_confidence,
    )
    _report(phases, output)
    used = {"references": known, "i0": given}
    recipe = xstxm.Recipe.from_result(phases, {name: data for name, data in used.items() if data is not None})
    path = recipe.save(output / "recipe.toml", overwrite=True)
    console.print(f"the same of other files: xstxm run {path} FILES... -o FOLDER", markup=False, soft_wrap=True)


@app.command("run")
def run_recipe(
    recipe: Annotated[Path, typer.Argument(help="Recipe: a .toml that Recipe.save or xstxm map wrote.")],
    files: Annotated[list[Path], typer.Argument(help="Stack files.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results, a .nc of each file.")],
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="NAME=PATH of an input of the recipe; repeat for each.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do again, and replace, what is there.")] = False,
    jobs: Annotated[int, typer.Option(help="Files at once.", min=1)] = 1,
) -> None:
    """Apply a recipe to files; what the same recipe made of the same file before is skipped."""
    ready = xstxm.Recipe.load(recipe).with_inputs(_pairs(inputs))
    ended = _run.run_files(ready, files, output, overwrite=overwrite, jobs=jobs)
    table, n_failed = Table("file", "state", "seconds", "reason"), 0
    with _progress() as progress:
        task = progress.add_task(f"0 of {len(files)} files")
        for k, done in enumerate(ended, 1):
            progress.update(task, description=f"{k} of {len(files)} files, {done.file.name} {done.state}")
            table.add_row(done.file.name, done.state, f"{done.seconds:.1f}", escape(done.reason))
            n_failed += done.state == "failed"
    console.print(table)
    if n_failed:
        raise typer.Exit(1)


@app.command("diff")
def diff_results(
    one: Annotated[Path, typer.Argument(help="Result of one analysis, or a scan: a file, a Zarr store.")],
    other: Annotated[Path, typer.Argument(help="That of the other.")],
) -> None:
    """Say where two analyses part: steps, parameters, inputs, numbers."""
    with closing(open_any(one)) as a, closing(open_any(other)) as b:
        found = xstxm.diff(a, b)  # type: ignore[arg-type]  # it refuses trees itself
    table = Table("what", "where", one.name, other.name)
    for row in found.itertuples(index=False):
        table.add_row(*(escape(str(cell)) for cell in row))
    console.print(table if len(found) else "no difference: the same steps and inputs, every number equal")


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")] = Path("demo-output"),
    size: Annotated[int, typer.Option(help="Pixels along the longer side.", min=32)] = 192,
    seed: Annotated[int, typer.Option(help="Seed of the synthetic sample.")] = 0,
) -> None:
    """Simulate a LixV2O5 stack, write it as a file, read it back, map it."""
    output.mkdir(parents=True, exist_ok=True)
    path, spectra = output / "lixv2o5.hdf5", output / "lixv2o5-references.csv"
    with _progress() as progress:
        progress.add_task("simulating a stack of LixV2O5 particles (synthetic)")
        known = xstxm.testing.simulate_references()
        simulated = xstxm.testing.simulate_stack(shape=(size * 3 // 4, size), seed=seed)
        xstxm.write_nxstxm(simulated[["intensity"]], path, overwrite=True)  # a file holds no ground truth
        xstxm.write_csv(known["absorption"].reset_coords(drop=True), spectra, overwrite=True)
    stack = xstxm.open_stack(path)
    console.print(repr(stack.stxm), markup=False, highlight=False, soft_wrap=True)
    _report(_compute(stack, known), output)
    named = zip(known["reference"].values, known["composition"].values, strict=True)
    options = " ".join(f"--composition {name}={value:g}" for name, value in named)
    console.print(
        f"\nThe same by hand: xstxm map {path} -r {spectra} --reference-units 1/nm {options} -o maps", soft_wrap=True
    )
    console.print(f"See it in the browser: xstxm dashboard {path}   (in the checkout: make dashboard)", soft_wrap=True)


@app.command()
def dashboard(
    file: Annotated[Path | None, typer.Argument(help="Stack to open at the start.", show_default=False)] = None,
    root: Annotated[Path | None, typer.Option(help="Folder whose files can be opened.", show_default="here")] = None,
    port: Annotated[int, typer.Option(help="Port on this computer.")] = 5006,
    show: Annotated[bool, typer.Option("--show/--no-show", help="Open a browser window.")] = True,
) -> None:
    """Serve the explorer on this computer; only files under the root folder can be opened."""
    _require_panel()
    root = (root or (file.parent if file else Path.cwd())).resolve()
    if not root.is_dir():
        raise OptionError("root", str(root), "that folder does not exist")
    _require_port(port)
    environment = {**os.environ, "XSTXM_ROOT": str(root), "XSTXM_FILE": ""}
    if file is not None:
        if not file.exists():
            raise typer.BadParameter(f"{file} does not exist")
        if not file.resolve().is_relative_to(root):
            raise OptionError(
                "root", str(root), f"{file.name} lies outside it: leave --root out, or choose one above both"
            )
        environment["XSTXM_FILE"] = str(file.resolve())
    command = [sys.executable, "-m", "panel", "serve", str(dashboard_script()), "--address", "127.0.0.1"]
    command += ["--port", str(port), "--allow-websocket-origin", f"127.0.0.1:{port}"]
    command += ["--allow-websocket-origin", f"localhost:{port}"]
    console.print(f"serving {root} at http://127.0.0.1:{port}/explorer (stop with Ctrl-C)", markup=False)
    raise typer.Exit(subprocess.call([*command, *(["--show"] if show else [])], env=environment))


def _require_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise OptionError("port", port, "something else uses it; pass another one, e.g. --port 5007") from error


def dashboard_script() -> Path:
    """Return the explorer: inside the installed package, or beside it in a checkout."""
    package = Path(xstxm.__file__).parent
    for folder in (package / "dashboards", package.parent / "dashboards"):
        if (folder / "explorer.py").exists():
            return folder / "explorer.py"
    raise MissingDependencyError("the dashboard", "its explorer.py", "dashboard")


def _require_panel() -> None:
    from importlib.util import find_spec

    for package in ("panel", "panel_material_ui", "holoviews"):
        if find_spec(package) is None:
            raise MissingDependencyError("the dashboard", package, "dashboard")


def _progress() -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


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


def _number_or_text(given: str | None) -> float | str | None:
    """Return a number without a unit as a number."""
    try:
        return None if given is None else float(given)
    except ValueError:
        return given


def _read_references(paths: list[Path], composition: dict[str, float] | None, units: str | None) -> xr.Dataset:
    if len(paths) == 1:
        return xstxm.read_references(paths[0], composition=composition, units=units)
    stems = [path.stem for path in paths]
    if len(set(stems)) < len(stems):
        raise OptionError("references", stems, "each file names its reference: give files of different names")
    return xstxm.read_references(dict(zip(stems, paths, strict=True)), composition=composition, units=units)


def _compute(stack: xr.Dataset, references: xr.Dataset | None, **options: object) -> xr.Dataset:
    with _progress() as progress:
        progress.add_task("mapping phases")
        return xstxm.phase_map(stack, references, **options).compute()  # type: ignore[arg-type]


def _require_free(output: Path, overwrite: bool) -> None:
    """Refuse, before anything is computed, to replace maps that nobody said to replace."""
    there = [path for path in (output / "maps.nc", output / "recipe.toml", *output.glob("*.png")) if path.exists()]
    if there and not overwrite:
        names = ", ".join(path.name for path in there)
        raise OptionError("output", str(output), f"it holds {names}: pass --overwrite to replace, or another folder")


def _report(phases: xr.Dataset, output: Path) -> None:
    """Print what was decided and the table, write the maps."""
    sample, threshold = int((phases["phase_label"] != NO_SAMPLE).sum()), phases["min_amount"]
    unit = "" if threshold.attrs.get("units", "1") == "1" else threshold.attrs["units"]
    if not sample:
        largest = float(phases["total_amount"].max())
        raise OptionError(
            "min_amount", float(threshold), f"no pixel holds as much, the largest is {largest:.4g} {unit}"
        )
    notes = xstxm.history(phases)["notes"].iloc[-1]
    amount = (
        f"amount of {float(threshold):.4g} {unit}".rstrip() + " or more"
        if np.isfinite(threshold)
        else "no empty area found"
    )
    console.print(
        f"{sample} of {phases['phase_label'].size} pixels are sample ({amount}){'; ' + notes if notes else ''}",
        markup=False,
        soft_wrap=True,
    )
    console.print(
        _table(xstxm.phase_summary(phases)), "errors: noise, and the largest bias of amounts kept above zero", sep="\n"
    )
    written = [write_maps(phases, output / "maps.nc"), *_pictures(phases, output)]
    console.print("wrote " + ", ".join(str(path) for path in written), markup=False, highlight=False, soft_wrap=True)


def _table(summary: xr.Dataset) -> Table:
    measured = "mean_composition" in summary
    label = summary["mean_composition"].attrs.get("long_name", "composition") if measured else ""
    table = Table("phase", "area fraction", *([f"mean {label}"] if measured else []))
    for name in np.asarray(summary["phase"]):
        row = summary.sel(phase=name)
        cells = [str(name), f"{float(row['area_fraction']):.3f} ± {float(row['area_fraction_stderr']):.3f}"]
        if measured:
            error = np.hypot(row["mean_composition_stderr"], row["mean_composition_bias"])
            cells.append(f"{float(row['mean_composition']):.4f} ± {float(error):.4f}")
        table.add_row(*cells)
    table.add_row("of these undecided", f"{float(summary['undecided_fraction']):.3f}", *([""] if measured else []))
    return table


def write_maps(phases: xr.Dataset, path: Path) -> Path:
    """Write a phase map as netCDF, in one step or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return xstxm.write_netcdf(phases, path, overwrite=True)


def _pictures(phases: xr.Dataset, output: Path) -> list[Path]:
    """Write PNG maps where HoloViews and matplotlib are installed; say so where not."""
    try:
        from xstxm import plot

        return plot.save_maps(phases, output, overwrite=True)
    except MissingDependencyError as error:
        console.print(f"no pictures: {error}", markup=False, soft_wrap=True)
        return []


def main() -> None:
    """Run the command; an error of the library is one line, not a traceback."""
    try:
        app()
    except (StxmError, OSError) as error:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True, style="red")
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
