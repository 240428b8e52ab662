"""Particles in time: numbers that stay, splits and merges, and tables along tracks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from test_operando import phases

import xstxm
from xstxm.errors import MissingCoordinateError, MissingDimensionError, MissingVariableError, OptionError, SchemaError


def series(*frames, **coords):
    image = np.array([[list(map(int, row)) for row in frame] for frame in frames])
    axes = {"time": ("time", 60.0 * np.arange(len(frames)), {"units": "s"})}
    axes |= {dim: (dim, 0.1 * np.arange(n), {"units": "um"}) for dim, n in zip("yx", image.shape[1:], strict=True)}
    return xr.DataArray(image, axes | coords, ("time", "y", "x"), name="particle_label")


def disks(seed, n_times=5, shuffle=True):
    """Disks that drift by half a pixel, whose numbers are drawn anew at each time; and their true numbers."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:60, :80]
    sites = np.array([(r, c) for r in (8, 24, 40, 52) for c in (8, 26, 44, 62)]) + rng.uniform(-2, 2, (16, 2))
    radius = rng.uniform(3, 5, 16)
    image, truth = [], []
    for _ in range(n_times):
        sites = sites + rng.uniform(-0.5, 0.5, sites.shape)
        true = np.zeros(y.shape, int)
        for k, (row, column) in enumerate(sites):
            true[(y - row) ** 2 + (x - column) ** 2 < radius[k] ** 2] = k + 1
        order = rng.permutation(16) + 1 if shuffle else np.arange(1, 17)
        image.append(np.concatenate([[0], order])[true])
        truth.append(true)
    return xr.DataArray(np.array(image), {"time": np.arange(n_times) * 1.0}, ("time", "y", "x")), np.array(truth)


@given(st.integers(0, 500))
def test_track_particles__gives_numbers_that_stay(seed):
    image, truth = disks(seed)
    found = xstxm.track_particles(image)
    track = found["track_label"].values
    pairs = np.unique(np.stack([truth.ravel(), track.ravel()]), axis=1)
    assert pairs.shape[1] == 17  # one track for each true particle, at all times
    assert pairs[:, 0].tolist() == [0, 0]
    assert not found["split_from"].any()
    assert not found["merged_into"].any()
    xstxm.testing.assert_conforms(found, "track_particles")


@given(st.integers(0, 500))
def test_track_particles__relabels_the_image_as_its_table_says(seed):
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(4, 24, 30)), (0.7, 2, 2)) > 0.03
    image = xr.DataArray(
        np.array([ndimage.label(frame)[0] for frame in noise]), {"time": np.arange(4.0)}, ("time", "y", "x")
    )
    found = xstxm.track_particles(image)
    for k in range(4):
        numbers = {0: 0} | {
            int(p): int(found["track_of_particle"].sel(particle=p)[k]) for p in found["particle"].values
        }
        np.testing.assert_array_equal(found["track_label"][k], np.vectorize(numbers.get)(image[k]))
        present = found["track_of_particle"][k].values
        present = present[present > 0]
        assert np.unique(present).size == present.size == np.unique(image[k].values[image[k].values > 0]).size
        assert not (found["split_from"][k].values[found["track_of_particle"][k].values == 0]).any()
    finite = found["track_overlap"].values[np.isfinite(found["track_overlap"].values)]
    assert ((finite >= 0.5) & (finite <= 1)).all()
    tracks = [{*frame.tolist()} - {0} for frame in found["track_of_particle"].values]
    going_on = [len(before & after) for before, after in itertools.pairwise(tracks)]
    assert np.isfinite(found["track_overlap"].values).sum(1).tolist() == [0, *going_on]


def test_track_particles__marks_splits_and_merges():
    whole, parts = ["11111100", "11111100"], ["22220100", "22220100"]
    split = xstxm.track_particles(series(whole, parts))
    assert split["track_of_particle"].values.tolist() == [[1, 0], [2, 1]]
    assert split["split_from"].values.tolist() == [[0, 0], [1, 0]]
    assert np.isnan(split["track_overlap"].values[1, 0])
    assert split["track_overlap"].values[1, 1] == 1
    merged = xstxm.track_particles(series(parts, whole))
    assert merged["track_of_particle"].values.tolist() == [[1, 2], [2, 0]]
    assert merged["merged_into"].values.tolist() == [[2, 0], [0, 0]]
    assert not merged["split_from"].any()


def test_track_particles__takes_pairs_that_share_most_in_all():
    """A shares more with X than B does, and B has nothing but X: both go on."""
    before = ["1111222200", "1111222200"]
    after = ["3330444440", "3330444440"]
    shifted = xstxm.track_particles(series(before, after))
    assert shifted["track_of_particle"].sel(particle=[3, 4])[1].values.tolist() == [1, 2]


def test_track_particles__begins_anew_after_an_absence_and_with_too_little_overlap():
    there, gone = ["1100", "1100"], ["0000", "0000"]
    assert xstxm.track_particles(series(there, gone, there))["track_of_particle"].values.tolist() == [[1], [0], [2]]
    moved = series(["1111000", "1111000"], ["0001111", "0001111"])
    assert xstxm.track_particles(moved, min_overlap=0.3)["track_of_particle"].values.tolist() == [[1], [2]]
    assert xstxm.track_particles(moved, min_overlap=0.25)["track_of_particle"].values.tolist() == [[1], [1]]


def test_track_particles__reads_a_dataset_in_any_order_of_dimensions():
    image, _ = disks(0)
    expected = xstxm.track_particles(image)
    found = image.rename("particle_label").to_dataset().transpose("x", "time", "y").stxm.track_particles()
    xr.testing.assert_identical(found.drop_attrs(), expected.drop_attrs())


def test_track_particles__says_what_is_wrong():
    image = series(["10", "10"], ["10", "10"])
    with pytest.raises(MissingVariableError, match="'particle_label' is missing"):
        xstxm.track_particles(xr.Dataset())
    with pytest.raises(MissingDimensionError, match="put the images of all times along it"):
        xstxm.track_particles(image.isel(time=0))
    with pytest.raises(MissingCoordinateError, match="'time' has no coordinate values"):
        xstxm.track_particles(image.drop_vars("time"))
    with pytest.raises(SchemaError, match="the image of particles is float64"):
        xstxm.track_particles(image * 1.0)
    with pytest.raises(SchemaError, match="the image holds no particle"):
        xstxm.track_particles(image * 0)
    for order in ([1, 0], [0, 0]):
        with pytest.raises(SchemaError, match=r"the times do not ascend, .*sortby\('time'\) first"):
            xstxm.track_particles(image.isel(time=order))
    for share in (0, 1.1, None):
        with pytest.raises(OptionError, match="min_overlap="):
            xstxm.track_particles(image, min_overlap=share)


# ---- tables along tracks


def tables_of(image, truth):
    """Tables that say of each particle its true number, an area and whether it touches the edge."""
    tables = {}
    for k, time in enumerate(image["time"].values):
        frame = image[k].values
        names = np.unique(frame[frame > 0])[::-1]
        number = np.array([truth[k][frame == name][0] for name in names])
        tables[time] = xr.Dataset(
            {
                "composition": ("particle", number + 0.1 * k, {"units": "1"}),
                "composition_stderr": ("particle", np.full(names.size, 0.01)),
                "n_pixels": ("particle", [(frame == name).sum() for name in names]),
                "touches_edge": ("particle", number == 1),
                "fraction": (("phase", "particle"), np.stack([number, -number])),
                "pixel_area": ((), 0.01),
            },
            {"particle": names, "phase": ["a", "b"]},
        )
    return tables


def test_trajectories__follow_each_particle():
    image, truth = disks(3)
    tracks = xstxm.track_particles(image)
    found = xstxm.trajectories(tables_of(image, truth), tracks)
    assert found["composition"].dims == ("track", "time")
    assert found["composition"].attrs["units"] == "1"
    assert found["fraction"].dims == ("track", "time", "phase")
    assert "pixel_area" not in found
    assert bool(found["present"].all())
    true = np.round(found["composition"].isel(time=0))
    assert sorted(true.values) == list(range(1, 17))
    np.testing.assert_allclose(
        found["composition"] - true, 0.1 * found["time"].broadcast_like(found["composition"]), atol=1e-9
    )
    assert found["n_pixels"].dtype == float
    assert found["touches_edge"].dtype == bool
    np.testing.assert_array_equal(found["touches_edge"], (true == 1).broadcast_like(found["composition"]))


def test_trajectories__of_particles_that_take_up_lithium():
    maps = {float(k): phases().isel(time=k).drop_vars("time") for k in range(5)}
    tables = {time: xstxm.particles(map_of_one) for time, map_of_one in maps.items()}
    image = xr.concat(
        [table["particle_label"] for table in tables.values()], xr.DataArray([*tables], dims="time", name="time")
    )
    found = xstxm.trajectories(tables, xstxm.track_particles(image))
    large = found.isel(track=found["particle_area"].isel(time=0, drop=True) > 0.05)
    assert large.sizes["track"] > 1
    assert bool(large["present"].all())
    assert bool(
        (
            large["particle_composition"].diff("time")
            > 3 * large["particle_composition_stderr"].isel(time=slice(1, None))
        ).all()
    )


def test_trajectories__are_nan_where_a_track_is_not_there():
    image = series(["110022", "110022"], ["110000", "110000"], ["330022", "330022"])
    tables = tables_of(image, image.values)
    found = xstxm.trajectories(
        tables, xstxm.track_particles(image), variables=["composition", "n_pixels", "touches_edge"]
    )
    assert {*found.data_vars} == {"composition", "n_pixels", "touches_edge", "present"}
    assert found["present"].values.tolist() == [[True, True, True], [True, False, False], [False, False, True]]
    np.testing.assert_array_equal(found["composition"].isnull(), ~found["present"])
    np.testing.assert_array_equal(found["n_pixels"], np.where(found["present"], 4, np.nan))
    assert found["touches_edge"].dtype == bool
    lazy = {time: table.chunk() for time, table in tables.items()}
    assert xstxm.trajectories(lazy, xstxm.track_particles(image))["composition"].chunks is not None


def test_trajectories__are_in_the_unit_of_the_first_table():
    image, truth = disks(0, n_times=2)
    tables, tracks = tables_of(image, truth), xstxm.track_particles(image)
    percent = tables[1.0].assign(composition=(100 * tables[1.0]["composition"]).assign_attrs(units="percent"))
    found, expected = (xstxm.trajectories({**tables, 1.0: one}, tracks) for one in (percent, tables[1.0]))
    np.testing.assert_allclose(found["composition"], expected["composition"])
    assert found["composition"].attrs["units"] == "1"


def test_trajectories__say_what_is_wrong():
    image, truth = disks(0, n_times=2)
    tables, tracks = tables_of(image, truth), xstxm.track_particles(image)
    with pytest.raises(MissingVariableError, match=r"call xstxm\.track_particles first"):
        xstxm.trajectories(tables, image.to_dataset(name="particle_label"))
    with pytest.raises(SchemaError, match=r"no table for 1\.0: give one for each of the 2 times"):
        xstxm.trajectories({0.0: tables[0.0]}, tracks)
    with pytest.raises(SchemaError, match=r"not told apart by their times .*: give one for each of the 2 times"):
        xstxm.trajectories({"first": tables[0.0], "second": tables[1.0]}, tracks)
    with pytest.raises(SchemaError, match=r"a table for 7\.0, which the tracks lack"):
        xstxm.trajectories({**tables, 7.0: tables[0.0]}, tracks)
    with pytest.raises(SchemaError, match=r"the table of 1\.0 has 15 particles, the image 16"):
        xstxm.trajectories({**tables, 1.0: tables[1.0].isel(particle=slice(1, None))}, tracks)
    with pytest.raises(MissingDimensionError, match=r"the table of 0\.0 has to have one"):
        xstxm.trajectories({**tables, 0.0: xr.Dataset()}, tracks)
    with pytest.raises(MissingVariableError, match=r"'colour' is missing .* the table of 0\.0 does not hold it"):
        xstxm.trajectories(tables, tracks, variables=["colour"])
