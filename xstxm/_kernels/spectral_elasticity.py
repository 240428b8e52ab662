"""Plane elasticity of an image with an eigenstrain: one finite element for each pixel, solved with Fourier transforms.

Bilinear elements on the periodic grid of pixels; the shear strain of an element is that of its centre, so that thin
parts bend as they should. What an element then has are three strains at its centre and the hourglass modes of the two
displacements, so that its energy is half of

    (e - e*)' Q (e - e*) + Q_xx g_x^2 + Q_yy g_y^2

per area, with Q zero in vacuum. The minimum over the displacements of the nodes, and over the mean strain where the
image is a cell of an infinite plate, is found by conjugate gradients; the preconditioner is the same energy
without vacuum, which Fourier transforms make diagonal. Vacuum needs no stiffness: what moves there moves for
nothing, the equations stay consistent, and the number of iterations depends on the shape of the
sample and hardly on the number of pixels.

Index letters: v component (xx, yy, xy; the last as the engineering strain), y and x pixels and nodes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

_HOURGLASS = 1 / np.sqrt(12)
"""How far a derivative deviates from its mean over an element, root mean square, for a change of one across it."""


@dataclass(frozen=True)
class Solution:
    """Stress and total strain (v, y, x), and how the iteration ended."""

    stress: np.ndarray
    strain: np.ndarray
    iterations: int
    residual: float


def solve(eigenstrain, stiffness, spacing, *, periodic, tolerance, max_iterations):
    """Return stress and strain (v, y, x) of an eigenstrain (v, y, x), NaN in vacuum, for a stiffness Q (v, v).

    `spacing` (y, x) may be negative, as of an axis that runs down. A free sample gets a frame of vacuum around it;
    a periodic one repeats, with no mean stress. The residual is relative to the load, in the norm of the energy.
    """
    solid = np.isfinite(eigenstrain).all(0)
    stress, strain = np.full((2, *eigenstrain.shape), np.nan)
    if not solid.any():
        return Solution(stress, strain, 0, 0.0)
    window = (slice(None),) * 2 if periodic else tuple(_span(solid.any(axis)) for axis in (1, 0))
    here = solid[window]
    rows, columns = here.shape
    eigen = np.where(here, eigenstrain[(slice(None), *window)], 0.0)
    room = [(0, 0 if periodic else fft.next_fast_len(size + 1, real=True) - size) for size in here.shape]
    eigen, here = np.pad(eigen, [(0, 0), *room]), np.pad(here, room)
    energy = _Energy(stiffness, spacing, here.astype(float), periodic)
    u, mean, iterations, residual = _conjugate_gradients(energy, energy.forces(eigen), tolerance, max_iterations)
    total = energy.strain(u) + mean[:, None, None]
    found = np.where(here, (np.einsum("vw,wyx->vyx", stiffness, total - eigen), total), np.nan)
    for whole, part in zip((stress, strain), found, strict=True):
        whole[(slice(None), *window)] = part[:, :rows, :columns]
    return Solution(stress, strain, iterations, residual)


def _span(occupied):
    """Return the range from the first to the last that is occupied."""
    at = np.flatnonzero(occupied)
    return slice(at[0], at[-1] + 1)


class _Energy:
    """Derivatives of the elastic energy per pixel with respect to displacements (2, y, x) and mean strain (v)."""

    def __init__(self, stiffness, spacing, solid, periodic):
        self.stiffness, self.spacing, self.solid, self.periodic = stiffness, spacing, solid, periodic
        self.inverse, self.inverse_mean = self._preconditioner()

    def strain(self, u):
        """Strain (v, y, x) at the centres of the elements."""
        dy, dx = self.spacing
        (ux, uy), (along_y, along_x) = u, (_mean(u, -2), _mean(u, -1))
        return np.array(
            [
                _step(along_y[0], -1) / dx,
                _step(along_x[1], -2) / dy,
                _step(_mean(ux, -1), -2) / dy + _step(_mean(uy, -2), -1) / dx,
            ]
        )

    def strain_adjoint(self, e):
        """Transpose of `strain`."""
        dy, dx = self.spacing
        xx, yy, xy = e
        return np.array(
            [
                _mean_adjoint(_step_adjoint(xx, -1), -2) / dx + _mean_adjoint(_step_adjoint(xy, -2), -1) / dy,
                _mean_adjoint(_step_adjoint(yy, -2), -1) / dy + _mean_adjoint(_step_adjoint(xy, -1), -2) / dx,
            ]
        )

    def forces(self, eigen):
        """Forces of an eigenstrain."""
        stress = self.solid * np.einsum("vw,wyx->vyx", self.stiffness, eigen)
        return self.strain_adjoint(stress), self._mean_part(stress)

    def apply(self, u, mean):
        """Forces of displacements and a mean strain."""
        stress = np.einsum("vw,wyx->vyx", self.stiffness, self.strain(u) + mean[:, None, None]) * self.solid
        scale = self._hourglass_stiffness()[:, None, None]
        twist = scale * self.solid * _step(_step(u, -1), -2)
        return self.strain_adjoint(stress) + _step_adjoint(_step_adjoint(twist, -2), -1), self._mean_part(stress)

    def precondition(self, force, mean):
        """Displacements and mean strain of forces, were there no vacuum."""
        spectrum = fft.rfft2(force)
        moved = np.einsum("ijyx,jyx->iyx", self.inverse, spectrum)
        return fft.irfft2(moved, s=force.shape[-2:]), self.inverse_mean @ mean

    def _mean_part(self, stress):
        return stress.sum((-2, -1)) if self.periodic else np.zeros(3)

    def _hourglass_stiffness(self):
        dy, dx = self.spacing
        return np.array([self.stiffness[0, 0] / dx**2, self.stiffness[1, 1] / dy**2]) * _HOURGLASS**2

    def _preconditioner(self):
        """Inverse (2, 2, ky, kx) of the energy without vacuum in Fourier space, and that of the mean strain (v, v)."""
        rows, columns = self.solid.shape
        ky = np.exp(2j * np.pi * np.fft.fftfreq(rows))[:, None]
        kx = np.exp(2j * np.pi * np.fft.rfftfreq(columns))[None, :]
        dy, dx = self.spacing
        by_x, by_y = (kx - 1) * (ky + 1) / (2 * dx), (ky - 1) * (kx + 1) / (2 * dy)
        nil = np.zeros_like(by_x)
        b = np.array([[by_x, nil], [nil, by_y], [by_y, by_x]])
        k = np.einsum("viyx,vw,wjyx->yxij", b.conj(), self.stiffness, b)
        twist = np.abs((kx - 1) * (ky - 1))[..., None] ** 2 * self._hourglass_stiffness()
        k += twist[..., None] * np.eye(2)
        k[0, 0] = np.eye(2)  # nothing holds a translation
        inverse = np.linalg.inv(k)
        inverse[0, 0] = 0
        inverse = np.ascontiguousarray(np.moveaxis(inverse, (2, 3), (0, 1)))
        return inverse, np.linalg.inv(self.stiffness) / self.solid.size


def _step(a, axis):
    return np.roll(a, -1, axis) - a


def _step_adjoint(a, axis):
    return np.roll(a, 1, axis) - a


def _mean(a, axis):
    return (np.roll(a, -1, axis) + a) / 2


def _mean_adjoint(a, axis):
    return (np.roll(a, 1, axis) + a) / 2


def _conjugate_gradients(energy, load, tolerance, max_iterations):
    """Return displacements (2, y, x), mean strain (v), the iterations and the residual they ended with."""
    u, mean = np.zeros_like(load[0]), np.zeros(3)
    rest = load
    step = energy.precondition(*rest)
    size = _dot(rest, step)
    start, iterations = size, 0
    if start <= 0:
        return u, mean, 0, 0.0
    while size > tolerance**2 * start and iterations < max_iterations:
        force = energy.apply(*step)
        far = size / _dot(step, force)
        u, mean = u + far * step[0], mean + far * step[1]
        rest = (rest[0] - far * force[0], rest[1] - far * force[1])
        steepest = energy.precondition(*rest)
        size, before = _dot(rest, steepest), size
        step = (steepest[0] + size / before * step[0], steepest[1] + size / before * step[1])
        iterations += 1
    return u, mean, iterations, float(np.sqrt(max(size, 0) / start))


def _dot(a, b):
    return float(np.vdot(a[0], b[0]) + a[1] @ b[1])
