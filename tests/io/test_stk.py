"""Stony Brook stacks, which are made by the tests only."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
from damage import damaged, opens_or_refuses
from ncb_files import ENERGIES, X, Y, numbers, write_stk

import xstxm
from xstxm.errors import CorruptFileError, FileFormatError, MetadataWarning


def test_stack__is_read_from_a_path_and_from_a_stream(tmp_path):
    path = write_stk(tmp_path / "stack.stk", numbers())
    for source in (path, io.BytesIO(path.read_bytes())):
        with pytest.warns(MetadataWarning, match=r"met no real \.stk"):
            stack = xstxm.open_stack(source, chunks={}, kind="optical_density")
        np.testing.assert_array_equal(stack.optical_density, numbers())
        np.testing.assert_array_equal(stack.energy, ENERGIES)
        np.testing.assert_allclose(stack.x, np.linspace(*X, 4), atol=1e-7)
        np.testing.assert_allclose(stack.y, np.linspace(*Y, 2), atol=1e-7)
        np.testing.assert_array_equal(stack.dwell_time, [1.5, 1.5, 1.5])


def test_energies__in_single_precision_are_the_decimals_that_were_meant(tmp_path):
    path = write_stk(tmp_path / "stack.stk", numbers(), energies=(700.1, 705.3, 708.7))
    with pytest.warns(MetadataWarning):
        np.testing.assert_array_equal(xstxm.open_stack(path).energy, [700.1, 705.3, 708.7])


@pytest.mark.parametrize(
    ("content", "found"),
    [
        pytest.param(b"II*\0" + b"\0" * 60, "a TIFF image", id="MetaMorph"),
        pytest.param(b"", "an empty file", id="empty"),
        pytest.param(b"\0\0\0\1\0\0", "a binary file", id="six bytes"),
    ],
)
def test_other_files__are_refused(tmp_path, content, found):
    path = tmp_path / "stack.stk"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=f"found {found}"):
        xstxm.open_stack(path, engine="stk")
    with pytest.raises(FileFormatError):
        xstxm.open_stack(path)


def test_sizes__that_claim_more_than_the_file_holds_allocate_nothing(tmp_path):
    path = tmp_path / "stack.stk"
    path.write_bytes(np.array([100_000, 100_000, 100_000], ">i4").tobytes())
    with pytest.raises(CorruptFileError, match=r"expected 4000000001600012 bytes .*, found 12"):
        xstxm.open_stack(path, engine="stk")


def test_damaged_files__open_or_say_what_is_wrong(tmp_path):
    path = write_stk(tmp_path / "stack.stk", numbers())
    ends = Counter()
    for content in damaged(path.read_bytes(), 200):
        path.write_bytes(content)
        ends[opens_or_refuses(path, engine="stk")] += 1
    assert ends["opened"] > 10
    assert ends["CorruptFileError"] > 10
