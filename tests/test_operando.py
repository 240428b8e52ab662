"""Experiments in time: fractions against time from few energies, and against the charge."""

from __future__ import annotations

import functools
import io

import numpy as np
import pytest
import xarray as xr
from laziness import raise_if_dask_computes

import xstxm
from xstxm.errors import (
    ChoiceError,
    MetadataWarning,
    MissingCoordinateError,
    MissingVariableError,
    OptionError,
    SchemaError,
    UnitsError,
)

REFERENCES = xstxm.testing.simulate_references().sel(reference=["alpha-V2O5", "delta-LiV2O5"])
TIMES = np.array([0.0, 600.0, 1200.0, 1800.0, 2400.0])
MASS, MOLAR, FARADAY = 2e-3, 181.88, 96485.332


@functools.cache
def lithiation():
    """A series of stacks of six designed energies, in which lithium goes into particles at times of their own."""
    designed = xstxm.design_energies(REFERENCES, 6, criterion="a-optimal", counts=20000)["energy"]
    sample = xstxm.testing.simulate_stack(shape=(48, 60), energies=np.asarray(designed), noise=False, seed=3)
    total = sample["true_thickness"].sum("reference").astype(float)
    pace = sample["true_composition"].fillna(0) * 0.6 + 0.4
    progress = xr.DataArray(np.linspace(0, 1.2, TIMES.size), {"time": ("time", TIMES, {"units": "s"})}, "time")
    lithiated = (progress * pace).clip(0, 1)
    mu = REFERENCES["absorption"].sel(energy=designed)
    od = total * (mu.isel(reference=0) * (1 - lithiated) + mu.isel(reference=1) * lithiated)
    rng = np.random.default_rng(7)
    expected = 20000 * np.exp(-od.transpose("time", "energy", "y", "x"))
    counts = expected.copy(data=rng.poisson(expected).astype("float32")).reset_coords(drop=True)
    counts["energy"].attrs = {"units": "eV"}
    stack = counts.rename("intensity").assign_attrs(units="count").to_dataset()
    i0 = xr.DataArray(np.full(6, 20000.0), {"energy": stack["energy"]}, attrs={"units": "count"})
    inside = total > 5
    stack = xstxm.optical_density(stack, i0, noise="poisson").assign(mask=inside)
    return stack, lithiated.where(inside)


@functools.cache
def phases():
    return xstxm.phase_map(lithiation()[0], REFERENCES, method="lstsq", background="none", min_amount=0.0)


def at_times(**names):
    """A phase map of each time by itself."""
    return {name: phases().isel(time=k) for name, k in names.items()}


# ---- fractions against time


def test_phase_summary__of_a_series_recovers_the_lithiation_within_its_errors():
    summary = xstxm.phase_summary(phases())
    truth = lithiation()[1].mean(("y", "x"))
    error = summary["sample_composition_stderr"]
    assert summary["mean_fraction"].dims == ("phase", "time")
    assert float(error.max()) < 0.01
    pull = (summary["sample_composition"] - truth) / error
    assert float(abs(pull).max()) < 3
    delta = summary["mean_fraction"].sel(phase="delta")
    np.testing.assert_allclose(delta, truth, atol=3 * float(summary["mean_fraction_stderr"].max()))


def test_time_series__is_the_summary_of_the_series_whatever_the_order():
    series = xstxm.time_series(at_times(e=4, a=0, c=2, b=1, d=3))
    expected = xstxm.phase_summary(phases())
    assert series["node"].values.tolist() == list("abcde")
    assert series["time"].attrs["units"] == "s"
    for name in ("sample_composition", "sample_composition_stderr", "mean_fraction", "area_fraction", "n_pixels"):
        np.testing.assert_allclose(series[name], expected[name])
        assert series[name].attrs["units"] == expected[name].attrs["units"] if "units" in expected[name].attrs else True
    assert "sorted by time" in series.attrs["history"]


def test_time_series__takes_trees_dates_and_units():
    maps = at_times(late=3, early=1)
    dated = {
        "scan/late": maps["late"].drop_vars("time").assign_attrs(start_time="2026-03-01T12:00:00+01:00"),
        "early": maps["early"].assign_coords(time=np.datetime64("2026-03-01T10:00:00", "ns")),
    }
    series = xstxm.time_series(xr.DataTree.from_dict({**dated, "other": xr.Dataset({"a": 1})}))
    assert series["node"].values.tolist() == ["early", "scan/late"]
    assert series["time"].dtype.kind == "M"
    minutes = {name: phase.assign_coords(time=phase["time"].assign_attrs(units="min")) for name, phase in maps.items()}
    np.testing.assert_allclose(xstxm.time_series(minutes)["time"], 60 * TIMES[[1, 3]])


def test_time_series__is_lazy():
    lazy = xstxm.phase_map(lithiation()[0].chunk(y=24), REFERENCES, method="lstsq", background="none", min_amount=0.0)
    with raise_if_dask_computes():
        series = xstxm.time_series({"b": lazy.isel(time=1), "a": lazy.isel(time=0)})
    expected = xstxm.time_series(at_times(a=0, b=1))
    np.testing.assert_allclose(series["sample_composition"], expected["sample_composition"], rtol=1e-5)


def test_time_series__says_what_is_wrong():
    maps = at_times(a=0, b=1)
    with pytest.raises(SchemaError, match="no phase maps by name"):
        xstxm.time_series({})
    with pytest.raises(SchemaError, match="no phase maps by name"):
        xstxm.time_series(phases())
    with pytest.raises(SchemaError, match="'a' has a dimension 'time' of its own"):
        xstxm.time_series({"a": phases()})
    with pytest.raises(MissingVariableError, match="'b' is no phase map"):
        xstxm.time_series({**maps, "b": xr.Dataset()})
    with pytest.raises(MissingCoordinateError, match="'b' does not say when"):
        xstxm.time_series({**maps, "b": maps["b"].drop_vars("time")})
    with pytest.raises(SchemaError, match="'a' and 'c' are of one time"):
        xstxm.time_series({**maps, "c": maps["a"]})
    for time in (np.nan, np.datetime64("NaT", "ns"), "noon"):
        with pytest.raises(SchemaError, match=r"the time of 'b' is .*a date or a number"):
            xstxm.time_series({**maps, "b": maps["b"].assign_coords(time=time)})
    zoned = {
        name: one.drop_vars("time").assign_attrs(start_time=f"2026-03-01T10:00:00{zone}")
        for (name, one), zone in zip(maps.items(), ("", "Z"), strict=True)
    }
    with pytest.raises(SchemaError, match="start_time of 'b' names a time zone, that of 'a' none"):
        xstxm.time_series(zoned)
    with pytest.raises(SchemaError, match="'b' has a date and 'a' has a number in s as its time"):
        xstxm.time_series({**maps, "b": maps["b"].assign_coords(time=np.datetime64("2026-03-01", "ns"))})
    with pytest.raises(SchemaError, match="'a' has a number in s and 'b' has a number without unit"):
        xstxm.time_series({**maps, "b": maps["b"].assign_coords(time=60.0)})
    with pytest.raises(OptionError, match="start_time of 'b'='noon': give a date in ISO 8601"):
        xstxm.time_series({**maps, "b": maps["b"].drop_vars("time").assign_attrs(start_time="noon")})
    with pytest.raises(SchemaError, match="'b' has the phases one, two, 'a' alpha, delta"):
        xstxm.time_series({**maps, "b": maps["b"].assign_coords(phase=["one", "two"])})


# ---- against the charge


def log_of(time=(0.0, 1200.0, 2400.0), x=(0.0, 0.5, 1.0), sign=-1, offset=0.0):
    """A log whose charge implies compositions x at its times, in an arbitrary zero of the charge."""
    milliampere_hours = sign * np.asarray(x) * FARADAY * MASS / MOLAR / 3.6
    charge = xr.DataArray(
        offset + milliampere_hours, {"time": ("time", list(time), {"units": "s"})}, attrs={"units": "mAh"}
    )
    return charge.to_dataset(name="charge")


def maps_of(x, stderr=0.02, time=(0.0, 600.0, 1200.0, 2400.0)):
    axis = {"time": ("time", list(time), {"units": "s"})}
    mean = xr.DataArray(list(x), axis, attrs={"units": "1"})
    error = xr.full_like(mean, stderr)
    return xr.Dataset(
        {
            "sample_composition": mean,
            "sample_composition_stderr": error,
            "sample_composition_sampling_stderr": 3 * error.assign_attrs(units="1"),
        }
    ).map(lambda array: array.assign_attrs(units="1"))


CELL = {"formula": "V2O5", "mass": "2 mg", "initial": 0.0}


@pytest.mark.parametrize(("sign", "reduction"), [(-1, "negative"), (1, "positive")])
def test_state_of_charge__follows_faraday_between_the_rows_of_the_log(sign, reduction):
    found = xstxm.state_of_charge(
        maps_of([0.1, 0.3, 0.6, 1.1]), log_of(sign=sign, offset=3.0), reduction=reduction, mass_stderr="0.1 mg", **CELL
    )
    xstxm.testing.assert_conforms(found, "state_of_charge")
    np.testing.assert_allclose(found["charge_composition"], [0, 0.25, 0.5, 1.0], rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(found["charge_composition_stderr"], 0.05 * found["charge_composition"], rtol=1e-9)
    np.testing.assert_allclose(found["map_difference"], [0.1, 0.05, 0.1, 0.1], atol=2e-4)
    np.testing.assert_allclose(found["map_difference_stderr"][-1], np.hypot(0.02, 0.05), rtol=1e-3)
    np.testing.assert_allclose(found["map_difference_sampling_stderr"][-1], np.hypot(0.06, 0.05), rtol=1e-3)
    assert float(found["mean_difference"]) == pytest.approx(0.0875, abs=2e-4)


def test_state_of_charge__of_magnesium_from_a_filled_host_is_half_as_much_and_goes_down():
    filled = {**CELL, "initial": 0.9}
    found = xstxm.state_of_charge(maps_of([0.9, 0.8, 0.7, 0.4]), log_of(sign=1), ion_charge=2, **filled)
    np.testing.assert_allclose(found["charge_composition"], [0.9, 0.775, 0.65, 0.4], rtol=1e-4)


def test_state_of_charge__limits_hold_a_new_difference_as_often_as_they_say():
    rng = np.random.default_rng(0)
    inside = []
    implied = np.array([0, 0.25, 0.5, 1.0])
    for _ in range(200):
        difference = 0.05 + 0.03 * rng.normal(size=5)
        found = xstxm.state_of_charge(maps_of(implied + difference[:4]), log_of(), confidence=0.8, **CELL)
        inside.append(float(found["agreement_lower"]) < difference[4] < float(found["agreement_upper"]))
    assert found["agreement_lower"].attrs["confidence_level"] == 0.8
    assert np.mean(inside) == pytest.approx(0.8, abs=0.08)


def test_state_of_charge__the_error_of_the_mean_knows_that_of_the_mass():
    """Masses drawn anew: the mean difference is off by as much as its error says."""
    rng = np.random.default_rng(1)
    implied, off = np.array([0, 0.25, 0.5, 1.0]), []
    for _ in range(300):
        weighed = {**CELL, "mass": f"{2 * (1 + 0.05 * rng.normal())} mg"}
        maps = maps_of(implied + 0.002 * rng.normal(size=4))
        found = xstxm.state_of_charge(maps, log_of(), mass_stderr="0.1 mg", **weighed)
        off.append(float(found["mean_difference"] / found["mean_difference_stderr"]))
    assert np.std(off) == pytest.approx(0.9, abs=0.1)


def test_state_of_charge__computes_no_map():
    maps = maps_of([0, 0.2, 0.5, 1]).chunk()
    with raise_if_dask_computes():
        found = xstxm.state_of_charge(maps, log_of(), **CELL)
    expected = xstxm.state_of_charge(maps.compute(), log_of(), **CELL)
    np.testing.assert_allclose(found["agreement_upper"], expected["agreement_upper"])


@pytest.mark.parametrize(("of_log", "of_maps"), [("", "+01:00"), ("+01:00", "")], ids=["maps", "log"])
def test_state_of_charge__warns_where_one_side_names_a_time_zone(of_log, of_maps):
    rows = b"time (h),I (mA)\n0,-0.1\n5,-0.1\n"
    maps = {
        "a": phases().isel(time=0, drop=True).assign_attrs(start_time=f"2026-03-01T12:00:00{of_maps}"),
        "b": phases().isel(time=1, drop=True).assign_attrs(start_time=f"2026-03-01T13:00:00{of_maps}"),
    }
    series = xstxm.time_series(maps)
    log = xstxm.read_electrochemistry(io.BytesIO(rows), start_time=f"2026-03-01T10:00:00{of_log}")
    with pytest.warns(MetadataWarning, match=f"dates of the {'maps' if of_maps else 'log'} are in UTC"):
        xstxm.state_of_charge(series, log, **CELL)


def test_state_of_charge__meets_a_log_that_was_read_and_maps_with_dates():
    log = xstxm.read_electrochemistry(
        io.BytesIO(b"time (h),I (mA)\n0,-0.1\n0.5,-0.1\n1,-0.1\n"), start_time="2026-03-01T10:00:00"
    )
    maps = maps_of([0.0, 0.1], time=(0, 1)).assign_coords(
        time=np.array(["2026-03-01T10:00:00", "2026-03-01T10:15:00"], "datetime64[ns]")
    )
    found = xstxm.state_of_charge(maps, log, **CELL)
    np.testing.assert_allclose(found["charge_composition"], [0, 0.1e-3 * 900 * MOLAR / FARADAY / MASS], rtol=1e-4)


def test_state_of_charge__of_the_simulated_series_agrees():
    series = xstxm.time_series(at_times(a=0, b=1, c=2, d=3, e=4))
    truth = lithiation()[1].mean(("y", "x"))
    found = xstxm.state_of_charge(series, log_of(TIMES, truth.values), **CELL)
    assert float(abs(found["map_difference"] / found["map_difference_stderr"]).max()) < 3


def test_state_of_charge__says_what_is_wrong():
    maps, log = maps_of([0, 0.2, 0.5, 1]), log_of()
    with pytest.raises(
        SchemaError, match=r"1 of 4 maps lie outside the log, first that at 2400.0: .* covers 0.0 to 2000.0"
    ):
        xstxm.state_of_charge(maps, log_of(time=(0.0, 1200.0, 2000.0)), **CELL)
    dated = maps.assign_coords(time=np.datetime64("2026-03-01", "ns") + np.arange(4).astype("timedelta64[h]"))
    with pytest.raises(SchemaError, match="the maps have dates and the log numbers"):
        xstxm.state_of_charge(dated, log, **CELL)
    with pytest.raises(MissingVariableError, match="read a log that has a charge or a current"):
        xstxm.state_of_charge(maps, log.rename(charge="heat"), **CELL)
    with pytest.raises(MissingVariableError, match=r"call xstxm\.time_series"):
        xstxm.state_of_charge(xr.Dataset(), log, **CELL)
    with pytest.raises(SchemaError, match="select a single region"):
        xstxm.state_of_charge(maps.expand_dims(region=2), log, **CELL)
    with pytest.raises(MissingCoordinateError, match="'time' has no coordinate values"):
        xstxm.state_of_charge(maps.drop_vars("time"), log, **CELL)
    with pytest.raises(SchemaError, match=r"the times of the log go back, .*sortby\('time'\) first"):
        xstxm.state_of_charge(maps, log.isel(time=[0, 2, 1]), **CELL)
    with pytest.raises(SchemaError, match="holds no finite value"):
        xstxm.state_of_charge(maps, log * np.nan, **CELL)
    with pytest.raises(OptionError, match="mass=0: a mass is above zero"):
        xstxm.state_of_charge(maps, log, **{**CELL, "mass": 0})
    with pytest.raises(UnitsError, match="mass"):
        xstxm.state_of_charge(maps, log, **{**CELL, "mass": "2 mm"})
    with pytest.raises(OptionError, match="write a chemical formula"):
        xstxm.state_of_charge(maps, log, **{**CELL, "formula": "?"})
    with pytest.raises(OptionError, match="ion_charge=0"):
        xstxm.state_of_charge(maps, log, ion_charge=0, **CELL)
    with pytest.raises(ChoiceError, match="unknown reduction"):
        xstxm.state_of_charge(maps, log, reduction="left", **CELL)
