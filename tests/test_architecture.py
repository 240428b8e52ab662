"""Who imports whom, read from the source: arrows point downwards only."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

import xstxm

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "xstxm"

TIERS = [
    {"errors"},
    {"steps"},
    {"units", "options", "_kernels", "_specs", "_partition", "_dates"},
    {"conventions"},
    {"_apply", "_axes", "_device", "_digests", "_nodes", "provenance", "_sums", "_unknowns", "_neighbours"},
    {
        "references", "energy", "noise", "absorption", "roi", "decomposition", "clustering", "fitting", "phases",
        "edges", "features", "contrast", "polarization",
        "frames", "cleaning", "corrections", "shaping", "merging",
        "denoising", "unmixing", "_components",
        "_frame_grid", "_frame_images", "alignment", "shifting",
        "lattice", "strains", "interfaces", "profiles", "mechanics", "tables",
        "dose", "design", "evaluation", "_undescribed", "_design_options", "_selection", "_fit_maps", "_fit_of_counts",
        "_references_at", "energy_shift", "_saturation",
        "_region_images", "regions", "comparing", "_fitted_phases", "incident", "_densities",
        "computing", "kramers_kronig", "ptychography", "operando", "tracking",
        "_shape_scores",
        "_particles", "_particle_labels", "_particle_tables", "_segmentation",
        "_noisy_maps", "lengthscales",
        "correlations", "patterns",
        "differences", "matching", "_resolution", "_placing",
    },
    {"plot", "io", "testing", "_summary", "trees", "_tree_basis", "_tree_energies", "_tree_tables"},
    {"_recipe_arrays", "_recipe_record", "_replay", "_run", "_cluster", "_warming", "batches", "connecting", "diffs", "recipes", "exploring"},
    {"accessor", "tree_accessor", "_registered", "_commands", "cli", "__init__", "__main__"},
]  # fmt: skip
LEVEL = {name: level for level, names in enumerate(TIERS) for name in names}
SIDEWAYS = {
    ("phases", "fitting"),
    ("phases", "clustering"),
    ("phases", "_shape_scores"),
    ("phases", "decomposition"),
    ("phases", "absorption"),
    ("absorption", "noise"),
    ("absorption", "_densities"),
    ("fitting", "noise"),
    ("fitting", "_selection"),
    ("fitting", "_fit_maps"),
    ("fitting", "_fit_of_counts"),
    ("phases", "_fit_of_counts"),
    ("_fit_of_counts", "_fit_maps"),
    ("_fit_of_counts", "_densities"),
    ("_fit_of_counts", "absorption"),
    ("_fit_maps", "_densities"),
    ("_fit_maps", "_selection"),
    ("noise", "_frame_grid"),
    ("fitting", "references"),
    ("references", "energy"),
    ("frames", "energy"),
    ("references", "_references_at"),
    ("references", "_region_images"),
    ("references", "roi"),
    ("energy_shift", "_references_at"),
    ("energy_shift", "decomposition"),
    ("energy_shift", "roi"),
    ("fitting", "energy_shift"),
    ("fitting", "_references_at"),
    ("fitting", "_saturation"),
    ("clustering", "decomposition"),
    ("clustering", "_shape_scores"),
    ("_shape_scores", "decomposition"),
    ("_shape_scores", "roi"),
    ("provenance", "_device"),
    ("provenance", "_digests"),
    ("_recipe_record", "_recipe_arrays"),
    ("_replay", "_recipe_arrays"),
    ("_replay", "_recipe_record"),
    ("recipes", "_recipe_arrays"),
    ("recipes", "_recipe_record"),
    ("recipes", "_replay"),
    ("_run", "_recipe_record"),
    ("_run", "recipes"),
    ("_run", "_cluster"),
    ("_cluster", "_warming"),
    ("batches", "_run"),
    ("batches", "recipes"),
    ("_axes", "_apply"),
    ("_sums", "_apply"),
    ("_unknowns", "_axes"),
    ("_neighbours", "_apply"),
    ("_neighbours", "_sums"),
    ("_partition", "_kernels"),
    ("clustering", "roi"),
    ("decomposition", "roi"),
    ("phases", "_fitted_phases"),
    ("_fitted_phases", "roi"),
    ("regions", "roi"),
    ("regions", "_region_images"),
    ("_region_images", "roi"),
    ("_particles", "_particle_labels"),
    ("_particles", "_particle_tables"),
    ("_particles", "interfaces"),
    ("_particles", "_region_images"),
    ("_particle_labels", "_segmentation"),
    ("_particle_labels", "_region_images"),
    ("_particle_labels", "roi"),
    ("absorption", "incident"),
    ("incident", "noise"),
    ("incident", "roi"),
    ("edges", "energy"),
    ("features", "energy"),
    ("features", "edges"),
    ("contrast", "energy"),
    ("corrections", "absorption"),
    ("shaping", "roi"),
    ("alignment", "_frame_grid"),
    ("alignment", "_frame_images"),
    ("alignment", "roi"),
    ("shifting", "_frame_grid"),
    ("merging", "_frame_grid"),
    ("shifting", "alignment"),
    ("shifting", "roi"),
    ("denoising", "decomposition"),
    ("unmixing", "_components"),
    ("unmixing", "references"),
    ("_components", "_fit_maps"),
    ("strains", "lattice"),
    ("mechanics", "lattice"),
    ("profiles", "interfaces"),
    ("mechanics", "interfaces"),
    ("dose", "energy"),
    ("dose", "_references_at"),
    ("_undescribed", "_components"),
    ("_undescribed", "dose"),
    ("_undescribed", "fitting"),
    ("_undescribed", "roi"),
    ("design", "absorption"),
    ("evaluation", "absorption"),
    ("_design_options", "dose"),
    ("_design_options", "energy"),
    ("design", "_components"),
    ("design", "_design_options"),
    ("design", "_undescribed"),
    ("design", "dose"),
    ("design", "energy"),
    ("differences", "interfaces"),
    ("differences", "_region_images"),
    ("_resolution", "_fitted_phases"),
    ("_resolution", "interfaces"),
    ("_placing", "_resolution"),
    ("_placing", "interfaces"),
    ("matching", "_placing"),
    ("matching", "_resolution"),
    ("matching", "absorption"),
    ("matching", "comparing"),
    ("matching", "differences"),
    ("matching", "interfaces"),
    ("evaluation", "_design_options"),
    ("evaluation", "energy"),
    ("evaluation", "phases"),
    ("kramers_kronig", "_references_at"),
    ("kramers_kronig", "tables"),
    ("operando", "regions"),
    ("operando", "tables"),
    ("ptychography", "_references_at"),
    ("ptychography", "incident"),
    ("ptychography", "references"),
    ("ptychography", "roi"),
    ("trees", "_tree_basis"),
    ("trees", "_tree_energies"),
    ("trees", "_tree_tables"),
    ("_tree_basis", "_tree_energies"),
    ("_tree_tables", "_summary"),
    ("tree_accessor", "accessor"),
    ("_noisy_maps", "interfaces"),
    ("_noisy_maps", "_region_images"),
    ("lengthscales", "_noisy_maps"),
    ("correlations", "_noisy_maps"),
    ("patterns", "_noisy_maps"),
    ("patterns", "_region_images"),
}
HEAVY = {"dask", "scipy", "numba", "holoviews", "panel", "sklearn", "skimage", "matplotlib", "bokeh", "pint", "h5py"}


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def _imports(path: Path) -> list[str]:
    """Return the modules that are imported outside TYPE_CHECKING."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and getattr(block.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found = []
    for node in ast.walk(tree):
        if node in guarded:
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: relative import"
            of_ours = node.module == "xstxm"
            found += [f"xstxm.{alias.name}" if of_ours else str(node.module) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return found


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "dashboards" not in path.parts)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports__point_downwards(path):
    here = _room(path)
    assert here in LEVEL, f"{here} has no tier: give it one"
    for module in _imports(path):
        if not module.startswith("xstxm.") or LEVEL[here] == len(TIERS) - 1:
            continue
        there = module.split(".")[1]
        if there == here or there not in LEVEL:
            continue
        allowed = LEVEL[there] < LEVEL[here] or (here, there) in SIDEWAYS
        assert allowed, f"{path.name} imports {module}: upwards or sideways"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports__only_units_knows_pint(path):
    if path.name != "units.py":
        assert not [module for module in _imports(path) if module.split(".")[0] == "pint"]


@pytest.mark.parametrize("path", sorted((PACKAGE / "_kernels").glob("*.py")), ids=lambda path: path.name)
def test_kernels__know_numpy_scipy_and_numba_only(path):
    known = {
        "numpy",
        "scipy",
        "numba",
        "xstxm",
        "__future__",
        "concurrent",
        "functools",
        "importlib",
        "itertools",
        "dataclasses",
        "math",
        "typing",
        "warnings",
    }
    known |= {"collections"} | ({"llvmlite"} if path.name in ("lanes.py", "tiles.py") else set())
    assert {module.split(".")[0] for module in _imports(path)} <= known


def test_dashboard__uses_the_public_api_only():
    public = {"xstxm", "xstxm.plot", "xstxm.errors", "xstxm.conventions"}
    for path in (ROOT / "dashboards").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "xstxm":
                assert node.module in public, f"{path.name}:{node.lineno} imports {node.module}"
                assert not [alias.name for alias in node.names if alias.name.startswith("_")]


def test_import_xstxm__loads_nothing_heavy():
    code = "import sys, xstxm; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    )
    assert not loaded & HEAVY


def test_names__are_those_that_type_checkers_see():
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    listed = next(ast.literal_eval(node.value) for node in stub.body if isinstance(node, ast.Assign))
    assert sorted(xstxm.__all__) == listed
    assert all(hasattr(xstxm, name) for name in listed)


def test_names__of_functions_are_not_those_of_modules():
    """Python would put the module in the place of the function, whenever something imports it."""
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    functions = {
        alias.name for node in stub.body if isinstance(node, ast.ImportFrom) and node.module for alias in node.names
    }
    assert not functions & {path.stem for path in PACKAGE.iterdir()}


def test_compute__only_at_the_edges():
    """`.compute()` and its like appear at the edges, and in functions whose docstring has a sentence with Eager."""
    edges = {"_apply", "_kernels", "io", "_commands", "cli", "testing", "plot"}  # kernels never see a labelled array
    computing = {"compute", "load", "persist", "values", "to_numpy"}
    for path in MODULES:
        if _room(path) in edges:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
            found = [n.attr for n in ast.walk(function) if isinstance(n, ast.Attribute) and n.attr in computing]
            found = [name for name in found if name != "values" or ".values()" not in ast.unparse(function)]
            text = ast.get_docstring(function) or ""
            assert not found or "Eager" in text, f"{path.name}: {function.name} uses {found} and does not say Eager"
