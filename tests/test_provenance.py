from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from laziness import raise_if_dask_computes

import xstxm
from xstxm import provenance
from xstxm.provenance import recorded


@recorded
def outer(stack, factor=2.0, *, mask=None):
    return inner(stack) * factor


@recorded
def inner(stack):
    return stack + 0


def test_recorded__only_the_outermost_call_writes(density):
    assert [entry["operation"] for entry in provenance.entries(outer(density))] == ["outer"]


def test_recorded__chain_is_in_order_and_inputs_stay_as_they_were(density):
    before = dict(density.attrs)
    result = outer(inner(density), 3.0)
    assert [entry["operation"] for entry in provenance.entries(result)] == ["inner", "outer"]
    assert result.attrs["history"].count("\n") == 1
    assert density.attrs == before


def test_recorded__describes_arrays_and_keeps_numbers(density):
    entry = provenance.entries(outer(density, factor=np.float64(3), mask=density > 0))[-1]
    assert entry["parameters"]["factor"] == 3.0
    assert entry["parameters"]["mask"]["array"] == "<array optical_density (energy: 42, y: 6, x: 9)>"
    assert entry["output"] == "<array optical_density (energy: 42, y: 6, x: 9)>"
    assert entry["version"] == xstxm.__version__


def test_recorded__survives_operations_that_drop_attrs(density):
    @recorded
    def forgetful(stack):
        return xr.DataArray(np.asarray(stack), dims=stack.dims)

    result = forgetful(inner(density))
    assert [entry["operation"] for entry in provenance.entries(result)] == ["inner", "forgetful"]


def test_recorded__an_error_does_not_silence_the_next_call(density):
    @recorded
    def broken(stack):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        broken(density)
    assert provenance.entries(inner(density))


def test_recorded__computes_nothing(density):
    with raise_if_dask_computes():
        outer(density.chunk(y=3), mask=density.chunk(y=3) > 0)


def test_recorded__names_files_without_their_folder(tmp_path):
    @recorded
    def read(path):
        return xr.Dataset()

    assert provenance.entries(read(tmp_path / "a.hdr"))[0]["input"] == "a.hdr"
    assert provenance.entries(read({"a": str(tmp_path / "a.t")}))[0]["input"] == {"a": "a.t"}


def test_history__is_a_table(stack):
    table = xstxm.history(xstxm.sel_energy(stack, 510, 520))
    assert list(table["operation"]) == ["sel_energy"]
    assert table["parameters"][0] == {"start": 510, "stop": 520}


def test_record__round_trips_through_netcdf(stack, tmp_path):
    result = xstxm.sel_energy(stack, "510 eV", "520 eV")
    result.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as again:
        assert json.loads(again.attrs["xstxm_provenance"]) == provenance.entries(result)


def test_recorded__notes_go_to_the_record_and_attributes_of_the_user_stay(stack):
    @recorded
    def verb(stack):
        provenance.note("decided by itself")
        return stack

    result = verb(stack.assign_attrs(notes="batch 3"))
    assert result.attrs["notes"] == "batch 3"
    assert provenance.entries(result)[0]["notes"] == "decided by itself"
    assert result.attrs["history"].endswith("verb(); decided by itself")


def test_recorded__keeps_defaults_in_the_entry_and_what_was_given_in_the_line(density):
    result = outer(density)
    assert provenance.entries(result)[0]["parameters"] == {"factor": 2.0, "mask": None}
    assert result.attrs["history"].endswith("outer()")


def test_record__that_another_program_broke_does_not_stop_the_work(stack):
    broken = stack.assign_attrs(xstxm_provenance="not json")
    assert "stack" in repr(broken.stxm)
    assert [entry["operation"] for entry in provenance.entries(xstxm.sel_energy(broken, 510, 520))] == ["sel_energy"]
