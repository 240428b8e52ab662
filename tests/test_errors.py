from __future__ import annotations

import pickle
import threading
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import xarray as xr

from xstxm import errors
from xstxm.errors import OptionError, require_number, require_whole

EVERY_ERROR = [
    errors.ChoiceError("method", "nnsl", ("lstsq", "nnls", "fcls")),
    errors.OptionError("fraction", 2, "lies in (0, 1]"),
    errors.SchemaError("not a stack"),
    errors.MissingDimensionError("energy", ("e", "y"), "rename yours"),
    errors.MissingCoordinateError("energy"),
    errors.MissingVariableError("optical_density", ["intensity", "i0"], "call .stxm.optical_density() first"),
    errors.UnitsError("cannot understand"),
    errors.MissingUnitsError("I0", "say so"),
    errors.IncompatibleUnitsError("I0", "eV", "count"),
    errors.EnergyRangeError("no energies"),
    errors.ReferenceSpectrumError("constant", ["a"]),
    errors.ChunkingError("fit", ["energy"], 3, "4 GiB", "1 GB", "store it"),
    errors.FileFormatError("a/b.hdr", "a ScanDefinition", "an ENVI header"),
    errors.CorruptFileError("a/b.xim", "4 rows", "3 rows", "measure again"),
    errors.UnsupportedScanError("a/b.hdf5", "an image", "camera frames"),
    errors.MissingDependencyError("plots", "holoviews", "plot"),
    errors.NoRoomError(Path("/data/night.zarr"), "10 GiB", "1 GiB"),
]


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: type(error).__name__)
def test_errors__keep_facts_and_sentence_through_pickle(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: type(error).__name__)
def test_errors__have_one_base_and_a_builtin_one(error):
    assert isinstance(error, errors.StxmError)
    assert isinstance(error, ValueError | OSError | ImportError)


def test_choice__says_did_you_mean():
    assert str(EVERY_ERROR[0]) == "unknown method 'nnsl': use 'lstsq', 'nnls' or 'fcls' (did you mean 'nnls'?)"


def test_missing_variable__says_what_was_found_and_what_to_do():
    assert str(EVERY_ERROR[5]) == (
        "'optical_density' is missing (found: intensity, i0): call .stxm.optical_density() first"
    )


def test_missing_variable__says_did_you_mean():
    error = errors.MissingVariableError("optical_densty", ["intensity"], "make it")
    assert str(error) == "'optical_densty' is missing (found: intensity) (did you mean 'optical_density'?): make it"


def test_file_errors__name_the_file_not_its_folder():
    assert str(EVERY_ERROR[13]) == "b.xim: expected 4 rows, found 3 rows: measure again"


def test_warn__points_at_the_line_of_the_caller():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        errors.warn("slow", errors.PerformanceWarning)
    assert caught[0].filename == __file__


def test_heard__takes_the_warnings_of_its_thread_and_leaves_the_filters_alone():
    filters, show, elsewhere = list(warnings.filters), warnings.showwarning, []

    def work():
        with errors.heard() as told:
            errors.warn("b", errors.NoiseWarning)
        elsewhere.extend(told)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with errors.heard() as told:
            errors.warn("a", errors.MetadataWarning)
            with errors.heard() as inner:
                errors.warn("c", errors.MetadataWarning)
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        with pytest.raises(errors.MetadataWarning):
            errors.warn("d", errors.MetadataWarning)
    assert [(type(one), str(one)) for one in told] == [(errors.MetadataWarning, "a")]
    assert [str(one) for one in (*elsewhere, *inner)] == ["b", "c"]
    assert (list(warnings.filters), warnings.showwarning) == (filters, show)


def test_messages__show_what_was_given_in_few_words():
    stack = xr.DataArray(np.zeros((20, 30, 40)), dims=("energy", "y", "x"))
    shown = {
        "<DataArray (energy: 20, y: 30, x: 40)>": stack,
        "<Dataset (energy: 20, y: 30, x: 40)>": stack.to_dataset(name="intensity"),
        "0.0": stack[0, 0, 0],
        "2.5": np.float64(2.5),
        "'515 eV'": "515 eV",
        "{'x': (1, 2)}": {"x": (1, 2)},
    }
    for text, value in shown.items():
        assert str(OptionError("at", value, "no")) == f"at={text}: no"
    for value in (stack.values, {"x": stack}, list(range(1000)), "x" * 1000):
        told = str(OptionError("at", value, "no"))
        assert len(told) < 120
        assert "\n" not in told


def test_check_choice__of_an_array_is_a_wrong_word():
    array = xr.DataArray(np.zeros(3), dims="energy")
    with pytest.raises(errors.ChoiceError, match=r"^unknown method <DataArray \(energy: 3\)>: use 'a' or 'b'$"):
        errors.check_choice("method", array, Literal["a", "b"])
    with pytest.raises(errors.ChoiceError, match=r"^unknown method \['a'\]"):
        errors.check_choice("method", ["a"], Literal["a", "b"])


@pytest.mark.parametrize("value", [np.nan, "3", None, True, np.True_, [3], 2.5, np.inf, 1, 8], ids=str)
def test_require_whole__refuses(value):
    with pytest.raises(OptionError, match=r"^window=.*: give a whole number from 2 to 7, the pixels$"):
        require_whole("window", value, 2, 7, "the pixels")


@pytest.mark.parametrize("value", [3, 3.0, np.int16(3), np.float32(3), np.uint8(3), np.array(3), xr.DataArray(3.0)])
def test_require_whole__takes_any_whole_number(value):
    found = require_whole("window", value)
    assert (type(found), found) == (int, 3)


@pytest.mark.parametrize("value", [np.nan, "0.5", None, True, [0.5], 0, 1.5, -np.inf], ids=str)
def test_require_number__refuses(value):
    with pytest.raises(OptionError, match=r"^share=.*: give a share above 0 and of at most 1$"):
        require_number("share", value, "a share", above=0, most=1)


def test_require_number__limits():
    assert require_number("share", np.float32(0.5), below=1) == 0.5
    assert require_number("share", np.inf, finite=False) == np.inf
    with pytest.raises(OptionError, match=r"share=inf: give a number$"):
        require_number("share", np.inf)
    with pytest.raises(OptionError, match=r"share=1: give a number below 1$"):
        require_number("share", 1, below=1)
