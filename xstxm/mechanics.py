"""Coherent stress: what an eigenstrain costs where the lattice has to hold together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.conventions import annotate, as_float, require_image, require_variable
from xstxm.errors import (
    ConvergenceWarning,
    OptionError,
    SchemaError,
    check_choice,
    require_number,
    require_whole,
    warn,
)
from xstxm.interfaces import spacing
from xstxm.lattice import AXES, LatticeAxis
from xstxm.provenance import note, recorded
from xstxm.units import EnergyLike

PressureLike: TypeAlias = EnergyLike
Boundary: TypeAlias = Literal["free", "periodic"]

TENSOR = ("xx", "yy", "xy")
"""Components of a plane tensor; xy is the tensor's own, half of the engineering shear strain."""

_STIFFEST = 1e4
"""GPa; several times the largest constant of any solid, that of diamond: a plain number above it is meant in another unit."""


@dataclass(frozen=True)
class Isotropic:
    """Elastic constants that are the same in all directions.

    Parameters
    ----------
    young
        Young's modulus, in GPa or with a unit.
    poisson
        Poisson's ratio, between -1 and 1/2.

    Raises
    ------
    OptionError, UnitsError
        Constants of no stable solid, a unit that is no pressure, or a plain number that can only be one of pascals.
    """

    young: PressureLike
    poisson: float

    def __post_init__(self) -> None:
        self._checked()

    def _checked(self) -> tuple[float, float]:
        young = require_number("young", _in_gpa("young", self.young), "a Young's modulus in GPa", above=0)
        return young, require_number("poisson", self.poisson, "Poisson's ratio,", above=-1, below=0.5)

    def stiffness(self, first: LatticeAxis, second: LatticeAxis) -> np.ndarray:
        """Return the stiffness (3, 3) in GPa for plane stress in the plane of two axes."""
        young, poisson = self._checked()
        shear = (1 - poisson) / 2
        return young / (1 - poisson**2) * np.array([[1, poisson, 0], [poisson, 1, 0], [0, 0, shear]])


@dataclass(frozen=True)
class Orthotropic:
    """Stiffness of an orthorhombic crystal by the roles of its axes, each in GPa or with a unit.

    Parameters
    ----------
    chain, rung, stacking
        C_ii of each axis.
    chain_rung, chain_stacking, rung_stacking
        C_ij between two axes.
    shear_chain_rung, shear_chain_stacking, shear_rung_stacking
        Shear modulus in the plane of two axes. Only that of the image plane is needed.

    Raises
    ------
    OptionError, UnitsError
        Constants that are not positive definite, a unit that is no pressure, or a plain number that can only be one of
        pascals.
    """

    chain: PressureLike
    rung: PressureLike
    stacking: PressureLike
    chain_rung: PressureLike
    chain_stacking: PressureLike
    rung_stacking: PressureLike
    shear_chain_rung: PressureLike | None = None
    shear_chain_stacking: PressureLike | None = None
    shear_rung_stacking: PressureLike | None = None

    def __post_init__(self) -> None:
        c = self._constants(AXES)
        eigenvalues = np.linalg.eigvalsh(c)
        if eigenvalues[0] <= 0:
            raise OptionError(
                "stiffness",
                c.round(6).tolist(),
                f"the stiffness of ({', '.join(AXES)}) has the eigenvalue {eigenvalues[0]:.4g} GPa and is not positive "
                "definite: check the constants and their axes",
            )
        for name in (field.name for field in fields(self) if field.name.startswith("shear")):
            if getattr(self, name) is not None:
                self._shear(name)

    def _constants(self, order: Sequence[LatticeAxis]) -> np.ndarray:
        """Return the constants C_ij (3, 3) of three axes in GPa."""
        return np.array([[_in_gpa(name, getattr(self, name)) for name in row] for row in _normal(order)])

    def _shear(self, name: str) -> float:
        return require_number(name, _in_gpa(name, getattr(self, name)), "a shear modulus in GPa", above=0)

    def stiffness(self, first: LatticeAxis, second: LatticeAxis) -> np.ndarray:
        """Return the stiffness (3, 3) in GPa for plane stress in the plane of two axes: none across it."""
        c = self._constants([first, second, *(axis for axis in AXES if axis not in (first, second))])
        name = f"shear_{_pair(first, second)}"
        if getattr(self, name) is None:
            raise OptionError(name, None, f"give the shear modulus in the plane of the image ({first}, {second})")
        plane = np.zeros((3, 3))
        plane[:2, :2] = c[:2, :2] - np.outer(c[:2, 2], c[2, :2]) / c[2, 2]
        plane[2, 2] = self._shear(name)
        return plane


Elastic: TypeAlias = Isotropic | Orthotropic


def _pair(first: str, second: str) -> str:
    return "_".join(sorted((first, second)))


def _normal(order: Sequence[str]) -> list[list[str]]:
    """Return the names of the constants C_ij of three axes."""
    return [[a if a == b else _pair(a, b) for b in order] for a in order]


def _in_gpa(name: str, value: Any) -> float:
    found = units.to_magnitude(value, "GPa", name, spectroscopy=False)
    if abs(found) > _STIFFEST and not isinstance(value, str) and not units.is_quantity(value):
        raise OptionError(
            name,
            value,
            f"a plain number is in GPa, and no solid is that stiff: write '{found:g} Pa' if it is in pascals",
        )
    return found


@recorded
def stress(
    strains: xr.DataArray | xr.Dataset,
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
    """Return the stress that an eigenstrain makes in a particle whose lattice stays coherent.

    The energy ``1/2 (e - e*) : C : (e - e*)`` is least over all displacements, e* being the eigenstrain; the stress is
    ``C : (e - e*)``. Plane stress: a platelet thin along the beam, free to expand there.

    Parameters
    ----------
    strains
        A result of `strain`; or an array with y, x and either `lattice_axis` or `tensor_component` (xx, yy, xy).
    elastic
        `mechanics.Isotropic` or `mechanics.Orthotropic`, the same in the whole sample.
    along_x, along_y
        Axes of the lattice along x and y of the image; the third lies along the beam.
    angle
        Turns both axes in the plane, from x towards y: a number in degrees, or with a unit.
    boundary
        ``"free"``: the sample ends where the map ends. ``"periodic"``: the image is the cell of an infinite plate
        with no mean stress.
    tolerance
        Where the iteration ends, relative to the load in the norm of the energy.
    max_iterations
        Where it ends at the latest, with a `ConvergenceWarning`.
    signal
        Variable of a Dataset that holds the eigenstrain.

    Returns
    -------
    Dataset
        `stress` (tensor_component, pixel dims) in GPa and `total_strain`, along the axes of the image; `von_mises`
        (pixel dims) in GPa and `strain_energy_density` in MJ/m**3. NaN where the eigenstrain is: these pixels are
        vacuum, also holes within a particle. Eager.

    Raises
    ------
    MissingVariableError, MissingDimensionError, MissingCoordinateError, SchemaError
        No eigenstrain, no y and x, their positions unknown or uneven, or no components.
    IncompatibleUnitsError, MissingUnitsError
        An eigenstrain that is no number.
    OptionError, ChoiceError
        A shear modulus that is missing in the plane of the image, an axis that does not exist or is given twice.

    Notes
    -----
    One bilinear finite element for each pixel, conjugate gradients, and as preconditioner the same sample without
    vacuum, inverted by Fourier transforms [1]_, after the fixed-point scheme of [2]_. Vacuum has no stiffness at all,
    and about twenty iterations do. Errors of the eigenstrain are not carried on.

    References
    ----------
    .. [1] M. Ladecky et al., Appl. Math. Comput. 446, 127835 (2023), https://doi.org/10.1016/j.amc.2023.127835
    .. [2] H. Moulinec, P. Suquet, Comput. Methods Appl. Mech. Eng. 157, 69 (1998),
       https://doi.org/10.1016/S0045-7825(97)00218-1

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> found = xstxm.stress(xstxm.strain(phases), xstxm.mechanics.Isotropic("100 GPa", 0.3))
    >>> found.von_mises.dims, found.von_mises.attrs["units"]
    (('y', 'x'), 'GPa')
    """
    check_choice("boundary", boundary, Boundary)
    tolerance = require_number("tolerance", tolerance, "a number", above=0, below=1)
    max_iterations = require_whole("max_iterations", max_iterations)
    turn = np.deg2rad(units.to_magnitude(angle, "deg", "angle", spectroscopy=False))
    stiffness = _turned(_in_plane(elastic, along_x, along_y), turn)
    strains = units.dequantify(strains)
    do = "call .stxm.strain() first"
    array = as_float(require_variable(strains, signal, do) if isinstance(strains, xr.Dataset) else strains)
    array = units.to_units(array, "1", "the eigenstrain")
    require_image(array, "a stress needs an image")
    eigen = _in_image(array.compute(), along_x, along_y, turn)
    solved, iterations, residual = xr.apply_ufunc(
        _solved,
        eigen,
        input_core_dims=[["tensor_component", "y", "x"]],
        output_core_dims=[["kind", "tensor_component", "y", "x"], [], []],
        vectorize=True,
        kwargs={
            "stiffness": stiffness,
            "spacing": (spacing(array, "y"), spacing(array, "x")),
            "periodic": boundary == "periodic",
            "tolerance": tolerance,
            "max_iterations": max_iterations,
        },
    )
    if float(residual.max()) > tolerance:
        warn(
            f"the stress did not converge in {max_iterations} iterations, its residual is {float(residual.max()):.2g}: "
            "pass a larger max_iterations",
            ConvergenceWarning,
        )
    note(f"elastic constants {elastic}, {int(iterations.max())} iterations")
    return _named(solved, eigen, array, boundary).assign_attrs(elastic=str(elastic), boundary=boundary)


def _in_plane(elastic: Elastic, along_x: LatticeAxis, along_y: LatticeAxis) -> np.ndarray:
    for name, axis in (("along_x", along_x), ("along_y", along_y)):
        check_choice(name, axis, LatticeAxis)
    if along_x == along_y:
        raise OptionError("along_y", along_y, f"x lies along {along_x!r} too: name two axes of the lattice")
    if not isinstance(elastic, Isotropic | Orthotropic):
        known = ", ".join(field.name for field in fields(Isotropic))
        raise OptionError(
            "elastic", elastic, f"pass xstxm.mechanics.Isotropic({known}) or xstxm.mechanics.Orthotropic(...)"
        )
    return elastic.stiffness(along_x, along_y)


def _turned(stiffness: np.ndarray, turn: float) -> np.ndarray:
    """Return the stiffness in the axes of the image, for axes of the lattice that are turned by an angle."""
    c, s = np.cos(turn), np.sin(turn)
    to_lattice = np.array([[c**2, s**2, c * s], [s**2, c**2, -c * s], [-2 * c * s, 2 * c * s, c**2 - s**2]])
    turned: np.ndarray = to_lattice.T @ stiffness @ to_lattice
    return turned


def _in_image(array: xr.DataArray, along_x: LatticeAxis, along_y: LatticeAxis, turn: float) -> xr.DataArray:
    """Return the eigenstrain as components in the axes of the image, float64, NaN in all where it is in one."""
    array = array.astype(float)
    if "tensor_component" in array.dims:
        found = [str(name) for name in np.asarray(array["tensor_component"])]
        if sorted(found) != sorted(TENSOR):
            raise SchemaError(f"'tensor_component' holds {', '.join(found)}, wanted {', '.join(TENSOR)}")
        eigen = array.sel(tensor_component=list(TENSOR))
    elif "lattice_axis" in array.dims:
        e_1, e_2 = (array.sel(lattice_axis=axis, drop=True) for axis in (along_x, along_y))
        c, s = np.cos(turn), np.sin(turn)
        parts = [c**2 * e_1 + s**2 * e_2, s**2 * e_1 + c**2 * e_2, c * s * (e_1 - e_2)]
        eigen = xr.concat(parts, xr.IndexVariable("tensor_component", list(TENSOR)))
    else:
        raise SchemaError(
            f"the eigenstrain has dims {array.dims}, wanted 'lattice_axis' or 'tensor_component' beside y and x: pass a "
            "result of xstxm.strain"
        )
    return eigen.where(eigen.notnull().all("tensor_component"))


def _solved(eigen: np.ndarray, **options: Any) -> tuple[np.ndarray, int, float]:
    """Return stress and total strain (kind, v, y, x) of tensor components; the solver has the engineering shear."""
    from xstxm._kernels import spectral_elasticity

    engineering = eigen * np.array([1, 1, 2])[:, None, None]
    found = spectral_elasticity.solve(engineering, **options)
    strain = found.strain * np.array([1, 1, 0.5])[:, None, None]
    return np.array([found.stress, strain]), found.iterations, found.residual


def _named(solved: xr.DataArray, eigen: xr.DataArray, array: xr.DataArray, boundary: Boundary) -> xr.Dataset:
    pixels = [dim for dim in array.dims if dim not in ("lattice_axis", "tensor_component")]
    solved = solved.transpose("kind", "tensor_component", *pixels)
    tension, total = solved.isel(kind=0), solved.isel(kind=1)
    xx, yy, xy = (tension.sel(tensor_component=name, drop=True) for name in TENSOR)
    twice = xr.DataArray([1.0, 1.0, 2.0], dims="tensor_component")
    energy = 0.5 * (tension * (total - eigen) * twice).sum("tensor_component", skipna=False)
    found = {
        "stress": tension,
        "total_strain": total,
        "von_mises": (xx**2 - xx * yy + yy**2 + 3 * xy**2) ** 0.5,
        "strain_energy_density": energy * units.factor("GPa", "MJ/m**3"),
    }
    return xr.Dataset({name: annotate(values.astype(array.dtype), name) for name, values in found.items()})
