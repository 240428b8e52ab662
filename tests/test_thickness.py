from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from laziness import raise_if_dask_computes

import xstxm
from xstxm.conventions import QUALITY_FLAGS
from xstxm.errors import (
    ChoiceError,
    EnergyRangeError,
    IncompatibleUnitsError,
    MissingUnitsError,
    MissingVariableError,
    OptionError,
    SchemaError,
)

ENERGIES = np.concatenate([np.linspace(490, 509, 8), np.linspace(511, 556, 30), np.linspace(560, 575, 6)])
V2O5 = ("V2O5", "3.36 g/cm**3")


def density_of(thickness, energies=ENERGIES, offset=0.0, noise=0.0, dtype=float, seed=0):
    """Optical density (energy, y, x) of a map of thickness in nm; near the edges it is anything."""
    thickness = np.asarray(thickness, dtype=float)
    table = xstxm.tabulated_absorption(*V2O5, energies)
    rng = np.random.default_rng(seed)
    od = np.asarray(table["linear_absorption"])[:, None, None] * thickness + offset
    od = od + noise * rng.normal(size=od.shape)
    od = np.where(np.asarray(table["near_edge"])[:, None, None], rng.uniform(0, 3, od.shape), od)
    coords = {"energy": ("energy", np.asarray(energies, dtype=float), {"units": "eV"})}
    return xr.DataArray(od.astype(dtype), coords, ("energy", "y", "x"), "optical_density", {"units": "1"})


MAP = np.random.default_rng(1).uniform(20, 200, (4, 5))


# ---- the table


def test_tabulated_absorption__of_v2o5():
    """0.75 per um below the vanadium edges, 6.35 above the oxygen edge."""
    table = xstxm.tabulated_absorption(*V2O5, [505, "0.56 keV"])
    xstxm.testing.assert_conforms(table, "tabulated_absorption")
    np.testing.assert_allclose(1000 * table["linear_absorption"], [0.75, 6.35], atol=0.005)
    assert table["linear_absorption"].attrs["units"] == "1/nm"
    assert not table["near_edge"].any()
    np.testing.assert_allclose(table["table_disagreement"], 0, atol=0.1)


def test_tabulated_absorption__agrees_with_the_tables_own_mixture():
    import xraydb

    energies = np.array([300.0, 505, 700, 2000])
    table = xstxm.tabulated_absorption("Li0.4V2O5", "3400 kg/m**3", energies)
    expected = xraydb.material_mu("Li0.4V2O5", energies, density=3.4) * 1e-7
    np.testing.assert_allclose(table["linear_absorption"], expected, rtol=1e-12)


def test_tabulated_absorption__is_not_used_from_510_to_560_ev_for_v2o5():
    energies = np.arange(500, 570, 0.1)
    near = np.asarray(xstxm.tabulated_absorption(*V2O5, energies)["near_edge"])
    inside = energies[near]
    assert 509 < inside.min() < 510
    assert 559 < inside.max() < 560
    assert near[(energies > 510) & (energies < 559)].all()
    tables = xstxm.tabulated_absorption(*V2O5, energies)["table_disagreement"]
    assert float(abs(tables[near]).max()) > 1
    assert float(abs(tables[~near]).max()) < 0.1


def test_tabulated_absorption__regions_of_edges_that_are_not_named():
    """Fe L from 5 eV below 706.8 eV to 16.5 above 719.9; F K, whose edge lies above its features, from 16 below 696.7."""

    def near(formula, energies, **options):
        return list(xstxm.tabulated_absorption(formula, 5.2, energies, **options)["near_edge"].data)

    assert near("Fe2O3", [701.5, 702, 715, 736, 737]) == [False, True, True, True, False]
    assert near("FeF3", [680, 681, 701.5]) == [False, True, True]
    assert near("Fe2O3", [690.0, 737], near_edge={"Fe L3": (20, 40)}) == [True, True]
    assert near("Fe2O3", [705.0, 718], near_edge={"L3": (0.5, 0.5)}) == [False, True]
    assert near("FeF3", [690.0, 705], near_edge={"": (0.5, 0.5)}) == [False, True]


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        pytest.param(("Xx2", 3.0, [505]), {}, OptionError, "write a chemical formula", id="element"),
        pytest.param(("", 3.0, [505]), {}, OptionError, "write a chemical formula", id="empty"),
        pytest.param((3, 3.0, [505]), {}, OptionError, "write a chemical formula", id="number"),
        pytest.param(("V2O5", 0, [505]), {}, OptionError, "a density in g/cm.* above 0", id="no density"),
        pytest.param(("V2O5", "3.36", [505]), {}, MissingUnitsError, "'3.36 g/cm", id="density without unit"),
        pytest.param(("V2O5", "3 nm", [505]), {}, IncompatibleUnitsError, "density", id="length"),
        pytest.param(("V2O5", 3.0, [50]), {}, EnergyRangeError, "the tables begin at 100 eV, found 50 eV", id="low"),
        pytest.param(("V2O5", 3.0, []), {}, SchemaError, "give one or more", id="no energies"),
        pytest.param(
            ("V2O5", 3.0, [505]), {"near_edge": {"Fe L3": (1, 1)}}, OptionError, "no edge of the formula", id="edge"
        ),
        pytest.param(
            ("V2O5", 3.0, [505]), {"near_edge": {"V L3": (-1, 1)}}, OptionError, "two widths in eV", id="width"
        ),
        pytest.param(("V2O5", 3.0, [505]), {"near_edge": {"V L3": 3}}, OptionError, "two widths in eV", id="one width"),
    ],
)
def test_tabulated_absorption__refuses(args, options, error, message):
    with pytest.raises(error, match=message):
        xstxm.tabulated_absorption(*args, **options)


# ---- thickness


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_thickness__is_recovered_whatever_happens_near_the_edges(dtype):
    found = xstxm.thickness(density_of(MAP, dtype=dtype), *V2O5)
    xstxm.testing.assert_conforms(found, "thickness")
    np.testing.assert_allclose(found["thickness"], MAP, rtol=1e-5)
    np.testing.assert_allclose(found["areal_mass"], MAP * 1e-7 * 3.36 * 1e6, rtol=1e-5)
    assert found["thickness"].dtype == found["areal_mass_stderr"].dtype == dtype
    assert found.attrs["n_energies"] == 14
    assert 0.01 < found.attrs["table_disagreement"] < 0.1
    assert "14 energies away from the edges; tables differ by up to" in found.attrs["history"]


def test_thickness__with_a_constant_is_blind_to_a_wrong_i0():
    od = density_of(MAP, offset=0.07)
    np.testing.assert_allclose(xstxm.thickness(od, *V2O5, background="constant")["thickness"], MAP, rtol=1e-9)
    assert float(abs(xstxm.thickness(od, *V2O5)["thickness"] / MAP - 1).min()) > 0.01


@given(st.integers(0, 2**32 - 1), st.sampled_from(["none", "constant"]))
def test_thickness__equals_least_squares_on_the_energies_that_are_there(seed, background):
    rng = np.random.default_rng(seed)
    od = density_of(MAP[:2, :3], noise=0.05, offset=0.02, seed=seed)
    od = od.where(xr.DataArray(rng.uniform(size=od.shape) < 0.8, dims=od.dims))
    found = xstxm.thickness(od, *V2O5, background=background)
    table = xstxm.tabulated_absorption(*V2O5, ENERGIES)
    for y in range(2):
        for x in range(3):
            use = ~np.asarray(table["near_edge"]) & np.isfinite(od[:, y, x].data)
            columns = [np.asarray(table["linear_absorption"])[use], np.ones(use.sum())]
            a = np.array(columns[: 2 if background == "constant" else 1]).T
            solution, rest, rank, _ = np.linalg.lstsq(a, od[use, y, x].data)
            if rank < a.shape[1] or use.sum() <= a.shape[1] or np.ptp(a[:, 0]) < 0.5 * a[:, 0].max():
                continue
            covariance = rest[0] / (use.sum() - a.shape[1]) * np.linalg.inv(a.T @ a)
            np.testing.assert_allclose(found["thickness"][y, x], solution[0], rtol=1e-7)
            np.testing.assert_allclose(found["thickness_stderr"][y, x], np.sqrt(covariance[0, 0]), rtol=1e-6)


@pytest.mark.parametrize("background", ["none", "constant"])
@pytest.mark.parametrize("known", [True, False], ids=["variance", "residual"])
def test_thickness__has_the_error_that_repeated_measurements_show(background, known):
    od = density_of(np.full((50, 60), 120.0), noise=0.02)
    stack = od.to_dataset()
    if known:
        stack["optical_density_variance"] = xr.full_like(od, 0.02**2)
    found = stack.stxm.thickness(*V2O5, background=background)
    spread = float(found["thickness"].std())
    assert float((found["thickness_stderr"] ** 2).mean() ** 0.5) == pytest.approx(spread, rel=0.06)
    assert float(found["areal_mass_stderr"].median() / found["thickness_stderr"].median()) == pytest.approx(0.336)


def test_thickness__of_one_energy_has_no_error_but_that_of_the_variance():
    od = density_of(MAP, [505.0])
    assert bool(xstxm.thickness(od, *V2O5)["thickness_stderr"].isnull().all())
    stack = od.to_dataset().assign(optical_density_variance=xr.full_like(od, 1e-4))
    stderr = xstxm.thickness(stack, *V2O5)["thickness_stderr"]
    np.testing.assert_allclose(stderr, 0.01 / 0.7474e-3, rtol=1e-3)


@given(st.floats(0.1, 20))
def test_thickness__areal_mass_does_not_depend_on_the_density(density):
    od = density_of(MAP)
    found, other = (xstxm.thickness(od, "V2O5", value) for value in (density, 3.36))
    np.testing.assert_allclose(found["areal_mass"], other["areal_mass"], rtol=1e-9)
    np.testing.assert_allclose(found["thickness"] * density, other["thickness"] * 3.36, rtol=1e-9)


def test_thickness__leaves_pixels_beside_nan_untouched_and_flags_them():
    od = density_of(MAP, noise=0.01)
    holes = od.copy(deep=True)
    holes[:, 1, 2] = np.nan
    holes[:3, 2, 2] = np.nan
    found, whole = (xstxm.thickness(data.to_dataset(), *V2O5) for data in (holes, od))
    assert bool(found["thickness"].isnull()[1, 2])
    assert int(found["quality"][1, 2]) == QUALITY_FLAGS["not_measured"]
    assert int((found["quality"] != 0).sum()) == 1
    np.testing.assert_allclose(found["thickness"][2, 2], whole["thickness"][2, 2], rtol=0.05)
    others = np.ones((4, 5), dtype=bool)
    others[1:3, 2] = False
    np.testing.assert_array_equal(found["thickness"].data[others], whole["thickness"].data[others])


def test_thickness__uses_the_mask_of_the_stack():
    mask = xr.DataArray(np.eye(4, 5, dtype=bool), dims=("y", "x"))
    found = density_of(MAP).to_dataset().assign(mask=mask).stxm.thickness(*V2O5)
    np.testing.assert_array_equal(found["thickness"].notnull(), mask)


def test_thickness__is_lazy_and_equal_to_the_one_in_memory():
    stack = density_of(MAP, noise=0.01).to_dataset()
    stack["optical_density_variance"] = xr.full_like(stack["optical_density"], 1e-4)
    with raise_if_dask_computes():
        lazy = stack.chunk(energy=5, y=2).stxm.thickness(*V2O5)
    assert lazy["thickness"].chunks is not None
    xr.testing.assert_allclose(lazy.compute(), stack.stxm.thickness(*V2O5))


def test_thickness__takes_any_order_and_unit_of_energies():
    od = density_of(MAP, noise=0.01)
    expected = xstxm.thickness(od, *V2O5)["thickness"]
    down = od.isel(energy=slice(None, None, -1))
    np.testing.assert_allclose(xstxm.thickness(down, *V2O5)["thickness"], expected, rtol=1e-9)
    kev = od.assign_coords(energy=("energy", ENERGIES / 1000, {"units": "keV"}))
    np.testing.assert_allclose(xstxm.thickness(kev, *V2O5)["thickness"], expected, rtol=1e-9)
    spectrum = xstxm.thickness(od.isel(y=1, x=3), *V2O5)["thickness"]
    np.testing.assert_allclose(spectrum, expected[1, 3])


def test_thickness__of_the_simulated_sample():
    """The simulator anchors its spectra to the same tables; its phases absorb up to 5 % less than V2O5."""
    stack = xstxm.testing.simulate_stack(shape=(40, 50), seed=0)
    od = xstxm.optical_density(stack, stack["true_i0"])
    found = od.stxm.thickness(*V2O5)
    truth = stack["true_thickness"].sum("reference")
    ratio = (found["thickness"] / truth).where(truth > 60)
    assert 0.9 < float(ratio.median()) < 1.05


@pytest.mark.parametrize(
    ("energies", "options", "message"),
    [
        pytest.param(
            np.linspace(512, 550, 20),
            {},
            r"0 energies away from the edges, 1 needed: the stack covers 512-550 eV, and "
            r"tables .* of V2O5: .*\(V L3\).*\(O K\) eV: measure some outside",
            id="all near",
        ),
        pytest.param(
            np.linspace(500, 550, 20), {"background": "constant"}, "differs by less than 5 %.*both sides", id="one side"
        ),
        pytest.param([505.0, 520], {"background": "constant"}, "1 energies away from the edges, 2 needed", id="one"),
    ],
)
def test_thickness__needs_energies_away_from_the_edges(energies, options, message):
    with pytest.raises(EnergyRangeError, match=message):
        xstxm.thickness(density_of(MAP, energies), *V2O5, **options)


def test_thickness__refuses(stack):
    with pytest.raises(MissingVariableError, match=r"optical_density\(\) first"):
        xstxm.thickness(stack, *V2O5)
    with pytest.raises(IncompatibleUnitsError, match="on counts first"):
        xstxm.thickness(stack["intensity"], *V2O5)
    with pytest.raises(ChoiceError, match="did you mean 'constant'"):
        xstxm.thickness(density_of(MAP), *V2O5, background="contsant")
