"""Peak memory of a conversion: a file or store with a chunk for each frame, rewritten with whole spectra in each chunk.

    python benchmarks/bench_convert.py [--source nxstxm] [--frames 100] [--rows 4096] [--columns 5000] [--to zarr] [--folder /tmp]

The source is generated frame by frame and removed afterwards, with what was made of it; the folder needs three times its size.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import h5py
import numpy as np
import zarr
from measuring import facts, seconds
from resident import peak

import xstxm


def write_frames(path: Path, shape: tuple[int, int, int]) -> None:
    """Write counts (energy, y, x) as NXstxm, a chunk for each frame: frame k is a pattern plus k."""
    pattern = np.random.default_rng(0).poisson(500, shape[1:]).astype("float32")
    words = {"title": "generated", "definition": "NXstxm"}
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry1")
        entry.attrs["NX_class"] = "NXentry"
        entry.update(words)
        data = entry.create_group("counter0")
        data.attrs.update({"NX_class": "NXdata", "signal": "data", "axes": ["energy", "sample_y", "sample_x"]})
        data["stxm_scan_type"] = "sample image stack"
        axes = {"energy": np.linspace(510, 540, shape[0])}
        axes |= {name: np.arange(size) * 0.05 for name, size in zip(("sample_y", "sample_x"), shape[1:], strict=True)}
        for name, values in axes.items():
            data[name] = values
            data[name].attrs["units"] = "eV" if name == "energy" else "um"
        frames = data.create_dataset("data", shape, "f4", chunks=(1, *shape[1:]))
        for index in range(shape[0]):
            frames[index] = pattern + index


def write_store(path: Path, shape: tuple[int, int, int]) -> None:
    """Write the same counts as a Zarr store, a chunk for each frame, as `to_zarr` of a stack by frames does."""
    pattern = np.random.default_rng(0).poisson(500, shape[1:]).astype("float32")
    dims = ["energy", "y", "x"]
    group = zarr.create_group(path, attributes={"Conventions": "xstxm-1"})
    axes = (np.linspace(510, 540, shape[0]), *(np.arange(size) * 0.05 for size in shape[1:]))
    for name, values in zip(dims, axes, strict=True):
        units = {"units": "eV" if name == "energy" else "um"}
        group.create_array(name, data=values, dimension_names=[name], attributes=units)
    frames = group.create_array("intensity", shape=shape, chunks=(1, *shape[1:]), dtype="f4", dimension_names=dims)
    for index in range(shape[0]):
        frames[index] = pattern + index


def check(source: Path, target: Path) -> bool:
    """Compare a few lines of all energies."""
    with xstxm.open_stack(source) as before, xstxm.open_stack(target) as after:
        lines = range(0, before.sizes["y"], max(1, before.sizes["y"] // 3))
        return all(
            np.array_equal(before["intensity"][:, line, :64], after["intensity"][:, line, :64]) for line in lines
        )


def main() -> None:
    """Generate, convert, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("frames", 100), ("rows", 4096), ("columns", 5000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--source", default="nxstxm", choices=("nxstxm", "zarr"))
    parser.add_argument("--to", default="zarr", choices=("zarr", "netcdf"))
    parser.add_argument("--memory", default="512 MiB")
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        write, name = {"nxstxm": (write_frames, "frames.hdf5"), "zarr": (write_store, "frames.zarr")}[asked.source]
        source, target = Path(folder) / name, Path(folder) / "spectra"
        shape = (asked.frames, asked.rows, asked.columns)
        write(source, shape)
        taken = seconds(lambda: xstxm.convert(source, target, to=asked.to, memory=asked.memory))
        highest = peak()
        same = check(source, target)
        print(
            f"{4 * np.prod(shape) / 1e9:.2f} GB of {asked.source} to {asked.to} in {taken:.0f} s, peak {highest:.2f} GB, same: {same}"
        )
    print(facts())


if __name__ == "__main__":
    main()
