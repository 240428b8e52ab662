from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from laziness import raise_if_dask_computes

import xstxm
from xstxm._kernels import mixing
from xstxm.conventions import NO_SAMPLE, UNDECIDED
from xstxm.errors import (
    ChoiceError,
    IncompatibleUnitsError,
    MissingCoordinateError,
    MissingDimensionError,
    MissingUnitsError,
    MissingVariableError,
    OptionError,
    ReferenceSpectrumError,
    SchemaError,
)

AXES = ["chain", "rung", "stacking"]


def image(values, dims=("y", "x"), step=(0.05, 0.05), units="1"):
    values = np.asarray(values)
    coords = {
        dim: (dim, size * np.arange(n), {"units": "um"})
        for dim, size, n in zip(dims[-2:], step, values.shape[-2:], strict=True)
    }
    return xr.DataArray(values, dims=dims, coords=coords, attrs={"units": units})


def phases_of(fraction, stderr=0.0, composition=None, composition_stderr=0.0, dtype=float):
    """A phase map: phase to fractions (y, x)."""
    values = np.array([np.atleast_2d(v) for v in fraction.values()], dtype=dtype)
    made = image(values, ("phase", "y", "x")).assign_coords(phase=list(fraction))
    phases = xr.Dataset({"phase_fraction": made, "phase_fraction_stderr": xr.full_like(made, stderr)})
    if composition is not None:
        x = made.isel(phase=0, drop=True).copy(data=np.atleast_2d(composition).astype(dtype))
        phases = phases.assign(composition=x, composition_stderr=xr.full_like(x, composition_stderr))
    return phases


def table_of(units="angstrom", scale=1.0, **rows):
    """Cells: name to (phase, x, chain, rung, stacking)."""
    phase, x, *lengths = (list(column) for column in zip(*rows.values(), strict=True))
    table = xr.Dataset(coords={"state": list(rows), "phase": ("state", phase), "composition": ("state", x)})
    for axis, column in zip(AXES, lengths, strict=True):
        table[f"cell_{axis}"] = ("state", scale * np.array(column), {"units": units})
    return table


TWO_ENDS = {
    "low a": ("a", 0.0, 4.0, 10.0, 5.0),
    "high a": ("a", 0.1, 4.04, 10.0, 5.1),
    "low b": ("b", 0.4, 4.04, 9.8, 5.5),
    "high b": ("b", 0.8, 4.0, 9.6, 5.7),
}


# ---- the table


def test_phase_table__says_how_far_each_value_can_be_trusted():
    table = xstxm.phase_table()
    status = table["status"].to_series().unstack("state")
    assert set(status.to_numpy().ravel()) == {"verified", "recalled", ""}
    assert status.loc["cell_volume", "alpha-V2O5"] == ""  # the product of the lengths
    assert status.loc["cell_rung", "alpha-V2O5"] == "verified"
    assert status.loc["highest_composition", "alpha-V2O5"] == "recalled"
    assert status.loc["cell_rung", "epsilon-Li0.4V2O5"] == "recalled"
    assert status.loc["space_group", "delta-LiV2O5"] == "verified"
    assert table["cell_chain"].attrs["units"] == "angstrom"
    assert not {"a", "b", "c"} & {*map(str, table.variables)}


def test_phase_table__takes_own_values_and_says_so():
    table = xstxm.phase_table(
        {
            "delta-LiV2O5": {"cell_stacking": "0.99 nm"},
            "mine": {"composition": 0.2, "phase": "p"}
            | dict.fromkeys(["cell_chain", "cell_rung", "cell_stacking"], 4.0),
        }
    )
    assert float(table["cell_stacking"].sel(state="delta-LiV2O5")) == 9.9
    assert table["status"].sel(state="delta-LiV2O5", quantity="cell_stacking").item() == "given"
    assert table["status"].sel(state="delta-LiV2O5", quantity="cell_chain").item() == "recalled"
    assert table["source"].sel(state="delta-LiV2O5").item().endswith("changed by the user")
    assert float(table["highest_composition"].sel(state="mine")) == 0.2
    assert float(xstxm.phase_table()["cell_stacking"].sel(state="delta-LiV2O5")) == 9.916


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        pytest.param(
            {"alpha-V2O5": {"cell_b": 3.56}}, ChoiceError, "unknown quantity of 'alpha-V2O5' 'cell_b'", id="a"
        ),
        pytest.param({"new": {"composition": 0.5}}, OptionError, "a new state needs cell_chain, cell_rung", id="new"),
        pytest.param({"alpha-V2O5": {"cell_rung": "11 eV"}}, IncompatibleUnitsError, "angstrom", id="units"),
        pytest.param({"alpha-V2O5": {"cell_rung": -3}}, OptionError, "a number above 0", id="negative"),
        pytest.param({"alpha-V2O5": {"composition": -1}}, OptionError, "of at least 0", id="composition"),
        pytest.param(
            {"epsilon-Li0.4V2O5": {"composition": 5}},
            OptionError,
            r"5 lies outside the range from 0\.32 to 0\.8",
            id="x",
        ),
        pytest.param(
            {"epsilon-Li0.4V2O5": {"lowest_composition": 0.9, "highest_composition": 0.1}},
            OptionError,
            r"outside the range from 0\.9 to 0\.1",
            id="range",
        ),
        pytest.param({"alpha-V2O5": {"formula_units": 2.5}}, OptionError, "a whole number of 1 or more", id="units"),
        pytest.param({"alpha-V2O5": {"layers": 0}}, OptionError, "a whole number of 1 or more", id="layers"),
        pytest.param(
            {"epsilon": {"cell_rung": 11.4}},
            OptionError,
            r"composition, cell_chain, cell_stacking too \(did you mean 'epsilon-Li0\.4V2O5'\?\)",
            id="phase for a state",
        ),
        pytest.param(
            {"alpha": {"cell_rung": 11.4}}, OptionError, r"mean 'alpha-V2O5' or 'alpha-Li0\.1V2O5'\?", id="two states"
        ),
        pytest.param({"zeta-V205": {"cell_rung": 11.4}}, OptionError, "did you mean 'zeta-V2O5'", id="spelling"),
    ],
)
def test_phase_table__refuses(changes, error, message):
    with pytest.raises(error, match=message):
        xstxm.phase_table(changes)


# ---- strain


def test_strain__of_lithiation_has_the_known_end_points():
    phases = phases_of({"alpha": [0.0, 1.0], "epsilon": [1.0, 0.0]}, composition=[0.4, 0.0])
    found = xstxm.strain(phases, relative_to="alpha")
    xstxm.testing.assert_conforms(found, "strain")
    pure = found["eigenstrain"].isel(y=0, x=0).to_series()
    assert list(pure.index) == AXES
    np.testing.assert_allclose(pure[["rung", "chain", "stacking"]], [-0.010, 0.002, 0.030], atol=1e-3)
    np.testing.assert_allclose(found["eigenstrain"].isel(x=1), 0, atol=1e-12)
    volume = (11.40 * 3.57 * 4.50) / (11.51 * 3.56 * 4.37) - 1  # alpha has no volume of its own
    assert float(found["volumetric_strain"][0, 0]) == pytest.approx(volume)
    assert found.attrs["relative_to"] == "alpha-V2O5"
    assert "epsilon-Li0.4V2O5: recalled" in found.attrs["cell_status"]
    assert "alpha-V2O5: verified" in found.attrs["cell_status"]
    assert "Phase Transitions" in found.attrs["cell_source"]


def test_strain__of_a_doubled_cell_is_that_of_one_layer():
    found = xstxm.strain(phases_of({"alpha": [0.0], "delta": [1.0]}, composition=1.0))
    assert float(found["eigenstrain"].sel(lattice_axis="stacking")[0, 0]) == pytest.approx(9.916 / 2 / 4.37 - 1)


def test_volumetric_strain__is_that_of_the_stated_volumes():
    """Two cells whose lengths are equal, and whose angles are not; of the second the volume of two layers."""
    rows = {"one": ("a", 0.0, 3.6, 15.25, 10.1), "two": ("b", 1.0, 3.6, 15.25, 20.2)}
    cells = table_of(**rows).assign(cell_volume=("state", [500.0, 1040.0], {"units": "angstrom**3"}))
    cells = cells.assign(layers=("state", [1, 2]))
    found = xstxm.strain(phases_of({"a": [1.0, 0.5], "b": [0.0, 0.5]}), cells=cells)
    np.testing.assert_allclose(found["eigenstrain"], 0, atol=1e-12)
    np.testing.assert_allclose(found["volumetric_strain"][0], [0, 0.02])
    plain = xstxm.strain(phases_of({"a": [0.0], "b": [1.0]}), cells=cells.drop_vars("cell_volume"))
    np.testing.assert_allclose(plain["volumetric_strain"], 0, atol=1e-12)


def test_status__is_that_of_the_quantities_that_were_used():
    phases = phases_of({"epsilon": [1.0]}, composition=[0.4])
    volume = xstxm.phase_table({"epsilon-Li0.4V2O5": {"cell_volume": 184, "formula_units": 2}})
    assert xstxm.concentration(phases, cells=volume).attrs["cell_status"] == "epsilon-Li0.4V2O5: given"
    assert xstxm.strain(phases, cells=volume).attrs["cell_status"] == "epsilon-Li0.4V2O5: given/recalled"
    lengths = {"cell_chain": 3.57, "cell_rung": 11.4, "cell_stacking": 4.5, "layers": 1}
    cells = xstxm.phase_table({"epsilon-Li0.4V2O5": lengths})
    assert xstxm.strain(phases, cells=cells).attrs["cell_status"] == "epsilon-Li0.4V2O5: given"
    assert xstxm.concentration(phases, cells=cells).attrs["cell_status"] == "epsilon-Li0.4V2O5: given/recalled"
    counted = xstxm.concentration(phases, cells=cells, formula_units=4)  # they say how many
    xr.testing.assert_equal(counted, xstxm.concentration(phases, cells=cells))
    unsaid = xstxm.concentration(phases, cells=cells.drop_vars("formula_units"), formula_units=2)
    assert unsaid.attrs["cell_status"] == "epsilon-Li0.4V2O5: given"


def test_status__of_a_cell_between_two_states_is_that_of_both():
    phases = phases_of({"alpha": [0.0], "epsilon": [1.0]}, composition=[0.4])
    between = xstxm.strain(phases, relative_to=0.03).attrs
    assert between["relative_to"] == "alpha-V2O5"
    assert "alpha-V2O5: recalled/verified" in between["cell_status"]
    assert "alpha-V2O5: verified" in xstxm.strain(phases, relative_to=0.0).attrs["cell_status"]


def test_strain__is_linear_within_a_phase_and_constant_beyond():
    x = [-0.02, 0.0, 0.025, 0.05, 0.1, 0.13]
    phases = phases_of({"a": np.ones(6)}, composition=x, composition_stderr=0.01)
    found = xstxm.strain(phases, cells=table_of(**TWO_ENDS))
    chain = 0.01 * np.clip(np.array(x) / 0.1, 0, 1)
    np.testing.assert_allclose(found["eigenstrain"].sel(lattice_axis="chain")[0], chain, atol=1e-12)
    stderr = found["eigenstrain_stderr"].sel(lattice_axis="chain")[0]
    np.testing.assert_allclose(stderr[2:4], 0.1 * 0.01)
    np.testing.assert_allclose(stderr[[0, 5]], 0, atol=1e-12)


def test_strain__across_a_gap_mixes_the_phases_on_either_side():
    """The composition in the gap interpolates nothing: with the same fractions the strain is the same."""
    cells = table_of(**TWO_ENDS)
    for x in (0.15, 0.25, 0.35):
        found = xstxm.strain(phases_of({"a": [0.25], "b": [0.75]}, composition=[x]), cells=cells)
        rung = found["eigenstrain"].sel(lattice_axis="rung")[0, 0]
        assert float(rung) == pytest.approx(0.75 * (9.8 / 10 - 1))


@pytest.mark.parametrize(
    ("relative_to", "name", "chain"),
    [
        pytest.param(None, "low a", 4.0, id="the lowest composition"),
        pytest.param("b", "low b", 4.04, id="phase"),
        pytest.param("high b", "high b", 4.0, id="state"),
        pytest.param(0.05, "low a", 4.02, id="composition"),
        pytest.param(np.float64(0.7), "high b", 4.01, id="composition in the other phase"),
    ],
)
def test_strain__relative_to(relative_to, name, chain):
    phases = phases_of({"a": [1.0], "b": [0.0]}, composition=[0.1])
    found = xstxm.strain(phases, cells=table_of(**TWO_ENDS), relative_to=relative_to)
    assert found.attrs["relative_to"] == name
    assert float(found["eigenstrain"].sel(lattice_axis="chain")[0, 0]) == pytest.approx(4.04 / chain - 1)


@pytest.mark.parametrize(
    ("relative_to", "error", "message"),
    [
        pytest.param(
            0.2, OptionError, "lies in the range of no phase .a 0 to 0.1, b 0.4 to 0.8.: name a phase", id="gap"
        ),
        pytest.param("alhpa", ChoiceError, "did you mean 'alpha'", id="misspelt"),
        pytest.param(-1, OptionError, "a phase, a state, or a composition", id="negative"),
        pytest.param(True, OptionError, "a phase, a state, or a composition", id="bool"),
    ],
)
def test_strain__refuses_a_state_that_is_none(relative_to, error, message):
    cells = xstxm.phase_table() if relative_to == "alhpa" else table_of(**TWO_ENDS)
    names = ("alpha", "epsilon") if relative_to == "alhpa" else ("a", "b")
    phases = phases_of({names[0]: [1.0], names[1]: [0.0]}, composition=[0.1])
    with pytest.raises(error, match=message):
        xstxm.strain(phases, cells=cells, relative_to=relative_to)


def test_strain__refuses_a_composition_that_two_phases_have():
    phases = phases_of({"delta": [1.0], "gamma": [0.0]})
    with pytest.raises(OptionError, match="lies in the ranges of delta and gamma"):
        xstxm.strain(phases, relative_to=1.0)


def test_strain__refuses_what_has_no_cell():
    with pytest.raises(SchemaError, match=r"no cell for 'cluster 1', 'cluster 2' \(cells are known of: alpha, epsilon"):
        xstxm.strain(phases_of({"cluster 1": [1.0], "cluster 2": [0.0], "alpha": [0.0]}))


def test_strain__refuses_axes_without_a_role():
    table = table_of(**TWO_ENDS).rename(cell_chain="b", cell_rung="a")
    with pytest.raises(SchemaError, match=r"no 'cell_chain', 'cell_rung' \(found: .*\): name the axes by their role"):
        xstxm.strain(phases_of({"a": [1.0]}), cells=table)


def test_strain__refuses_another_framework():
    with pytest.raises(SchemaError, match=r"zeta is tunnel\): select the phases of one framework"):
        xstxm.strain(phases_of({"alpha": [1.0], "zeta": [0.0]}))
    only = xstxm.strain(phases_of({"zeta": [1.0]}))
    np.testing.assert_allclose(only["eigenstrain"], 0, atol=1e-12)
    with pytest.raises(SchemaError, match="no strain leads from one framework to another"):
        xstxm.strain(phases_of({"zeta": [1.0]}), relative_to="alpha")


BAD_CELLS = {
    "word": ("alpha", SchemaError, "cells are a str: pass a Dataset"),
    "dims": (table_of(**TWO_ENDS).expand_dims(twice=2), SchemaError, "wanted one dimension"),
    "no units": (table_of(**TWO_ENDS).drop_attrs(), MissingUnitsError, "cell_chain"),
    "other units": (table_of(units="eV", **TWO_ENDS), IncompatibleUnitsError, "angstrom"),
    "negative": (table_of(scale=-1, **TWO_ENDS), SchemaError, "lengths of zero or less"),
}


@pytest.mark.parametrize("kind", BAD_CELLS)
def test_strain__refuses_cells_that_are_none(kind):
    cells, error, message = BAD_CELLS[kind]
    with pytest.raises(error, match=message):
        xstxm.strain(phases_of({"a": [1.0]}), cells=cells)


def test_lattice_verbs__convert_the_units_of_cells():
    table, nm = table_of(**TWO_ENDS), table_of(units="nm", scale=0.1, **TWO_ENDS)
    phases = phases_of({"a": [0.3], "b": [0.7]}, composition=[0.5])
    for verb, options in ((xstxm.strain, {}), (xstxm.concentration, {"formula_units": 2})):
        found, expected = (verb(phases, cells=cells, **options).drop_attrs() for cells in (nm, table))
        xr.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("stated", ["low a", "high a"])
def test_strain__compares_volumes_that_both_cells_state(stated):
    """A volume that one cell states and the product of the lengths of the other are no two volumes to compare."""
    table = table_of(**{"low a": ("a", 0.0, 4.0, 10.0, 5.0), "high a": ("a", 0.1, 4.0, 10.0, 5.0)})
    phases = phases_of({"a": [1.0]}, composition=[0.1])
    table["cell_volume"] = table["cell_chain"].where(table["state"] == stated) * 45
    table["cell_volume"].attrs["units"] = "angstrom**3"
    np.testing.assert_allclose(xstxm.strain(phases, cells=table)["volumetric_strain"], 0, atol=1e-12)


def in_percent(array):
    return (100 * array).assign_attrs(units="percent")


def test_lattice_verbs__convert_the_units_of_compositions(draws):
    phases = phases_of({"a": [0.3], "b": [0.7]}, composition=[0.5], composition_stderr=0.01)
    percent = phases.assign({name: in_percent(phases[name]) for name in ("composition", "composition_stderr")})
    od, refs = draws
    some = refs.drop_vars([name for name in refs.coords if str(name).startswith("cell")])
    fitted, in_percents = (
        xstxm.fit(od[:50], r, covariance=True)
        for r in (some, some.assign_coords(composition=in_percent(some["composition"])))
    )
    for verb, options in ((xstxm.strain, {}), (xstxm.concentration, {"formula_units": 2})):
        for one, other, cells in ((phases, percent, table_of(**TWO_ENDS)), (fitted, in_percents, None)):
            expected, found = (verb(maps, cells=cells, **options).drop_attrs() for maps in (one, other))
            xr.testing.assert_allclose(
                found.drop_vars("composition", errors="ignore"), expected.drop_vars("composition", errors="ignore")
            )


def test_strain__needs_a_composition_where_the_cell_depends_on_it():
    with pytest.raises(MissingVariableError, match="the cell of 'a' depends on it"):
        xstxm.strain(phases_of({"a": [1.0]}), cells=table_of(**TWO_ENDS))


@pytest.mark.parametrize("verb", [xstxm.strain, xstxm.concentration])
def test_lattice_verbs__refuse_what_is_no_phase_map(verb, stack, density, references):
    with pytest.raises(MissingVariableError, match=r"call .stxm.phase_map\(\) first"):
        verb(stack)
    with pytest.raises(SchemaError, match="phases are a DataArray"):
        verb(density)
    with pytest.raises(MissingVariableError, match="covariance=True"):
        verb(density.stxm.fit(references))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_strain__leaves_pixels_beside_nan_untouched_and_keeps_the_dtype(dtype):
    phases = phases_of(
        {"alpha": [0.2, np.nan, 0.7], "epsilon": [0.8, np.nan, 0.3]}, 0.1, [0.3, np.nan, 0.1], 0.01, dtype
    )
    for verb in (xstxm.strain, xstxm.concentration):
        found = verb(phases)
        whole = verb(phases.isel(x=[0, 2]))
        for name, array in found.data_vars.items():
            assert array.dtype == dtype
            assert bool(array.isel(x=1).isnull().all())
            np.testing.assert_array_equal(array.isel(x=[0, 2]), whole[name])


@pytest.mark.parametrize("verb", [xstxm.strain, xstxm.concentration, xstxm.gradient, xstxm.interface_map])
def test_lattice_verbs__are_lazy_and_equal_to_those_in_memory(verb, stack, references, i0):
    named = references.assign_coords(phase=("reference", ["alpha", "epsilon", "delta"]))
    phases = stack.stxm.optical_density(i0).stxm.phase_map(named)
    with raise_if_dask_computes():
        lazy = verb(phases.chunk(y=2, x=4))
    assert all(array.chunks is not None for array in lazy.data_vars.values())
    xr.testing.assert_allclose(lazy.compute(), verb(phases))


# ---- from a fit, with the full covariance


@pytest.fixture(scope="module")
def draws():
    """Optical densities (draw, energy) of one mixture of three references with noise, and the references."""
    rng = np.random.default_rng(5)
    energy = np.linspace(510, 530, 60)
    spectra = {
        name: (energy, np.exp(-(((energy - centre) / 2.5) ** 2)) + 0.01 * (energy - 500))
        for name, centre in (("alpha-V2O5", 517.0), ("epsilon-Li0.4V2O5", 518.2), ("delta-LiV2O5", 522.0))
    }
    refs = xstxm.reference_set(
        spectra,
        composition=dict(zip(spectra, (0.0, 0.4, 1.0), strict=True)),
        phase=dict(zip(spectra, ("alpha", "epsilon", "delta"), strict=True)),
    )
    truth = xr.dot(refs["absorption"], xr.DataArray([0.5, 0.35, 0.4], dims="reference"), dim="reference")
    noise = rng.normal(scale=0.01, size=(3000, 60))
    od = (truth + xr.DataArray(noise, dims=("draw", "energy"))).rename("optical_density").assign_attrs(units="1")
    return od.transpose("draw", "energy"), refs


def spread_over_stderr(value, stderr):
    return float(value.std("draw") / stderr.median("draw"))


def test_composition__has_the_error_that_repeated_measurements_show(draws):
    """Monte Carlo of the full covariance: amounts that trade against each other leave the composition known."""
    od, refs = draws
    phases = xstxm.phase_map(od, refs, method="lstsq", min_amount=0)
    assert spread_over_stderr(phases["composition"], phases["composition_stderr"]) == pytest.approx(1, abs=0.06)
    amounts = od.stxm.fit(refs, method="lstsq")
    total = amounts["component_map"].sum("reference")
    offset = refs["composition"] - phases["composition"]
    independent = ((offset * amounts["component_map_stderr"] / total) ** 2).sum("reference") ** 0.5
    assert abs(spread_over_stderr(phases["composition"], independent) - 1) > 0.15


@pytest.mark.parametrize("verb", [xstxm.strain, xstxm.concentration])
def test_lattice_verbs__have_the_errors_that_repeated_measurements_show(verb, draws):
    od, refs = draws
    found = verb(xstxm.fit(od, refs, method="lstsq", covariance=True))
    for name in [name for name in found.data_vars if not str(name).endswith("_stderr")]:
        value, stderr = found[name], found[f"{name}_stderr"]
        for axis in range(value.sizes.get("lattice_axis", 1)):
            at = {"lattice_axis": axis} if "lattice_axis" in value.dims else {}
            assert spread_over_stderr(value.isel(at), stderr.isel(at)) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("verb", [xstxm.strain, xstxm.concentration])
def test_lattice_verbs__of_a_phase_map_have_the_errors_of_the_fit(verb, draws):
    """Three phases: those of the strain are exact, that of the concentration is a bound."""
    od, refs = draws
    table = xstxm.phase_table()  # of alpha a volume depends on the composition, which adds to the error
    cells = table.drop_vars("cell_volume") if verb is xstxm.strain else table
    exact = verb(xstxm.fit(od[:200], refs, method="lstsq", covariance=True), cells=cells)
    bound = verb(xstxm.phase_map(od[:200], refs, method="lstsq", min_amount=0), cells=cells)
    for name, value in exact.data_vars.items():
        if str(name).endswith("_stderr"):
            assert bool((bound[name] > value * 0.99).all())
            assert float((bound[name] / value).max()) < (1.01 if verb is xstxm.strain else 1.3)
        else:
            np.testing.assert_allclose(bound[name], value, rtol=2e-3)  # alpha at its upper end, not as its reference


def test_strain__takes_the_cells_that_references_carry(draws):
    od, refs = draws
    lengths = {"chain": [4.0, 4.1, 4.2], "rung": [10.0, 9.9, 9.7], "stacking": [5.0, 5.2, 5.6]}
    own = refs.assign_coords({f"cell_{k}": ("reference", v, {"units": "angstrom"}) for k, v in lengths.items()})
    fitted = od[:3].stxm.fit(own, covariance=True)
    found = fitted.stxm.strain()
    amount = fitted["component_map"]
    strains = xr.DataArray(lengths["rung"], dims="reference") / 10 - 1
    expected = (amount * strains).sum("reference") / amount.sum("reference")
    np.testing.assert_allclose(found["eigenstrain"].sel(lattice_axis="rung"), expected, rtol=1e-9)
    assert found.attrs["cell_status"].startswith("alpha-V2O5: given")
    plain = xstxm.strain(od[:3].stxm.fit(refs, covariance=True), cells=own)
    np.testing.assert_allclose(plain["eigenstrain"], found["eigenstrain"])
    with pytest.raises(SchemaError, match="no number of formula units in the cell of 'alpha-V2O5'"):
        fitted.stxm.concentration()
    assert found.stxm.pixel_dims == ("draw",)
    some = fitted.stxm.concentration(formula_units=2)["concentration"]
    v = np.prod(list(lengths.values()), axis=0) / 2
    n = (amount * refs["composition"]).sum("reference") / (amount * xr.DataArray(v, dims="reference")).sum("reference")
    np.testing.assert_allclose(some, n * 1e30 / 6.02214076e23, rtol=1e-9)


def test_lattice_verbs__refuse_a_composition_that_is_missing_for_one_reference(draws):
    od, refs = draws
    some = refs.assign_coords(composition=("reference", [0.0, 0.4, np.nan]))
    fitted = od[:3].stxm.fit(some, covariance=True)
    with pytest.raises(ReferenceSpectrumError, match="no composition for 'delta-LiV2O5': give every reference one"):
        xstxm.concentration(fitted)
    with pytest.raises(ReferenceSpectrumError, match="no composition for a reference of 'alpha'"):
        xstxm.strain(od[:3].stxm.fit(refs.drop_vars("composition"), covariance=True))
    with pytest.raises(MissingVariableError, match="'composition' is missing"):
        xstxm.concentration(
            od[:3].stxm.fit(refs.drop_vars("composition"), covariance=True),
            cells=xstxm.phase_table().isel(state=[0, 2, 3]).drop_vars("composition"),
        )


def test_strain__refuses_a_reference_outside_the_range_of_its_phase(draws):
    od, refs = draws
    wrong = refs.assign_coords(composition=("reference", [0.3, 0.4, 1.0]))
    with pytest.raises(ReferenceSpectrumError, match=r"composition 0\.3 for 'alpha', whose range is 0 to 0\.1"):
        xstxm.strain(od[:3].stxm.fit(wrong, covariance=True))


def test_strain__of_references_at_the_ends_is_linear_between_them():
    """Two references of one phase: the amounts mix, and that is linear interpolation, with its covariance."""
    amount = np.array([[0.25, 0.75]])
    covariance = np.array([[[0.02, -0.02], [-0.02, 0.02]]])
    value, stderr = mixing.ratio(amount, covariance, np.array([[0.0, 0.01]]), np.ones(2))
    np.testing.assert_allclose(value, 0.0075)
    np.testing.assert_allclose(stderr, 0.01 * np.sqrt(0.02))


# ---- the kernels, as laws


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_mixture__bounds_the_error_of_fractions_that_add_up_to_one(seed, n_phases):
    rng = np.random.default_rng(seed)
    fraction = rng.dirichlet(np.ones(n_phases))
    root = rng.normal(size=(n_phases, n_phases))
    root -= root.mean(0)  # errors add up to zero
    covariance = root @ root.T
    values = [rng.normal(size=(2, 1)) for _ in range(n_phases)]
    grids = [np.zeros(1)] * n_phases
    mean, bound = mixing.mixture(fraction, np.sqrt(np.diag(covariance)), np.array(0.1), np.array(0.0), grids, values)
    v = np.array(values)[..., 0]
    np.testing.assert_allclose(mean, fraction @ v)
    exact = np.sqrt(np.einsum("kq,kj,jq->q", v, covariance, v))
    assert (bound >= exact * (1 - 1e-6)).all()
    if n_phases <= 3:
        np.testing.assert_allclose(bound, exact, rtol=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_mixture__lies_between_the_states_and_knows_no_order(seed):
    rng = np.random.default_rng(seed)
    fraction = rng.dirichlet(np.ones(3), size=7)
    stderr, x = rng.uniform(size=(7, 3)), rng.uniform(-0.2, 1.2, 7)
    grids = [np.sort(rng.uniform(size=n)) for n in (1, 2, 4)]
    values = [rng.normal(size=(2, grid.size)) for grid in grids]
    mean, bound = mixing.mixture(fraction, stderr, x, np.full(7, 0.02), grids, values)
    every = np.concatenate(values, axis=1)
    assert (mean <= every.max(1) + 1e-12).all()
    assert (mean >= every.min(1) - 1e-12).all()
    order = [2, 0, 1]
    again = mixing.mixture(
        fraction[:, order], stderr[:, order], x, np.full(7, 0.02), [grids[k] for k in order], [values[k] for k in order]
    )
    np.testing.assert_allclose(again[0], mean)
    np.testing.assert_allclose(again[1], bound)
    step = 1e-7
    far, _ = mixing.mixture(fraction, stderr, x + step, np.zeros(7), grids, values)
    _, without = mixing.mixture(fraction, stderr, x, np.zeros(7), grids, values)
    np.testing.assert_allclose((bound - without) / 0.02, np.abs(far - mean) / step, rtol=1e-4, atol=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_ratio__agrees_with_monte_carlo_in_the_linear_limit(seed, n_references):
    rng = np.random.default_rng(seed)
    amount = rng.uniform(1, 2, n_references)
    root = rng.normal(size=(n_references, n_references)) * 1e-3
    a, b = rng.normal(size=(2, n_references)), rng.uniform(1, 2, n_references)
    many = amount + rng.normal(size=(4000, n_references)) @ root.T
    value, stderr = mixing.ratio(amount, root @ root.T, a, b)
    np.testing.assert_allclose(value, a @ amount / (b @ amount))
    np.testing.assert_allclose(stderr, (many @ a.T / (many @ b)[:, None]).std(0), rtol=0.12, atol=1e-7)


# ---- concentration


def test_concentration__has_the_known_end_points():
    """Two V2O5 in a cell of 179.5 and of 183.0 cubic angstrom."""
    phases = phases_of({"alpha": [1.0, 0.0], "epsilon": [0.0, 1.0]}, composition=[0.1, 0.4], composition_stderr=0.02)
    found = phases.stxm.concentration()
    xstxm.testing.assert_conforms(found, "concentration")
    np.testing.assert_allclose(found["concentration"][0], [1850, 7260], rtol=1e-3)
    np.testing.assert_allclose(found["concentration_stderr"][0], [370, 363], rtol=5e-3)
    assert found["concentration"].attrs["units"] == "mol/m**3"
    assert "epsilon-Li0.4V2O5: recalled" in found.attrs["cell_status"]


def test_concentration__needs_a_composition():
    with pytest.raises(MissingVariableError, match="map phases with references that carry a composition"):
        xstxm.concentration(phases_of({"alpha": [1.0]}))


@pytest.mark.parametrize("number", [0, -2, 2.5, np.nan, "2"])
def test_concentration__refuses_formula_units_that_are_none(number):
    with pytest.raises(OptionError, match="a whole number of 1 or more, as many as a cell holds"):
        xstxm.concentration(phases_of({"alpha": [1.0]}, composition=[0.1]), formula_units=number)


# ---- gradient


def plane(shape=(7, 9), slope=(0.3, -0.8), step=(0.05, 0.02), dtype=float):
    y, x = (size * np.arange(n) for size, n in zip(step, shape, strict=True))
    return image((slope[0] * y[:, None] + slope[1] * x + 2).astype(dtype), step=step).rename("composition")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient__of_a_plane_is_its_slope_up_to_the_edge(dtype):
    found = xstxm.gradient(plane(dtype=dtype))
    xstxm.testing.assert_conforms(found, "gradient")
    assert found["gradient"].dtype == dtype
    np.testing.assert_allclose(found["gradient_y"], 0.3, rtol=1e-4)
    np.testing.assert_allclose(found["gradient_x"], -0.8, rtol=1e-4)
    np.testing.assert_allclose(found["gradient"], np.hypot(0.3, 0.8), rtol=1e-4)
    assert found["gradient"].attrs["units"] == "1/um"


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.6))
def test_gradient__never_lets_nan_bleed(seed, share):
    """Whatever pixels are missing, the slopes of a plane are right or NaN, and NaN only without a neighbour."""
    rng = np.random.default_rng(seed)
    values = plane().where(xr.DataArray(rng.uniform(size=(7, 9)) >= share, dims=("y", "x")))
    found = xstxm.gradient(values)
    for dim, slope in (("y", 0.3), ("x", -0.8)):
        g = found[f"gradient_{dim}"]
        np.testing.assert_allclose(g.where(g.notnull(), slope), slope, rtol=1e-9)
        beside = values.shift({dim: 1}).notnull() | values.shift({dim: -1}).notnull()
        np.testing.assert_array_equal(g.notnull(), values.notnull() & beside)


def test_gradient__beside_a_hole_is_that_on_the_other_side():
    """Of x^2 with a hole: central slopes 2 x where both neighbours are there, one-sided beside the hole."""
    square = image(np.tile(np.arange(8.0) ** 2, (3, 1)), step=(1, 1)).rename("composition")
    found = xstxm.gradient(square.where(square.x != 3))["gradient_x"].isel(y=1)
    np.testing.assert_allclose(found, [1, 2, 3, np.nan, 9, 10, 12, 13])


def test_gradient__has_the_error_that_repeated_measurements_show():
    """Inside, at an edge, in a corner, where both slopes share the pixel, and beside a hole."""
    rng = np.random.default_rng(2)
    sigma = 0.0004 * (1 + np.arange(63).reshape(7, 9) / 30)
    truth = plane().where(xr.DataArray(np.arange(63).reshape(7, 9) != 20, dims=("y", "x")))
    many = (truth + xr.DataArray(rng.normal(size=(4000, 7, 9)) * sigma, dims=("draw", "y", "x"))).transpose(
        "draw", "y", "x"
    )
    maps = xr.Dataset({"composition": many.assign_attrs(units="1")})
    maps["composition_stderr"] = xr.zeros_like(many) + xr.DataArray(sigma, dims=("y", "x"))
    found = xstxm.gradient(maps)
    spread = found.std("draw")
    for name in ("gradient", "gradient_y", "gradient_x"):
        told = found[f"{name}_stderr"].median("draw")
        assert bool((told.notnull() == truth.notnull()).all())
        np.testing.assert_allclose((spread[name] / told).where(truth.notnull(), 1), 1, atol=0.08)


def test_gradient__of_a_flat_map_has_an_error():
    flat = xr.Dataset({"composition": plane(slope=(0, 0))})
    flat["composition_stderr"] = xr.full_like(flat["composition"], 0.01)
    found = xstxm.gradient(flat)
    np.testing.assert_allclose(found["gradient"], 0, atol=1e-12)
    assert bool((found["gradient_stderr"] > 0).all())


def test_gradient__does_not_depend_on_units_and_direction_of_the_axes():
    maps = plane()
    nm = maps.assign_coords(x=("x", maps["x"].data * 1e3, {"units": "nm"}))
    np.testing.assert_allclose(xstxm.gradient(nm)["gradient"], xstxm.gradient(maps)["gradient"])
    down = xstxm.gradient(maps.isel(y=slice(None, None, -1))).sortby("y")
    np.testing.assert_allclose(down["gradient_y"], xstxm.gradient(maps)["gradient_y"])


def test_gradient__of_every_axis_of_a_strain():
    phases = phases_of(
        {"alpha": np.linspace(0, 1, 12).reshape(3, 4), "epsilon": np.linspace(1, 0, 12).reshape(3, 4)},
        0.01,
        composition=np.linspace(0.4, 0, 12).reshape(3, 4),
    )
    found = phases.stxm.strain().stxm.gradient(signal="eigenstrain")
    assert found["gradient"].dims == ("lattice_axis", "y", "x")
    assert found["gradient_stderr"].dims == ("lattice_axis", "y", "x")
    assert found["gradient"].attrs["units"] == "1/um"


@pytest.mark.parametrize(
    ("maps", "error", "message"),
    [
        pytest.param(plane().isel(y=0, drop=True), MissingDimensionError, "a gradient needs an image", id="line"),
        pytest.param(plane().drop_vars("x"), MissingCoordinateError, "'x'", id="no positions"),
        pytest.param(plane().drop_attrs(), MissingUnitsError, "the position along 'y' has no units", id="no units"),
        pytest.param(plane().to_dataset(name="od"), MissingVariableError, "signal='composition'", id="no map"),
        pytest.param(plane().rename("phase_label"), SchemaError, "'phase_label' holds labels", id="labels"),
        pytest.param(plane() > 1, SchemaError, "is bool, wanted numbers", id="marks"),
    ],
)
def test_gradient__refuses(maps, error, message):
    with pytest.raises(error, match=message):
        xstxm.gradient(maps)


# ---- interfaces


def labelled(label, step=(0.05, 0.05), names=("A", "B", "C")):
    label = image(np.asarray(label, dtype="int16"), ("theta", "y", "x")[-np.ndim(label) :], step)
    label.attrs = {}
    return xr.Dataset({"phase_label": label}, {"phase": list(names)})


def test_interface_map__straight_and_circular():
    rows, columns = np.mgrid[:120, :160]
    straight = labelled(np.where(columns < 77, 0, 1)).stxm.interface_map()
    xstxm.testing.assert_conforms(straight, "interface_map")
    assert float(straight["interface_length"].sel(phase="A", other_phase="B")) == pytest.approx(6.0, rel=0.06)
    np.testing.assert_array_equal(straight["interface"], (columns == 76) | (columns == 77))
    circle = labelled(np.where(np.hypot(rows - 60.3, columns - 80.1) < 45, 1, 0)).stxm.interface_map()
    assert float(circle["total_interface_length"]) == pytest.approx(2 * np.pi * 45 * 0.05, rel=0.01)


@pytest.mark.parametrize("step", [(0.05, 0.05), (0.03, 0.06)], ids=["square", "oblong"])
@pytest.mark.parametrize("angle", [0, 20, 45, 70, 90, 135])
def test_interface_map__length_hardly_depends_on_direction(angle, step):
    y, x = (size * (np.arange(n) - n / 2 + 0.2) for size, n in zip(step, (200, 210), strict=True))
    turn = np.deg2rad(angle)
    across = -np.sin(turn) * x + np.cos(turn) * y[:, None]
    inside = np.hypot(x, y[:, None]) < 2.5
    found = labelled(np.where(inside, across > 0.01, NO_SAMPLE), step).stxm.interface_map()
    assert float(found["total_interface_length"]) == pytest.approx(5.0, rel=0.07 if step[0] == step[1] else 0.12)


@given(st.integers(0, 2**32 - 1))
def test_interface_map__is_symmetric_and_knows_no_names_or_axes(seed):
    rng = np.random.default_rng(seed)
    label = rng.choice([-2, -1, 0, 1, 2], size=(6, 8), p=[0.2, 0.1, 0.3, 0.2, 0.2])
    step = (0.03, 0.05)
    length = labelled(label, step).stxm.interface_map()["interface_length"]
    np.testing.assert_allclose(length, length.T)
    np.testing.assert_allclose(np.diag(length), 0)
    turned = labelled(label.T, step[::-1]).stxm.interface_map()["interface_length"]
    np.testing.assert_allclose(turned, length)
    flipped = labelled(label[:, ::-1], step).stxm.interface_map()["interface_length"]
    np.testing.assert_allclose(flipped, length)
    order = np.array([2, 0, 1])
    renamed = labelled(np.where(label >= 0, order[np.maximum(label, 0)], label), step).stxm.interface_map()
    np.testing.assert_allclose(renamed["interface_length"].data[np.ix_(order, order)], length)
    larger = labelled(label, (0.06, 0.1)).stxm.interface_map()["interface_length"]
    np.testing.assert_allclose(larger, 2 * length)


def test_interface_map__bridges_undecided_pixels_and_no_empty_ones():
    def found(between, max_gap):
        label = np.zeros((60, 9), dtype=int)
        label[:, 4 : 4 + len(between)], label[:, 4 + len(between) :] = between, 1
        return labelled(label).stxm.interface_map(max_gap=max_gap)

    def total(between, max_gap):
        return float(found(between, max_gap)["total_interface_length"])

    there = pytest.approx(3.0, rel=0.09)
    assert total([], 0) == there
    assert total([UNDECIDED], 0) == 0
    assert total([UNDECIDED], 1) == there
    assert total([UNDECIDED] * 2, 1) == 0
    assert total([UNDECIDED] * 2, 2) == there
    assert total([NO_SAMPLE], 3) == 0
    assert total([UNDECIDED, NO_SAMPLE], 3) == 0
    marked = found([UNDECIDED] * 2, 2)["interface"]
    np.testing.assert_array_equal(marked, np.tile((np.arange(9) >= 3) & (np.arange(9) <= 6), (60, 1)))


def band(angle, width, shape=(161, 161)):
    """Two phases that meet at an angle in a disc of radius 75, with undecided pixels between."""
    y, x = np.mgrid[: shape[0], : shape[1]] - 80.0
    turn = np.deg2rad(angle)
    across = -np.sin(turn) * x + np.cos(turn) * y + 0.2
    label = np.where(np.abs(across) < width / 2, UNDECIDED, across > 0)
    return labelled(np.where(np.hypot(x, y) < 75, label, NO_SAMPLE))


@pytest.mark.parametrize(("width", "max_gap"), [(1, 1), (1.5, 2), (2, 2)])
@pytest.mark.parametrize("angle", [0, 10, 20, 30, 40, 45, 60, 80, 135])
def test_interface_map__of_a_slanting_band_of_undecided_pixels_keeps_its_length(angle, width, max_gap):
    sharp = float(band(angle, 0).stxm.interface_map()["total_interface_length"])
    found = float(band(angle, width).stxm.interface_map(max_gap=max_gap)["total_interface_length"])
    assert found == pytest.approx(sharp, rel=0.02)
    assert found == pytest.approx(7.5, rel=0.075)


def test_interface_map__of_a_circle_in_undecided_pixels():
    y, x = np.mgrid[:100, :100] - 49.7
    label = np.where(np.abs(np.hypot(x, y) - 35) < 0.5, UNDECIDED, np.hypot(x, y) < 35)
    found = labelled(label).stxm.interface_map()
    assert float(found["total_interface_length"]) == pytest.approx(2 * np.pi * 35 * 0.05, rel=0.02)


def test_interface_map__of_a_band_that_is_too_wide_is_none():
    assert float(band(30, 4).stxm.interface_map(max_gap=2)["total_interface_length"]) == 0


def test_interface_map__of_a_series_is_that_of_each_image():
    rng = np.random.default_rng(1)
    label = rng.integers(-2, 3, size=(2, 6, 7))
    found = labelled(label).stxm.interface_map()
    assert found["interface_length"].dims == ("phase", "other_phase", "theta")
    for k in range(2):
        one = labelled(label[k]).stxm.interface_map()
        np.testing.assert_allclose(found["interface_length"].isel(theta=k), one["interface_length"])
        np.testing.assert_array_equal(found["interface"].isel(theta=k), one["interface"])


def test_interface_map__refuses(stack):
    with pytest.raises(MissingVariableError, match=r"call .stxm.phase_map\(\) first"):
        xstxm.interface_map(stack)
    with pytest.raises(OptionError, match="max_gap=-1"):
        labelled(np.zeros((3, 4))).stxm.interface_map(max_gap=-1)
    uneven = labelled(np.zeros((3, 4))).assign_coords(x=("x", [0, 1, 3, 4.0], {"units": "um"}))
    with pytest.raises(SchemaError, match="along 'x' are not evenly spaced"):
        xstxm.interface_map(uneven)
    with pytest.raises(MissingDimensionError, match="an interface needs an image"):
        xstxm.interface_map(labelled(np.zeros((3, 4))).isel(y=0))
    with pytest.raises(MissingVariableError, match=r"'phase' is missing.*it names the phases"):
        xstxm.interface_map(labelled(np.zeros((3, 4)))[["phase_label"]])


# ---- from a phase map that has the covariance


def four_references():
    """Four references of three phases with cells, whose compositions and cells differ."""
    made = xstxm.testing.simulate_references()
    lengths = {
        f"cell_{axis}": ("reference", np.array(row), {"units": "angstrom"})
        for axis, row in zip(
            AXES, ([3.56, 3.57, 3.605, 3.61], [11.51, 11.4, 11.25, 9.7], [4.37, 4.5, 4.96, 5.3]), strict=True
        )
    }
    return made.assign_coords(formula_units=("reference", [2, 2, 2, 2]), **lengths)


@pytest.fixture(scope="module")
def four():
    stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    references = four_references()
    assert references.sizes["reference"] == 4
    od = xstxm.optical_density(stack).astype(float)
    phases = xstxm.phase_map(od, references, covariance=True)
    return phases, xstxm.fit(od, references, covariance=True)


@pytest.mark.parametrize("verb", [xstxm.strain, xstxm.concentration])
def test_lattice_verbs__of_four_phases_have_the_errors_of_the_fit_where_the_map_has_a_covariance(verb, four):
    phases, fit = four
    exact, found = verb(fit), verb(phases)
    inside = phases["phase_label"] != NO_SAMPLE
    bound = verb(phases.drop_vars("phase_fraction_covariance"))
    for name in exact.data_vars:
        scale = float(abs(exact[name].where(inside)).median())
        np.testing.assert_allclose(found[name].where(inside), exact[name].where(inside), rtol=1e-6, atol=1e-6 * scale)
        if str(name).endswith("_stderr"):
            wider = (bound[name] / found[name]).where(inside)
            assert float(wider.min()) > 1 - 1e-6
            assert float(wider.median()) > 1.001


def test_strain__of_a_map_takes_the_cells_that_the_references_brought(four):
    phases, _ = four
    found = xstxm.strain(phases)
    assert "given" in found.attrs["cell_status"]
    assert "recalled" not in found.attrs["cell_status"]


def test_strain__with_covariance_where_the_cell_depends_on_the_composition():
    """The composition is made of the fractions: errors of both belong together, and agree with draws."""
    rng = np.random.default_rng(0)
    root = np.array([[0.01, 0.004], [-0.01, -0.004]])
    draws = np.array([0.6, 0.4]) + rng.normal(size=(20_000, 2)) @ root.T
    own, mean = np.array([0.02, 0.1]), np.array([[0.6], [0.4]])
    phases = phases_of({"a": [0.6], "b": [0.4]}, composition=[mean[:, 0] @ own], composition_stderr=0.9)
    covariance = (root @ root.T)[:, :, None, None]
    phases["phase_fraction_covariance"] = (("phase", "other_phase", "y", "x"), covariance)
    cells = table_of(**{**TWO_ENDS, "low b": ("b", 0.01, 4.2, 9.8, 5.5), "high b": ("b", 0.2, 4.0, 9.6, 5.7)})
    exact = phases.assign_coords(phase_composition=("phase", own, {"units": "1"}))
    many = phases_of({"a": draws[:, 0], "b": draws[:, 1]}, composition=draws @ own)
    for verb, extra in ((xstxm.strain, {}), (xstxm.concentration, {"formula_units": 2})):
        found, drawn = verb(exact, cells=cells, **extra), verb(many, cells=cells, **extra)
        loose = verb(phases, cells=cells, **extra)
        for name in [str(name) for name in found.data_vars if str(name).endswith("_stderr")]:
            spread = drawn[name.removesuffix("_stderr")].std(("y", "x"))
            np.testing.assert_allclose(found[name].isel(y=0, x=0), spread, rtol=0.03)
            assert bool((loose[name] > found[name]).all())


def test_lattice_verbs__of_a_map_with_covariance_are_lazy(four):
    phases = four[0].astype("float32")
    lazy = phases.assign({name: array.chunk() for name, array in phases.data_vars.items()})
    for verb in (xstxm.strain, xstxm.concentration):
        with raise_if_dask_computes():
            found = verb(lazy)
        assert all(array.chunks is not None and array.dtype == np.float32 for array in found.data_vars.values())
