"""Figures that stay in the page: what they send, where it lies, and what they tell when one picks."""

from __future__ import annotations

import gc
import weakref

import dask.array
import numpy as np
import panel as pn
import pytest
import xarray as xr
from bokeh.events import RangesUpdate, SelectionGeometry, Tap
from stxm_explorer.figures import Curve, CurveFigure, MapFigure, MapRanges
from stxm_explorer.figures.frames import LEFT
from stxm_explorer.figures.rasters import STRIPE_COLOR, Window, block_mean, block_mode, crop_to, upright

from xstxm import plot
from xstxm.conventions import NO_SAMPLE, UNDECIDED
from xstxm.errors import OptionError, SchemaError

STEP = 0.05
COLORS = {"V2O5": "#0072B2", "VO2": "#D55E00", "V6O13 <b>": "#009E73", "LiV2O5": "#E69F00"}


def image(values, x0=0.0, y0=0.0, **attrs) -> xr.DataArray:
    """Return a map with pixels of 50 nm."""
    values = np.asarray(values)
    centres = {
        dim: start + STEP * np.arange(size) for dim, start, size in zip("yx", (y0, x0), values.shape, strict=False)
    }
    coords = {dim: (dim, c, {"units": "um", "long_name": f"{dim} position"}) for dim, c in centres.items()}
    dims = ("y", "x", "band")[: values.ndim]
    return xr.DataArray(values, dims=dims, coords=coords, name=attrs.pop("name", "optical_density"), attrs=attrs)


def sent(figure: MapFigure, kind: str = "Image") -> list[dict]:
    """Return what lies in the sources of the images of a kind that are visible and not empty."""
    found = [r for r in figure.figure.renderers if type(r.glyph).__name__ == kind and r.visible]
    rows = [{name: column[0] for name, column in r.data_source.data.items()} for r in found if r.data_source.data["x"]]
    return rows


def at(row: dict, x: float, y: float, column: str = "image") -> float:
    """Return what is drawn at a place."""
    pixels = row[column]
    return pixels[int((y - row["y"]) / row["dh"] * pixels.shape[0]), int((x - row["x"]) / row["dw"] * pixels.shape[1])]


def zoom(figure: MapFigure, left: float, bottom: float, right: float, top: float) -> None:
    """Do what a browser does when somebody zooms."""
    ranges = figure.ranges
    ranges.x.update(start=left, end=right)
    ranges.y.update(start=bottom, end=top)
    figure.figure._trigger_event(RangesUpdate(figure.figure, x0=left, x1=right, y0=bottom, y1=top))


def scale(figure: MapFigure) -> tuple[float, float]:
    view = figure.ranges.view
    return figure.figure.frame_width / view.width, figure.figure.frame_height / view.height


# --- what is sent ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [(1, 1), (2, 2), (3, 5), (7, 4), (40, 40)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint16", "bool"])
def test_block_mean__is_the_mean_of_each_block_and_of_what_is_left_at_the_end(factor, dtype):
    values = (np.random.default_rng(0).random((71, 52)) * 9).astype(dtype)
    rows, columns = factor
    expected = [
        [values[i : i + rows, j : j + columns].mean() for j in range(0, 52, columns)] for i in range(0, 71, rows)
    ]
    np.testing.assert_allclose(block_mean(values, factor), expected, rtol=1e-5)


def test_block_mean__leaves_nan_out():
    values = np.array([[1.0, np.nan, np.nan, np.nan], [3.0, np.nan, np.nan, np.nan], [5.0, 7.0, 1.0, np.inf]])
    np.testing.assert_array_equal(block_mean(values, (2, 2)), [[2.0, np.nan], [6.0, np.inf]])


@pytest.mark.parametrize("factor", [(2, 2), (3, 4), (20, 20)])
def test_block_mode__is_the_most_frequent_label(factor):
    labels = np.random.default_rng(1).integers(UNDECIDED, 4, (47, 61)).astype(np.int8)
    rows, columns = factor
    found = block_mode(labels, factor, 4)
    for i in range(found.shape[0]):
        for j in range(found.shape[1]):
            block = labels[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns]
            counts = {label: (block == label).sum() for label in np.unique(block)}
            assert counts[found[i, j]] == max(counts.values())


def test_show_classes__of_a_checkerboard_invents_no_class():
    checkers = image(np.indices((600, 601)).sum(axis=0) % 2 * 3)
    figure = MapFigure(MapRanges(), side=200)
    for place in ((0, 0, 30, 30), (2, 3, 20, 21), (5.01, 5.02, 5.9, 5.91)):
        figure.show_classes(checkers, COLORS)
        zoom(figure, *place)
        (row,) = sent(figure, "ImageRGBA")
        assert {*np.unique(row["label"])} <= {0, 3}
        drawn = {f"#{r:02X}{g:02X}{b:02X}" for r, g, b, _ in row["image"].view(np.uint8).reshape(-1, 4)}
        assert drawn <= {COLORS["V2O5"], COLORS["LiV2O5"]}


@pytest.mark.parametrize("shape", [(30, 40), (480, 640), (1500, 2048), (37, 3000)])
def test_show__sends_about_the_pixels_of_the_screen(shape):
    figure = MapFigure(MapRanges(), side=400)
    figure.show(image(np.zeros(shape, dtype=np.float32)), clim=(0, 1))
    (row,) = sent(figure)
    assert all(n <= max(1.5 * side, 1.5) for n, side in zip(row["image"].shape, (400, 400), strict=True))
    assert row["image"].nbytes <= 1.5**2 * 4 * 400 * 400


@pytest.mark.parametrize("turn_y", [1, -1])
@pytest.mark.parametrize("turn_x", [1, -1])
@pytest.mark.parametrize("shape", [(31, 43), (900, 1300)])
def test_show__draws_each_value_where_it_lies(turn_x, turn_y, shape):
    values = np.add.outer(1000.0 * np.arange(shape[0]), np.arange(shape[1]))
    given = image(values, x0=-4700.0, y0=12.0)[::turn_y, ::turn_x]
    figure = MapFigure(MapRanges(), side=300)
    figure.show(given)
    (row,) = sent(figure)
    places = {"x": given["x"].values[7], "y": given["y"].values[11]}
    steps = np.divide(shape, row["image"].shape)
    assert at(row, **places) == pytest.approx(float(given.sel(places)), abs=1000 * steps[0] + steps[1])
    assert np.diff(row["image"], axis=0).min() > 0
    assert np.diff(row["image"], axis=1).min() > 0


def test_zoom__sends_the_visible_pixels_as_they_are():
    values = np.random.default_rng(0).random((1024, 1024)).astype(np.float32)
    figure = MapFigure(MapRanges(), side=256)
    figure.show(image(values), clim=(0, 1))
    assert sent(figure)[0]["image"].shape == (256, 256)
    zoom(figure, 10.0, 20.0, 15.0, 25.0)
    (row,) = sent(figure)
    assert row["image"].shape[0] <= 103
    first = round((row["x"] + STEP / 2) / STEP), round((row["y"] + STEP / 2) / STEP)
    there = tuple(slice(start, start + size) for start, size in zip(first[::-1], row["image"].shape, strict=True))
    np.testing.assert_array_equal(row["image"], values[there])
    assert row["x"] <= 10.0
    assert row["x"] + row["dw"] >= 15.0


def test_zoom__of_one_map_is_that_of_all_on_the_same_ranges():
    ranges = MapRanges()
    figures = [MapFigure(ranges, side=200), MapFigure(ranges, side=200)]
    for figure in figures:
        figure.show(image(np.random.default_rng(0).random((800, 800))))
    zoom(figures[0], 3.0, 3.0, 6.0, 6.0)
    assert sent(figures[0])[0]["dw"] == pytest.approx(3.0, abs=4 * STEP)
    assert sent(figures[1])[0]["dw"] == sent(figures[0])[0]["dw"]


def test_zoom__beside_the_image_draws_nothing_and_comes_back():
    figure = MapFigure(MapRanges(), side=100)
    figure.show(image(np.ones((400, 400))))
    zoom(figure, 500.0, 500.0, 510.0, 510.0)
    assert sent(figure) == []
    figure.ranges.fit(image(np.ones((400, 400))))
    assert len(sent(figure)) == 1


def test_crop_to__moves_no_block_when_panning():
    extent = Window(0.0, 0.0, 10.0, 10.0)
    windows = [crop_to(extent, (1000, 1000), Window(x, 0.0, x + 5.0, 5.0), (100, 100)) for x in (1.0, 1.02, 1.07)]
    assert {crop.factor for crop in windows} == {(5, 5)}
    assert {crop.columns.start % 5 for crop in windows} == {0}


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.arange(7.0)[None], id="one row"),
        pytest.param(np.arange(7.0)[:, None], id="one column"),
        pytest.param(np.ones((1, 1)), id="one pixel"),
        pytest.param(np.full((4, 5), np.nan), id="no value"),
        pytest.param(np.full((4, 5), 2.5), id="equal values"),
        pytest.param(np.array([[1.0, np.inf], [-np.inf, np.nan]]), id="infinite"),
        pytest.param(np.arange(20).reshape(4, 5), id="whole numbers"),
        pytest.param(np.arange(20).reshape(4, 5) > 9, id="true and false"),
        pytest.param(np.full((900, 1), 1e300), id="beyond float32"),
    ],
)
def test_show__draws_any_image(values):
    figure = MapFigure(MapRanges(), side=200)
    figure.show(image(values))
    (row,) = sent(figure)
    assert row["image"].dtype == np.float32
    mapper = figure.figure.renderers[0].glyph.color_mapper
    assert np.isfinite([mapper.low, mapper.high]).all()
    assert mapper.low < mapper.high
    assert scale(figure)[0] == pytest.approx(scale(figure)[1], rel=0.02)
    assert min(figure.figure.frame_width, figure.figure.frame_height) >= 40


def test_show__takes_dask_and_computes_it_once():
    counted = []

    def block() -> np.ndarray:
        counted.append(1)
        return np.ones((8, 9))

    lazy = dask.array.from_delayed(dask.delayed(block)(), (8, 9), float)
    figure = MapFigure(MapRanges())
    figure.show(image(np.zeros((8, 9))).copy(data=lazy), clim=(0, 1))
    figure.resize(300)
    assert len(counted) == 1


# --- how it looks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["optical_density", "difference", "composition"])
def test_show__has_the_colours_of_the_exported_figure(name):
    given = image(np.random.default_rng(0).normal(0, 1, (30, 40)), name=name, long_name="Amount", units="1/nm")
    figure = MapFigure(MapRanges())
    figure.show(given)
    drawn = plot.image(given).opts.get("style").kwargs
    limits = plot.image(given).opts.get("plot").kwargs["clim"]
    mapper = figure.figure.renderers[0].glyph.color_mapper
    assert (mapper.low, mapper.high) == limits
    assert mapper.palette == [*plot.image_colors(given, cmap=drawn["cmap"]).palette]
    assert ">Amount [nm⁻¹]<" in figure._legend[0].object


def test_show__says_value_unit_and_place_with_enough_decimals():
    figure = MapFigure(MapRanges())
    figure.show(image(np.ones((4, 5)), x0=-4700.0, long_name="Thickness", units="nm"))
    tooltips = dict(figure.figure.hover[0].tooltips)
    assert tooltips == {"x": "$x{0.000} µm", "y": "$y{0.000} µm", "Thickness": "@image{%.5g} nm"}
    assert figure.figure.xaxis[0].axis_label == "x position [µm]"


@pytest.mark.parametrize(("unit", "shown"), [("um", "µm"), ("nm", "nm"), ("mm", "mm"), ("angstrom", None), ("1", None)])
def test_show__has_a_scale_bar_for_a_length(unit, shown):
    given = image(np.ones((4, 5)))
    for dim in ("x", "y"):
        given[dim].attrs["units"] = unit
    figure = MapFigure(MapRanges())
    figure.show(given)
    (bar,) = (part for part in figure.figure.center if type(part).__name__ == "ScaleBar")
    assert bar.visible == (shown is not None)
    assert bar.unit == (shown or "m")


def test_show__tells_of_pixels_that_are_drawn_as_missing():
    values = image(np.arange(20.0).reshape(4, 5), long_name="Intensity", units="count")
    figure = MapFigure(MapRanges())
    figure.show(values.where(values > 10), told=values)
    assert dict(figure.figure.hover[0].tooltips)["Intensity"].startswith("@told")
    (row,) = sent(figure)
    assert np.isnan(row["image"]).sum() == 11
    np.testing.assert_array_equal(row["told"], upright(values))
    figure.show(values)
    assert "told" not in sent(figure)[0]


def test_show__a_long_title_has_two_lines_and_is_told_in_full():
    figure = MapFigure(MapRanges(), side=300)
    figure.show(image(np.ones((3, 4))), title="short")
    assert "font-size:14px" in figure._title[0].object
    name = "cathode, particle on the left, after 100 cycles"
    figure.show(image(np.ones((3, 4))), title=name)
    assert f'title="{name}"' in figure._title[0].object
    assert "font-size:11px" in figure._title[0].object
    figure.resize(800)
    assert "font-size:14px" in figure._title[0].object


def test_mark__a_long_name_is_shortened_to_fit_the_smallest_map():
    figure = MapFigure(MapRanges(), side=220)
    figure.show(image(np.ones((3, 4))))
    figure.mark(
        regions={"the particle on the left of the electrode": [(0.0, 0.0), (0.1, 0.0), (0.1, 0.1)], "rim": [(0, 0)]}
    )
    (names,) = (
        part.data_source.data["text"] for part in figure.figure.renderers if type(part.glyph).__name__ == "Text"
    )
    assert names == ["the particl…electrode", "rim"]


def test_frame__stays_where_it_is_whatever_is_shown():
    figure = MapFigure(MapRanges(), side=300)
    frames = set()
    for shown in (1.0, 123456.0, 1e-9):
        figure.show(image(np.full((30, 60), shown)))
        frames.add((figure.figure.frame_width, figure.figure.frame_height, figure.figure.min_border_left))
    figure.show_classes(image(np.zeros((30, 60), dtype=int)), COLORS)
    frames.add((figure.figure.frame_width, figure.figure.frame_height, figure.figure.min_border_left))
    assert frames == {(300, 150, LEFT)}


def test_resize__keeps_the_aspect():
    figure = MapFigure(MapRanges(), side=300)
    figure.show(image(np.ones((30, 70))))
    zoom(figure, 0.2, 0.2, 0.9, 0.5)
    figure.resize(640)
    assert figure.figure.frame_width == 640
    assert scale(figure)[0] == pytest.approx(scale(figure)[1], rel=0.01)


def test_show__of_no_such_colour_map_changes_nothing():
    figure = MapFigure(MapRanges())
    figure.show(image(np.ones((4, 5))))
    before = sent(figure)
    with pytest.raises(OptionError, match=r"viridid.*did you mean"):
        figure.show(image(np.zeros((4, 5))), cmap="viridid")
    np.testing.assert_array_equal(sent(figure)[0]["image"], before[0]["image"])


# --- classes and colours --------------------------------------------------------------------------------------------


@pytest.fixture
def labels() -> xr.DataArray:
    return image(np.array([[0, 1, UNDECIDED], [NO_SAMPLE, 3, 2]], dtype=np.int16), name="phase_label")


def test_show_classes__has_a_colour_each_and_none_where_there_is_no_sample(labels):
    figure = MapFigure(MapRanges(), side=120)
    figure.show_classes(labels, COLORS)
    row = sent(figure, "ImageRGBA")[0]
    pixels = row["image"].view(np.uint8).reshape(2, 3, 4)
    assert pixels[0, 0].tolist() == [0x00, 0x72, 0xB2, 255]
    assert pixels[1, 1].tolist() == [0xE6, 0x9F, 0x00, 255]
    assert pixels[1, 0, 3] == 0
    assert sent(figure) == []


def test_show_classes__stripes_what_is_undecided_only(labels):
    figure = MapFigure(MapRanges(), side=120)
    figure.show_classes(labels, COLORS)
    _, over = sent(figure, "ImageRGBA")
    striped = over["image"].view(np.uint8).reshape(*over["image"].shape, 4)[..., 3] > 0
    assert over["image"].shape == (80, 120)
    assert 0.25 < striped[:40, 80:].mean() < 0.5
    assert striped.sum() == striped[:40, 80:].sum()
    assert STRIPE_COLOR in figure._legend[0].object
    figure.show_classes(labels.where(labels != UNDECIDED, 0), COLORS)
    assert len(sent(figure, "ImageRGBA")) == 1


def test_show_classes__keeps_the_width_of_stripes_when_zooming(labels):
    figure = MapFigure(MapRanges(), side=120)
    figure.show_classes(labels, COLORS)
    zoom(figure, 0.08, -0.02, 0.12, 0.0)
    _, over = sent(figure, "ImageRGBA")
    assert (over["x"], over["dw"]) == pytest.approx((0.08, 0.04))
    assert over["image"].shape == (80, 120)
    assert 0.3 < (over["image"] > 0).mean() < 0.45


def test_show_classes__is_fainter_where_it_is_less_sure(labels):
    confidence = image(np.array([[1.0, 0.5, 0.2], [0.9, np.nan, 0.0]]), name="confidence")
    figure = MapFigure(MapRanges())
    figure.show_classes(labels, COLORS, opacity=confidence)
    row = sent(figure, "ImageRGBA")[0]
    alpha = row["image"].view(np.uint8).reshape(2, 3, 4)[..., 3]
    assert alpha.tolist() == [[255, 128, 255], [0, 38, 38]]
    assert at(row, 0.05, 0.0, "sure") == pytest.approx(0.5)
    assert dict(figure.figure.hover[0].tooltips)["Confidence"] == "@sure{0.000}"


def test_show_classes__names_them_below_the_map(labels):
    figure = MapFigure(MapRanges())
    figure.show_classes(labels, COLORS)
    assert figure._legend.visible
    assert "V6O13 &lt;b&gt;" in figure._legend[0].object
    assert "undecided" in figure._legend[0].object
    formatter = figure.figure.hover[0].formatters["@label"]
    assert formatter.args["names"] == [*COLORS, "undecided", "no sample"]
    figure.show_classes(labels, COLORS, names_in_legend=False)
    assert not figure._legend.visible
    assert not figure.figure.below[1].visible
    figure.show(image(np.ones((2, 3))))
    assert "undecided" not in figure._legend[0].object
    assert figure.figure.below[1].visible


def test_show_classes__of_nan_is_no_sample(labels):
    figure = MapFigure(MapRanges())
    figure.show_classes(labels.where(labels != NO_SAMPLE), COLORS)
    row = sent(figure, "ImageRGBA")[0]
    np.testing.assert_array_equal(row["label"], labels)


@pytest.mark.parametrize("wrong", [4, -3])
def test_show_classes__of_a_label_without_a_colour_says_so(labels, wrong):
    figure = MapFigure(MapRanges())
    figure.show_classes(labels, COLORS)
    with pytest.raises(SchemaError, match=r"labels from .*, and 4 colours"):
        figure.show_classes(labels.where(labels != 0, wrong), COLORS)
    assert sent(figure, "ImageRGBA")[0]["label"].min() == UNDECIDED


def test_show__of_a_missing_value_may_be_transparent():
    figure = MapFigure(MapRanges())
    given = image(np.array([[1.0, np.nan]]), name="composition")
    figure.show(given)
    assert figure.figure.renderers[0].glyph.color_mapper.nan_color == plot.UNDECIDED_COLOR
    figure.show(given, missing="#00000000")
    assert figure.figure.renderers[0].glyph.color_mapper.nan_color == "#00000000"


def test_show_rgb__mixes_bands_and_leaves_missing_ones_out():
    bands = np.array([[[1.0, 0.0, 0.5], [2.0, -1.0, 0.0]], [[np.nan, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    figure = MapFigure(MapRanges())
    figure.show_rgb(image(bands))
    (row,) = sent(figure, "ImageRGBA")
    assert row["image"].view(np.uint8).reshape(2, 2, 4).tolist() == [
        [[255, 0, 128, 255], [255, 0, 0, 255]],
        [[0, 0, 0, 0], [0, 0, 0, 255]],
    ]


# --- marks and picks ------------------------------------------------------------------------------------------------


def test_mark__moves_no_image():
    figure = MapFigure(MapRanges())
    figure.show(image(np.ones((40, 50))))
    before = figure.figure.renderers[0].data_source.data
    square = [(0.5, 0.5), (1.0, 0.5), (1.0, 1.0), (0.5, 1.0), (0.5, 0.5)]
    figure.mark((0.2, 0.3), {"core": square, "rim": square[:1]}, active="core", line=[(0, 0), (1, 1)])
    assert figure.figure.renderers[0].data_source.data is before
    marks = figure._marks
    assert marks._lines.data["width"] == [3, 2]
    assert marks._lines.data["xs"][0] == [0.5, 1.0, 1.0, 0.5, 0.5]
    assert marks._names.data["text"] == ["core", "rim"]
    assert marks._points.data == {"x": [0.2, 0.5, 0], "y": [0.3, 0.5, 0], "marker": ["cross", "x", "circle_dot"]}
    figure.mark()
    assert all(not any(map(len, source.data.values())) for source in (marks._lines, marks._names, marks._points))


def test_on_pick__tells_points_boxes_and_polygons():
    figure, picked = MapFigure(MapRanges()), []
    figure.show(image(np.ones((40, 50))))
    figure.on_pick(lambda kind, vertices: picked.append((kind, vertices)))
    drawn = figure.figure
    box = {"type": "rect", "x0": 1.5, "x1": 0.5, "y0": 0.2, "y1": 0.8}
    lasso = {"type": "poly", "x": [0.1, 0.5, 0.5], "y": [0.1, 0.1, 0.6]}
    drawn._trigger_event(Tap(drawn, x=0.3, y=0.4))
    drawn._trigger_event(SelectionGeometry(drawn, geometry=box, final=False))
    drawn._trigger_event(SelectionGeometry(drawn, geometry=box, final=True))
    drawn._trigger_event(SelectionGeometry(drawn, geometry=lasso, final=True))
    assert picked == [
        ("point", ((0.3, 0.4),)),
        ("box", ((0.5, 0.2), (1.5, 0.8))),
        ("polygon", ((0.1, 0.1), (0.5, 0.1), (0.5, 0.6))),
    ]


def test_on_pick__passes_over_what_lies_beside_the_frame_or_has_no_area():
    figure, picked = MapFigure(MapRanges()), []
    figure.show(image(np.ones((40, 50))))
    figure.on_pick(lambda *given: picked.append(given))
    drawn = figure.figure
    drawn._trigger_event(Tap(drawn, x=-3.0, y=0.4))
    flat = {"type": "rect", "x0": 0.5, "x1": 0.5, "y0": 0.2, "y1": 0.8}
    drawn._trigger_event(SelectionGeometry(drawn, geometry=flat, final=True))
    drawn._trigger_event(SelectionGeometry(drawn, geometry={"type": "poly", "x": [0, 1], "y": [0, 1]}, final=True))
    assert picked == []


def test_tools__are_those_asked_for_and_say_what_they_do():
    figure = MapFigure(MapRanges(), tools=("tap", "box"))
    names = [type(tool).__name__ for tool in figure.figure.tools]
    assert "BoxSelectTool" in names
    assert "LassoSelectTool" not in names
    assert all(tool.description for tool in figure.figure.tools if tool.visible)
    assert figure.figure.toolbar.logo is None


# --- curves ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def curves() -> list[Curve]:
    x = np.linspace(510, 530, 9)
    y = np.where(np.arange(9) == 4, np.nan, x - 500)
    return [
        Curve("measured", x, y, color="#808080", points=True),
        Curve("core", x, y, color="#D55E00", low=y - 1, high=y + 1, dash="dashed"),
    ]


def of(figure: CurveFigure, kind: str) -> list:
    return [r for r in figure.figure.renderers if type(r.glyph).__name__ == kind and r.visible]


def test_curves__are_lines_points_and_bands_with_gaps(curves):
    figure = CurveFigure()
    figure.show(curves, xlabel="Photon energy [eV]", ylabel="Optical density")
    (line,), (dots,), (band,) = (of(figure, kind) for kind in ("Line", "Scatter", "Patches"))
    assert (line.glyph.line_color, line.glyph.line_dash, dots.glyph.fill_color) == ("#D55E00", [6], "#808080")
    assert np.isnan(line.data_source.data["y"][4])
    assert [len(part) for part in band.data_source.data["xs"]] == [8, 8]
    assert band.data_source.data["ys"][0].tolist() == [9, 11.5, 14, 16.5, 18.5, 16, 13.5, 11]
    assert figure.figure.xaxis[0].axis_label == "Photon energy [eV]"
    assert dict(figure.figure.hover[0].tooltips) == {
        "": "$name", "Photon energy": "$x{%.6g}", "Optical density": "$y{%.4g}"
    }  # fmt: skip


def test_curves__keep_their_sources(curves):
    figure = CurveFigure()
    figure.show(curves, xlabel="x", ylabel="y")
    before = [(r.id, r.data_source.id) for r in figure.figure.renderers]
    figure.show([Curve(curve.name, curve.x, np.asarray(curve.y) * 2) for curve in curves], xlabel="x", ylabel="y")
    figure.show(curves[:1], xlabel="x", ylabel="y")
    assert [(r.id, r.data_source.id) for r in figure.figure.renderers] == before
    assert len(of(figure, "Line")) + len(of(figure, "Patches")) == 0
    assert "core" not in figure._legend[0].object
    figure.show([], xlabel="x", ylabel="y")
    assert not figure._legend.visible
    assert all(len(r.data_source.data.get("x", [])) == 0 for r in figure.figure.renderers)


def test_curves__share_an_entry_of_the_legend():
    figure, x = CurveFigure(), [1.0, 2.0]
    fits = [
        Curve(f"{name}, fit", x, x, color=color, legend="fit") for name, color in (("a", "#123456"), ("b", "#abcdef"))
    ]
    figure.show(
        [Curve("a", x, x, color="#123456", points=True), *fits, Curve("zero", x, x, legend="")], xlabel="x", ylabel="y"
    )
    told = figure._legend[0].object
    assert told.count(">fit<") == 1
    assert plot.NEUTRAL in told  # of curves in two colours
    assert "zero" not in told
    assert "a, fit" not in told


def test_curves__of_one_point_are_told_in_words_in_place_of_empty_axes():
    figure = CurveFigure()
    figure.show([Curve("grain", [522.0], [0.25])], xlabel="Photon energy [eV]", ylabel="Optical density")
    assert not figure._plot.visible
    assert "Optical density at the only photon energy, 522 eV" in figure._legend[0].object
    assert "grain: 0.25" in figure._legend[0].object
    figure.show([Curve("grain", [522.0, 523.0], [0.25, 0.5])], xlabel="Photon energy [eV]", ylabel="Optical density")
    assert figure._plot.visible
    assert "only" not in figure._legend[0].object


def test_mark__writes_names_towards_the_middle():
    figure = MapFigure(MapRanges())
    figure.show(image(np.ones((10, 10))))
    extent = figure.ranges.extent
    at = {name: extent.left + share * extent.width for name, share in (("one", 0.1), ("two", 0.5), ("three", 0.9))}
    figure.mark(regions={name: [(x, extent.bottom), (x, extent.top)] for name, x in at.items()})
    assert [*figure._marks._names.data["align"]] == ["left", "center", "right"]


def test_curves__name_themselves_in_plain_text(curves):
    figure = CurveFigure()
    figure.show([Curve("<script>", [1], [2]), *curves], xlabel="x", ylabel="y")
    assert "&lt;script&gt;" in figure._legend[0].object
    assert "<script>" not in figure._legend[0].object


def test_mark__moves_the_cursor_alone(curves):
    figure = CurveFigure()
    figure.show(curves, xlabel="x", ylabel="y")
    before = [r.data_source.data for r in figure.figure.renderers]
    figure.mark(518.4)
    assert (figure._cursor.location, figure._cursor.visible) == (518.4, True)
    figure.mark(None)
    assert not figure._cursor.visible
    assert all(r.data_source.data is data for r, data in zip(figure.figure.renderers, before, strict=True))


def test_on_x__tells_where_the_curve_was_tapped(curves):
    figure, tapped = CurveFigure(), []
    figure.show(curves, xlabel="x", ylabel="y")
    figure.on_x(tapped.append)
    figure.figure.x_range.update(start=510, end=530)
    figure.figure.y_range.update(start=0, end=40)
    for x, y in ((518.4, 12.0), (505.0, 12.0), (518.4, -3.0)):
        figure.figure._trigger_event(Tap(figure.figure, x=x, y=y))
    assert tapped == [518.4]


# --- sessions -------------------------------------------------------------------------------------------------------


def test_figures__leave_nothing_behind(curves):
    def build() -> list[weakref.ref]:
        figure, spectrum = MapFigure(MapRanges()), CurveFigure()
        figure.show(image(np.ones((40, 50))))
        figure.on_pick(lambda *_: spectrum.mark(1.0))
        spectrum.show(curves, xlabel="x", ylabel="y")
        return [weakref.ref(part) for one in (figure, spectrum) for part in (one, one.figure, one.pane)]

    alive = build()
    gc.collect()
    assert [part() for part in alive] == [None] * 6


def test_figure__that_left_the_page_and_came_back_still_listens():
    made, picked = MapFigure(MapRanges()), []
    made.show(xr.DataArray(np.zeros((4, 4)), dims=("y", "x"), coords={"y": np.arange(4.0), "x": np.arange(4.0)}))
    made.on_pick(lambda kind, vertices: picked.append(vertices))
    page = pn.Column(made.pane)
    page.get_root()
    page[:] = []
    page[:] = [made.pane]
    made.figure._trigger_event(Tap(made.figure, x=1.0, y=2.0))
    assert picked == [((1.0, 2.0),)]
