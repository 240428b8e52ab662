"""The explorer of a stack in memory, from a notebook."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from xstxm.conventions import require_energy
from xstxm.errors import MissingDependencyError, MissingDimensionError, MissingVariableError

if TYPE_CHECKING:
    from stxm_explorer.notebook import Explorer


def explore(stack: xr.DataArray | xr.Dataset, references: xr.Dataset | None = None) -> Explorer:
    """Open the explorer on a stack in memory: shown in a notebook where it is the last line of a cell.

    The page is served by this process, on the loopback address, when it is shown, and until `stop` or the end of the
    process. It reads the arrays as they are, nothing is copied; files below the current folder can be opened beside them.

    Parameters
    ----------
    stack
        `intensity` (energy, y, x), with `i0` where it is known; or the intensity itself.
    references
        A reference set, see `xstxm.reference_set`; others can be chosen on the page.

    Returns
    -------
    Explorer
        `show()` opens it in the browser, `phases()` returns the phase map of the choices on the page, `script()` the code
        that makes it, `stop()` ends it. Eager where the page is.

    Raises
    ------
    MissingDependencyError
        Panel is not installed.
    MissingDimensionError, MissingVariableError
        It is no stack of images.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> explorer = xstxm.explore(stack, xstxm.testing.simulate_references())
    >>> print(explorer.script())  # doctest: +ELLIPSIS
    import xstxm
    <BLANKLINE>
    stack_i0 = xstxm.estimate_i0(stack, fraction=0.1)
    stack_density = xstxm.optical_density(stack, stack_i0)
    stack_phases = xstxm.phase_map(
        stack_density,
        references,
    ...
    """
    require_panel()
    require_energy(stack)
    dataset = stack.to_dataset(name=stack.name or "intensity") if isinstance(stack, xr.DataArray) else stack
    if missing := [dim for dim in ("y", "x") if dim not in dataset.dims]:
        raise MissingDimensionError(missing[0], dataset.dims, "the explorer shows images (energy, y, x)")
    if "intensity" not in dataset:
        raise MissingVariableError("intensity", dataset, "give the stack that the optical density was made from")
    folder = str(dashboard_script().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    from stxm_explorer.notebook import Explorer

    return Explorer(dataset, references)


def require_panel() -> None:
    """Refuse to serve without what the explorer is made with."""
    for package in ("panel", "panel_material_ui", "holoviews"):
        if find_spec(package) is None:
            raise MissingDependencyError("the dashboard", package, "dashboard")


def dashboard_script() -> Path:
    """Return the explorer: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    for folder in (package / "dashboards", package.parent / "dashboards"):
        if (folder / "explorer.py").exists():
            return folder / "explorer.py"
    raise MissingDependencyError("the dashboard", "its explorer.py", "dashboard")
