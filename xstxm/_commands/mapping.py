"""The maps of `xstxm map` and `xstxm demo`: computed, told as a table, written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import SupportsFloat

import numpy as np
import xarray as xr
from rich.table import Table

import xstxm
from xstxm._commands.speaking import compiling_is_told, out, progress, say
from xstxm.conventions import NO_SAMPLE
from xstxm.errors import MissingDependencyError, OptionError
from xstxm.io._replacing import require_place


def require_free(output: Path, overwrite: bool) -> None:
    """Refuse, before anything is computed, to replace maps that nobody said to replace."""
    require_place(output)
    there = [path for path in (output / "maps.nc", output / "recipe.toml", *output.glob("*.png")) if path.exists()]
    if there and not overwrite:
        names = ", ".join(path.name for path in there)
        raise OptionError("output", str(output), f"it holds {names}: pass --overwrite to replace, or another folder")


def mapped(stack: xr.Dataset, references: xr.Dataset | None, **options: object) -> xr.Dataset:
    """Return the phase map. Eager."""
    with progress() as shown, compiling_is_told():
        shown.add_task("mapping phases")
        return xstxm.compute(xstxm.phase_map(stack, references, **options))  # type: ignore[arg-type]


def report(phases: xr.Dataset, output: Path) -> None:
    """Print what was decided and the table, write the maps."""
    sample, threshold = int((phases["phase_label"] != NO_SAMPLE).sum()), phases["min_amount"]
    unit = "" if threshold.attrs.get("units", "1") == "1" else threshold.attrs["units"]
    if not sample:
        largest = float(phases["total_amount"].max())
        raise OptionError(
            "min_amount", float(threshold), f"no pixel holds as much, the largest is {largest:.4g} {unit}"
        )
    history = xstxm.history(phases)["notes"].iloc[-1]
    amount = (
        f"amount of {float(threshold):.4g} {unit}".rstrip() + " or more"
        if np.isfinite(threshold)
        else "no empty area found"
        if sample == phases["phase_label"].size
        else "no threshold of the amount"
    )
    pixels = f"{sample} of {phases['phase_label'].size} pixels are sample ({amount})"
    say(pixels + (f"; {history}" if history else ""))
    summary = xstxm.phase_summary(phases)
    out.print(table(summary))
    if bool(np.isfinite(summary["area_fraction_stderr"]).any()):
        out.print("errors: noise, and the largest bias of amounts kept above zero")
    output.mkdir(parents=True, exist_ok=True)
    maps = xstxm.write_netcdf(phases, output / "maps.nc", overwrite=True)
    say("wrote " + ", ".join(str(path) for path in (maps, *_pictures(phases, output))))


def table(summary: xr.Dataset) -> Table:
    """Return the summary of phases; errors that are not known are left out."""
    measured = "mean_composition" in summary
    label = summary["mean_composition"].attrs.get("long_name", "composition") if measured else ""
    rows = Table("phase", "area fraction", *([f"{label}, mean"] if measured else []))
    for name in np.asarray(summary["phase"]):
        row = summary.sel(phase=name)
        cells = [str(name), with_error(row["area_fraction"], row["area_fraction_stderr"], 3)]
        if measured:
            error = np.hypot(row["mean_composition_stderr"], row["mean_composition_bias"])
            cells.append(with_error(row["mean_composition"], error, 4))
        rows.add_row(*cells)
    rows.add_row("of these undecided", f"{float(summary['undecided_fraction']):.3f}", *([""] if measured else []))
    return rows


def with_error(value: SupportsFloat, error: SupportsFloat, digits: int) -> str:
    """Return a number with its error, where that is known."""
    known = f" ± {float(error):.{digits}f}" if math.isfinite(float(error)) else ""
    return f"{float(value):.{digits}f}{known}"


def _pictures(phases: xr.Dataset, output: Path) -> list[Path]:
    """Write PNG maps where HoloViews and matplotlib are installed; say so where not."""
    try:
        from xstxm import plot

        return plot.save_maps(phases, output, overwrite=True)
    except MissingDependencyError as error:
        say(f"no pictures: {error}")
        return []
