"""A synthetic stack as ptychography reconstructs it: the sample of `simulate_stack` as a complex transmission."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from xstxm._references_at import references_at
from xstxm.conventions import ENERGY, REFERENCE, annotate, require_variable
from xstxm.errors import require_number
from xstxm.kramers_kronig import phase_references
from xstxm.testing._references import simulate_references
from xstxm.testing._stack import simulate_stack
from xstxm.units import LengthLike

_DENSITY = "3.36 g/cm**3"


def simulate_phase_references() -> xr.Dataset:
    """Return the references of `simulate_references` with the phase shift that belongs to them. Made up, not measured.

    Returns
    -------
    Dataset
        `absorption` [1/nm] and `phase_shift` [rad/nm] (reference, energy), 508 to 560 eV, see `phase_references`. Eager.

    Examples
    --------
    >>> import xstxm
    >>> xstxm.testing.simulate_phase_references().phase_shift.attrs["units"]
    'rad/nm'
    """
    references = simulate_references()
    composition = zip(np.asarray(references[REFERENCE]), np.asarray(references["composition"]), strict=True)
    formulas = {str(name): f"Li{x:g}V2O5" if x else "V2O5" for name, x in composition}
    return phase_references(references, formulas, _DENSITY).assign_attrs(references.attrs)


def simulate_transmission(
    *,
    shape: tuple[int, int] = (96, 128),
    energies: Sequence[float] | np.ndarray | xr.DataArray | None = None,
    references: xr.Dataset | None = None,
    pixel_size: LengthLike = "10 nm",
    particle_size: LengthLike | None = None,
    noise: float = 0.02,
    ramp: float = 6.0,
    seed: int = 0,
) -> xr.Dataset:
    """Simulate a stack of complex transmission functions, with all that a reconstruction leaves open. Synthetic.

    ``T = f exp(-OD / 2 + i phase) exp(i (p + p_y row + p_x column)) + noise``: a factor f between a half and two, a phase p
    between -pi and pi and a ramp, drawn anew at each energy. The sample is that of `simulate_stack`.

    Parameters
    ----------
    shape, energies, pixel_size, particle_size, seed
        As in `simulate_stack`.
    references
        Reference set with `absorption` in 1/nm and `phase_shift` in rad/nm; `simulate_phase_references` by default.
    noise
        Standard deviation of real and imaginary part, Gaussian, over that of the wave without sample.
    ramp
        Largest change of the phase of the ramp across the image, along y and along x, in rad.

    Returns
    -------
    Dataset
        `transmission` (energy, y, x), complex64, and the truth: `true_optical_density` and `true_phase_shift` (energy, y,
        x), `true_thickness` (reference, y, x), `true_composition` and `true_label` (y, x). Eager.

    Raises
    ------
    OptionError, EnergyRangeError
        As `simulate_stack`, and `noise` or `ramp` below zero.
    MissingVariableError
        The references have no `phase_shift`.

    Examples
    --------
    >>> import xstxm
    >>> xstxm.testing.simulate_transmission(shape=(24, 32)).transmission.dtype
    dtype('complex64')
    """
    noise = require_number("noise", noise, "a share of the wave", least=0)
    ramp = require_number("ramp", ramp, "a phase in rad", least=0)
    references = simulate_phase_references() if references is None else references
    options = {"shape": shape, "energies": energies, "references": references, "pixel_size": pixel_size}
    sample = simulate_stack(**options, particle_size=particle_size, psf="0 nm", noise=False, seed=seed)  # type: ignore[arg-type]
    per_length = require_variable(references, "phase_shift", "make it with xstxm.phase_references")
    energy = sample[ENERGY]
    thickness = sample["true_thickness"].astype(float).drop_attrs(deep=False)
    parts = references, references.assign(absorption=per_length)
    od, phase = (xr.dot(references_at(part, energy), thickness, dim=REFERENCE) for part in parts)
    rng = np.random.default_rng([seed, 5])
    frame = np.exp(-od / 2 + 1j * (phase + _planes(rng, phase, ramp)))
    frame = frame + noise * (rng.normal(size=od.shape) + 1j * rng.normal(size=od.shape))
    wave = frame * _along_energy(rng.uniform(0.5, 2, energy.size))
    found = {
        "transmission": annotate(wave.astype(np.complex64), "transmission"),
        "true_optical_density": od.assign_attrs(units="1", long_name="True optical density"),
        "true_phase_shift": phase.assign_attrs(units="rad", long_name="True phase shift"),
    }
    return (
        sample.drop_vars(["intensity", "true_i0", "true_shift_y", "true_shift_x", "dead"])
        .assign(found)
        .assign_attrs(sample.attrs)
    )


def _along_energy(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims=ENERGY)


def _planes(rng: np.random.Generator, image: xr.DataArray, ramp: float) -> xr.DataArray:
    """Return a plane of phase for each energy, in rad (energy, y, x)."""
    planes = _along_energy(rng.uniform(-np.pi, np.pi, image.sizes[ENERGY]))
    for dim in ("y", "x"):
        across = xr.DataArray(np.linspace(0, 1, image.sizes[dim]), dims=dim)
        planes = planes + _along_energy(rng.uniform(-ramp, ramp, image.sizes[ENERGY])) * across
    return planes
