"""Whether a region is empty, and which pixels are flagged."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from stxm_explorer.verdicts import emptiness, flagged

from xstxm.conventions import NO_SAMPLE, QUALITY_FLAGS


@pytest.mark.parametrize(
    ("density", "doubtful", "said"),
    [([0.01, 0.03, np.nan], False, "empty as far"), ([-0.02, 0.04], True, "not empty"), ([np.nan], True, "no optical")],
    ids=["flat", "an edge", "no counts"],
)
def test_emptiness__is_told_by_the_span(density, doubtful, said):
    found = emptiness(xr.DataArray(density, dims="energy"))
    assert found.doubtful is doubtful
    assert said in str(found)


def test_flagged__counts_every_flag_and_draws_the_first():
    first, second = [*QUALITY_FLAGS.values()][1:3]
    quality = xr.DataArray(np.array([[0, first, second], [first | second, 0, 0]], np.uint16), dims=("y", "x"))
    found = flagged(quality)
    assert found.counts == dict(zip([*QUALITY_FLAGS][1:3], (2, 2), strict=True))
    np.testing.assert_array_equal(found.classes, [[NO_SAMPLE, 0, 1], [0, NO_SAMPLE, NO_SAMPLE]])


def test_flagged__of_none_has_no_class():
    found = flagged(xr.DataArray(np.zeros((2, 3), np.uint16), dims=("y", "x")))
    assert not found.counts
    assert (found.classes == NO_SAMPLE).all()
