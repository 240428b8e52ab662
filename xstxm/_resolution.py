"""A map, or a stack, as an instrument with a wider point-spread function and larger pixels would have shown it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import is_lazy
from xstxm._fitted_phases import label_attrs, named_composition
from xstxm._kernels import matching as kernel
from xstxm.conventions import (
    NO_SAMPLE,
    REFERENCE,
    UNDECIDED,
    annotate,
    pixel_dims,
    quality_bits,
    without_coords,
)
from xstxm.errors import OptionError, SchemaError
from xstxm.interfaces import positions, spacing
from xstxm.units import LengthLike

FWHM = float(np.sqrt(8 * np.log(2)))
"""Full width at half maximum of a Gaussian of unit standard deviation."""
IMAGE = ("y", "x")
_COVERED = 0.995
"""Share of the reach of a coarse pixel that lies in the fine field."""
_MEASURED = 0.5
"""Share of that which has to be measured."""
_TRACE = 1e-3
"""Weight of a pixel that does not matter."""


@dataclass(frozen=True)
class Resolution:
    """What each pixel of a fine map adds to those of a coarse one: weights (coarse, fine) along y and along x."""

    rows: np.ndarray
    columns: np.ndarray

    @classmethod
    def of(cls, fine: xr.DataArray, places: dict[str, np.ndarray], pixel: dict[str, float], blur: float) -> Resolution:
        """Return the weights for coarse pixels at places in um, of a size in um, for a blur that is a variance in um^2."""
        weights = []
        for dim in IMAGE:
            size = abs(spacing(fine, dim))
            # a fine pixel averages twice, when it was measured and when it is spread over the coarse pixels, and is to not at
            # all; between maps of nearly one resolution there is no room for that
            deviation = max(blur - size**2 / 6, 0.0) ** 0.5
            at = np.asarray(positions(fine, dim))
            weights.append(kernel.pixel_weights(at, places[dim], size, pixel[dim], deviation))
        return cls(*weights)

    def covered(self) -> tuple[slice, slice]:
        """Return the coarse rows and columns that lie in the fine field."""
        inside = [np.flatnonzero(weights.sum(1) >= _COVERED) for weights in (self.rows, self.columns)]
        rows, columns = (slice(at[0], at[-1] + 1) if at.size else slice(0, 0) for at in inside)
        return rows, columns

    def cut(self, rows: slice, columns: slice) -> Resolution:
        """Return the weights of some coarse pixels."""
        return Resolution(self.rows[rows], self.columns[columns])

    def spread(self, array: xr.DataArray, power: int = 1) -> xr.DataArray:
        """Return the weighted sums of an array over each coarse pixel, with the weights to a power. Lazy."""
        whole = array.chunk(dict.fromkeys(IMAGE, -1)) if is_lazy(array) else array
        coarse = ["coarse_y", "coarse_x"]
        found = xr.apply_ufunc(
            kernel.spread,
            without_coords(whole, *IMAGE),
            input_core_dims=[IMAGE],
            output_core_dims=[coarse],
            dask="parallelized",
            output_dtypes=[array.dtype],
            dask_gufunc_kwargs={"output_sizes": dict(zip(coarse, (len(self.rows), len(self.columns)), strict=True))},
            kwargs={"rows": self.rows**power, "columns": self.columns**power},
        )
        return found.rename(dict(zip(coarse, IMAGE, strict=True)))

    def mean(self, array: xr.DataArray, least: float = _MEASURED) -> xr.DataArray:
        """Return the weighted mean of what is measured; NaN where a smaller share is. Lazy."""
        share = self.measured(array)
        return self.spread(array.fillna(0)) / share.where(share >= least)

    def measured(self, array: xr.DataArray) -> xr.DataArray:
        """Return the share of each coarse pixel that is measured. Lazy."""
        return self.spread(array.notnull().astype(array.dtype))

    def noise(self, variance: xr.DataArray) -> xr.DataArray:
        """Return the variance of weighted sums of independent pixels; NaN where that of a pixel is not known. Lazy."""
        unknown = self.spread(variance.isnull().astype(variance.dtype)) > _TRACE
        return self.spread(variance.fillna(0), 2).where(~unknown)

    def noise_correlation(self) -> xr.DataArray:
        """Return how the noise of the coarse pixels is correlated, that of the fine ones being independent."""
        along = [kernel.noise_correlation(weights) for weights in (self.rows, self.columns)]
        lags = {
            f"lag_{dim}": (f"lag_{dim}", np.arange(values.size) - values.size // 2, {"units": "pixel"})
            for dim, values in zip(IMAGE, along, strict=True)
        }
        return annotate(xr.DataArray(np.outer(*along), dims=list(lags), coords=lags), "noise_correlation")


def blur_between(fine_psf: LengthLike, psf: LengthLike) -> float:
    """Return the variance in um^2 by which one Gaussian point-spread function is wider than another, both as their FWHM."""
    narrow, wide = (
        units.to_magnitude(value, "um", name, spectroscopy=False)
        for name, value in (("fine_psf", fine_psf), ("psf", psf))
    )
    if narrow < 0 or wide < narrow:
        raise OptionError(
            "psf",
            f"{1e3 * wide:g} nm",
            f"the fine map has {1e3 * narrow:g} nm, and a map is not made sharper: the map of the finer resolution comes first",
        )
    return (wide**2 - narrow**2) / FWHM**2


def require_finer(fine: xr.DataArray, coarse: xr.DataArray) -> dict[str, float]:
    """Return the size of the coarse pixels in um, or raise unless the fine ones are as small or smaller."""
    pixel = {dim: abs(spacing(coarse, dim)) for dim in IMAGE}
    for dim in IMAGE:
        size = abs(spacing(fine, dim))
        if size > 1.001 * pixel[dim]:
            raise SchemaError(
                f"the fine map has pixels of {1e3 * size:.4g} nm along {dim!r}, the coarse one of {1e3 * pixel[dim]:.4g} nm: "
                "the map of the smaller pixels comes first"
            )
    return pixel


def require_narrow(fine: xr.DataArray, blur: float) -> None:
    """Refuse a blur, a variance in um^2, that is wider than the fine field."""
    wide = FWHM * blur**0.5
    side = min(fine.sizes[dim] * abs(spacing(fine, dim)) for dim in IMAGE)
    if wide > side:
        raise OptionError(
            "psf",
            f"{wide:.4g} um",
            f"it is wider than the fine field, {side:.4g} um: a number is in um, write '50 nm' for 50 nm",
        )


def phases_at(fine: xr.Dataset, coarse: xr.Dataset, at: Resolution) -> xr.Dataset:
    """Return a phase map at another resolution: amounts are averaged, and everything else follows from them. Lazy.

    The errors take the amounts that the fractions are weighted with as known.
    """
    unit = units.units_of(coarse["total_amount"])
    amount = units.to_units(fine["total_amount"], unit, "the total amount")
    threshold = units.to_units(coarse["min_amount"], unit, "min_amount")
    fraction, error = fine["phase_fraction"], fine["phase_fraction_stderr"]
    inside = fraction.notnull().all("phase")
    total, held = at.mean(amount), _Weighted.of(amount.where(inside, 0), at)
    shown = ~(total < threshold) & total.notnull()
    shares, errors = (
        average(array.where(inside, 0)) for average, array in ((held.mean, fraction), (held.stderr, error))
    )
    least = float(fine.attrs.get("min_confidence", 0.95))
    label, confidence = _labelled(shares, errors, total < threshold, total, least)
    found = {
        "phase_fraction": annotate(shares.where(shown), "phase_fraction"),
        "phase_fraction_stderr": annotate(errors.where(shown), "phase_fraction_stderr"),
        "phase_label": annotate(label, "phase_label", **label_attrs(fine["phase"])),
        "confidence": annotate(confidence, "confidence"),
        "total_amount": annotate(total, "total_amount", units=unit),
        "min_amount": annotate(threshold, "min_amount", units=unit),
        "quality": quality_bits({"not_measured": total.isnull()}),
        **{name: fine[name] for name in ("phase_spectra",) if name in fine},
    }
    if "composition" in fine:
        value, error = (fine[name].where(inside, 0) for name in ("composition", "composition_stderr"))
        mean, stderr = held.mean(value).where(shown), held.stderr(error).where(shown)
        found |= named_composition(mean, stderr, fine["composition"])
    kept = {name: coord for name, coord in fine.coords.items() if not {*IMAGE} & {*coord.dims}}
    return xr.Dataset(found, kept).transpose("phase", *pixel_dims(amount), ...).assign_attrs(min_confidence=least)


@dataclass(frozen=True)
class _Weighted:
    """Means over coarse pixels, weighted with the amount of each fine one."""

    amount: xr.DataArray
    total: xr.DataArray
    at: Resolution

    @classmethod
    def of(cls, amount: xr.DataArray, at: Resolution) -> _Weighted:
        """Return what averages with an amount, zero where it does not count."""
        total = at.spread(amount)
        return cls(amount, total.where(total > 0), at)

    def mean(self, array: xr.DataArray) -> xr.DataArray:
        """Return the means."""
        return self.at.spread(self.amount * array) / self.total

    def stderr(self, error: xr.DataArray) -> xr.DataArray:
        """Return their standard errors, from those of the fine pixels; NaN where one of these is not known."""
        return self.at.noise((self.amount * error) ** 2) ** 0.5 / self.total


def _labelled(
    fraction: xr.DataArray, error: xr.DataArray, empty: xr.DataArray, total: xr.DataArray, least: float
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the largest phase of each pixel, and the least probability that it is."""
    plain, spread = (without_coords(array, "phase") for array in (fraction, error))
    confidence = xr.apply_ufunc(
        kernel.least_confidence,
        plain,
        spread,
        input_core_dims=[["phase"], ["phase"]],
        dask="parallelized",
        output_dtypes=[fraction.dtype],
        dask_gufunc_kwargs={"allow_rechunk": True},
    )
    confidence = confidence.where(~empty & total.notnull())
    label = plain.fillna(-np.inf).argmax("phase").where(confidence >= least, UNDECIDED)
    return label.where(~empty, NO_SAMPLE).astype(np.int16), confidence


def densities_at(fine: xr.Dataset, at: Resolution) -> xr.Dataset:
    """Return the optical density at another resolution: transmitted light is averaged, ``-ln(mean(exp(-od)))``. Lazy."""
    density = fine["optical_density"]
    light: Any = np.exp(-density)
    mean = at.mean(light)
    made: Any = -np.log(mean)
    found = {"optical_density": annotate(made.transpose(*density.dims), "optical_density")}
    if "optical_density_variance" in fine:
        noise = (light**2 * fine["optical_density_variance"]).where(light.notnull(), 0)
        variance = at.noise(noise) / (at.measured(light) * mean) ** 2
        found["optical_density_variance"] = annotate(variance.transpose(*density.dims), "optical_density_variance")
    kept = {
        name: coord
        for name, coord in fine.coords.items()
        if not {*IMAGE} & {*coord.dims} and REFERENCE not in coord.dims
    }
    return xr.Dataset(found, kept)
