"""The `.stxm` accessor: punctuation over the functions of the library.

One class serves Dataset and DataArray, has no state and checks nothing on creation; every method is
one call of the public function of the same name, which has the documentation.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from xstxm import (
    _apply,
    _summary,
    absorption,
    alignment,
    cleaning,
    clustering,
    comparing,
    computing,
    contrast,
    conventions,
    corrections,
    correlations,
    decomposition,
    denoising,
    design,
    dose,
    edges,
    energy,
    energy_shift,
    evaluation,
    exploring,
    features,
    fitting,
    frames,
    incident,
    interfaces,
    kramers_kronig,
    lengthscales,
    mechanics,
    patterns,
    phases,
    polarization,
    profiles,
    provenance,
    ptychography,
    roi,
    shaping,
    shifting,
    strains,
    tables,
    tracking,
    units,
    unmixing,
)
from xstxm import noise as counting_noise
from xstxm import references as reference_sets
from xstxm import regions as region_summaries
from xstxm._noisy_maps import Particles
from xstxm._particles import AreaLike, Surface, particles
from xstxm._partition import Choose, ClusterMethod
from xstxm._region_images import Regions
from xstxm._unknowns import Background, Method
from xstxm.absorption import Noise
from xstxm.alignment import AlignTo, Transform
from xstxm.cleaning import Fill, SpikeMethod
from xstxm.clustering import Normalize
from xstxm.comparing import Match, Unlabelled
from xstxm.contrast import At
from xstxm.corrections import LineKind, SlowAxis
from xstxm.correlations import Fields
from xstxm.denoising import DenoiseMethod
from xstxm.design import Criterion, Sharing, Target, Weighting
from xstxm.dose import Amounts, Counts
from xstxm.energy import Window
from xstxm.features import EdgeMethod, PeakKind, PeakMethod
from xstxm.fitting import FitNoise, Selection
from xstxm.incident import AutoRegion
from xstxm.io.chunking import ChunkReport, chunk_report
from xstxm.io.hyperspy import to_hyperspy
from xstxm.lattice import LatticeAxis
from xstxm.lengthscales import Weights
from xstxm.mechanics import Boundary, Elastic
from xstxm.noise import CountingNoise
from xstxm.plot import StxmPlotAccessor
from xstxm.polarization import Label
from xstxm.profiles import Point
from xstxm.roi import Region
from xstxm.shifting import Interpolation
from xstxm.tables import DensityLike, NearEdge, ThicknessBackground
from xstxm.units import AmountLike, EnergyLike, EnergyMove, LengthLike
from xstxm.unmixing import McrInit, NmfInit, Spectra


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

    def calibrate_energy(
        self,
        shift: EnergyLike = 0.0,
        *,
        scale: float = 1.0,
        about: EnergyLike | None = None,
        features: Mapping[EnergyLike, EnergyLike] | None = None,
        feature_errors: Sequence[EnergyLike] | None = None,
    ) -> Any:
        """Move the energy axis, see `xstxm.calibrate_energy`."""
        return energy.calibrate_energy(
            self._obj, shift, scale=scale, about=about, features=features, feature_errors=feature_errors
        )

    # ---- edges, peaks and contrast

    def normalize_edge(
        self,
        *,
        pre_edge: Window,
        post_edge: Window,
        edge: EnergyLike | None = None,
        pre_order: int | None = None,
        post_order: int = 0,
        min_significance: float = 3.0,
        signal: str = "optical_density",
    ) -> Any:
        """Bring spectra to 0 before and 1 behind an edge, see `xstxm.normalize_edge`."""
        return edges.normalize_edge(
            self._obj,
            pre_edge=pre_edge,
            post_edge=post_edge,
            edge=edge,
            pre_order=pre_order,
            post_order=post_order,
            min_significance=min_significance,
            signal=signal,
        )

    def edge_map(
        self,
        window: Window,
        *,
        method: EdgeMethod = "half_step",
        level: float | None = None,
        min_significance: float = 3.0,
        signal: str = "normalized_absorption",
    ) -> xr.Dataset:
        """Map the energy of an edge, see `xstxm.edge_map`."""
        return features.edge_map(
            self._obj, window, method=method, level=level, min_significance=min_significance, signal=signal
        )

    def peak_map(
        self,
        window: Window,
        *,
        method: PeakMethod = "quadratic",
        kind: PeakKind = "peak",
        min_significance: float = 3.0,
        signal: str = "optical_density",
    ) -> xr.Dataset:
        """Map energy and height of a peak, see `xstxm.peak_map`."""
        return features.peak_map(
            self._obj, window, method=method, kind=kind, min_significance=min_significance, signal=signal
        )

    def difference_map(self, on: At, off: At, *, signal: str = "optical_density") -> xr.Dataset:
        """Map the difference between two energies, see `xstxm.difference_map`."""
        return contrast.difference_map(self._obj, on, off, signal=signal)

    def ratio_map(
        self,
        on: At,
        off: At,
        *,
        min_significance: float = 3.0,
        min_denominator: float = 0.0,
        signal: str = "optical_density",
    ) -> xr.Dataset:
        """Map the ratio of two energies, see `xstxm.ratio_map`."""
        return contrast.ratio_map(
            self._obj,
            on,
            off,
            min_significance=min_significance,
            min_denominator=min_denominator,
            signal=signal,
        )

    def dichroism(
        self,
        *,
        dim: str = "polarization",
        plus: Label | None = None,
        minus: Label | None = None,
        min_significance: float = 3.0,
        min_denominator: float = 0.0,
        signal: str = "optical_density",
    ) -> xr.Dataset:
        """Compare two polarizations, see `xstxm.dichroism`."""
        return polarization.dichroism(
            self._obj,
            dim=dim,
            plus=plus,
            minus=minus,
            min_significance=min_significance,
            min_denominator=min_denominator,
            signal=signal,
        )

    # ---- cleaning and shaping

    def flag_frames(
        self,
        *,
        min_similarity: float = 0.5,
        dark_share: float = 0.02,
        max_missing: float = 0.1,
        tolerance: float | str | None = None,
        signal: str = "intensity",
    ) -> xr.Dataset:
        """Flag frames that are empty, broken or there twice, see `xstxm.flag_frames`."""
        return frames.flag_frames(
            self._obj,
            min_similarity=min_similarity,
            dark_share=dark_share,
            max_missing=max_missing,
            tolerance=tolerance,
            signal=signal,
        )

    def drop_frames(self, energies: EnergyLike | Sequence[EnergyLike] | xr.DataArray) -> Any:
        """Leave out the frames at some energies, see `xstxm.drop_frames`."""
        return frames.drop_frames(self._obj, energies)

    def despike(self, *, method: SpikeMethod = "both", threshold: float = 6.0, signal: str = "intensity") -> Any:
        """Replace single values that stand out, see `xstxm.despike`."""
        return cleaning.despike(self._obj, method=method, threshold=threshold, signal=signal)

    def repair_pixels(
        self, bad_pixels: xr.DataArray | None = None, *, fill: Fill = "nan", signal: str = "intensity"
    ) -> Any:
        """Blank bad pixels, or fill them from their neighbours, see `xstxm.repair_pixels`."""
        return cleaning.repair_pixels(self._obj, bad_pixels, fill=fill, signal=signal)

    def subtract_dark(self, dark: float | str | xr.DataArray, *, signal: str = "intensity") -> Any:
        """Subtract what the detector shows without light, see `xstxm.subtract_dark`."""
        return corrections.subtract_dark(self._obj, dark, signal=signal)

    def normalize_current(self, reference: float | str | None = None, *, signal: str = "intensity") -> Any:
        """Scale the counts to one ring current, see `xstxm.normalize_current`."""
        return corrections.normalize_current(self._obj, reference, signal=signal)

    def level_lines(
        self,
        *,
        kind: LineKind = "gain",
        slow: SlowAxis = "y",
        max_lines: int = 3,
        min_significance: float = 5.0,
        signal: str = "intensity",
    ) -> Any:
        """Take out lines that are brighter or darker as a whole, see `xstxm.level_lines`."""
        return corrections.level_lines(
            self._obj, kind=kind, slow=slow, max_lines=max_lines, min_significance=min_significance, signal=signal
        )

    def bin_pixels(self, factor: int | Mapping[str, int] = 2, *, trim: bool = False) -> Any:
        """Join neighbouring pixels, see `xstxm.bin_pixels`."""
        return shaping.bin_pixels(self._obj, factor, trim=trim)

    def crop(self, region: Region) -> Any:
        """Keep the rectangle that holds a region, see `xstxm.crop`."""
        return shaping.crop(self._obj, region)

    # ---- alignment

    def estimate_shifts(
        self,
        reference: AlignTo = "model",
        *,
        region: Region | None = None,
        max_shift: LengthLike | None = None,
        step: LengthLike | None = None,
        transform: Transform = "translation",
        n_components: int = 6,
        signal: str = "intensity",
    ) -> xr.Dataset:
        """Find the drift of each frame, see `xstxm.estimate_shifts`."""
        return alignment.estimate_shifts(
            self._obj,
            reference,
            region=region,
            max_shift=max_shift,
            step=step,
            transform=transform,
            n_components=n_components,
            signal=signal,
        )

    def apply_shifts(self, shifts: xr.Dataset, *, interpolation: Interpolation = "cubic", crop: bool = False) -> Any:
        """Move each frame by its shift, see `xstxm.apply_shifts`."""
        return shifting.apply_shifts(self._obj, shifts, interpolation=interpolation, crop=crop)

    def align(
        self,
        reference: AlignTo = "model",
        *,
        region: Region | None = None,
        max_shift: LengthLike | None = None,
        step: LengthLike | None = None,
        transform: Transform = "translation",
        n_components: int = 6,
        interpolation: Interpolation = "cubic",
        crop: bool = False,
        signal: str = "intensity",
    ) -> Any:
        """Align the frames, see `xstxm.align`."""
        return shifting.align(
            self._obj,
            reference,
            region=region,
            max_shift=max_shift,
            step=step,
            transform=transform,
            n_components=n_components,
            interpolation=interpolation,
            crop=crop,
            signal=signal,
        )

    # ---- absorption

    def estimate_i0(
        self,
        region: Literal["brightest"] | Region = "brightest",
        *,
        fraction: float = 0.1,
        signal: str = "intensity",
    ) -> xr.Dataset:
        """Estimate the incident intensity from empty pixels, see `xstxm.estimate_i0`."""
        return incident.estimate_i0(self._obj, region, fraction=fraction, signal=signal)

    def optical_density(
        self,
        i0: xr.DataArray | xr.Dataset | None = None,
        *,
        dark: float | str | xr.DataArray | None = None,
        noise: Noise | xr.DataArray | None = None,
        gain: float = 1.0,
        signal: str = "intensity",
        thick: float = 2.2,
        saturation: float | None = None,
    ) -> Any:
        """Return -ln(I / I0), see `xstxm.optical_density`."""
        return absorption.optical_density(
            self._obj, i0, dark=dark, noise=noise, gain=gain, signal=signal, thick=thick, saturation=saturation
        )

    def with_variance(
        self, noise: CountingNoise | xr.DataArray = "poisson", *, gain: float = 1.0, signal: str = "intensity"
    ) -> xr.Dataset:
        """Return the stack with the variance of its counts, see `xstxm.with_variance`."""
        return counting_noise.with_variance(self._obj, noise, gain=gain, signal=signal)

    def from_transmission(
        self,
        region: AutoRegion | Region | None = "brightest",
        *,
        fraction: float = 0.1,
        ramp: bool = True,
        conjugate: bool = False,
        unwrap: bool = True,
        signal: str = "transmission",
    ) -> xr.Dataset:
        """Return optical density and phase shift from complex transmission, see `xstxm.from_transmission`."""
        return ptychography.from_transmission(
            self._obj, region, fraction=fraction, ramp=ramp, conjugate=conjugate, unwrap=unwrap, signal=signal
        )

    def join_phase_shift(
        self, references: xr.Dataset, *, energy_shift: EnergyLike | None = None, broadening: EnergyLike | None = None
    ) -> xr.Dataset:
        """Put the phase shift behind the optical density for one fit of both, see `xstxm.join_phase_shift`."""
        return ptychography.join_phase_shift(self._obj, references, energy_shift=energy_shift, broadening=broadening)

    def phase_references(
        self, formula: str | Mapping[str, str], density: DensityLike | Mapping[str, DensityLike]
    ) -> xr.Dataset:
        """Add the phase shift that belongs to the absorption of references, see `xstxm.phase_references`."""
        return kramers_kronig.phase_references(self._obj, formula, density)

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
        return denoising.denoise(
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
        return unmixing.nmf(
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
        return unmixing.mcr(
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

    def internal_references(
        self,
        regions: Mapping[str, Region] | xr.DataArray,
        *,
        signal: str = "optical_density",
        composition: Mapping[str, float] | None = None,
        composition_name: str | None = None,
        phase: Mapping[str, str] | None = None,
        color: Mapping[str, str] | None = None,
    ) -> xr.Dataset:
        """Return the mean spectra of regions as a reference set, see `xstxm.internal_references`."""
        return reference_sets.internal_references(
            self._obj,
            regions,
            signal=signal,
            composition=composition,
            composition_name=composition_name,
            phase=phase,
            color=color,
        )

    def with_references(
        self, references: xr.Dataset, *, energy_shift: EnergyLike | None = None, broadening: EnergyLike | None = None
    ) -> xr.Dataset:
        """Put reference spectra into the stack, see `xstxm.with_references`."""
        return reference_sets.with_references(self._obj, references, energy_shift=energy_shift, broadening=broadening)

    def estimate_energy_shift(
        self,
        references: xr.Dataset,
        *,
        max_shift: EnergyLike = "1 eV",
        broadening: EnergyMove = 0.0,
        max_broadening: EnergyLike = "0.5 eV",
        background: Background = "constant",
        region: Region | None = None,
        signal: str = "optical_density",
    ) -> xr.Dataset:
        """Find the energy shift between the stack and its references, see `xstxm.estimate_energy_shift`."""
        return energy_shift.estimate_energy_shift(
            self._obj,
            references,
            max_shift=max_shift,
            broadening=broadening,
            max_broadening=max_broadening,
            background=background,
            region=region,
            signal=signal,
        )

    def fit(
        self,
        references: xr.Dataset | None = None,
        *,
        method: Method = "nnls",
        background: Background = "constant",
        noise: FitNoise | xr.DataArray | None = None,
        selection: Selection | None = None,
        max_references: int | None = None,
        false_discovery_rate: float = 0.05,
        energy_shift: EnergyMove | None = None,
        broadening: EnergyMove | None = None,
        max_optical_density: float | None = None,
        covariance: bool = False,
        signal: str = "optical_density",
    ) -> xr.Dataset:
        """Fit references to every pixel, see `xstxm.fit`."""
        return fitting.fit(
            self._obj,
            references,
            method=method,
            background=background,
            noise=noise,
            selection=selection,
            max_references=max_references,
            false_discovery_rate=false_discovery_rate,
            energy_shift=energy_shift,
            broadening=broadening,
            max_optical_density=max_optical_density,
            covariance=covariance,
            signal=signal,
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
        region: Region | None = None,
        signal: str = "optical_density",
    ) -> xr.Dataset:
        """Decompose into eigenspectra and eigenimages, see `xstxm.pca`."""
        return decomposition.pca(self._obj, n_components, center=center, region=region, signal=signal)

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
        min_amount: AmountLike | None = None,
        region: Region | None = None,
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
            region=region,
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
        noise: FitNoise | xr.DataArray | None = None,
        selection: Selection | None = None,
        max_references: int | None = None,
        false_discovery_rate: float = 0.05,
        energy_shift: EnergyMove | None = None,
        broadening: EnergyMove | None = None,
        max_optical_density: float | None = None,
        covariance: bool = False,
        min_confidence: float = 0.95,
        min_amount: AmountLike | None = None,
        clusters: xr.Dataset | None = None,
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
            noise=noise,
            selection=selection,
            max_references=max_references,
            false_discovery_rate=false_discovery_rate,
            energy_shift=energy_shift,
            broadening=broadening,
            max_optical_density=max_optical_density,
            covariance=covariance,
            min_confidence=min_confidence,
            min_amount=min_amount,
            clusters=clusters,
            n_phases=n_phases,
            n_components=n_components,
            seed=seed,
            signal=signal,
        )

    def phase_summary(
        self, regions: Regions | None = None, *, noise_correlation: xr.DataArray | None = None
    ) -> xr.Dataset:
        """Return area fractions and mean compositions with errors, see `xstxm.phase_summary`."""
        return region_summaries.phase_summary(self._obj, regions, noise_correlation=noise_correlation)

    def track_particles(self, *, min_overlap: float = 0.5) -> xr.Dataset:
        """Follow particles in time by the pixels that they share, see `xstxm.track_particles`."""
        return tracking.track_particles(self._obj, min_overlap=min_overlap)

    def particles(
        self,
        *,
        particle_label: xr.DataArray | np.ndarray | None = None,
        signal: str = "composition",
        amount: str = "total_amount",
        min_amount: AmountLike | None = None,
        min_area: AreaLike | None = None,
        max_neck: float = 0.8,
        fill_holes: bool = True,
        surface: Surface = "outline",
        profile_step: LengthLike | None = None,
        noise_correlation: xr.DataArray | None = None,
    ) -> xr.Dataset:
        """Return a table of the particles of a map, see `xstxm.particles`."""
        return particles(
            self._obj,
            particle_label=particle_label,
            signal=signal,
            amount=amount,
            min_amount=min_amount,
            min_area=min_area,
            max_neck=max_neck,
            fill_holes=fill_holes,
            surface=surface,
            profile_step=profile_step,
            noise_correlation=noise_correlation,
        )

    def compare(
        self,
        other: xr.Dataset | xr.DataArray,
        *,
        phases: Mapping[str, str] | Match = "name",
        unlabelled: Unlabelled = "leave_out",
        confidence: float = 0.95,
    ) -> xr.Dataset:
        """Return how far another map of the same pixels agrees, see `xstxm.compare`."""
        return comparing.compare(self._obj, other, phases=phases, unlabelled=unlabelled, confidence=confidence)

    # ---- lengths

    def heterogeneity(
        self,
        particles: Particles | None = None,
        *,
        signal: str = "composition",
        weights: Weights = "area",
        noise_correlation: xr.DataArray | None = None,
        confidence_level: float = 0.95,
        n_resamples: int = 2000,
        seed: int = 0,
    ) -> xr.Dataset:
        """Split the variance of a map by scale, see `xstxm.heterogeneity`."""
        return lengthscales.heterogeneity(
            self._obj,
            particles,
            signal=signal,
            weights=weights,
            noise_correlation=noise_correlation,
            confidence_level=confidence_level,
            n_resamples=n_resamples,
            seed=seed,
        )

    def coarse_grain(
        self,
        lengths: LengthLike | Sequence[LengthLike] | None = None,
        *,
        signal: str = "composition",
        weight: str | None = None,
        min_coverage: float = 0.5,
        noise_correlation: xr.DataArray | None = None,
        confidence_level: float = 0.95,
    ) -> xr.Dataset:
        """Return the variance of blocks of a map by their length, see `xstxm.coarse_grain`."""
        return lengthscales.coarse_grain(
            self._obj,
            lengths,
            signal=signal,
            weight=weight,
            min_coverage=min_coverage,
            noise_correlation=noise_correlation,
            confidence_level=confidence_level,
        )

    def correlation_length(
        self,
        *,
        signal: str = "composition",
        max_lag: LengthLike | None = None,
        particles: Particles | None = None,
        fields: Fields = "each",
        noise_correlation: xr.DataArray | None = None,
        confidence_level: float = 0.95,
        n_resamples: int = 16,
        seed: int = 0,
    ) -> xr.Dataset:
        """Return the autocovariance of a map and its length, see `xstxm.correlation_length`."""
        return correlations.correlation_length(
            self._obj,
            signal=signal,
            max_lag=max_lag,
            particles=particles,
            fields=fields,
            noise_correlation=noise_correlation,
            confidence_level=confidence_level,
            n_resamples=n_resamples,
            seed=seed,
        )

    def two_point_correlation(self, *, max_lag: LengthLike | None = None) -> xr.Dataset:
        """Return which phases lie at two points a distance apart, see `xstxm.two_point_correlation`."""
        return patterns.two_point_correlation(self._obj, max_lag=max_lag)

    def interface_density(self, regions: Regions | None = None, *, max_gap: int = 1) -> xr.Dataset:
        """Return the length of interfaces per area, see `xstxm.interface_density`."""
        return patterns.interface_density(self._obj, regions, max_gap=max_gap)

    # ---- lattice, strain and stress

    def strain(self, *, cells: xr.Dataset | None = None, relative_to: str | float | None = None) -> xr.Dataset:
        """Map the eigenstrain of the lattice, see `xstxm.strain`."""
        return strains.strain(self._obj, cells=cells, relative_to=relative_to)

    def concentration(self, *, cells: xr.Dataset | None = None, formula_units: int | None = None) -> xr.Dataset:
        """Map the concentration of the inserted ion, see `xstxm.concentration`."""
        return strains.concentration(self._obj, cells=cells, formula_units=formula_units)

    def gradient(self, *, signal: str = "composition") -> xr.Dataset:
        """Return how fast a map changes, see `xstxm.gradient`."""
        return interfaces.gradient(self._obj, signal=signal)

    def interface_map(self, *, max_gap: int = 1) -> xr.Dataset:
        """Map the interfaces between phases, see `xstxm.interface_map`."""
        return interfaces.interface_map(self._obj, max_gap=max_gap)

    def line_profile(
        self, start: Point, stop: Point, *, width: LengthLike | None = None, signal: str = "optical_density"
    ) -> xr.Dataset:
        """Return the values along a line, see `xstxm.line_profile`."""
        return profiles.line_profile(self._obj, start, stop, width=width, signal=signal)

    def stress(
        self,
        elastic: Elastic,
        *,
        along_x: LatticeAxis = "rung",
        along_y: LatticeAxis = "chain",
        angle: float | str = 0.0,
        boundary: Boundary = "free",
        tolerance: float = 1e-5,
        max_iterations: int = 1000,
        signal: str = "eigenstrain",
    ) -> xr.Dataset:
        """Return the coherent stress of an eigenstrain, see `xstxm.stress`."""
        return mechanics.stress(
            self._obj,
            elastic,
            along_x=along_x,
            along_y=along_y,
            angle=angle,
            boundary=boundary,
            tolerance=tolerance,
            max_iterations=max_iterations,
            signal=signal,
        )

    # ---- thickness

    def thickness(
        self,
        formula: str,
        density: DensityLike,
        *,
        background: ThicknessBackground = "none",
        near_edge: NearEdge | None = None,
        signal: str = "optical_density",
    ) -> xr.Dataset:
        """Map the absolute thickness and the areal mass, see `xstxm.thickness`."""
        return tables.thickness(self._obj, formula, density, background=background, near_edge=near_edge, signal=signal)

    # ---- files and other programs

    def chunk_report(self) -> ChunkReport:
        """Return how a stack is cut into chunks, and what to change, see `xstxm.chunk_report`."""
        return chunk_report(self._obj)

    def to_hyperspy(self, *, signal: str | None = None) -> dict[str, Any]:
        """Return a stack as the dictionary of which HyperSpy makes a signal, see `xstxm.to_hyperspy`."""
        return to_hyperspy(self._obj, signal=signal)

    # ---- which energies to measure

    def distinguishability(
        self,
        *,
        counts: Counts,
        energies: Sequence[EnergyLike] | xr.DataArray | None = None,
        amounts: Amounts | None = None,
        i0_counts: Counts | None = None,
        method: Method = "nnls",
        background: Background = "constant",
    ) -> xr.Dataset:
        """Return how well references are told apart at a dose, see `xstxm.distinguishability`."""
        return dose.distinguishability(
            self._obj,
            counts=counts,
            energies=energies,
            amounts=amounts,
            i0_counts=i0_counts,
            method=method,
            background=background,
        )

    def design_energies(
        self,
        n: int,
        *,
        criterion: Criterion = "bias-aware",
        target: Target = "fractions",
        training: xr.DataArray | xr.Dataset | None = None,
        deviations: xr.DataArray | None = None,
        candidates: Sequence[EnergyLike] | xr.DataArray | None = None,
        required: Sequence[EnergyLike] = (),
        forbidden: Sequence[EnergyLike | Window] = (),
        min_spacing: float | str | None = None,
        counts: Counts | None = None,
        i0_counts: Counts | None = None,
        dwell: float | str | None = None,
        total_time: float | str | None = None,
        sharing: Sharing = "equal",
        amounts: Amounts | None = None,
        weighting: Weighting = "equal",
        method: Method = "nnls",
        background: Background = "constant",
        min_amount: AmountLike | None = None,
        signal: str = "optical_density",
    ) -> xr.Dataset:
        """Choose the energies that give the best fractions, see `xstxm.design_energies`."""
        return design.design_energies(
            self._obj,
            n,
            criterion=criterion,
            target=target,
            training=training,
            deviations=deviations,
            candidates=candidates,
            required=required,
            forbidden=forbidden,
            min_spacing=min_spacing,
            counts=counts,
            i0_counts=i0_counts,
            dwell=dwell,
            total_time=total_time,
            sharing=sharing,
            amounts=amounts,
            weighting=weighting,
            method=method,
            background=background,
            min_amount=min_amount,
            signal=signal,
        )

    def evaluate_energies(
        self,
        references: xr.Dataset | None,
        energies: Sequence[EnergyLike] | xr.DataArray | xr.Dataset,
        *,
        method: Method = "nnls",
        background: Background = "constant",
        min_amount: AmountLike | None = None,
        signal: str = "optical_density",
    ) -> xr.Dataset:
        """Return what some energies of a stack would have given, see `xstxm.evaluate_energies`."""
        return evaluation.evaluate_energies(
            self._obj,
            references,
            energies,
            method=method,
            background=background,
            min_amount=min_amount,
            signal=signal,
        )

    def compute(self, *, scheduler: computing.Scheduler | None = None) -> xr.DataArray | xr.Dataset:
        """Bring a lazy object into memory, chunk by chunk, see `xstxm.compute`. Eager."""
        return computing.compute(self._obj, scheduler=scheduler)

    def explore(self, references: xr.Dataset | None = None) -> exploring.Explorer:
        """Open the explorer on the stack, see `xstxm.explore`."""
        return exploring.explore(self._obj, references)
