"""Spectra and tables written as text, and read back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import xstxm
from xstxm.errors import MetadataWarning, MissingVariableError, ReferenceSpectrumError, SchemaError


def reference_array(values, units="1/nm", names=None) -> xr.DataArray:
    energy = ("energy", 515 + np.arange(values.shape[1]) / 3, {"units": "eV"})
    names = names or [f"oxide {row + 10}" for row in range(len(values))]
    return xr.DataArray(
        values, {"reference": names, "energy": energy}, ("reference", "energy"), "absorption", {"units": units}
    )


@settings(max_examples=40, deadline=None)
@given(
    values=arrays("float64", (3, 4), elements=st.floats(-1e300, 1e300), unique=True),
    units=st.sampled_from(["1", "1/nm", "cm**2/g"]),
    gap=st.booleans(),
)
def test_references__come_back_with_every_digit_and_their_units(values, units, gap, tmp_path_factory):
    values[1, 0] = np.nan if gap else values[1, 0]
    written = reference_array(values, units)
    again = xstxm.read_references(xstxm.write_csv(written, tmp_path_factory.mktemp("csv") / "a.csv"))
    np.testing.assert_array_equal(again["absorption"], written)
    np.testing.assert_array_equal(again["energy"], written["energy"])
    assert again["reference"].values.tolist() == written["reference"].values.tolist()
    assert again["absorption"].attrs["units"] == units


def test_reference_set__tells_what_it_loses(references, tmp_path):
    with pytest.warns(
        MetadataWarning, match=r"composition not written \(write_netcdf and write_zarr keep everything\)"
    ):
        path = xstxm.write_csv(references, tmp_path / "a.csv")
    again = xstxm.read_references(path)
    np.testing.assert_array_equal(again["absorption"], references["absorption"])
    assert path.read_text(encoding="utf-8").splitlines()[:2] == ["# spectra of xstxm, values in 1", "energy (eV),A,B,C"]
    assert xstxm.read_references(path, units="1/nm")["absorption"].attrs["units"] == "1/nm"


def test_errors__stand_beside_and_are_no_spectra(references, tmp_path):
    spectra = references["absorption"].reset_coords(drop=True)
    result = xr.Dataset(
        {"phase_spectra": spectra, "phase_spectra_stderr": spectra / 7, "phase_spectra_std": spectra / 3}
    )
    path = xstxm.write_csv(result.transpose("energy", "reference"), tmp_path / "a.csv")
    table = pd.read_csv(path, comment="#", dtype=str)
    assert list(table.columns[:5]) == ["energy (eV)", "A", "A_stderr", "A_std", "B"]
    np.testing.assert_array_equal(table["C_stderr"].astype(float), spectra.sel(reference="C") / 7)
    again = xstxm.read_references(path)
    assert again["reference"].values.tolist() == ["A", "B", "C"]
    np.testing.assert_array_equal(again["absorption"], spectra)


def test_incident_intensity__comes_back_with_its_units(stack, tmp_path):
    found = xstxm.estimate_i0(stack)
    with pytest.warns(MetadataWarning, match="mask.* not written"):
        path = xstxm.write_csv(found, tmp_path / "i0.csv")
    assert "i0_stderr" in path.read_text(encoding="utf-8").splitlines()[1]
    again = xstxm.read_i0(path)
    np.testing.assert_array_equal(again, found["i0"])
    assert again.attrs["units"] == found["i0"].attrs["units"]


def test_spectra_of_clusters__are_chosen_by_name(density, tmp_path):
    clusters = xstxm.cluster(density, 2, seed=0)
    path = xstxm.write_csv(clusters.chunk(), tmp_path / "a.csv", signal="cluster_spectra")
    again = xstxm.read_references(path)
    np.testing.assert_array_equal(again["absorption"], clusters["cluster_spectra"])
    with pytest.raises(MissingVariableError, match="pass signal="):
        xstxm.write_csv(clusters, path, signal="phase_spectra", overwrite=True)
    two = clusters.assign(others=clusters["cluster_spectra"])
    with pytest.raises(SchemaError, match=r"found spectra: cluster_spectra, others\): pass signal="):
        xstxm.write_csv(two, path, overwrite=True)


def test_files_that_say_other_units__are_named(tmp_path):
    values = np.arange(4.0)[None]
    paths = {
        unit: xstxm.write_csv(reference_array(values, unit), tmp_path / f"{len(unit)}.csv") for unit in ("1", "1/nm")
    }
    with pytest.raises(
        ReferenceSpectrumError, match=r"units of the files differ \(1\.csv 1, 4\.csv 1/nm\).*pass units="
    ):
        xstxm.read_references(paths)
    assert xstxm.read_references(paths, units="1")["absorption"].attrs["units"] == "1"
    mixed = {"a": paths["1/nm"], "b": tmp_path / "plain.txt"}
    mixed["b"].write_text("515 1\n516 2\n")
    with pytest.raises(ReferenceSpectrumError, match=r"plain\.txt says none"):
        xstxm.read_references(mixed)


def test_table__has_every_digit(tmp_path):
    table = pd.DataFrame(
        {"area [um**2]": [1 / 3, np.nan], "name": ["a, b", 'c "d"']}, index=pd.Index([1, 2], name="particle")
    )
    path = xstxm.write_csv(table, tmp_path / "a.csv")
    again = pd.read_csv(path, index_col="particle", dtype={"area [um**2]": str})
    pd.testing.assert_frame_equal(again.astype({"area [um**2]": float}), table, check_exact=True)
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        xstxm.write_csv(table, path)


@pytest.mark.parametrize("name", ["a,b", "a;b", " a", "", "#a", 'a"b', "a\nb"])
def test_names_that_a_table_cannot_hold__are_refused(name, tmp_path):
    with pytest.raises(SchemaError, match="rename them first"):
        xstxm.write_csv(reference_array(np.eye(2, 3), names=[name, "b"]), tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


def test_names_that_are_those_of_errors__are_refused(tmp_path):
    array = reference_array(np.eye(2, 3), names=["a", "a_stderr"])
    both = xr.Dataset({"absorption": array, "absorption_stderr": array})
    with pytest.raises(SchemaError, match="told apart"):
        xstxm.write_csv(both, tmp_path / "a.csv")
    xstxm.write_csv(both[["absorption"]], tmp_path / "a.csv")


def test_what_is_no_spectrum__is_refused(stack, tmp_path):
    for given_, message in (
        (stack["intensity"], "take the mean of a region first"),
        (stack[["intensity"]], r"found none\)"),
        ([1, 2], "found a list"),
        (reference_array(np.eye(2, 3), names=["a", "a"]), "told apart"),
    ):
        with pytest.raises(SchemaError, match=message):
            xstxm.write_csv(given_, tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


def own_grids() -> xr.Dataset:
    """References each on energies of its own, those of one between those of the other."""
    odd, even = np.arange(515, 531, 2.0), np.arange(516, 530, 2.0)
    return xstxm.reference_set({"odd": (odd, np.sin(odd)), "even": (even, np.cos(even))}, units="1/nm")


def test_references__on_energies_of_their_own_come_back(tmp_path):
    path = xstxm.write_csv(own_grids(), tmp_path / "a.csv")
    assert path.read_text(encoding="utf-8").splitlines()[1] == "# nan: that spectrum has no such energy"
    again = xstxm.read_references(path)
    np.testing.assert_array_equal(again["absorption"], own_grids()["absorption"])
    np.testing.assert_array_equal(again["energy"], own_grids()["energy"])


def test_a_gap_in_another_table__is_still_refused(tmp_path):
    (tmp_path / "a.csv").write_text("energy,A,B\n515,1,1\n516,,2\n517,2,1\n", encoding="utf-8")
    with pytest.raises(ReferenceSpectrumError, match="'A' has NaN between its data"):
        xstxm.read_references(tmp_path / "a.csv")
    spectrum = reference_array(np.array([[1.0, np.nan, 3.0, 2.0]])).isel(reference=0, drop=True)
    with pytest.raises(ReferenceSpectrumError, match="has NaN between its data"):
        xstxm.read_references(xstxm.write_csv(spectrum, tmp_path / "b.csv"))


@pytest.mark.parametrize("weighed", [True, False])
def test_spectrum_of_a_region__is_written_with_its_spread(stack, weighed, tmp_path):
    if weighed:
        stack = xstxm.with_variance(stack)
    found = xstxm.spectrum(stack, stack.intensity.isel(energy=0).notnull(), signal="intensity")
    lost = "dwell_time, spectrum_variance" if weighed else "dwell_time"
    with pytest.warns(MetadataWarning, match=f": {lost} not written"):
        path = xstxm.write_csv(found, tmp_path / "a.csv")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[1:3] == [f"# mean of {int(found.n_pixels[0])} pixels", "energy (eV),spectrum,spectrum_std"]
    again = xstxm.read_references(path, units="1")
    np.testing.assert_array_equal(again["absorption"][0], found["spectrum"])


@pytest.mark.parametrize("pattern", ["nickel-k-edge/*.txt", "vanadium-k-edge/*.xdi", "athena/Vglasses.prj"])
def test_measured_references__on_grids_of_their_own_come_back(real_data, pattern, tmp_path):
    files = [path for path in sorted(real_data.glob(pattern)) if path.stem != "LICENSE"]
    if not files:
        pytest.skip(f"no {pattern} in {real_data}")
    read = [xstxm.read_references(file, **({"energy_units": "keV"} if "nickel" in pattern else {})) for file in files]
    joined = xstxm.reference_set(
        {
            str(name): one.absorption.sel(reference=name).dropna("energy")
            for one in read
            for name in one.reference.values
        }
    )
    again = xstxm.read_references(xstxm.write_csv(joined, tmp_path / "a.csv"))
    np.testing.assert_array_equal(again["absorption"], joined["absorption"])
    np.testing.assert_array_equal(again["energy"], joined["energy"])
    assert bool(joined["absorption"].isnull().any())
