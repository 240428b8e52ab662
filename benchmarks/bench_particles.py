"""Time and peak memory of `xstxm.particles`: search and tables, on maps of two phases with thousands of particles that touch.

    python benchmarks/bench_particles.py --side 4096 --particles 5000

Each case runs in a process of its own; the peak is that above the maps themselves.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
import xarray as xr
from measuring import child, facts, seconds
from resident import peak, restart_peak

import xstxm

CASES = ("search and tables", "tables", "tables, noise correlated over 3 x 3 pixels")


def make_label(side: int, n_particles: int, rng: np.random.Generator) -> np.ndarray:
    """Return numbers of ellipses (y, x) on a jittered lattice, many of which touch."""
    label = np.zeros((side, side), dtype=np.int32)
    per_row = round(np.sqrt(n_particles))
    spacing = side / per_row
    reach = int(0.75 * spacing)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    for number in range(per_row**2):
        middle = (np.array(divmod(number, per_row)) + 0.5 + rng.uniform(-0.15, 0.15, 2)) * spacing
        top, left = middle.astype(int) - reach
        long, angle = rng.uniform(0.4, 0.62) * spacing, rng.uniform(0, np.pi)
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        inside = np.hypot(along, across / rng.uniform(0.6, 1)) < long
        rows, columns = slice(max(top, 0), top + len(y)), slice(max(left, 0), left + len(x))
        place = label[rows, columns]
        cut = inside[rows.start - top :, columns.start - left :][: place.shape[0], : place.shape[1]]
        place[cut & (place == 0)] = number + 1
    return label


def make_maps(label: np.ndarray, rng: np.random.Generator) -> xr.Dataset:
    """Return a phase map of two phases, float32, with noise."""
    shape, inside = label.shape, label > 0
    state = rng.random(label.max() + 1, dtype="float32")[label]
    state += rng.normal(0, 0.05, shape).astype("float32")
    state = np.where(inside, state, np.float32(np.nan))
    error = np.full(shape, 0.05, dtype="float32")
    image = ("y", "x")
    axes = {dim: (dim, 0.01 * np.arange(n), {"units": "um"}) for dim, n in zip(image, shape, strict=True)}
    return xr.Dataset(
        {
            "total_amount": (image, np.where(inside, np.float32(100), np.float32(0))),
            "phase_label": (image, np.where(inside, state > 0.5, -1).astype("int16")),
            "phase_fraction": (("phase", *image), np.stack([1 - state, state])),
            "phase_fraction_stderr": (("phase", *image), np.stack([error, error])),
            "composition": (image, state, {"units": "1"}),
            "composition_stderr": (image, error, {"units": "1"}),
        },
        coords={**axes, "phase": ["poor", "rich"]},
    )


def measure(case: str, side: int, n_particles: int) -> dict[str, float]:
    """Return the facts of one case."""
    rng = np.random.default_rng(0)
    label = make_label(side, n_particles, rng)
    maps = make_maps(label, rng)
    small = maps.isel(y=slice(0, 200), x=slice(0, 200))
    options = {} if case == CASES[0] else {"particle_label": label}
    if case == CASES[2]:
        lags = [-1, 0, 1]
        near = np.outer([0.5, 1, 0.5], [0.5, 1, 0.5])
        options["noise_correlation"] = xr.DataArray(
            near, dims=("lag_y", "lag_x"), coords={"lag_y": lags, "lag_x": lags}
        )
    cut = {name: array[:200, :200] if name == "particle_label" else array for name, array in options.items()}
    xstxm.particles(small, **cut)  # compiles and imports
    restart_peak()
    before = peak()
    found = []
    worked = time.process_time()
    taken = seconds(lambda: found.append(xstxm.particles(maps, **options)))
    worked = time.process_time() - worked
    true = len(np.unique(label)) - 1
    return {
        "seconds": taken,
        "of_cpu": worked,
        "gigabytes": peak() - before,
        "found": found[0].sizes["particle"],
        "true": true,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--particles", type=int, default=5000)
    parser.add_argument("--case", choices=CASES, help="one case, in this process")
    given = parser.parse_args()
    if given.case:
        json.dump(measure(given.case, given.side, given.particles), sys.stdout)
        return
    print(facts())
    print(f"{given.side} x {given.side} pixels")
    for case in CASES:
        options = ("--side", given.side, "--particles", given.particles, "--case", case)
        run = child("bench_particles.py", *options)
        taken = f"{run['seconds']:.1f} s, {run['of_cpu']:.1f} s of one CPU"
        print(
            f"{case}: {taken}, {run['gigabytes']:.2f} GB above the maps; {run['found']} particles, {run['true']} drawn"
        )


if __name__ == "__main__":
    main()
