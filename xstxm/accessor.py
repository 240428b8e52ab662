"""The `.stxm` accessor: punctuation over the functions of the library.

One class serves Dataset and DataArray, has no state and checks nothing on creation; every method is
one call of the public function of the same name, which has the documentation.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import xarray as xr

from xstxm import _apply, _summary, absorption, conventions, energy, fitting, phases, provenance, roi, units
from xstxm import denoising as denoising_verbs
from xstxm import references as reference_sets
from xstxm import unmixing as unmixing_verbs
from xstxm.denoising import DenoiseMethod
from xstxm.fitting import Background, Method
from xstxm.plot import StxmPlotAccessor
from xstxm.roi import Region
from xstxm.units import EnergyLike
from xstxm.unmixing import McrInit, NmfInit, Spectra


@xr.register_dataset_accessor("stxm")
@xr.register_dataarray_accessor("stxm")
class StxmAccessor:
    """X-ray spectromicroscopy on a labelled stack, reference set or result."""

    def __init__(self, obj: Any) -> None:
        self._obj = obj

    def __repr__(self) -> str:
        return _summary.as_text(self._obj)

    def _repr_html_(self) -> str:
        return _summary.as_html(self._obj)

    # ---- properties

    @property
    def energy_unit(self) -> str:
        """Unit of the energy axis."""
        return units.units_of(conventions.require_energy(self._obj))

    @property
    def pixel_size(self) -> dict[str, str]:
        """Step of each pixel dimension with its unit."""
        sizes = {str(dim): _summary.pixel_size(self._obj, str(dim)) for dim in self.pixel_dims}
        return {dim: size for dim, size in sizes.items() if size}

    @property
    def pixel_dims(self) -> tuple[Hashable, ...]:
        """Every dimension except energy."""
        return conventions.pixel_dims(self._obj)

    @property
    def scan_type(self) -> str | None:
        """Kind of scan, in the words of NXstxm."""
        return self._obj.attrs.get("scan_type")

    @property
    def is_lazy(self) -> bool:
        """Whether the data are dask arrays."""
        return _apply.is_lazy(self._obj)

    @property
    def history(self) -> pd.DataFrame:
        """What was done, oldest first; a table when printed."""
        return provenance.history(self._obj)

    @property
    def plot(self) -> StxmPlotAccessor:
        """Drawings of the object, with HoloViews."""
        return StxmPlotAccessor(self._obj)

    # ---- energy axis

    def sel_energy(self, start: EnergyLike | None = None, stop: EnergyLike | None = None) -> Any:
        """Keep the energies between two limits, see `xstxm.sel_energy`."""
        return energy.sel_energy(self._obj, start, stop)

    def interp_energy(self, energies: Sequence[EnergyLike] | xr.DataArray) -> Any:
        """Interpolate onto other energies, see `xstxm.interp_energy`."""
        return energy.interp_energy(self._obj, energies)

    def calibrate_energy(self, shift: EnergyLike = 0.0, *, scale: float = 1.0, about: EnergyLike | None = None) -> Any:
        """Move the energy axis, see `xstxm.calibrate_energy`."""
        return energy.calibrate_energy(self._obj, shift, scale=scale, about=about)

    # ---- absorption

    def estimate_i0(
        self,
        region: Literal["brightest"] | Region = "brightest",
        *,
        fraction: float = 0.1,
        signal: str = "intensity",
    ) -> xr.Dataset:
        """Estimate the incident intensity from empty pixels, see `xstxm.estimate_i0`."""
        return absorption.estimate_i0(self._obj, region, fraction=fraction, signal=signal)

    def optical_density(
        self,
        i0: xr.DataArray | xr.Dataset | None = None,
        *,
        dark: float | xr.DataArray | None = None,
        signal: str = "intensity",
        thick: float = 2.2,
        saturation: float | None = None,
    ) -> Any:
        """Return -ln(I / I0), see `xstxm.optical_density`."""
        return absorption.optical_density(self._obj, i0, dark=dark, signal=signal, thick=thick, saturation=saturation)

    def spectrum(self, region: Region, *, signal: str = "optical_density") -> xr.Dataset:
        """Return the mean spectrum of a region, see `xstxm.spectrum`."""
        return roi.spectrum(self._obj, region, signal=signal)

    def denoise(
        self,
        method: DenoiseMethod = "svd",
        *,
        n_components: int | None = None,
        window: EnergyLike | None = None,
        order: int | None = None,
        strength: float | None = None,
        patch_size: int | None = None,
        patch_distance: int | None = None,
        signal: str = "optical_density",
    ) -> Any:
        """Take noise out of the stack, see `xstxm.denoise`."""
        return denoising_verbs.denoise(
            self._obj,
            method,
            n_components=n_components,
            window=window,
            order=order,
            strength=strength,
            patch_size=patch_size,
            patch_distance=patch_distance,
            signal=signal,
        )

    # ---- unmixing

    def nmf(
        self,
        n_components: int,
        *,
        init: NmfInit = "pure",
        n_starts: int = 4,
        max_iterations: int = 1000,
        tolerance: float = 1e-3,
        sample: int = 10_000,
        seed: int = 0,
        signal: str = "optical_density",
    ) -> xr.Dataset:
        """Factorise into non-negative spectra and amounts, see `xstxm.nmf`."""
        return unmixing_verbs.nmf(
            self._obj,
            n_components,
            init=init,
            n_starts=n_starts,
            max_iterations=max_iterations,
            tolerance=tolerance,
            sample=sample,
            seed=seed,
            signal=signal,
        )

    def mcr(
        self,
        n_components: int,
        *,
        method: Method = "nnls",
        spectra: Spectra = "nonnegative",
        references: xr.Dataset | None = None,
        freedom: float | Mapping[str, float] = 0.0,
        init: McrInit = "pure",
        n_starts: int = 4,
        max_iterations: int = 500,
        tolerance: float = 1e-3,
        sample: int = 10_000,
        seed: int = 0,
        signal: str = "optical_density",
    ) -> xr.Dataset:
        """Resolve spectra and amounts under constraints, see `xstxm.mcr`."""
        return unmixing_verbs.mcr(
            self._obj,
            n_components,
            method=method,
            spectra=spectra,
            references=references,
            freedom=freedom,
            init=init,
            n_starts=n_starts,
            max_iterations=max_iterations,
            tolerance=tolerance,
            sample=sample,
            seed=seed,
            signal=signal,
        )

    # ---- references and fit

    def with_references(self, references: xr.Dataset) -> xr.Dataset:
        """Put reference spectra into the stack, see `xstxm.with_references`."""
        return reference_sets.with_references(self._obj, references)

    def fit(
        self,
        references: xr.Dataset | None = None,
        *,
        method: Method = "nnls",
        background: Background = "constant",
        covariance: bool = False,
        signal: str = "optical_density",
    ) -> xr.Dataset:
        """Fit references to every pixel, see `xstxm.fit`."""
        return fitting.fit(
            self._obj, references, method=method, background=background, covariance=covariance, signal=signal
        )

    def predict(self, *, background: bool = True) -> xr.DataArray:
        """Return the fitted stack of a fit, see `xstxm.predict`."""
        return fitting.predict(self._obj, background=background)

    def residual(self, fit_result: xr.Dataset, *, signal: str = "optical_density") -> xr.DataArray:
        """Return optical density minus fit, see `xstxm.residual`."""
        return fitting.residual(self._obj, fit_result, signal=signal)

    # ---- phases

    def phase_map(
        self,
        references: xr.Dataset | None = None,
        *,
        method: Method = "nnls",
        background: Background = "constant",
        min_confidence: float = 0.95,
        min_amount: float | None = None,
        n_phases: int | None = None,
        n_components: int | None = None,
        seed: int = 0,
        signal: str = "optical_density",
    ) -> xr.Dataset:
        """Map chemical phases, see `xstxm.phase_map`."""
        return phases.phase_map(
            self._obj,
            references,
            method=method,
            background=background,
            min_confidence=min_confidence,
            min_amount=min_amount,
            n_phases=n_phases,
            n_components=n_components,
            seed=seed,
            signal=signal,
        )

    def phase_summary(self) -> xr.Dataset:
        """Return area fractions and mean compositions, see `xstxm.phase_summary`."""
        return phases.phase_summary(self._obj)
