"""Size and speed of Zarr stores: codecs, chunks and shards, for counts as whole numbers and counts that were normalised.

    python benchmarks/bench_storage.py [--size M] [--rounds 3] [--folder /tmp] [--stack FILE]

A store is written whole, and read whole, as one square of 256 x 256 pixels at all energies, and as one image, one thread, from
memory. Times are ratios to a store without compression that took its turns in between; sizes are shares of the numbers.
The counts are Poisson counts of a synthetic stack of about 4000 counts, or those of a measured one.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dask
import numpy as np
import xarray as xr
import zarr
from bench_fit import counted
from bench_structure import make_stack
from measuring import CHUNK, SIDES, facts, in_turn, spread
from zarr.codecs import BloscCodec, ZstdCodec

import xstxm

CODECS: Mapping[str, Any] = {
    "none": None,
    "zstd 0, the default of zarr": ZstdCodec(level=0),
    "zstd 6": ZstdCodec(level=6),
    "blosc lz4 5, bitshuffle": BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
    "blosc zstd 1, shuffle": BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"),
    "blosc zstd 1, bitshuffle": BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle"),
    "blosc zstd 5, bitshuffle": BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle"),
}
CHOSEN = "blosc lz4 5, bitshuffle"


def layouts(shape: tuple[int, ...]) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return chunks and shards by name; the first is what `write_zarr` makes."""
    n, wide = shape[0], (shape[0], *(min(512, -(-size // 128) * 128) for size in shape[1:]))
    return {
        "128 x 128 pixels": {"chunks": (n, 128, 128)},
        "64 x 64 pixels, shards of 512 x 512": {"chunks": (n, 64, 64), "shards": wide},
        "128 x 128 pixels by 1/8 of the energies, the same shards": {
            "chunks": (-(-n // 8), 128, 128),
            "shards": (8 * -(-n // 8), *wide[1:]),
        },
        "frames": {"chunks": (1, *shape[1:])},
    }


def kinds(counts: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield whole counts as float32 and as uint16, and as they are after a normalisation to the ring current."""
    yield "float32", counts
    yield "uint16", counts.astype("uint16")
    yield "float32, normalised", counts * np.linspace(1, 1.05, len(counts), dtype="float32")[:, None, None]


def simulated(size: str) -> np.ndarray:
    """Return Poisson counts of a synthetic stack, float32."""
    rng = np.random.default_rng(0)
    counts, _ = counted(make_stack((SIDES[size], SIDES[size])))
    return np.stack([rng.poisson(frame).astype("float32") for frame in np.asarray(counts)])


def measured(path: str) -> np.ndarray:
    """Return the counts of a stack as whole numbers, float32."""
    with xstxm.open_stack(path) as stack:
        return np.asarray(stack["intensity"]).round().clip(0, 2**16 - 1).astype("float32")


def writing(path: Path, values: np.ndarray, **options: Any) -> Callable[[], None]:
    """Return a call that writes a store as `write_zarr` does, chunk by chunk."""
    stack = xr.Dataset({"intensity": (("energy", "y", "x"), values)})
    blocks = dict(zip(stack.sizes, options.get("shards") or options["chunks"], strict=True))

    def write() -> None:
        shutil.rmtree(path, ignore_errors=True)
        encoding = {"intensity": options}
        stack.chunk(blocks).to_zarr(path, encoding=encoding, consolidated=False, write_empty_chunks=True)

    return write


def reading(path: Path) -> tuple[Callable[[], object], ...]:
    """Return calls that read all of a store, a square, and an image."""
    stored = zarr.open_group(path, mode="r")["intensity"]
    n_rows = stored.shape[1]

    def whole() -> None:
        for row in range(0, n_rows, 512):
            for column in range(0, stored.shape[2], 512):
                stored[:, row : row + 512, column : column + 512]

    return whole, lambda: stored[:, :CHUNK, :CHUNK], lambda: stored[stored.shape[0] // 2]


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def row(name: str, folder: Path, values: np.ndarray, rounds: int, **options: Any) -> None:
    """Print size and times of a store, against one without compression in squares."""
    plain = {"chunks": layouts(values.shape)["128 x 128 pixels"]["chunks"], "compressors": None}
    one, other = folder / "one.zarr", folder / "other.zarr"
    ours, theirs = in_turn(writing(one, values, **options), writing(other, values, **plain), rounds=rounds)
    cells = [f"{size_of(one) / values.nbytes:.2f}", spread(ours / theirs)]
    for ours, theirs in zip(reading(one), reading(other), strict=True):
        times = in_turn(ours, theirs, rounds=rounds)
        cells.append(spread(times[0] / times[1]))
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def table(title: str) -> None:
    print(
        f"\n{title}\n\n| store | size | write | read all | read a square | read an image |\n|---|---|---|---|---|---|"
    )


def main() -> None:
    """Print a table of codecs for each kind of numbers, and one of chunks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="M", choices=SIDES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--stack", help="a measured stack of counts, whatever open_stack opens")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    counts = measured(asked.stack) if asked.stack else simulated(asked.size)
    with tempfile.TemporaryDirectory(dir=asked.folder) as place, dask.config.set(scheduler="synchronous"):
        folder = Path(place)
        for kind, values in kinds(counts):
            table(f"{kind}, {values.nbytes / 1e6:.0f} MB, chunks of 128 x 128 pixels")
            for name, codec in CODECS.items():
                row(name, folder, values, asked.rounds, chunks=(len(values), 128, 128), compressors=codec)
        table(f"float32, {CHOSEN}")
        for name, layout in layouts(counts.shape).items():
            row(name, folder, counts, asked.rounds, **layout, compressors=CODECS[CHOSEN])
    print(f"\n{facts(zarr)}")


if __name__ == "__main__":
    main()
