"""Logs of electrochemistry: what they look like, units, times, and every way to be broken."""

from __future__ import annotations

import io

import numpy as np
import pytest

import xstxm
from xstxm.errors import CorruptFileError, FileFormatError, IncompatibleUnitsError, MissingUnitsError, OptionError


def read(text, **options):
    return xstxm.read_electrochemistry(io.BytesIO(text.encode()), **options)


LOOKS = {
    "commas": "time (s),voltage (V),current (mA)\n0,3.5,-2\n90,3.25,-1\n",
    "brackets, other units": "Time [h],U [mV],I [A]\n0,3500,-0.002\n0.025,3250,-0.001\n",
    "semicolons, decimal commas": "time/s;Ewe/V;<I>/mA\n0,0;3,5;-2,0\n90,0;3,25;-1,0\n",
    "tabs, closed rows, preamble": (
        "A LOG FILE\r\nNb header lines : 4\r\n\r\nmode\ttime/s\tEwe/V\t<I>/mA\t\r\n1\t0\t3.5\t-2\t\r\n1\t9.0e1\t3.25\t-1\t\r\n"
    ),
    "comments": "# cell 7\n# time (min), E (V), I (mA)\n0, 3.5, -2\n# a step\n1.5, 3.25, -1\n",
    "quotes": '"time (s)","potential (V)","current (mA)"\n"0","3.5","-2"\n"90","3.25","-1"\n',
}


@pytest.mark.parametrize("look", LOOKS)
def test_read__tables_of_any_look(look):
    log = read(LOOKS[look])
    np.testing.assert_allclose(log["time"], [0, 90])
    np.testing.assert_allclose(log["voltage"], [3.5, 3.25])
    np.testing.assert_allclose(log["current"], [-2, -1])
    assert [log[name].attrs["units"] for name in ("time", "voltage", "current")] == ["s", "V", "mA"]
    np.testing.assert_allclose(log["charge"], [0, -1.5 * 90 / 3600])
    assert log["charge"].attrs["units"] == "mAh"


def test_read__a_charge_that_is_there_and_says_what_is_left_out():
    log = read("time (s),(Q-Qo)/mA.h,cycle number,I (mA)\n0,0.5,1,7\n60,0.25,1,7\n")
    assert log["charge"].values.tolist() == [0.5, 0.25]
    assert "columns left out: cycle number" in log.attrs["history"]
    coulomb = read("time (s),charge (C)\n0,0\n60,3.6\n")
    np.testing.assert_allclose(coulomb["charge"], [0, 1])


def test_read__dates_of_any_zone_and_a_start():
    named = read("date,U (V)\n2026-03-01T10:00:00+01:00,3\n2026-03-01T09:30:00Z,2\n")
    assert named["time"].values.astype("datetime64[s]").astype(str).tolist() == [
        "2026-03-01T09:00:00",
        "2026-03-01T09:30:00",
    ]
    started = read("time (min),U (V)\n0,3\n0.5,2\n", start_time="2026-03-01T10:00:00+01:00")
    assert str(started["time"].values[1].astype("datetime64[s]")) == "2026-03-01T09:00:30"
    plain = read("timestamp,I (mA)\n2026-03-01 10:00:00,3\n2026-03-01 11:00:00,3\n")
    np.testing.assert_allclose(plain["charge"], [0, 3])


def test_read__keeps_equal_times_and_empty_cells():
    log = read("time (s),U (V),I (mA)\n0,3,1\n10,,1\n10,2,0\n")
    assert log["time"].values.tolist() == [0, 10, 10]
    assert np.isnan(log["voltage"][1])


def test_read__takes_columns_and_units_that_are_named(tmp_path):
    path = tmp_path / "cell.csv"
    path.write_text("when,Ewe/V,Ece/V,ampere\n0,3,1,2\n3600,2,1,2\n", encoding="utf-8")
    log = xstxm.read_electrochemistry(
        path,
        columns={"time": "when", "voltage": "Ece/V", "current": "ampere"},
        units={"time": "s", "current": "A"},
    )
    assert log["voltage"].values.tolist() == [1, 1]
    np.testing.assert_allclose(log["charge"], [0, 2000])
    assert log.attrs["source_file"] == "cell.csv"


@pytest.mark.parametrize(
    ("text", "options", "error", "match"),
    [
        pytest.param("a,b\n1,2\n", {}, FileFormatError, "expected a line of column names", id="no names"),
        pytest.param("time (s),U (V)\n", {}, CorruptFileError, "rows of numbers", id="no rows"),
        pytest.param("time (s),U (V)\n0,1\n\n1,2,3\n", {}, CorruptFileError, "found 3 in line 4", id="ragged"),
        pytest.param("time (s),U (V)\n0,1\n1,x\n", {}, CorruptFileError, r"'U \(V\)', found 'x' in line 3", id="word"),
        pytest.param(
            "time (s),U (V)\n,1\n", {}, CorruptFileError, "a time in each row, found none in line 2", id="no time"
        ),
        pytest.param("time (s),U (V)\n0,1\n2,1\n1,1\n", {}, CorruptFileError, "an earlier one in line 4", id="back"),
        pytest.param(
            "date,U (V)\n2026-03-01,1\n03/02/2026,1\n",
            {},
            CorruptFileError,
            "'03/02/2026' in line 3",
            id="two spellings",
        ),
        pytest.param(
            "date,U (V)\n01/03/2026,1\n",
            {},
            CorruptFileError,
            "found '01/03/2026' in line 2: .* dates are written as 2026-03-01T10:00:00",
            id="other spelling",
        ),
        pytest.param(
            "time (s),U (V)\n0,1\n",
            {"units": {"time": "h"}},
            OptionError,
            r"'time \(s\)' gives its own",
            id="two units",
        ),
        pytest.param(
            "time (s),U (V)\n0,1\n",
            {"units": {"current": "A"}},
            OptionError,
            "no column that was found",
            id="units of none",
        ),
        pytest.param(
            "time (s),E (V),U (V)\n0,1,1\n", {}, FileFormatError, r"columns={'voltage': 'E \(V\)'}", id="twice"
        ),
        pytest.param("time,U (V)\n0,1\n", {}, MissingUnitsError, r"pass units={'time': 's'}", id="no unit"),
        pytest.param(
            "time (s),U (A)\n0,1\n", {}, IncompatibleUnitsError, r"'U \(A\)' .* does not convert to 'V'", id="unit"
        ),
        pytest.param(
            "date,U (V)\n2026-03-01,1\n", {"start_time": "2026-03-01"}, OptionError, "holds dates", id="start of dates"
        ),
        pytest.param("time (s),U (V)\n0,1\n", {"start_time": "noon"}, OptionError, "a date in ISO 8601", id="start"),
        pytest.param(
            "time (s),U (V)\n0,1\n", {"columns": {"heat": "U"}}, OptionError, "'heat' is no quantity", id="heat"
        ),
        pytest.param(
            "time (s),U (V)\n0,1\n", {"columns": {"current": "I"}}, OptionError, "'I' is no column", id="no column"
        ),
    ],
)
def test_read__says_what_is_broken(text, options, error, match):
    with pytest.raises(error, match=match):
        read(text, **options)
