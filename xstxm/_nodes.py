"""The nodes of a tree of stacks: which hold one, what is done to each, and the tree of the results."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeAlias, TypeVar

import xarray as xr

from xstxm.errors import (
    LeftOutWarning,
    NoStacksError,
    OptionError,
    SchemaError,
    StxmError,
    left_out_warning,
    warn,
)
from xstxm.options import get_options

OnError: TypeAlias = Literal["leave_out", "raise"]
T = TypeVar("T")
R = TypeVar("R")

LEFT_OUT = "left_out"
"""Attribute of a node that a verb could not be applied to: the reason."""


def stacks(tree: xr.DataTree) -> dict[str, xr.Dataset]:
    """Return the nodes that hold data by their path within the tree, in its order, with the coordinates they inherit."""
    return {path: node.to_dataset() for path, node in tree.subtree_with_keys if _holds_stack(node)}


def _holds_stack(node: xr.DataTree) -> bool:
    return bool(node.data_vars) and LEFT_OUT not in node.attrs


def left_out(tree: xr.DataTree) -> dict[str, str]:
    """Return the nodes that were left out before, and why."""
    return {path: str(node.attrs[LEFT_OUT]) for path, node in tree.subtree_with_keys if LEFT_OUT in node.attrs}


def require_stacks(tree: xr.DataTree) -> dict[str, xr.Dataset]:
    """Return the nodes that hold data, or say that there are none."""
    if not isinstance(tree, xr.DataTree):
        raise OptionError("tree", tree, "give a DataTree, as xr.DataTree.from_dict({'a': stack, 'b': other})")
    found = stacks(tree)
    if not found:
        raise NoStacksError(left_out(tree), [path for path, _ in tree.subtree_with_keys])
    return found


def in_turn(items: Mapping[str, T], what: str) -> Iterator[tuple[str, T]]:
    """Yield the nodes of a tree one by one, and say which is at work where the option `progress` is set."""
    said = get_options().progress and len(items) > 1
    for number, (path, item) in enumerate(items.items(), 1):
        if said:
            sys.stderr.write(f"{what}: node {number} of {len(items)}, {path}\n")
        yield path, item


def attempt(
    items: Mapping[str, T],
    do: Callable[[str, T], R],
    reasons: dict[str, str],
    what: str,
    errors: OnError = "leave_out",
) -> dict[str, R]:
    """Return what a function makes of each node; `reasons` takes those that it raises an error of xstxm for.

    An error of another kind is a defect, and is raised with a note of the node.
    """
    done: dict[str, R] = {}
    for path, item in in_turn(items, what):
        try:
            done[path] = do(path, item)
        except Exception as error:
            if errors == "raise" or not isinstance(error, StxmError):
                error.add_note(f"in node {path!r} of the tree")
                raise
            reasons[path] = " ".join(str(error).split())
    return done


def tree_of(tree: xr.DataTree, done: Mapping[str, xr.Dataset], reasons: Mapping[str, str]) -> xr.DataTree:
    """Return the tree with results in place of stacks, empty where there is none, with one warning of those left out."""
    if not done:
        raise NoStacksError(reasons)
    nodes: dict[str, xr.Dataset] = {}
    for path, node in tree.subtree_with_keys:
        empty = node.to_dataset(inherit=False)
        empty = empty.drop_dims([*empty.dims])
        empty = empty.drop_vars([*empty.data_vars])
        nodes[path] = done.get(path, empty.assign_attrs({LEFT_OUT: reasons[path]} if path in reasons else {}))
    try:
        result = xr.DataTree.from_dict(nodes, name=tree.name)
    except ValueError as error:
        raise SchemaError(
            "the results of nodes that lie below each other share no coordinates, which xarray wants: put all stacks side "
            f"by side ({' '.join(str(error).split())})"
        ) from error
    if reasons:
        warn(left_out_warning(reasons, len(done) + len(reasons)), LeftOutWarning)
    return result


def at_node(value: Any, path: str, option: str, *, of_dataset: bool = True) -> Any:
    """Return what an argument is for a node: a tree is taken node by node, all else is the same for all.

    Where no Dataset is wanted, a node that holds a single variable is this.
    """
    if not isinstance(value, xr.DataTree):
        return value
    node = dict(value.subtree_with_keys).get(path)
    if node is None or not _holds_stack(node):
        why = left_out(value).get(path)
        do = f"it was left out: {why}" if why else "give a tree with the same nodes, or one value for all"
        raise SchemaError(f"{option} has no stack at node {path!r} (found: {', '.join(stacks(value)) or 'none'}): {do}")
    (name, *others) = node.data_vars
    return node.to_dataset() if of_dataset or others else node.to_dataset()[name]


def per_node(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Callable[[str, Any], Any]:
    """Return the call of a function for a path and its stack, arguments that are trees taken node by node."""
    try:
        parameters = dict(inspect.signature(func).parameters)
    except (TypeError, ValueError):  # of builtins
        parameters = {}
    positional = [name for name, one in parameters.items() if one.kind is not inspect.Parameter.VAR_POSITIONAL][1:]
    names = [*positional[: len(args)], *(f"argument {k + 2}" for k in range(len(positional), len(args)))]

    def of(path: str, value: Any, name: str) -> Any:
        return at_node(value, path, name, of_dataset=_takes_dataset(parameters.get(name)))

    def call(path: str, stack: xr.Dataset) -> Any:
        own = [of(path, value, name) for name, value in zip(names, args, strict=True)]
        return func(stack, *own, **{name: of(path, value, name) for name, value in kwargs.items()})

    return call


def _takes_dataset(parameter: inspect.Parameter | None) -> bool:
    """Tell whether a parameter is a Dataset, which it is unless its annotation says otherwise."""
    if parameter is None or parameter.annotation is inspect.Parameter.empty:
        return True
    annotation = str(parameter.annotation)
    return "Dataset" in annotation or "Any" in annotation
