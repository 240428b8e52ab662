"""One call of each lazy verb on a stack of counts on zarr, for benchmarks of memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import xstxm

REFERENCES = xstxm.testing.simulate_references()
PHASES = REFERENCES.sel(reference=["alpha-V2O5", "delta-LiV2O5"])
EDGE = {"pre_edge": (508, 512), "post_edge": (545, 560), "pre_order": 0}
CORNER = {"x": (0.5, 2.0), "y": (0.5, 2.0)}
CHUNK = 256


def write_counts(path: Path, shape: tuple[int, int]) -> None:
    """Write simulated counts of four references and I0, uncompressed, all energies of 256 x 256 pixels in a chunk."""
    made = xstxm.testing.simulate_stack(shape=shape, chunks={"y": CHUNK, "x": CHUNK}, seed=0)
    stack = made[["intensity", "true_i0"]].rename(true_i0="i0")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata")
        stack.to_zarr(path, encoding={"intensity": {"compressors": None}})


@dataclass(frozen=True)
class Stored:
    """A stack of counts with I0 on zarr, and what verbs start from."""

    path: Path

    @cached_property
    def counts(self) -> xr.Dataset:
        return xr.open_zarr(self.path)

    @cached_property
    def density(self) -> xr.Dataset:
        return xstxm.optical_density(self.counts)[["optical_density", "quality"]]

    @cached_property
    def fitted(self) -> xr.Dataset:
        return xstxm.fit(self.density, REFERENCES)

    @cached_property
    def phases(self) -> xr.Dataset:
        return xstxm.phase_map(self.density, REFERENCES, min_amount=5.0)

    @cached_property
    def wave(self) -> xr.DataArray:
        """The counts as the transmission of a ptychographic stack, without phase."""
        transmission = np.sqrt(self.counts["intensity"] / self.counts["i0"]).astype("complex64")
        return transmission.rename("transmission").assign_attrs(units="1")

    @property
    def fine_grid(self) -> xr.DataArray:
        energy = self.counts["energy"]
        return xr.DataArray(np.linspace(510, 550, energy.size), dims="energy", attrs=energy.attrs)

    @property
    def shifts(self) -> xr.Dataset:
        energy = self.counts["energy"]
        moved = xr.DataArray(np.linspace(-0.1, 0.1, energy.size), {"energy": energy}, "energy", attrs={"units": "um"})
        return xr.Dataset({"shift_y": moved, "shift_x": moved})

    @property
    def bad_pixels(self) -> xr.DataArray:
        image = self.counts["intensity"].isel(energy=0, drop=True)
        return xr.zeros_like(image, dtype=bool)

    def polarized(self) -> xr.Dataset:
        both = [self.density, self.density]
        return xr.concat(both, xr.DataArray(["a", "b"], dims="polarization"))

    def times(self) -> dict[str, xr.Dataset]:
        return {
            name: self.phases.assign_coords(time=((), 60.0 * k, {"units": "s"})) for k, name in enumerate(("a", "b"))
        }


VERBS: dict[str, Callable[[Stored], Any]] = {
    "sel_energy": lambda s: xstxm.sel_energy(s.counts, 510, 545),
    "drop_frames": lambda s: xstxm.drop_frames(s.counts, [float(s.counts["energy"][7])]),
    "interp_energy": lambda s: xstxm.interp_energy(s.counts, s.fine_grid),
    "calibrate_energy": lambda s: xstxm.calibrate_energy(s.counts, 0.2),
    "with_references": lambda s: xstxm.with_references(s.counts, REFERENCES),
    "despike": lambda s: xstxm.despike(s.counts),
    "level_lines": lambda s: xstxm.level_lines(s.counts.chunk(energy=1, y=-1, x=-1)),
    "subtract_dark": lambda s: xstxm.subtract_dark(s.counts, 3.0),
    "bin_pixels": lambda s: xstxm.bin_pixels(s.counts),
    "crop": lambda s: xstxm.crop(s.counts, {"x": (1.0, 1e3)}),
    "merge_stacks": lambda s: xstxm.merge_stacks([s.counts.isel(energy=part) for part in (slice(60), slice(60, None))]),
    "normalize_current": lambda s: xstxm.normalize_current(s.counts.drop_vars("i0"), 400.0),
    "repair_pixels": lambda s: xstxm.repair_pixels(s.counts, s.bad_pixels),
    "apply_shifts": lambda s: xstxm.apply_shifts(s.counts, s.shifts),
    "estimate_i0": lambda s: xstxm.estimate_i0(s.counts, CORNER),
    "optical_density": lambda s: xstxm.optical_density(s.counts),
    "optical_density, I0 of a region": lambda s: xstxm.optical_density(s.counts, xstxm.estimate_i0(s.counts, CORNER)),
    "optical_density, I0 estimated": lambda s: xstxm.optical_density(s.counts.drop_vars("i0")),
    "optical_density, with variances": lambda s: xstxm.optical_density(s.counts, noise="poisson"),
    "with_variance": lambda s: xstxm.with_variance(s.counts),
    "from_transmission": lambda s: xstxm.from_transmission(s.wave, CORNER),
    "join_phase_shift": lambda s: xstxm.join_phase_shift(
        xstxm.from_transmission(s.wave, CORNER), xstxm.testing.simulate_phase_references()
    ),
    "spectrum": lambda s: xstxm.spectrum(s.density, CORNER),
    "normalize_edge": lambda s: xstxm.normalize_edge(s.density, **EDGE),
    "edge_map": lambda s: xstxm.edge_map(s.density, (515, 519), method="derivative", signal="optical_density"),
    "peak_map": lambda s: xstxm.peak_map(s.density, (517, 519.6)),
    "difference_map": lambda s: xstxm.difference_map(s.density, 518.4, (508, 512)),
    "ratio_map": lambda s: xstxm.ratio_map(s.density, (518, 519), (516, 517)),
    "dichroism": lambda s: xstxm.dichroism(s.polarized(), plus="a", minus="b"),
    "line_profile": lambda s: xstxm.line_profile(s.density, (1.0, 1.0), (20.0, 15.0), width=0.5),
    "thickness": lambda s: xstxm.thickness(s.density, "V2O5", 3.36),
    "fit": lambda s: s.fitted,
    "fit, with variances": lambda s: xstxm.fit(xstxm.optical_density(s.counts, noise="poisson"), REFERENCES),
    "predict": lambda s: xstxm.predict(s.fitted),
    "residual": lambda s: xstxm.residual(s.density, s.fitted),
    "noise_correlation": lambda s: xstxm.regions.noise_correlation(xstxm.residual(s.density, s.fitted)),
    "evaluate_energies": lambda s: xstxm.evaluate_energies(
        s.density, REFERENCES, s.counts["energy"][::6], min_amount=5.0
    ),
    "phase_map": lambda s: s.phases,
    "phase_summary": lambda s: xstxm.phase_summary(s.phases),
    "strain": lambda s: xstxm.strain(s.phases),
    "concentration": lambda s: xstxm.concentration(s.phases),
    "gradient": lambda s: xstxm.gradient(s.phases),
    "interface_map": lambda s: xstxm.interface_map(s.phases),
    "compare": lambda s: xstxm.compare(s.phases, xstxm.phase_map(s.density, REFERENCES, min_amount=6.0)),
    "bland_altman": lambda s: xstxm.bland_altman(s.phases, xstxm.phase_map(s.density, PHASES, min_amount=5.0)),
    "at_resolution": lambda s: xstxm.matching.at_resolution(
        s.phases, xstxm.bin_pixels(s.phases, 2), fine_psf=0.04, psf=0.08, shift=None
    ),
    "time_series": lambda s: xstxm.time_series(s.times()),
    "pca": lambda s: xstxm.pca(s.density, 8),
    "reconstruct": lambda s: xstxm.reconstruct(xstxm.pca(s.density, 8)),
    "denoise": lambda s: xstxm.denoise(s.density, n_components=5),
    "denoise, savgol": lambda s: xstxm.denoise(s.density, "savgol"),
    "denoise, tv": lambda s: xstxm.denoise(s.density, "tv"),
    "nmf": lambda s: xstxm.nmf(s.density, 4),
    "mcr": lambda s: xstxm.mcr(s.density, 4),
    "cluster": lambda s: xstxm.cluster(s.density, 4, n_components=4),
    "trees.phase_map": lambda s: xstxm.trees.phase_map(
        xr.DataTree.from_dict({"a": s.density}), REFERENCES, min_amount=5.0
    ),
}
"""Each lazy verb, and what it makes of the stack."""
