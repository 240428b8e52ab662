"""What a region holds: area fractions, mean fractions and composition, with errors that say what they are errors of."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import is_lazy
from xstxm._kernels import propagation, region_means
from xstxm._region_images import SPATIAL, Regions, lags_of, numbered_regions, pixel_area, steps_of
from xstxm._sums import sums_over
from xstxm.conventions import (
    ENERGY,
    NO_SAMPLE,
    UNDECIDED,
    annotate,
    pixel_dims,
    require_energy,
    require_variable,
)
from xstxm.errors import MissingDimensionError, NoiseWarning, OptionError, require_whole, warn
from xstxm.options import get_options
from xstxm.provenance import recorded
from xstxm.roi import Region, region_mask

_NEEDED = ("phase_label", "phase_fraction", "phase_fraction_stderr", "confidence")
BIAS_NOISE = 2 - 3**0.5
"""Variance of the estimated bias of an area fraction over that estimated for the area fraction, where there is no bias:
fractions of two phases that lie evenly around their boundary, with Gaussian noise."""
_LARGE, _TURNS = 2**21, Lock()
"""Pixels of an image that waits for its turn."""
CORRELATED = 0.1
"""Correlation of the noise at the largest lag that is not small."""

_OF_PHASES: dict[str, Any] = {
    "output_core_dims": [["phase"]],
    "dask": "parallelized",
    "dask_gufunc_kwargs": {"allow_rechunk": True},
}


@recorded
def phase_summary(
    phases: xr.Dataset, regions: Regions | None = None, *, noise_correlation: xr.DataArray | None = None
) -> xr.Dataset:
    """Return how much of the sample, or of each region, a phase covers, and the mean composition, with errors.

    A mean over n pixels has two errors. Of **this field**, ``*_stderr``, the noise of its pixels,
    ``sum_pq rho_pq s_p s_q / n^2``: how far it is from the truth in these very pixels. Of **the material**,
    ``*_sampling_stderr``: how far it is from the mean of many fields of this size, which a heterogeneous sample makes
    much larger. It follows from the autocovariance of the map, noise included.

    Parameters
    ----------
    phases
        A result of `phase_map`.
    regions
        A boolean mask, a box, a polygon or a point, see `roi.region_mask`; or an image of whole numbers, such as particles,
        in which every number above zero is a region. By default all of the sample.
    noise_correlation
        Correlation of the noise of two pixels against their lag, as `regions.noise_correlation` returns it. By default the
        pixels are independent, which they are not after `align` or any other interpolation.

    Returns
    -------
    Dataset
        Of the sample pixels that were measured, `n_sample` of them on an `area` in um^2 (of an image whose pixels have
        positions), with at least `min_amount`; `amount_left_out` is the share of the total amount in pixels below that.
        `area_fraction` (phase), the share in which the phase is the largest, undecided pixels included, and
        `mean_fraction` (phase), the mean of `phase_fraction`; `undecided_fraction`, and `n_pixels` (phase) that are
        labelled. With a composition, `sample_composition` of all of them and `mean_composition` (phase) of those that are
        labelled. Of each mean ``*_stderr``, ``*_sampling_stderr`` and ``*_bias``, what does not average out, see Notes.
        `n_independent` (phase): as many independent pixels would give the same sampling error of the area fraction.

        An image of regions adds `region` behind phase, as do dimensions that are not in space. Lazy where the map is;
        Eager on an image of regions.

        A sampling error is NaN where a region holds less than five independent patches, or a phase all or nothing of it.
        Errors of clusters, which have no covariance, are NaN.

    Raises
    ------
    MissingVariableError
        `phases` is no phase map.
    OptionError, SchemaError
        Regions without pixels or on other pixels, numbers that are not whole, or lags of other dimensions.
    MissingDimensionError
        A map none of whose dimensions is in space (z, y, x, position).

    Notes
    -----
    In a pixel of probability P for a phase, the label is wrong with 1 - P, or with P where it says another phase; the
    variance of the number of pixels is the sum of that. Mistakes go both ways and cancel where fractions vary evenly around
    the boundary between two phases, as across an interface; where many pixels are alike and near it, they do not.
    `area_fraction_bias` is an estimate of what is left: sum(P) minus the number of pixels, which is what the same noise
    once more would do, and the sum of `confidence_bias`, what bounds at zero add to the labels. `area_fraction_stderr` has
    both in quadrature, the first as far as it exceeds its own noise. Both suppose that the map is much like the truth. So
    the share w of the pixels of a phase that are wrong, in w times the number of these, is in quadrature too: little where
    few are wrong, most of the error where many are. The probabilities come from `phase_fraction_covariance` where the map
    has it; else a pixel is what its label says or the phase of the second largest fraction.

    A fraction that is not allowed below zero is too large on average, by up to 0.8 (the root of 2 / pi) of its standard
    error, and others are too small, which does not average out. ``*_bias`` of fractions and composition is the largest that
    this can make: the mean of it over the pixels in which some fraction is zero. With ``phase_map(method="lstsq")`` there
    is none.

    The autocovariance is summed up to the distance at which it first vanishes, and corrected for the mean, which is that
    of the same field; the sum over its variance is the integral range [1]_.

    References
    ----------
    .. [1] C. Lantuejoul, Geostatistical Simulation (Springer, 2002), chapter 4, https://doi.org/10.1007/978-3-662-04808-5

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> float(xstxm.phase_summary(phases).area_fraction.sum().round(6))
    1.0
    >>> xstxm.phase_summary(phases, {"x": (0, 0.4)}).area_fraction_stderr.dims
    ('phase',)
    """
    phases = units.dequantify(phases)
    label, *_ = (require_variable(phases, name, "pass the whole result of .stxm.phase_map()") for name in _NEEDED)
    space = _Space.of(label, regions, noise_correlation)
    found, unit = _shares(phases, label, space), None
    if "composition" in phases:
        unit = phases["composition"].attrs.get("units", "1")
        found |= _compositions(phases, label, space)
    summary = xr.Dataset(
        {name: annotate(array, name, units=unit if "composition" in name else None) for name, array in found.items()}
    )
    for name in {"mean_composition", "sample_composition"} & {*found}:
        called = phases["composition"].attrs.get("long_name", "Composition")
        summary[name] = summary[name].assign_attrs(long_name=called)
    kept = {"phase": phases["phase"].variable}
    kept |= {"color": phases["color"].variable} if "color" in phases.coords else {}
    left_over = [name for name in summary.coords if name not in summary.dims]
    return summary.drop_vars(left_over).assign_coords(kept).assign_attrs(phases.attrs)


def _shares(phases: xr.Dataset, label: xr.DataArray, space: _Space) -> dict[str, xr.DataArray]:
    fraction, sample = phases["phase_fraction"], _sample(phases)
    error = phases["phase_fraction_stderr"]
    member, number, area = _index(phases) == label, space.count(sample), pixel_area(label)
    return {
        "n_pixels": space.count(member & sample),
        "n_sample": number,
        **({} if area is None else {"area": number * area}),
        **_left_out(phases, label, space),
        "undecided_fraction": _share(space.count(sample & (label == UNDECIDED)), number),
        **_areas(phases, sample, space),
        **space.means("mean_fraction", fraction.where(sample), error),
        "mean_fraction_bias": space.mean(_bias(phases, error).where(sample)),
    }


def _share(part: xr.DataArray, whole: xr.DataArray) -> xr.DataArray:
    """Return a quotient, NaN of nothing, without the warning that dask would give of it."""
    return part / whole.where(whole != 0)


def _left_out(phases: xr.Dataset, label: xr.DataArray, space: _Space) -> dict[str, xr.DataArray]:
    """Return the least amount of a sample pixel, and how much of all there is lies in pixels that have less."""
    if "total_amount" not in phases or "min_amount" not in phases:
        return {}
    total = phases["total_amount"]
    share = _share(space.mean(total.where(label == NO_SAMPLE, 0).where(total.notnull())), space.mean(total))
    return {"min_amount": phases["min_amount"], "amount_left_out": share}


def _areas(phases: xr.Dataset, sample: xr.DataArray, space: _Space) -> dict[str, xr.DataArray]:
    fraction, chance = phases["phase_fraction"], _chances(phases)
    largest = (fraction.fillna(-np.inf).argmax("phase") == _index(phases)).astype(fraction.dtype).where(sample)
    wrong = (chance * (1 - chance) + (largest - chance) ** 2) ** 0.5
    found = space.means("area_fraction", largest, wrong, hard=True)
    random = found["area_fraction_stderr"] ** 2
    noise, bounds = space.mean(chance - largest), space.mean(_drawn(phases).where(sample))
    doubt = space.mean(wrong**2)
    unknown = doubt * _share(doubt, space.mean(largest + chance)).where(doubt != 0, 0)
    square = random + (noise**2 - BIAS_NOISE * random).clip(0) + bounds**2 + unknown**2
    return {**found, "area_fraction_stderr": square**0.5, "area_fraction_bias": noise + bounds}


def _compositions(phases: xr.Dataset, label: xr.DataArray, space: _Space) -> dict[str, xr.DataArray]:
    value, error = phases["composition"], phases["composition_stderr"]
    sample = _sample(phases)
    found: dict[str, xr.DataArray] = {}
    for name, inside in (("mean_composition", sample & (_index(phases) == label)), ("sample_composition", sample)):
        found |= space.means(name, value.where(inside), error)
        found[f"{name}_bias"] = space.mean(_bias(phases, error).where(inside))
    return found


def _bias(phases: xr.Dataset, error: xr.DataArray) -> xr.DataArray:
    """Return the largest bias of a pixel, where the constraint holds a fraction at zero."""
    held = (phases["phase_fraction"] == 0).any("phase")
    return float(np.sqrt(2 / np.pi)) * error.where(held, 0)


def _sample(phases: xr.Dataset) -> xr.DataArray:
    """Return the pixels of the sample that were measured."""
    measured = phases["confidence"].notnull() & phases["phase_fraction"].notnull().all("phase")
    return measured & (phases["phase_label"] != NO_SAMPLE)


def _index(phases: xr.Dataset) -> xr.DataArray:
    return xr.DataArray(np.arange(phases.sizes["phase"]), dims="phase", coords={"phase": phases["phase"].variable})


def _chances(phases: xr.Dataset) -> xr.DataArray:
    """Return the probability of each phase to be the largest in a pixel; NaN where errors are not known."""
    fraction = phases["phase_fraction"]
    full = phases.get("phase_fraction_covariance")
    chance = xr.apply_ufunc(
        propagation.two_chances if full is None else propagation.chances,
        fraction,
        phases["confidence"] if full is None else full.drop_vars("other_phase", errors="ignore"),
        input_core_dims=[["phase"], [] if full is None else ["phase", "other_phase"]],
        **_OF_PHASES,
        output_dtypes=[fraction.dtype],
    )
    return chance.where(phases["phase_fraction_stderr"].notnull())


def _drawn(phases: xr.Dataset) -> xr.DataArray:
    """Return what the constraint adds to the probability of each phase, on average: the two largest share it."""
    fraction = phases["phase_fraction"]
    if "confidence_bias" not in phases:
        return xr.zeros_like(fraction)
    return xr.apply_ufunc(
        propagation.two_largest,
        fraction,
        phases["confidence_bias"],
        -phases["confidence_bias"],
        input_core_dims=[["phase"], [], []],
        **_OF_PHASES,
        output_dtypes=[fraction.dtype],
    )


def _means_in_turn(value: np.ndarray, error: np.ndarray, group: np.ndarray, **options: Any) -> tuple[np.ndarray, ...]:
    """Return `region_means`; of large images one after another, by all threads, as the transforms of each take gigabytes."""
    if group.size < _LARGE:
        return region_means.region_means(value, error, group, **options)
    with _TURNS:
        return region_means.region_means(value, error, group, **options, threads=get_options().num_threads)


@dataclass(frozen=True)
class _Space:
    """Regions of an image, and what is needed for means over them."""

    dims: tuple[Hashable, ...]
    group: xr.DataArray
    """Number of the region of each pixel, from 1; 0 in none."""
    names: np.ndarray | None
    """Numbers of the regions in their image; None for a single region."""
    step: tuple[float, ...]
    correlation: np.ndarray | None

    @classmethod
    def of(cls, label: xr.DataArray, regions: Regions | None, correlation: xr.DataArray | None) -> _Space:
        """Return the regions of a map. Eager on an image of regions."""
        dims = tuple(dim for dim in label.dims if dim in SPATIAL)
        if label.dims and not dims:
            do = "rename the dimension along which the pixels lie to 'position'"
            raise MissingDimensionError("y", label.dims, do)
        lags = None if correlation is None else lags_of(correlation, dims)
        return cls(dims, *numbered_regions(label, regions), steps_of(label, dims), lags)

    @property
    def n_groups(self) -> int:
        """Number of the regions."""
        return 1 if self.names is None else len(self.names)

    def count(self, marks: xr.DataArray) -> xr.DataArray:
        """Return how many pixels of each region are marked."""
        return self._sums(region_means.region_counts, marks).astype(np.int64)

    def mean(self, value: xr.DataArray) -> xr.DataArray:
        """Return the mean of the finite pixels of each region."""
        sums = self._sums(region_means.region_sums, value, what=2)
        return _share(sums.isel(what=1), sums.isel(what=0))

    def _sums(self, kernel: Any, value: xr.DataArray, **sizes: int) -> xr.DataArray:
        """Return sums over the pixels of each region, chunk by chunk."""
        sizes["region"] = self.n_groups
        return self._named(sums_over(self.dims, kernel, value, self.group, sizes, n_groups=self.n_groups))

    def means(
        self, name: str, value: xr.DataArray, error: xr.DataArray, *, hard: bool = False
    ) -> dict[str, xr.DataArray]:
        """Return the mean of each region and its two errors; of hard labels also the number of independent pixels."""
        options = {"step": self.step, "correlation": self.correlation, "hard": hard}
        found = self._over_regions(_means_in_turn, value, error, dtypes=[float] * 4, **options)
        names = [name, f"{name}_stderr", f"{name}_sampling_stderr", "n_independent"]
        return dict(zip(names if hard else names[:3], found, strict=False))

    def _over_regions(
        self, func: Any, *arrays: xr.DataArray, dtypes: list[Any], **options: Any
    ) -> tuple[xr.DataArray, ...]:
        whole = [item.chunk(dict.fromkeys(self.dims, -1)) if is_lazy(item) else item for item in (*arrays, self.group)]
        found = xr.apply_ufunc(
            func,
            *whole,
            input_core_dims=[self.dims] * len(whole),
            output_core_dims=[["region"]] * len(dtypes),
            vectorize=True,
            dask="parallelized",
            output_dtypes=dtypes,
            dask_gufunc_kwargs={"output_sizes": {"region": self.n_groups}},
            kwargs={"n_groups": self.n_groups, **options},
        )
        return tuple(self._named(array) for array in found)

    def _named(self, array: xr.DataArray) -> xr.DataArray:
        first = [dim for dim in ("phase", "region") if dim in array.dims]
        ordered = array.reset_coords(drop=True).transpose(*first, ...)
        return ordered.isel(region=0) if self.names is None else ordered.assign_coords(region=self.names)


@recorded
def noise_correlation(residual: xr.DataArray, region: Region | None = None, *, max_lag: int = 6) -> xr.DataArray:
    """Return how the noise of two pixels is correlated, from what a fit leaves.

    Frames that were moved between pixels by `align`, or smoothed, have noise that neighbours share. The amounts that are
    fitted share it in the same way as the residuals do, which hold nothing else where the references describe the sample.

    Parameters
    ----------
    residual
        Optical density minus fit, see `residual`, or any array of noise over energy and the pixels.
    region
        Pixels to use, see `roi.region_mask`; all by default. The noise of the sample, ``phases.phase_label != -1``, is what
        matters, and what references do not describe is only there.
    max_lag
        Largest lag in pixels along each dimension: as far as the noise is correlated.

    Returns
    -------
    DataArray
        `noise_correlation` (lag_y, lag_x, or as the pixel dims are called), 1 at lag 0, for `phase_summary`. Mean over
        the energies, each pixel scaled to its root mean square. What the references do not describe is correlated too,
        and makes errors larger. Lazy.

    Raises
    ------
    MissingDimensionError, SchemaError
        No energy, or no pixels in space.
    OptionError
        `max_lag` is no whole number, the image is not larger, or the region has no two pixels.

    Warns
    -----
    NoiseWarning
        The noise is still correlated at the largest lag (arrays in memory only).

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> left = xstxm.residual(stack, xstxm.fit(stack, xstxm.testing.simulate_references()))
    >>> found = xstxm.regions.noise_correlation(left, max_lag=2)
    >>> found.dims, float(found.sel(lag_y=0, lag_x=0))
    (('lag_y', 'lag_x'), 1.0)
    """
    residual = units.dequantify(residual)
    require_energy(residual)
    dims = tuple(dim for dim in pixel_dims(residual) if dim in SPATIAL)
    if not dims:
        raise MissingDimensionError("y", residual.dims, "noise is correlated along pixels in space")
    least = min(residual.sizes[dim] for dim in dims) - 1
    max_lag = require_whole("max_lag", max_lag, 0, least, "pixels, fewer than the image has")
    used = residual if region is None else residual.where(region_mask(residual, region))
    scaled = used / (used**2).mean(ENERGY) ** 0.5
    lags = [f"lag_{dim}" for dim in dims]
    whole = scaled.chunk(dict.fromkeys(dims, -1)) if is_lazy(scaled) else scaled
    found = xr.apply_ufunc(
        region_means.lagged_products,
        whole.drop_vars(list(whole.coords)),
        input_core_dims=[dims],
        output_core_dims=[["what", *lags]],
        vectorize=True,
        dask="parallelized",
        output_dtypes=[float],
        dask_gufunc_kwargs={"output_sizes": {"what": 2, **dict.fromkeys(lags, 2 * max_lag + 1)}},
        kwargs={"reach": (max_lag,) * len(dims)},
    )
    sums = found.sum([dim for dim in found.dims if dim not in ("what", *lags)])
    mean = sums.isel(what=0) / sums.isel(what=1)
    scale = mean.isel(dict.fromkeys(lags, max_lag))
    along = np.arange(-max_lag, max_lag + 1)
    named = (mean / scale).assign_coords({lag: (lag, along, {"units": "pixel"}) for lag in lags})
    if not is_lazy(named):
        _require_short(np.asarray(named), float(sums.isel(what=1).min()), max_lag)
    return annotate(named, "noise_correlation")


def _require_short(correlation: np.ndarray, n_pairs: float, max_lag: int) -> None:
    """Refuse a correlation of nothing, and warn of one that goes on beyond the largest lag, by more than its own noise."""
    if not np.isfinite(correlation).all():
        raise OptionError(
            "max_lag", max_lag, "the pixels hold no two at every lag: take a smaller one, or a larger region"
        )
    if max_lag == 0:
        return
    around = tuple(slice(1, -1) for _ in range(correlation.ndim))
    edge = np.ones(correlation.shape, dtype=bool)
    edge[around] = False
    last = float(correlation[edge].max())
    if last > max(CORRELATED, 4 / max(n_pairs, 1) ** 0.5):
        warn(
            f"the noise of pixels {max_lag} apart is still correlated, by {last:.2f}: pass a larger max_lag, or look at the "
            "residual for what the references do not describe",
            NoiseWarning,
        )
