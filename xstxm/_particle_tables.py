"""What the particles of one image are like: shapes and contacts, phases, and a map inside them. Arrays in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import xarray as xr

from xstxm._kernels import particles as kernel
from xstxm.conventions import NO_SAMPLE, UNDECIDED

Columns: TypeAlias = dict[str, xr.DataArray]

MAX_GAP = 1
"""Undecided pixels across an interface, as `interface_map` takes them by default."""
SIGNIFICANT = 2.0
"""Standard errors that the variance inside a particle is above zero, where a share of it is to mean anything."""


@dataclass(frozen=True)
class Members:
    """The pixels of the particles of an image, and how their noise is correlated."""

    label: np.ndarray
    """Row of the particle of each pixel (y, x), from 1; 0 in none."""
    numbers: np.ndarray
    """What the particles are called, ascending."""
    y: np.ndarray
    """Positions in um."""
    x: np.ndarray
    spacing: tuple[float, float]
    correlation: np.ndarray | None

    @property
    def n(self) -> int:
        """Number of particles."""
        return self.numbers.size

    def noise_squares(
        self, field: np.ndarray, group: np.ndarray, n: int | None = None, *, power: int = 1
    ) -> np.ndarray:
        """Return sum_pq rho_pq^power f_p f_q over each group of pixels, by default the particles."""
        correlation = None if self.correlation is None else self.correlation**power
        return kernel.noise_squares(field, group, self.n if n is None else n, correlation)

    def sums(self, values: np.ndarray | None, group: np.ndarray, n: int | None = None) -> np.ndarray:
        """Return the sum of values (y, x), or the number of pixels, of each group."""
        at = np.flatnonzero(group)
        weights = None if values is None else values.ravel()[at]
        return np.bincount(group.ravel()[at], weights, (self.n if n is None else n) + 1)[1:]


def shape_table(members: Members) -> Columns:
    """Return size, place, shape and contacts of each particle."""
    at = np.flatnonzero(members.label)
    row, column = np.divmod(at, members.x.size)
    group = members.label.ravel()[at]
    area = np.bincount(group, minlength=members.n + 1)[1:] * np.prod(members.spacing)
    y, x, aspect, angle = kernel.ellipses(group, members.y[row], members.x[column], members.spacing, members.n)
    edge = np.concatenate([members.label[0], members.label[-1], members.label[:, 0], members.label[:, -1]])
    found = {
        "particle_area": area,
        "equivalent_diameter": 2 * np.sqrt(area / np.pi),
        "centroid_y": y,
        "centroid_x": x,
        "aspect_ratio": aspect,
        "orientation": angle,
        "touches_edge": np.isin(np.arange(1, members.n + 1), edge),
    }
    return {name: _column(values) for name, values in found.items()} | _contacts(members)


def _contacts(members: Members) -> Columns:
    one, other, length = kernel.boundaries(members.label, members.spacing)
    touch = one > 0

    def of_each(weights: np.ndarray) -> np.ndarray:
        found = np.bincount(np.concatenate([one, other]), np.tile(weights, 2), members.n + 1)[1:]
        return found.astype(weights.dtype)  # whole numbers, and those of nothing, are counted in another

    return {
        "perimeter": _column(of_each(length)),
        "n_neighbours": _column(of_each(touch.astype(np.int64))),
        "contact_length": _column(of_each(length * touch)),
        "contact_particle": xr.DataArray(members.numbers[one[touch] - 1], dims="contact"),
        "contact_other": xr.DataArray(members.numbers[other[touch] - 1], dims="contact"),
        "contact_pair_length": xr.DataArray(length[touch], dims="contact"),
    }


def phase_table(
    members: Members, fraction: np.ndarray, error: np.ndarray | None, phase_label: np.ndarray | None
) -> Columns:
    """Return the phases of each particle, of fractions (phase, y, x)."""
    group = np.where(np.isfinite(fraction).all(axis=0), members.label, 0)
    size = _or_nan(members.sums(None, group))
    largest = np.where(group > 0, fraction.argmax(axis=0), -1)
    dims = ("phase", "particle")
    found = {
        "particle_phase_fraction": [members.sums(one, group) / size for one in fraction],
        "particle_area_fraction": [members.sums(largest == k, group) / size for k in range(len(fraction))],
    }
    if error is not None:
        squares = (members.noise_squares(one, group) for one in error)
        found["particle_phase_fraction_stderr"] = [np.sqrt(square) / size for square in squares]
    columns = {name: xr.DataArray(np.stack(rows), dims=dims) for name, rows in found.items()}
    if phase_label is not None:
        values = {"n_phases": len(fraction), "max_gap": MAX_GAP, "no_sample": NO_SAMPLE, "undecided": UNDECIDED}
        length = kernel.interface_lengths(members.label, phase_label, members.spacing, **values)
        columns["particle_interface_length"] = _column(length)
    return columns


def map_table(members: Members, value: np.ndarray, error: np.ndarray | None, depth: np.ndarray, step: float) -> Columns:
    """Return mean, spread, gradient and profile of a map (y, x) in each particle; errors where the map has them."""
    used = np.isfinite(value) & (members.label > 0)
    group = np.where(used, members.label, 0)
    noise = np.where(used, np.float32(0) if error is None else error, np.float32(0))
    size = _or_nan(members.sums(None, group))
    mean = members.sums(value, group) / size
    deviation = np.where(used, value - np.append(0, mean).astype(value.dtype)[group], np.float32(0))
    variance, doubt = _variance(members, deviation, noise, group, size)
    found = {
        "particle_composition": mean,
        "particle_composition_stderr": np.sqrt(members.noise_squares(noise, group)) / size,
        **_root("composition_spread", variance, doubt),
        **_root("composition_gradient", *_gradient(members, value, noise, group)),
        **_core_shell(members, value, noise, depth, group),
    }
    columns = {name: _column(values) for name, values in found.items()}
    layers = _Layers.of(members, depth, group, step)
    profile = layers.profile(members, deviation, noise)
    known = np.where(variance > SIGNIFICANT * doubt, variance, np.nan)
    columns["core_shell_score"] = _column(layers.explained(*profile) / known)
    dims = ("particle", "distance")
    columns["composition_profile"] = xr.DataArray(profile[0] + mean[:, None], dims=dims)
    columns["composition_profile_stderr"] = xr.DataArray(np.sqrt(profile[1]), dims=dims)
    columns["n_profile_pixels"] = xr.DataArray(layers.number, dims=dims)
    known_noise = error is not None
    return {name: column for name, column in columns.items() if known_noise or not name.endswith("_stderr")}


def _column(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims="particle")


def _or_nan(number: np.ndarray) -> np.ndarray:
    """Return numbers of pixels to divide by, NaN for none."""
    return np.where(number > 0, number, np.nan)


def _variance(
    members: Members, deviation: np.ndarray, noise: np.ndarray, group: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the variance over the pixels without that of the noise, and its standard error.

    With d the deviations from the mean of n pixels of noise s, sum(d^2) / n - sum(s^2) / n + sum_pq rho s_p s_q / n^2; its
    variance is 4 sum_pq rho t_p s_p t_q s_q + 2 sum_pq rho^2 s_p^2 s_q^2 over n^2, of deviations t without noise.
    """
    of_mean = members.noise_squares(noise, group) / size**2
    left = (members.sums(deviation**2, group) - members.sums(noise**2, group)) / size + of_mean
    fourth = members.noise_squares(noise**2, group, power=2)
    crossed = members.noise_squares(deviation * noise, group) - fourth
    doubt = np.sqrt(4 * np.maximum(crossed, 0) + 2 * fourth) / size
    several = size > 1
    return np.where(several, left, np.nan), np.where(several, doubt, np.nan)


def _gradient(
    members: Members, value: np.ndarray, noise: np.ndarray, group: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean square of the slope without that of the noise, and its standard error.

    The slopes of pixels that are two apart share a pixel: half as much again is added to their variance.
    """
    mean = square = np.zeros(members.n)
    for slope2, variance, own in kernel.slopes(value, noise, group, members.spacing, members.correlation):
        number, left, crossed, fourth = (
            np.bincount(own, weights, members.n + 1)[1:]
            for weights in (None, slope2 - variance, (slope2 - variance) * variance, variance**2)
        )
        number = _or_nan(number)
        mean = mean + left / number
        square = square + (4 * np.maximum(crossed, 0) + 3 * fourth) / number**2
    return mean, np.sqrt(square)


def _root(name: str, square: np.ndarray, doubt: np.ndarray) -> dict[str, np.ndarray]:
    """Return the root of a square that noise may have left below zero, with its sign, and its standard error.

    Two errors reach as far towards zero as two errors of the square do: the root is twice its error where the square is.
    """

    def signed(values: np.ndarray) -> np.ndarray:
        return np.copysign(np.sqrt(np.abs(values)), values)

    size = np.abs(square)
    return {name: signed(square), f"{name}_stderr": (np.sqrt(size) - signed(size - 2 * doubt)) / 2}


def _core_shell(
    members: Members, value: np.ndarray, noise: np.ndarray, depth: np.ndarray, group: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the mean of the pixels deeper than half of the deepest less that of the others, and its standard error."""
    at = np.flatnonzero((group > 0) & np.isfinite(depth))
    row, below = group.ravel()[at], depth.ravel()[at]
    deepest = np.zeros(members.n + 1, dtype=depth.dtype)
    np.maximum.at(deepest, row, below)
    core = below > deepest[row] / 2
    side = np.where(core, row, row + members.n)
    size = _or_nan(np.bincount(side, minlength=2 * members.n + 1))
    share = np.where(core, 1, -1) / size[side]
    difference = np.bincount(row, share * value.ravel()[at], members.n + 1)[1:]
    weight = np.zeros(group.size)
    weight[at] = share
    weighted = weight.reshape(group.shape) * noise
    both = np.isfinite(size[1 : members.n + 1] + size[members.n + 1 :])
    error = np.sqrt(members.noise_squares(weighted, group))
    return {
        "core_shell_difference": np.where(both, difference, np.nan),
        "core_shell_difference_stderr": np.where(both, error, np.nan),
    }


@dataclass(frozen=True)
class _Layers:
    """Pixels of each particle at distances below its surface."""

    group: np.ndarray
    """Layer of each pixel (y, x), from 1, those of a particle one after the other; 0 in none."""
    number: np.ndarray
    """Pixels (particle, distance)."""

    @classmethod
    def of(cls, members: Members, depth: np.ndarray, group: np.ndarray, step: float) -> _Layers:
        inside = (group > 0) & np.isfinite(depth)
        layer = np.floor(np.where(inside, depth, 0) / np.float32(step)).astype(np.int32)
        n = int(layer.max(initial=-1)) + 1 if inside.any() else 0
        place = np.where(inside, (group - 1) * n + layer + 1, 0)
        return cls(place, members.sums(None, place, members.n * n).reshape(members.n, n))

    def profile(self, members: Members, deviation: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and the variance of its noise (particle, distance)."""
        size = _or_nan(self.number)
        mean = members.sums(deviation, self.group, self.number.size).reshape(size.shape) / size
        square = members.noise_squares(noise, self.group, self.number.size).reshape(size.shape) / size**2
        return mean, square

    def explained(self, mean: np.ndarray, square: np.ndarray) -> np.ndarray:
        """Return the variance that the means of the layers have in each particle, without that of their noise.

        The noise of the mean over all layers is in all of them alike.
        """
        weight = self.number / _or_nan(self.number.sum(axis=1))[:, None]
        middle = np.nansum(weight * mean, axis=1)
        of_noise = np.nansum(weight * square, axis=1) - np.nansum(weight**2 * square, axis=1)
        explained = np.nansum(weight * (mean - middle[:, None]) ** 2, axis=1) - of_noise
        return np.where((self.number > 0).sum(axis=1) > 1, explained, np.nan)
