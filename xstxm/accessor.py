"""The `.stxm` accessor: punctuation over the functions of the library.

One class serves Dataset and DataArray, has no state and checks nothing on creation; every method is
one call of the public function of the same name, which has the documentation.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal

import pandas as pd
import xarray as xr

from xstxm import (
    _apply,
    _summary,
    absorption,
    clustering,
    conventions,
    decomposition,
    energy,
    fitting,
    phases,
    provenance,
    roi,
    units,
)
from xstxm import references as reference_sets
from xstxm._partition import Choose, ClusterMethod
from xstxm.clustering import Normalize
from xstxm.fitting import Background, Method
from xstxm.plot import StxmPlotAccessor
from xstxm.roi import Region
from xstxm.units import EnergyLike


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

    # ---- structure

    def pca(
        self,
        n_components: int | None = None,
        *,
        center: bool = False,
        mask: Region | None = None,
        signal: str = "optical_density",
    ) -> xr.Dataset:
        """Decompose into eigenspectra and eigenimages, see `xstxm.pca`."""
        return decomposition.pca(self._obj, n_components, center=center, mask=mask, signal=signal)

    def reconstruct(self, n_components: int | None = None) -> xr.DataArray:
        """Return the stack that the leading components describe, see `xstxm.reconstruct`."""
        return decomposition.reconstruct(self._obj, n_components)

    def cluster(
        self,
        n_clusters: int | None = None,
        *,
        n_components: int | None = None,
        method: ClusterMethod = "kmeans",
        normalize: Normalize = "thickness",
        background: Background = "constant",
        choose: Choose = "silhouette",
        max_clusters: int = 6,
        min_amount: float | None = None,
        mask: Region | None = None,
        seed: int = 0,
        signal: str = "optical_density",
    ) -> xr.Dataset:
        """Group pixels by the shape of their spectra, see `xstxm.cluster`."""
        return clustering.cluster(
            self._obj,
            n_clusters,
            n_components=n_components,
            method=method,
            normalize=normalize,
            background=background,
            choose=choose,
            max_clusters=max_clusters,
            min_amount=min_amount,
            mask=mask,
            seed=seed,
            signal=signal,
        )

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
