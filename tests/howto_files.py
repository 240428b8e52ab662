"""Writes the files that the page *How do I ...* opens: synthetic, small, of the names that stand on the page."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import xarray as xr

import xstxm

SHAPE = (48, 64)


def particles(seed: int = 0, **options: object) -> xr.Dataset:
    """Counts of a few particles, as a file would give them, with lit ground around."""
    stack = xstxm.testing.simulate_stack(shape=SHAPE, seed=seed, **options)[["intensity"]]
    return stack.assign_attrs(start_time=f"2026-03-01T1{seed}:00:00")


def write(folder: Path) -> None:
    """Write all files into a folder."""
    stack = particles(drift="10 nm")
    xstxm.write_sdf(stack, folder / "particle.hdr")
    _write_entries(stack, folder / "two_scans.hdf5")
    xstxm.write_ncb(stack.drop_vars("ring_current"), folder / "from_axis.dat")
    _write_images(stack.isel(energy=slice(0, 6)), folder / "images")
    _write_night(folder / "night")
    np.save(folder / "counts.npy", stack["intensity"].values)
    xstxm.write_netcdf(xstxm.testing.simulate_transmission(shape=SHAPE)[["transmission"]], folder / "ptychography.nc")
    _write_tables(stack, folder)


def _write_entries(stack: xr.Dataset, path: Path) -> None:
    xstxm.write_nxstxm(stack, path)
    with h5py.File(path, "a") as file:
        file.copy("entry1", "entry2")


def _write_images(stack: xr.Dataset, folder: Path) -> None:
    folder.mkdir()
    for number, energy in enumerate(stack["energy"].values):
        image = stack["intensity"].sel(energy=energy).reset_coords(drop=True)
        xstxm.write_tiff(image, folder / f"image_{number}.tif")
    np.savetxt(folder.parent / "energies.txt", stack["energy"].values)


def _write_night(folder: Path) -> None:
    folder.mkdir()
    for seed in range(3):
        xstxm.write_nxstxm(particles(seed), folder / f"field_{seed + 1}.hdf5")
    edge = particles()
    xstxm.write_nxstxm(edge.isel(energy=slice(0, 60)), folder.parent / "vanadium.hdf5")
    xstxm.write_nxstxm(edge.isel(energy=slice(60, None)), folder.parent / "oxygen.hdf5")
    xstxm.write_nxstxm(particles(3), folder.parent / "empty.hdf5")


def _write_tables(stack: xr.Dataset, folder: Path) -> None:
    references = xstxm.testing.simulate_references()["absorption"].sel(reference=["alpha-V2O5", "delta-LiV2O5"])
    references.assign_coords(reference=["V2O5", "LiV2O5"]).to_pandas().T.to_csv(folder / "references.csv")
    xstxm.estimate_i0(stack).i0.to_pandas().to_csv(folder / "i0.csv")
    drift = np.linspace(0, 20, stack.sizes["energy"])
    shifts = pd.DataFrame({"energy (eV)": stack["energy"], "dx (nm)": drift, "dy (nm)": -drift})
    shifts.to_csv(folder / "shifts.csv", index=False)
    (folder / "cell.csv").write_text("date,I (mA)\n2026-03-01T09:00:00,-0.02\n2026-03-01T13:00:00,-0.02\n")
