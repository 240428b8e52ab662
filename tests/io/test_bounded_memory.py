"""Stacks by frames are stored by spectra, and by images what is stored by spectra, in much less memory than they have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import xstxm
from xstxm.cli import app
from xstxm.errors import STORE_BY_IMAGES

pytest.importorskip("zarr")
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the peak memory from")

SHAPE = (48, 800, 900)
SIZE = 4 * np.prod(SHAPE)
CHILD = """
import sys, warnings, xarray, xstxm

def peak():
    status = open("/proc/self/status").read()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024

small, source, target, how = sys.argv[1:]
options = {"encoding": {"intensity": {"chunks": (1, 800, 900)}}} if how.endswith("by images") else {}
xstxm.convert(small, target, overwrite=True, **options)
before = peak()
options |= {"memory": "16 MiB", "overwrite": True}
verb = getattr(xstxm, how.partition(" ")[0])
verb(source if how.startswith("convert") else xarray.open_zarr(source, consolidated=False), target, **options)
print(peak() - before)
"""


def frames(n_frames):
    pattern = da.from_array(np.arange(SHAPE[1] * SHAPE[2], dtype="float32").reshape(1, *SHAPE[1:]), chunks=-1)
    stack = da.concatenate([pattern + index for index in range(n_frames)])
    axes = {dim: (dim, np.arange(size) * 0.05, {"units": "um"}) for dim, size in zip("yx", SHAPE[1:], strict=True)}
    energy = ("energy", 500.0 + np.arange(n_frames), {"units": "eV"})
    return xr.Dataset({"intensity": (("energy", "y", "x"), stack, {"units": "count"})}, {"energy": energy, **axes})


def stored(stack, folder, kind):
    """A file of frames, or a store as xarray writes it, with a chunk for each block of frames."""
    if kind == "nxstxm":
        return xstxm.write_nxstxm(stack, folder / f"{len(stack.energy)}.hdf5")
    path = folder / f"{len(stack.energy)}.zarr"
    chunks = {
        "zarr by frames": (1, *SHAPE[1:]),
        "zarr by blocks": (6, 200, 900),
        "zarr by spectra": (len(stack.energy), 80, 90),
    }[kind]
    encoding = {"intensity": {"chunks": chunks}}
    stack.chunk(dict(zip(stack.intensity.dims, chunks, strict=True))).assign_attrs(Conventions="xstxm-1").to_zarr(
        path, encoding=encoding, consolidated=False
    )
    return path


def test_convert__of_spectra_to_nxstxm_gives_images_as_the_error_says(tmp_path):
    source, images = stored(frames(12), tmp_path, "zarr by spectra"), tmp_path / "images.hdf5"
    assert f"xstxm convert spectra.zarr {images.name}" in STORE_BY_IMAGES
    done = CliRunner().invoke(app, ["convert", str(source), str(images)])
    assert done.exit_code == 0, done.output
    opened = xstxm.open_stack(images, chunks={})["intensity"]
    assert opened.chunksizes == {"energy": (1,) * 12, "y": SHAPE[1:2], "x": SHAPE[2:]}
    np.testing.assert_array_equal(opened, frames(12)["intensity"])


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("nxstxm", "convert"),
        ("zarr by frames", "convert"),
        ("zarr by blocks", "convert"),
        ("zarr by frames", "write_zarr"),
        ("zarr by frames", "write_netcdf"),
        ("zarr by spectra", "convert by images"),
        ("zarr by spectra", "write_zarr by images"),
    ],
)
def test_convert__stays_within_its_memory(tmp_path, kind, how):
    small, source = (stored(frames(n), tmp_path, kind) for n in (2, SHAPE[0]))
    target = tmp_path / ("target.nc" if how == "write_netcdf" else "target.zarr")
    command = [sys.executable, "-c", CHILD, *map(str, (small, source, target)), how]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown < SIZE / 3
    opened = xstxm.open_stack(target, chunks={})
    assert max(opened["intensity"].chunksizes["energy"]) == (1 if how.endswith("by images") else SHAPE[0])
    np.testing.assert_array_equal(opened["intensity"], frames(SHAPE[0])["intensity"])
