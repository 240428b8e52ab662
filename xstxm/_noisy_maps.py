"""Maps of one signal with their noise, a field each, in common units: what statistics over lengths read."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._axes import match_pixels
from xstxm._nodes import left_out, require_stacks, stacks
from xstxm._region_images import lags_of, numbered_regions
from xstxm.conventions import content_of, require_image, require_variable, stderr_of
from xstxm.errors import MetadataWarning, NoiseWarning, OptionError, SchemaError, warn
from xstxm.interfaces import pixel_size, positions
from xstxm.provenance import note
from xstxm.units import LengthLike

Maps: TypeAlias = "xr.DataTree | Mapping[str, xr.Dataset | xr.DataArray] | xr.Dataset | xr.DataArray"
Particles: TypeAlias = "str | xr.DataArray | xr.Dataset | Mapping[str, xr.DataArray | xr.Dataset] | xr.DataTree"
Step: TypeAlias = tuple[float, float]

OVERLAP = 0.1
"""Share of a field in another from which they are told to overlap: stage coordinates are not exact."""


@dataclass(frozen=True)
class NoisyMap:
    """An image of a signal, in memory."""

    name: str
    """Of the field; empty where there is but one."""
    value: np.ndarray
    """(y, x), NaN where there is no sample."""
    stderr: np.ndarray | None
    """(y, x), zero where there is no sample; None where the noise is not known."""
    particle: np.ndarray | None
    """(y, x), numbers of the particles from 1, 0 outside; None where they were not asked for."""
    step: Step
    """Distance of two pixels along y and x, um."""
    corner: tuple[float, float] = (0.0, 0.0)
    """Least position of a pixel along y and x, um."""
    weight: np.ndarray | float = 1.0
    """(y, x), above zero where there is sample."""

    @property
    def size(self) -> tuple[float, float]:
        """Return height and width in um."""
        return self.value.shape[0] * self.step[0], self.value.shape[1] * self.step[1]

    @property
    def inside(self) -> np.ndarray:
        """Tell which pixels hold sample."""
        return np.isfinite(self.value)

    @property
    def labels(self) -> np.ndarray:
        """Return the numbers of the particles where there is sample, 0 elsewhere."""
        label = np.where(self.inside, 0 if self.particle is None else self.particle, 0)
        if not label.any():
            where = f"the field {self.name!r}" if self.name else "the map"
            raise SchemaError(
                f"no particle in {where} holds a value of the map: check that its labels lie on the sample"
            )
        return label

    @property
    def noise(self) -> np.ndarray:
        """Return the standard errors, zero where they are not known."""
        return np.zeros_like(self.value) if self.stderr is None else self.stderr

    def drawn_noise(self, lags: np.ndarray, seed: int) -> Callable[[], np.ndarray]:
        """Return a function that draws noise of this map (y, x), correlated as at the lags."""
        rng = np.random.default_rng(seed)
        shape = self.value.shape
        grid = tuple(n + k for n, k in zip(shape, lags.shape, strict=True))
        around = np.zeros(grid)
        around[: lags.shape[0], : lags.shape[1]] = lags
        centred = np.roll(around, [-(k // 2) for k in lags.shape], axis=(0, 1))
        amplitude = np.sqrt(np.maximum(np.fft.rfft2(centred).real, 0))

        def draw() -> np.ndarray:
            white = rng.normal(size=grid)
            field = np.fft.irfft2(np.fft.rfft2(white) * amplitude, grid) if lags.size > 1 else white
            return self.noise * field[: shape[0], : shape[1]]

        return draw


def noisy_maps(
    maps: Maps, signal: str, *, particles: Particles | None = None, weight: str | None = None
) -> tuple[list[NoisyMap], str]:
    """Return the fields that hold a signal, and its unit, which is that of the first. Eager."""
    found = fields_of(maps, signal)
    array = next(iter(found.values()))[signal]
    unit = str(array.attrs.get("units", "1"))
    read = [_read(name, field, signal, unit, particles, weight) for name, field in found.items()]
    unknown = [field.name or "the map" for field in read if field.stderr is None]
    if unknown:
        warn(
            f"no {signal}_stderr in {', '.join(unknown)}: noise is not taken off and counts as heterogeneity; assign it, or "
            "zeros where there is none",
            NoiseWarning,
        )
    return read, unit


def fields_of(maps: Maps, signal: str) -> dict[str, xr.Dataset]:
    """Return the Dataset of every field by its name, in the order given. Lazy."""
    if isinstance(maps, xr.DataArray | xr.Dataset):
        given: Mapping[str, Any] = {"": maps}
    elif isinstance(maps, xr.DataTree):
        for name, reason in left_out(maps).items():
            note(f"{name!r} was left out before: {reason}")
        given = require_stacks(maps)
    elif isinstance(maps, Mapping):
        given = {str(name): field for name, field in maps.items()}
    else:
        raise OptionError("maps", maps, "give a Dataset, or several by name: {'left': phases, 'right': other}")
    if not given:
        raise SchemaError("there is no map: pass phase maps, or a tree or dict of them")
    found = {name: units.dequantify(_dataset(field, signal, name)) for name, field in given.items()}
    for name, field in found.items():
        do = f"name the variable {f'of {name!r} ' if name else ''}that holds the map, e.g. signal='composition'"
        require_variable(field, signal, do)
    return found


def _dataset(field: object, signal: str, name: str) -> xr.Dataset:
    """Return the Dataset of a field, of a node, or of the map alone."""
    if isinstance(field, xr.Dataset):
        return field
    if isinstance(field, xr.DataTree):
        return field.to_dataset()
    if isinstance(field, xr.DataArray):
        return field.to_dataset(name=signal)
    raise SchemaError(f"{name!r} is a {type(field).__name__}: pass a phase map, or another Dataset that holds the map")


def _particles_of(particles: Particles | None, name: str, field: xr.Dataset) -> xr.DataArray | None:
    """Return the label image of a field. Lazy."""
    if isinstance(particles, str):
        return require_variable(field, particles, "call xstxm.particles first, or pass particles=, an image of labels")
    if isinstance(particles, Mapping) and not isinstance(particles, xr.Dataset):
        named = stacks(particles) if isinstance(particles, xr.DataTree) else particles
        if [*named] == ["."]:
            return _particles_of(named["."], name, field)
        if name not in named:
            lacking = f"give an image of labels for the field {name!r} too"
            alone = "the map is a single one: give its own image of labels, or all maps by the same names"
            raise OptionError("particles", list(named), lacking if name else alone)
        return _particles_of(named[name], name, field)
    if isinstance(particles, xr.Dataset):
        return _particles_of("particle_label", name, particles)
    return particles


def tell_overlaps(fields: Sequence[NoisyMap]) -> None:
    """Warn of fields that show the same sample by their positions, which would count twice.

    Fields that begin at the same place do not say so: their positions count from 0 each, or they are the same place in time.
    """
    pairs = [f"{a.name!r} and {b.name!r}" for a, b in itertools.combinations(fields, 2) if _shared(a, b) > OVERLAP]
    if pairs:
        named = ", ".join(pairs[:3]) + (", ..." if len(pairs) > 3 else "")
        warn(
            f"fields lie on each other by their positions ({named}): what two of them show counts twice; pass those that do "
            "not, e.g. of a tree maps.match('field *')",
            MetadataWarning,
        )


def _shared(one: NoisyMap, other: NoisyMap) -> float:
    """Return how much of the smaller of two fields lies in the other, 0 where they begin at the same place."""
    if np.allclose(one.corner, other.corner, rtol=0, atol=max(*one.step, *other.step)):
        return 0.0
    both = zip(one.corner, one.size, other.corner, other.size, strict=True)
    sides = [max(min(a + n, b + m) - max(a, b), 0.0) for a, n, b, m in both]
    return float(np.prod(sides) / min(np.prod(one.size), np.prod(other.size)))


def _read(
    name: str, field: xr.Dataset, signal: str, unit: str, particles: Particles | None, weight: str | None
) -> NoisyMap:
    """Eager."""
    array = field[signal]
    called = f"{signal!r} of {name!r}" if name else repr(signal)
    step = step_of(array, called)
    content = content_of(signal, array)
    if content in ("labels", "flags"):
        do = "name a map of numbers, e.g. signal='composition'; for phases see xstxm.two_point_correlation"
        raise SchemaError(f"{called} holds {content}, whose number says nothing of their size: {do}")
    scale = units.factor(str(array.attrs.get("units", "1")), unit, called)
    value = np.asarray(array.transpose("y", "x"), dtype=float) * scale
    value = np.where(np.isfinite(value), value, np.nan)
    if not np.isfinite(value).any():
        raise SchemaError(f"{called} holds no sample, all of it is NaN: check the least amount of a sample pixel")
    stderr = stderr_of(field, signal, called)
    given = _particles_of(particles, name, field)
    return NoisyMap(
        name,
        value,
        stderr=None if stderr is None else _noise(stderr, value, scale, called),
        particle=None if given is None else _labels(given, array, called),
        step=step,
        corner=(float(positions(array, "y").min()), float(positions(array, "x").min())),
        weight=1.0 if weight is None else _weight(field, weight, value, called),
    )


def step_of(array: xr.DataArray, called: str) -> Step:
    """Return the distance of two pixels of one image along y and x in um. Eager."""
    require_image(array, "lengths need an image")
    others = [str(dim) for dim in array.dims if dim not in ("y", "x")]
    if others:
        raise SchemaError(f"{called} has dims {array.dims}: select one image first, e.g. .isel({others[0]}=0)")
    return pixel_size(array)


def require_lag(max_lag: LengthLike, images: Sequence[tuple[tuple[int, ...], Step]]) -> float:
    """Return the largest distance in um, which at least one of several images has, by their shapes and steps."""
    asked = units.to_magnitude(max_lag, "um", "max_lag")
    low = min(min(step) for _, step in images)
    high = max(float(np.hypot(*np.multiply(shape, step))) for shape, step in images)
    if not low <= asked <= high:
        expected = f"give a length from the pixel, {low:.4g} um, to the diagonal of the field, {high:.4g} um"
        raise OptionError("max_lag", max_lag, expected)
    return asked


def lag_axis(n_lags: int, step: Step) -> tuple[str, np.ndarray, dict[str, str]]:
    """Return the coordinate `lag`, one pixel apart."""
    return "lag", np.round(min(step) * np.arange(n_lags), 9), {"units": "um", "long_name": "Distance of two pixels"}


def _weight(field: xr.Dataset, weight: str, value: np.ndarray, called: str) -> np.ndarray:
    """Return the weights of pixels (y, x). Eager."""
    given = require_variable(field, weight, "name a variable of the map as weight=, e.g. 'total_amount', or none")
    found = np.asarray(given.transpose("y", "x"), dtype=float)
    lacking = int((np.isfinite(value) & ~(found > 0)).sum())
    if lacking:
        raise SchemaError(
            f"{weight!r} is not above zero in {lacking} pixels of {called}: leave these out with .where()"
        )
    return found


def over_fields(fields: list[NoisyMap], func: Callable[[NoisyMap], xr.Dataset]) -> xr.Dataset:
    """Return what a function makes of the only map, or of each of several along `node`, last. Eager."""
    found = [func(field) for field in fields]
    if not fields[0].name:
        return found[0]
    nodes = xr.DataArray([field.name for field in fields], dims="node", name="node")
    return xr.concat(found, nodes, join="outer", combine_attrs="drop_conflicts").transpose(..., "node")


def _noise(stderr: xr.DataArray, value: np.ndarray, scale: float, called: str) -> np.ndarray | None:
    """Return standard errors (y, x), None where none is known. Eager."""
    noise = np.asarray(stderr.transpose("y", "x"), dtype=float) * scale
    inside = np.isfinite(value)
    unknown = inside & ~np.isfinite(noise)
    if unknown.sum() == inside.sum():
        return None
    if unknown.any():
        do = f"leave these pixels out, maps.where(maps[{str(stderr.name)!r}].notnull())"
        raise SchemaError(f"{called} has {unknown.sum()} pixels whose standard error is not known: {do}")
    return np.where(inside, noise, 0)


def _labels(particles: xr.DataArray, array: xr.DataArray, called: str) -> np.ndarray:
    """Return the numbers of the particles (y, x). Eager."""
    if not isinstance(particles, xr.DataArray):
        raise OptionError("particles", particles, "give an image of labels, xr.DataArray(labels, dims=('y', 'x'))")
    if particles.dtype.kind in "iuf" and not (particles > 0).any():
        raise SchemaError(
            f"{called} has no particle, all labels are zero: leave this field out, or give other particles"
        )
    image = array.transpose("y", "x")
    numbers, names = numbered_regions(image, match_pixels(particles, image, f"the image of particles for {called}"))
    if names is None:
        raise SchemaError(f"the particles of {called} are no whole numbers: 1, 2, ... are particles, 0 is none")
    return np.asarray(numbers)


def noise_lags(correlation: xr.DataArray | None) -> np.ndarray:
    """Return the correlation of the noise (lag_y, lag_x), lag 0 in the middle. Eager."""
    return np.ones((1, 1)) if correlation is None else lags_of(correlation, ("y", "x"))


def with_level(made: dict[str, xr.DataArray], level: float) -> dict[str, xr.DataArray]:
    """Return variables of which the ends of intervals say how sure they are."""
    ends = {name for name in made if name.endswith(("_lower", "_upper"))}
    return {name: array.assign_attrs(confidence_level=level) if name in ends else array for name, array in made.items()}
