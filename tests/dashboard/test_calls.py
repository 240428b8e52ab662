"""The printed script is what runs."""

from __future__ import annotations

import ast
import keyword
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from stxm_explorer import plan
from stxm_explorer.calls import FOLDER, File, Output, Upload, call, script
from stxm_explorer.state import ExplorerState, Region
from stxm_explorer.store import Store


def test_script__names_each_result_once_and_equal_calls_share_one():
    first, again = (call("open_stack", File("a.hdr"), chunks={}, name="a stack") for _ in range(2))
    both = call("xr.DataTree.from_dict", {"one": first, "two": again}, name="tree")
    assert script([both]) == (
        "import xstxm\nimport xarray as xr\n\n"
        "a_stack = xstxm.open_stack('a.hdr', chunks={})\n"
        "if a_stack.nbytes < 1_500_000_000:\n    a_stack.load()\n"
        "tree = xr.DataTree.from_dict({'one': a_stack, 'two': a_stack})\n"
    )


def test_script__keeps_results_of_one_name_apart():
    files = [call("open_stack", File(name), name="stack") for name in ("a", "b")]
    lines = script([call("compare", *files, name="stack")]).splitlines()
    assert [line for line in lines if " = " in line] == [
        "stack = xstxm.open_stack('a')",
        "stack_2 = xstxm.open_stack('b')",
        "stack_3 = xstxm.compare(stack, stack_2)",
    ]


def test_script__a_call_without_a_name_is_made_for_what_it_does():
    maps = call("phase_map", call("open_stack", File("a"), name="stack"), name="phases")
    assert script([call("write_netcdf", maps, Output("maps.nc"))]).splitlines()[-1] == (
        "xstxm.write_netcdf(phases, output / 'maps.nc')"
    )


def test_script__what_it_writes_comes_into_a_folder_of_its_own(tmp_path, monkeypatch):
    references = call("testing.simulate_references", name="references")
    monkeypatch.chdir(tmp_path)
    text = script([call("write_references", references, Output("library.toml"))])
    exec(text, {})
    exec(text.replace("'library.toml'", "'other.toml'"), {})
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER]
    assert {path.name for path in (tmp_path / FOLDER).iterdir()} == {"library.toml", "other.toml"}


def test_script__methods_and_items():
    stack = call(".drop_sel", call("open_stack", File("a"), name="stack"), energy=[700.0], name="kept")
    lines = script([call("fit", stack["spectrum"], name="fit")]).splitlines()
    assert lines[-2:] == ["kept = stack.drop_sel(energy=[700.0])", "fit = xstxm.fit(kept['spectrum'])"]


def test_script__an_item_that_is_wanted_has_a_line_of_its_own():
    stack = call("open_stack", File("a.hdf5"), name="stack")
    assert "intensity = stack['intensity']" in script([stack["intensity"]])
    assert script([stack["intensity"]]) != script([stack])


@given(st.lists(st.text(max_size=8) | st.sampled_from([*keyword.kwlist, "xr", "xstxm", "a b", "a_b"]), max_size=6))
def test_script__any_name_and_any_file_name_make_python(names):
    calls = [call("open_stack", File(name), name=name or "x") for name in names]
    found = ast.parse(script(calls))
    literals = {node.value for node in ast.walk(found) if isinstance(node, ast.Constant)}
    assert {*names} <= literals


@pytest.mark.parametrize("value", [1.5, "it's", None, True, [1.0, (2.0,)], {"x": (0.0, 1.0), "y": [3]}, (4,)], ids=repr)
def test_script__values_read_back_as_they_are(value):
    text = script([call("f", value, name="x")]).splitlines()[-1]
    (argument,) = ast.parse(text).body[0].value.args
    assert ast.literal_eval(argument) == value


@pytest.fixture
def state(names) -> ExplorerState:
    state = ExplorerState()
    field = state.open("lixv2o5.hdf5")
    field.param.update(i0_fraction=0.15, start=512.0)
    composition = {name: k / 3 for k, name in enumerate(names)}
    state.references.param.update(
        files=["references.csv"], names=names, unused=names[1:2], composition=composition, colors={names[0]: "#112233"}
    )
    state.fit.param.update(method="fcls", background="linear", min_confidence=0.8)
    return state


def test_script__runs_in_a_fresh_interpreter_and_agrees_with_the_page(filled, state, tmp_path):
    field = state.fields[0]
    region = Region("polygon", ((0.4, 0.3), (1.2, 0.3), (0.8, 1.0)), "rim")
    wanted = [plan.phases(state, field), plan.fitted(state, plan.spectrum(field, region))]
    saved = [call("write_netcdf", each, Output(f"{k}.nc")) for k, each in enumerate(wanted)]
    for name in ("lixv2o5.hdf5", "references.csv"):
        (tmp_path / name).symlink_to(filled / name)
    subprocess.run([sys.executable, "-c", script(saved)], check=True, cwd=tmp_path, timeout=240)
    store = Store(filled)
    for k, each in enumerate(wanted):
        page = store.run(each)
        with xr.open_dataset(tmp_path / FOLDER / f"{k}.nc") as written:
            assert {*page.data_vars} == {*written.data_vars}
            for name, array in page.data_vars.items():
                np.testing.assert_array_equal(written[name], array, err_msg=str(name))


def test_script__a_name_from_a_link_brings_no_code():
    name = "mine.csv\nimport os; os.abort()"
    text = script([call("read_references", Upload(name), name="references")])
    assert [line for line in text.splitlines() if "abort" in line and line.startswith("import")] == []
    ast.parse(text)
