from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xstxm
from xstxm import mechanics
from xstxm._kernels import spectral_elasticity
from xstxm.errors import (
    ChoiceError,
    ConvergenceWarning,
    IncompatibleUnitsError,
    MissingDimensionError,
    MissingUnitsError,
    MissingVariableError,
    OptionError,
    SchemaError,
)
from xstxm.mechanics import Isotropic, Orthotropic

YOUNG, POISSON = 100.0, 0.3
STEEL = Isotropic("100 GPa", POISSON)
V2O5_LIKE = Orthotropic(
    chain=190, rung=220, stacking=40, chain_rung=50, chain_stacking=15, rung_stacking=20, shear_chain_rung="35 GPa"
)


def eigen(xx, yy=None, xy=0.0, step=0.05):
    """An eigenstrain in the axes of the image, from arrays (y, x)."""
    xx = np.asarray(xx, dtype=float)
    parts = np.array([xx, xx if yy is None else np.broadcast_to(yy, xx.shape), np.broadcast_to(xy, xx.shape)])
    coords = {"tensor_component": ["xx", "yy", "xy"]}
    for dim, size in zip(("y", "x"), xx.shape, strict=True):
        coords[dim] = (dim, step * (np.arange(size) - (size - 1) / 2), {"units": "um"})
    return xr.DataArray(parts, dims=("tensor_component", "y", "x"), coords=coords, attrs={"units": "1"})


def components(found, name="stress"):
    return tuple(np.asarray(found[name].sel(tensor_component=key)) for key in ("xx", "yy", "xy"))


def polar(found, array):
    """Radial, circumferential and shear stress around the centre, and the radius."""
    y, x = np.meshgrid(array["y"], array["x"], indexing="ij")
    r = np.hypot(x, y)
    c, s = x / r, y / r
    xx, yy, xy = components(found)
    return (
        c**2 * xx + s**2 * yy + 2 * c * s * xy,
        s**2 * xx + c**2 * yy - 2 * c * s * xy,
        c * s * (yy - xx) + (c**2 - s**2) * xy,
        r,
    )


def covered(n, radius, fine=8):
    """Share of each pixel that lies in a circle around the centre, radius in pixels."""
    at = (np.arange(n * fine) + 0.5) / fine - n / 2
    return (np.hypot(at[:, None], at) <= radius).reshape(n, fine, n, fine).mean((1, 3))


def radius_of(n):
    at = np.arange(n) - (n - 1) / 2
    return np.hypot(at[:, None], at)


# ---- analytic solutions, all within 2 % of the largest stress


def test_stress__of_a_swollen_inclusion_in_a_plate_is_eshelbys():
    """Inside -E e / 2 in all directions, outside it falls off as (a / r)^2."""
    n, a, e = 256, 12, 0.01
    array = eigen(e * covered(n, a))
    found = array.stxm.stress(STEEL)
    xstxm.testing.assert_conforms(found, "stress")
    radial, around, shear, r = polar(found, array)
    a, size = a * 0.05, YOUNG * e / 2
    inside, outside = r < a - 0.15, (r > a + 0.15) & (r < 4 * a)
    np.testing.assert_allclose(radial[inside] / size, -1, atol=0.02)
    np.testing.assert_allclose(around[inside] / size, -1, atol=0.02)
    np.testing.assert_allclose(radial[outside] / size, -((a / r[outside]) ** 2), atol=0.02)
    np.testing.assert_allclose(around[outside] / size, (a / r[outside]) ** 2, atol=0.02)
    np.testing.assert_allclose(shear[inside] / size, 0, atol=0.02)
    total = components(found, "total_strain")
    np.testing.assert_allclose(total[0][inside] / e, (1 + POISSON) / 2, rtol=0.02)
    density = (1 - POISSON) * YOUNG * e**2 / 4 * 1000  # two stresses E e / 2 times an elastic strain (1 - nu) e / 2
    np.testing.assert_allclose(found["strain_energy_density"].data[inside], density, rtol=0.04)


@pytest.mark.parametrize("kind", ["stretched one way", "sheared"])
def test_stress__of_a_sheared_inclusion_in_a_plate_is_eshelbys(kind):
    """A change of shape without area keeps kappa / (kappa + 1) = (3 - nu) / 4 of its strain."""
    n, a, e = 512, 12, 0.01
    strain = e * covered(n, a)
    array = eigen(strain, -strain) if kind == "stretched one way" else eigen(0 * strain, 0, strain)
    found = array.stxm.stress(STEEL, boundary="periodic")
    at = 0 if kind == "stretched one way" else 2
    inside = radius_of(n) < a - 3
    kept = (3 - POISSON) / 4
    assert components(found, "total_strain")[at][inside].mean() / e == pytest.approx(kept, rel=0.01)
    size = YOUNG / (1 + POISSON) * e * (1 - kept)
    np.testing.assert_allclose(components(found)[at][inside] / size, -1, atol=0.02)


@pytest.mark.parametrize("inner", [0, 60], ids=["disc", "ring"])
@pytest.mark.parametrize("profile", [lambda s: 1 - s**2, lambda s: s], ids=["core", "shell"])
def test_stress__of_a_disc_and_a_ring_in_vacuum(inner, profile):
    """Axisymmetric eigenstrain, as the thermal stress of a disc; but for the staircase of the outermost pixels."""
    n, outer = 300, 140
    r = radius_of(n)
    array = eigen(np.where((r <= outer) & (r >= inner), 0.01 * profile(r / outer), np.nan), step=1.0)
    found = array.stxm.stress(STEEL)
    radial, around, shear, _ = polar(found, array)
    grid = np.linspace(inner, outer, 20001)
    moment = np.concatenate([[0], np.cumsum(np.diff(grid) * (f := 0.01 * profile(grid / outer) * grid)[1:])])
    assert f.size == grid.size
    part, whole = np.interp(r, grid, moment), moment[-1]
    share = (r**2 - inner**2) / (outer**2 - inner**2)
    expected_radial = YOUNG / r**2 * (share * whole - part)
    ring = (r**2 + inner**2) / (outer**2 - inner**2)
    expected_around = YOUNG / r**2 * (ring * whole + part - 0.01 * profile(r / outer) * r**2)
    body = (r < outer - 12) & (r > inner + (12 if inner else 0))
    size = np.abs(expected_around[body]).max()
    np.testing.assert_allclose(radial[body] / size, expected_radial[body] / size, atol=0.02)
    np.testing.assert_allclose(around[body] / size, expected_around[body] / size, atol=0.02)
    np.testing.assert_allclose(shear[body] / size, 0, atol=0.02)
    assert int(found.attrs["history"].split(" iterations")[0].split()[-1]) < 60


@pytest.mark.parametrize("along", ["x", "y"])
def test_stress__of_a_free_bar_that_bends_is_zero(along):
    """An eigenstrain linear across a bar bends it and costs nothing."""
    across = np.broadcast_to(np.linspace(-0.01, 0.01, 24)[:, None], (24, 100))
    array = eigen(across, 0) if along == "x" else eigen(0 * across.T, across.T)
    found = array.stxm.stress(STEEL, tolerance=1e-7)
    assert float(abs(found["stress"]).max()) < 0.02 * YOUNG * 0.01
    middle = found["stress"].isel({along: slice(30, 70)})
    assert float(abs(middle).max()) < 0.003 * YOUNG * 0.01


# ---- laws


def particle(seed, shape=(14, 17)):
    """A random sample, in several pieces with holes, NaN elsewhere."""
    rng = np.random.default_rng(seed)
    return rng, np.where(rng.uniform(size=shape) < 0.7, 1.0, np.nan)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_stress__of_an_even_eigenstrain_is_zero_whatever_the_shape(seed):
    rng, shape = particle(seed)
    xx, yy, xy = rng.normal(size=3) * 0.01
    found = eigen(xx * shape, yy * shape, xy * shape).stxm.stress(V2O5_LIKE, tolerance=1e-8)
    np.testing.assert_allclose(found["stress"].fillna(0), 0, atol=1e-6)
    np.testing.assert_array_equal(found["von_mises"].isnull(), np.isnan(shape))


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_stress__of_a_free_body_has_no_mean_and_an_energy(seed):
    rng, shape = particle(seed)
    found = eigen(*(rng.normal(size=(3, *shape.shape)) * 0.01 * shape)).stxm.stress(V2O5_LIKE, angle=20, tolerance=1e-9)
    scale = float(abs(found["stress"]).max())
    np.testing.assert_allclose(found["stress"].sum(("y", "x")) / scale, 0, atol=1e-5)
    assert float(found["strain_energy_density"].sum()) > 0
    elastic = found["total_strain"]
    assert bool(np.isfinite(elastic.where(~np.isnan(shape), 0)).all())


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_stress__follows_the_turned_and_mirrored_image(seed):
    rng, shape = particle(seed)
    xx, yy, xy = rng.normal(size=(3, *shape.shape)) * 0.01 * shape
    array, options = eigen(xx, yy, xy), {"tolerance": 1e-9}
    found = components(array.stxm.stress(V2O5_LIKE, **options))
    down = array.isel(y=slice(None, None, -1))
    for a, b in zip(components(down.stxm.stress(V2O5_LIKE, **options)), found, strict=True):
        np.testing.assert_allclose(a[::-1], b, atol=1e-6)
    flipped = eigen(xx[:, ::-1], yy[:, ::-1], -xy[:, ::-1])
    for a, b, sign in zip(components(flipped.stxm.stress(V2O5_LIKE, **options)), found, (1, 1, -1), strict=True):
        np.testing.assert_allclose(sign * a[:, ::-1], b, atol=1e-6)
    swapped = eigen(yy.T, xx.T, xy.T).stxm.stress(V2O5_LIKE, along_x="chain", along_y="rung", **options)
    a, b, c = components(swapped)
    for part, expected in zip((b.T, a.T, c.T), found, strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-6)
    turned = eigen(np.rot90(yy), np.rot90(xx), -np.rot90(xy)).stxm.stress(V2O5_LIKE, angle="90 deg", **options)
    a, b, c = components(turned)
    for part, expected in zip((b, a, -c), found, strict=True):
        np.testing.assert_allclose(np.rot90(part, -1), expected, atol=1e-6)


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_stress__is_linear_in_eigenstrain_and_stiffness_and_knows_no_pixel_size(seed):
    rng, shape = particle(seed)
    parts = rng.normal(size=(3, *shape.shape)) * 0.01 * shape
    other = rng.normal(size=(3, *shape.shape)) * 0.01 * shape
    one, two, both = (eigen(*p).stxm.stress(STEEL, tolerance=1e-9)["stress"] for p in (parts, other, 2 * parts - other))
    np.testing.assert_allclose(both, 2 * one - two, atol=1e-6)
    np.testing.assert_allclose(eigen(*parts, step=3.0).stxm.stress(STEEL, tolerance=1e-9)["stress"], one, atol=1e-6)
    harder = eigen(*parts).stxm.stress(Isotropic(200.0, POISSON), tolerance=1e-9)["stress"]
    np.testing.assert_allclose(harder, 2 * one, atol=1e-6)


def test_stress__of_two_particles_is_that_of_each_alone():
    rng = np.random.default_rng(0)
    parts = rng.normal(size=(3, 20, 30)) * 0.01
    parts[:, :, 14] = np.nan
    found = eigen(*parts).stxm.stress(V2O5_LIKE, tolerance=1e-9)["stress"]
    for columns in (slice(0, 14), slice(15, 30)):
        alone = eigen(*parts[:, :, columns]).stxm.stress(V2O5_LIKE, tolerance=1e-9)["stress"]
        np.testing.assert_allclose(found.isel(x=columns), alone, atol=1e-6)


def test_stress__equals_an_assembled_finite_element_system():
    """The same elements in a sparse matrix, solved directly, for a sample with holes and oblong pixels."""
    from scipy import sparse
    from scipy.sparse.linalg import lsqr

    rng, shape = particle(4, (7, 6))
    parts = rng.normal(size=(3, 7, 6)) * 0.01 * shape
    stiffness, (dy, dx) = mechanics._turned(V2O5_LIKE.stiffness("rung", "chain"), 0.4), (0.5, 0.3)
    found = spectral_elasticity.solve(parts, stiffness, (dy, dx), periodic=False, tolerance=1e-10, max_iterations=500)
    rows, targets = [], []
    root = np.linalg.cholesky(stiffness).T
    point = 1 / np.sqrt(3)
    for y, x in zip(*np.nonzero(~np.isnan(shape)), strict=True):
        nodes = [(y + j) * 7 + x + i for j in (0, 1) for i in (0, 1)]
        for eta in (-point, point):
            for xi in (-point, point):
                b = np.zeros((3, 2 * 8 * 7))
                for (i, j), node in zip(((-1, -1), (1, -1), (-1, 1), (1, 1)), nodes, strict=True):
                    b[0, 2 * node] = i * (1 + j * eta) / 2 / dx
                    b[1, 2 * node + 1] = j * (1 + i * xi) / 2 / dy
                    b[2, 2 * node], b[2, 2 * node + 1] = j / 2 / dy, i / 2 / dx
                rows.append(root @ b)
                targets.append(root @ parts[:, y, x])
    u = lsqr(sparse.csr_array(np.concatenate(rows)), np.concatenate(targets), atol=1e-13, btol=1e-13, iter_lim=20000)[0]
    strain = np.full_like(parts, np.nan)
    for y, x in zip(*np.nonzero(~np.isnan(shape)), strict=True):
        corners = np.array([[u[2 * ((y + j) * 7 + x + i) :][:2] for i in (0, 1)] for j in (0, 1)])
        by_x, by_y = (corners[:, 1] - corners[:, 0]).mean(0) / dx, (corners[1] - corners[0]).mean(0) / dy
        strain[:, y, x] = by_x[0], by_y[1], by_y[0] + by_x[1]
    np.testing.assert_allclose(found.strain, strain, atol=1e-7)


# ---- elastic constants


def test_elastic__isotropic_and_orthotropic_agree():
    lame = YOUNG * POISSON / (1 + POISSON) / (1 - 2 * POISSON)
    shear = YOUNG / 2 / (1 + POISSON)
    c = lame + 2 * shear
    same = Orthotropic(c, c, c, lame, lame, lame, shear, shear, shear)
    for plane in (("rung", "chain"), ("chain", "stacking"), ("stacking", "rung")):
        np.testing.assert_allclose(same.stiffness(*plane), STEEL.stiffness(*plane), rtol=1e-12)


def test_elastic__follows_the_axes_and_the_units():
    plane = V2O5_LIKE.stiffness("rung", "chain")
    np.testing.assert_allclose(plane[0, 0], 220 - 20**2 / 40)
    np.testing.assert_allclose(plane[1, 1], 190 - 15**2 / 40)
    np.testing.assert_allclose(plane[0, 1], 50 - 20 * 15 / 40)
    swapped = V2O5_LIKE.stiffness("chain", "rung")
    np.testing.assert_allclose(swapped[:2, :2], plane[1::-1, 1::-1])
    np.testing.assert_allclose(Isotropic("1e11 Pa", 0.3).stiffness("rung", "chain"), STEEL.stiffness("rung", "chain"))


SMALL = eigen(np.full((4, 5), 0.01))


@pytest.mark.parametrize(
    ("kind", "constants", "error", "message"),
    [
        pytest.param(Isotropic, ("100 N", 0.3), IncompatibleUnitsError, "young is in .*'GPa'", id="force"),
        pytest.param(Isotropic, ("100", 0.3), MissingUnitsError, "'100 GPa'", id="string without unit"),
        pytest.param(Isotropic, (-5, 0.3), OptionError, "a Young's modulus in GPa above 0", id="negative"),
        pytest.param(Isotropic, (100, 0.5), OptionError, "Poisson's ratio, .*below 0.5", id="poisson"),
        pytest.param(Isotropic, (100, np.nan), OptionError, "Poisson's ratio", id="nan"),
        pytest.param(
            Isotropic, (100e9, 0.3), OptionError, r"in GPa, and no solid .*: write '1e\+11 Pa' if", id="pascals"
        ),
        pytest.param(
            Orthotropic,
            (100, 100, 100, 120, 0, 0, 30),
            OptionError,
            "eigenvalue -20 GPa and is not positive definite",
            id="pd",
        ),
        pytest.param(
            Orthotropic, (100, 100, 100, 20, 0, 0, -30), OptionError, "a shear modulus in GPa above 0", id="shear"
        ),
        pytest.param(
            Orthotropic,
            (100, 100, 100, 20, 0, 0, 30, None, 3e10),
            OptionError,
            r"^shear_rung_stacking=30000000000\.0: .*'3e\+10 Pa'",
            id="a shear modulus in pascals",
        ),
    ],
)
def test_elastic__refuses_what_no_solid_has(kind, constants, error, message):
    with pytest.raises(error, match=message):
        kind(*constants)


@pytest.mark.parametrize(
    ("elastic", "message"),
    [
        pytest.param(
            Orthotropic(100, 100, 100, 20, 0, 0, shear_chain_stacking=30),
            r"shear_chain_rung=None: give the shear modulus in the plane of the image \(rung, chain\)",
            id="no shear",
        ),
        pytest.param(100.0, r"pass xstxm.mechanics.Isotropic\(young, poisson\)", id="number"),
    ],
)
def test_stress__refuses_elastic_constants(elastic, message):
    with pytest.raises(OptionError, match=message):
        SMALL.stxm.stress(elastic)


@pytest.mark.parametrize(
    ("array", "options", "error", "message"),
    [
        pytest.param(SMALL, {"along_x": "rugn"}, ChoiceError, "did you mean 'rung'", id="unknown role"),
        pytest.param(SMALL, {"along_x": "a"}, ChoiceError, "use 'chain', 'rung' or 'stacking'", id="letter"),
        pytest.param(SMALL, {"along_x": "chain"}, OptionError, "x lies along 'chain' too", id="twice"),
        pytest.param(SMALL, {"boundary": "fixed"}, ChoiceError, "'free' or 'periodic'", id="boundary"),
        pytest.param(SMALL, {"angle": "3 um"}, IncompatibleUnitsError, "deg", id="angle"),
        pytest.param(SMALL, {"tolerance": 0}, OptionError, "tolerance=0", id="tolerance"),
        pytest.param(SMALL, {"max_iterations": 0.5}, OptionError, "max_iterations=0.5", id="iterations"),
        pytest.param(SMALL.isel(y=0), {}, MissingDimensionError, "a stress needs an image", id="line"),
        pytest.param(
            SMALL.isel(tensor_component=0), {}, SchemaError, "wanted 'lattice_axis' or 'tensor_component'", id="scalar"
        ),
        pytest.param(
            SMALL.isel(tensor_component=[0, 1]), {}, SchemaError, "holds xx, yy, wanted xx, yy, xy", id="components"
        ),
        pytest.param(
            SMALL.assign_coords(x=("x", [0, 1, 2, 3, 5.0], {"units": "um"})),
            {},
            SchemaError,
            "not evenly spaced",
            id="uneven",
        ),
        pytest.param(
            SMALL.to_dataset(name="other"), {}, MissingVariableError, r"call .stxm.strain\(\) first", id="name"
        ),
    ],
)
def test_stress__refuses(array, options, error, message):
    with pytest.raises(error, match=message):
        xstxm.stress(array, STEEL, **options)


def test_stress__reads_the_units_of_the_eigenstrain():
    percent = (100 * SMALL).assign_attrs(units="percent")
    xr.testing.assert_allclose(xstxm.stress(percent, STEEL).drop_attrs(), xstxm.stress(SMALL, STEEL).drop_attrs())
    with pytest.raises(IncompatibleUnitsError, match="the eigenstrain"):
        xstxm.stress(SMALL.assign_attrs(units="um"), STEEL)


def test_stress__that_does_not_converge_says_so():
    array = eigen(np.random.default_rng(0).normal(size=(9, 12)) * 0.01)
    with pytest.warns(ConvergenceWarning, match="did not converge in 2 iterations.*larger max_iterations"):
        array.stxm.stress(STEEL, max_iterations=2)


# ---- what comes in and out


@pytest.fixture(scope="module")
def strains():
    stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    return xstxm.strain(xstxm.phase_map(stack, xstxm.testing.simulate_references(), method="nnls"))


def test_stress__of_a_strain_map(strains):
    found = strains.stxm.stress(V2O5_LIKE)
    xstxm.testing.assert_conforms(found, "stress")
    assert found["stress"].dtype == strains["eigenstrain"].dtype == np.float32
    empty = strains["eigenstrain"].isnull().any("lattice_axis")
    for array in found.data_vars.values():
        np.testing.assert_array_equal(array.isnull(), empty.broadcast_like(array).transpose(*array.dims))
    assert [entry["operation"] for entry in xstxm.provenance.entries(found)][-1] == "stress"
    assert "Orthotropic(chain=190" in found.attrs["elastic"]
    assert "elastic constants Orthotropic(chain=190" in found.attrs["history"]
    assert strains.attrs["relative_to"] == found.attrs["relative_to"]
    xr.testing.assert_allclose(strains.chunk(y=5).stxm.stress(V2O5_LIKE), found)


def test_stress__takes_the_axes_of_the_lattice_that_lie_in_the_image(strains):
    eigenstrain = strains["eigenstrain"].astype(float)
    rung, chain = (eigenstrain.sel(lattice_axis=axis, drop=True) for axis in ("rung", "chain"))
    turn = np.deg2rad(30)
    c, s = np.cos(turn), np.sin(turn)
    parts = [c**2 * rung + s**2 * chain, s**2 * rung + c**2 * chain, c * s * (rung - chain)]
    image = xr.concat(parts, xr.IndexVariable("tensor_component", ["xx", "yy", "xy"]))
    found = eigenstrain.stxm.stress(STEEL, angle=30)
    np.testing.assert_allclose(found["stress"], image.stxm.stress(STEEL)["stress"], atol=1e-9)
    radians = eigenstrain.stxm.stress(STEEL, angle=f"{turn} rad")
    np.testing.assert_allclose(radians["stress"], found["stress"], atol=1e-9)


def test_stress__of_a_series_is_that_of_each_image(strains):
    both = xr.concat([strains, 2 * strains], "theta", join="override")[["eigenstrain"]]
    found = both.stxm.stress(STEEL, tolerance=1e-8)
    assert set(found["stress"].dims) == {"tensor_component", "theta", "y", "x"}
    one = strains.stxm.stress(STEEL, tolerance=1e-8)
    np.testing.assert_allclose(found["stress"].isel(theta=1), 2 * one["stress"], atol=1e-5)


def test_stress__of_nothing_is_nan():
    found = (SMALL * np.nan).stxm.stress(STEEL)
    assert all(bool(array.isnull().all()) for array in found.data_vars.values())
    np.testing.assert_allclose((0 * SMALL).stxm.stress(STEEL)["stress"], 0, atol=1e-15)


def test_stress__one_component_that_is_nan_is_vacuum():
    array = SMALL.copy(deep=True)
    array[2, 1, 3] = np.nan
    found = array.stxm.stress(STEEL)
    assert bool(found["stress"].isnull()[:, 1, 3].all())
    assert int(found["von_mises"].isnull().sum()) == 1
