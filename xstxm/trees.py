"""Many stacks in one tree: each verb at every node, one energy axis, one basis, one table.

A tree is an `xarray.DataTree`; every node that holds data is a stack, or what was made from one. Put them side by side:
nodes below each other share coordinates.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import xarray as xr

from xstxm import computing, phases
from xstxm._nodes import OnError, attempt, per_node, require_stacks, stacks, tree_of
from xstxm._tree_basis import cluster, joint_clusters, pca
from xstxm._tree_energies import match_energies
from xstxm._tree_tables import summary
from xstxm.absorption import with_density
from xstxm.conventions import require_variable
from xstxm.errors import OptionError, check_choice
from xstxm.provenance import HISTORY, RECORD, recorded

__all__ = ["cluster", "compute", "map_stacks", "match_energies", "pca", "phase_map", "stacks", "summary"]


def map_stacks(
    tree: xr.DataTree,
    func: Callable[..., Any],
    *args: Any,
    kwargs: Mapping[str, Any] | None = None,
    errors: OnError = "leave_out",
) -> xr.DataTree:
    """Apply a function of one stack to every stack of a tree.

    Parameters
    ----------
    tree
        Nodes that hold data are stacks; one with an attribute `left_out` is none, and stays without.
    func
        Function of a Dataset, with the coordinates that the node inherits. It returns a Dataset, or a DataArray, which
        becomes a Dataset of one variable.
    *args
        Further arguments of the function. A DataTree is taken node by node: the Dataset of the node, or its only
        variable where the function is annotated to take no Dataset.
    kwargs
        Arguments by name, alike.
    errors
        ``"leave_out"``: a node for which the function raises an error of xstxm becomes empty and says why in its attribute
        `left_out`; ``"raise"``: the error is raised. Other errors are raised in any case. All have a note of the node.

    Returns
    -------
    DataTree
        The same nodes in the same order, with the results. Nodes without data keep attributes and coordinates of no
        dimensions. Lazy where the function is.

    Raises
    ------
    NoStacksError
        No node holds data, or all are left out.
    OptionError
        The function returns something else, or `tree` is none.
    SchemaError
        Results of nodes below each other that do not share coordinates.

    Warns
    -----
    LeftOutWarning
        Once, with all nodes that are left out and why.

    Examples
    --------
    >>> import xarray as xr, xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)
    >>> tree = xr.DataTree.from_dict({"electrode": stack, "particle": stack.isel(x=slice(3))})
    >>> cut = xstxm.trees.map_stacks(tree, xstxm.sel_energy, "515 eV", "520 eV")
    >>> {path: one.sizes["energy"] for path, one in xstxm.trees.stacks(cut).items()}
    {'electrode': 26, 'particle': 26}
    """
    check_choice("errors", errors, OnError)
    name, call = _name(func), per_node(func, args, kwargs or {})
    reasons: dict[str, str] = {}
    found = attempt(require_stacks(tree), call, reasons, name, errors)
    given = stacks(tree)
    return tree_of(tree, {path: _dataset(found[path], given[path], name) for path in found}, reasons)


def _name(func: Callable[..., Any]) -> str:
    return str(getattr(func, "__name__", None) or getattr(getattr(func, "func", func), "__name__", "a function"))


def _dataset(result: Any, stack: xr.Dataset, name: str) -> xr.Dataset:
    """Return a result as a Dataset, which says of itself what the stack does and of its making what an array did."""
    if isinstance(result, xr.Dataset):
        return result
    if not isinstance(result, xr.DataArray):
        raise OptionError("func", name, f"it returned a {type(result).__name__}, wanted a Dataset or a DataArray")
    record = {key: result.attrs[key] for key in (HISTORY, RECORD) if key in result.attrs}
    return result.to_dataset(name=result.name or name).assign_attrs({**stack.attrs, **record})


def compute(tree: xr.DataTree) -> xr.DataTree:
    """Return the tree in memory, node after node. Eager.

    Memory is that of the results and of one node's work, time the sum over nodes. ``tree.compute()`` of xarray works on
    all nodes at once, which needs the memory of all.

    Parameters
    ----------
    tree
        Any tree whose nodes are lazy.

    Returns
    -------
    DataTree
        The same in memory.

    Raises
    ------
    NoStacksError
        No node holds data.

    Examples
    --------
    >>> import xarray as xr, xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0).chunk(y=4)
    >>> xstxm.trees.compute(xr.DataTree.from_dict({"a": stack}))["a"].intensity.chunks is None
    True
    """
    return map_stacks(tree, computing.compute, errors="raise")


def phase_map(tree: xr.DataTree, references: xr.Dataset | xr.DataTree | None = None, **options: Any) -> xr.DataTree:
    """Map the chemical phases of every stack; without references they are joint clusters, the same in all stacks.

    Parameters
    ----------
    tree
        Stacks of counts or of optical density.
    references
        As in `xstxm.phase_map`, or a tree of them. By default the `reference_spectra` of the stacks; where none has any, the
        phases are clusters of all stacks together, see `cluster`, each stack counting the same, on the energies of the first.
    **options
        Those of `xstxm.phase_map`, for all stacks, or a tree for one by one.

    Returns
    -------
    DataTree
        At each node what `xstxm.phase_map` returns. Lazy with references; eager on the scores without.

    Raises
    ------
    NoStacksError
        No stack can be used.

    Warns
    -----
    LeftOutWarning
        Stacks that cannot be used, each with the reason; also those without `reference_spectra` where others have them.

    Examples
    --------
    >>> import xarray as xr, xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> tree = xr.DataTree.from_dict({"all": stack, "corner": stack.isel(x=slice(12), y=slice(12))})
    >>> maps = xstxm.trees.phase_map(tree, xstxm.testing.simulate_references())
    >>> maps["corner"].phase.values.tolist()
    ['alpha', 'epsilon', 'delta', 'gamma']
    """
    given = require_stacks(tree).values()
    if references is None and "clusters" not in options:
        if not any("reference_spectra" in stack for stack in given):
            return _of_joint_clusters(tree, **options)
        return map_stacks(tree, _phase_map_of_held, kwargs=options)
    return map_stacks(tree, phases.phase_map, references, kwargs=options)


@functools.wraps(phases.phase_map)
def _phase_map_of_held(stack: xr.Dataset, **options: Any) -> xr.Dataset:
    require_variable(stack, "reference_spectra", "call .stxm.with_references() first, as for the other stacks")
    return phases.phase_map(stack, **options)


_CLUSTERED = ("n_components", "background", "min_amount", "seed", "signal")
"""Options of a phase map that say how clusters are made."""


@recorded
@functools.wraps(phases.phase_map)
def _of_joint_clusters(tree: xr.DataTree, *, n_phases: int | None = None, **options: Any) -> xr.DataTree:
    """Eager on the scores."""
    reasons: dict[str, str] = {}
    signal = options.get("signal", "optical_density")
    stacks: dict[str, Any] = attempt(
        require_stacks(tree), lambda _, stack: with_density(stack, signal), reasons, "optical density"
    )
    of_clusters = {name: options.pop(name) for name in _CLUSTERED if name in options}
    clusters = joint_clusters(stacks, reasons, n_clusters=n_phases, called="n_phases", **of_clusters)
    call = {
        path: per_node(phases.phase_map, (), {**options, "signal": signal, "clusters": one})
        for path, one in clusters.items()
    }
    maps = attempt(call, lambda path, of: of(path, stacks[path]), reasons, "phase_map")
    return tree_of(tree, maps, reasons)
