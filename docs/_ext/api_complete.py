"""Warn where the API page lacks a public function or a method of the accessor."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

import xstxm
from xstxm.accessor import StxmAccessor
from xstxm.tree_accessor import StxmTreeAccessor

logger = logging.getLogger(__name__)


def _expected() -> list[str]:
    functions = [name for name in xstxm.__all__ if not isinstance(getattr(xstxm, name), ModuleType)]
    kinds = {"Dataset": StxmAccessor, "DataTree": StxmTreeAccessor}
    members = [f"{kind}.stxm.{name}" for kind, own in kinds.items() for name in vars(own) if not name.startswith("_")]
    of_trees = [f"trees.{name}" for name in xstxm.trees.__all__]
    return [*(name for name in functions if not name.startswith("_")), *of_trees, *members]


def check(app: Sphinx) -> None:
    """Compare the page with the package."""
    page = Path(app.srcdir) / "api" / "index.rst"
    listed = {line.strip() for line in page.read_text(encoding="utf-8").splitlines()}
    missing = [name for name in _expected() if name not in listed]
    if missing:
        logger.warning("api/index.rst lacks %s", ", ".join(missing))


def setup(app: Sphinx) -> dict[str, Any]:
    """Check when the build starts."""
    app.connect("builder-inited", check)
    return {"parallel_read_safe": True}
