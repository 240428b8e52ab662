"""Chunks with a margin of those around them: the numbers of the whole image, whatever the chunks, and few held at a time."""

from __future__ import annotations

import dask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laziness import Held, Nowhere
from scipy.ndimage import maximum_filter

from xstxm import set_options
from xstxm._neighbours import by_neighbours

da = pytest.importorskip("dask.array")

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=5).map(tuple)


def largest_around(frames, height, width):
    return maximum_filter(frames, (1, 2 * height + 1, 2 * width + 1), mode="nearest")


@settings(max_examples=30, deadline=None)
@given(rows=SIZES, columns=SIZES, margin=st.tuples(st.integers(0, 7), st.integers(0, 7)), large=st.booleans())
def test_by_neighbours__sees_what_the_whole_image_shows(rows, columns, margin, large):
    frames = np.random.default_rng(0).normal(size=(3, sum(rows), sum(columns)))
    scale = np.array([1.0, 2.0, 3.0])

    def func(block, other, factors):
        return [largest_around(block, *margin) * factors[:, None, None], other.astype("float32")]

    lazy = da.from_array(frames, chunks=((1, 2), rows, columns))
    with set_options(rechunk_limit=1.0 if large else 1e9):
        found = by_neighbours(func, [lazy, lazy + 1], scale, margin=margin, dtypes=[float, "float32"])
    assert [part.chunks for part in found] == [lazy.chunks, lazy.chunks]
    first, second = dask.compute(*found)
    np.testing.assert_array_equal(first, largest_around(frames, *margin) * scale[:, None, None])
    np.testing.assert_array_equal(second, (frames + 1).astype("float32"))


@pytest.mark.parametrize("n", [4, 12])
@pytest.mark.parametrize("limit", [pytest.param(1.0, id="large"), pytest.param(1e9, id="small")])
def test_by_neighbours__holds_few_chunks_of_a_large_stack_and_makes_those_of_a_small_one_once(n, limit):
    held, made = Held(), []

    def chunk(block):
        made.append(1)
        return held.made(block)

    lazy = da.ones((2, 8 * n, 8 * n), chunks=(2, 8, 8)).map_blocks(chunk, dtype=float, meta=np.empty((0, 0, 0)))
    with set_options(rechunk_limit=limit), dask.config.set(scheduler="synchronous"):
        (found,) = by_neighbours(lambda block: [block + 1], [lazy], margin=(2, 2), dtypes=[float])
        da.store(found, Nowhere(), lock=False)
    if limit > lazy.nbytes:
        assert len(made) == n**2
    else:
        assert held.most <= 2


def test_by_neighbours__lends_copies_of_rims_alone():
    """A view of a chunk would keep all of it."""
    from xstxm._neighbours import _rims

    block = np.ones((2, 8, 8))
    rims = _rims(block, (2, 3))
    assert len(rims) == 8
    assert all(rim.base is None for rim in rims.values())
    assert rims[-1, 0].shape == (2, 2, 8)
    assert rims[1, -1].shape == (2, 2, 3)
