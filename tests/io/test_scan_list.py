from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xstxm
from xstxm.errors import MissingCoordinateError, MissingDimensionError, OptionError, SchemaError


@pytest.fixture
def design() -> xr.Dataset:
    energy = ("energy", [0.515, 0.51840004, 0.5291], {"units": "keV"})
    return xr.Dataset(coords={"energy": energy, "dwell_time": ("energy", [1e-3, 2.5e-3, 0.5e-3], {"units": "s"})})


def test_table__has_a_line_for_each_energy_in_ev_and_ms(design, tmp_path):
    path = xstxm.write_scan_list(design, tmp_path / "scan.csv")
    assert path.read_text(encoding="utf-8") == (
        "energy (eV),dwell (ms)\n515.0000,1.0000\n518.4000,2.5000\n529.1000,0.5000\n"
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["scan.csv"]


def test_design__goes_into_a_table_as_it_is(tmp_path):
    references = xstxm.testing.simulate_references()
    options = {"criterion": "a-optimal", "counts": 4000, "dwell": "2 ms", "sharing": "optimal"}
    found = xstxm.design_energies(references, 7, **options)
    path = xstxm.write_scan_list(found, str(tmp_path / "scan.csv"))
    energy, dwell = np.loadtxt(path, delimiter=",", skiprows=1).T
    np.testing.assert_allclose(energy, found.energy, atol=1e-4)
    np.testing.assert_allclose(dwell, found.dwell_time, atol=1e-4)
    assert dwell.sum() == pytest.approx(14, abs=1e-3)


def test_one_dwell_time__holds_for_every_energy(design, tmp_path):
    one = design.assign_coords(dwell_time=((), 3.0, {"units": "ms"}))
    lines = xstxm.write_scan_list(one, tmp_path / "scan.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == ["3.0000"] * 3


def test_file__that_is_there_is_kept_unless_told(design, tmp_path):
    path = tmp_path / "scan.csv"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        xstxm.write_scan_list(design, path)
    assert path.read_text() == "mine"
    assert xstxm.write_scan_list(design, path, overwrite=True).read_text().startswith("energy (eV)")


def test_file__is_whole_or_absent(design, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        xstxm.write_scan_list(design, tmp_path / "scan.csv")
    assert not list(tmp_path.iterdir())


def test_what_is_no_scan_list__is_refused(design, tmp_path):
    path = tmp_path / "scan.csv"
    with pytest.raises(MissingCoordinateError, match="design with dwell= or total_time="):
        xstxm.write_scan_list(design.drop_vars("dwell_time"), path)
    with pytest.raises(MissingDimensionError, match="energy"):
        xstxm.write_scan_list(xr.Dataset(), path)
    wide = design.assign_coords(dwell_time=(("energy", "x"), np.ones((3, 2)), {"units": "ms"}))
    with pytest.raises(SchemaError, match=r"a scan list holds \(energy\)"):
        xstxm.write_scan_list(wide, path)
    with pytest.raises(OptionError, match="above zero"):
        xstxm.write_scan_list(design.assign_coords(dwell_time=0 * design.dwell_time.assign_attrs(units="ms")), path)
    assert not path.exists()
