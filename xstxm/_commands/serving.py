"""The explorer in the browser, as a process of its own."""

from __future__ import annotations

import os
import socket
import sys
from importlib.util import find_spec
from pathlib import Path

import typer

import xstxm
from xstxm.errors import MissingDependencyError, OptionError


def served(file: Path | None, root: Path, port: int, *, show: bool) -> tuple[list[str], dict[str, str]]:
    """Return the command that serves the explorer, and its environment."""
    environment = {**os.environ, "XSTXM_ROOT": str(root), "XSTXM_FILE": ""}
    if file is not None:
        if not file.exists():
            raise typer.BadParameter(f"{file} does not exist")
        if not file.resolve().is_relative_to(root):
            raise OptionError(
                "root", str(root), f"{file.name} lies outside it: leave --root out, or choose one above both"
            )
        environment["XSTXM_FILE"] = str(file.resolve())
    command = [sys.executable, "-m", "panel", "serve", str(dashboard_script()), "--address", "127.0.0.1"]
    command += ["--port", str(port), "--allow-websocket-origin", f"127.0.0.1:{port}"]
    command += ["--allow-websocket-origin", f"localhost:{port}", *(["--show"] if show else [])]
    return command, environment


def require_port(port: int) -> None:
    """Refuse a port that is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise OptionError("port", port, "something else uses it; pass another one, e.g. --port 5007") from error


def require_panel() -> None:
    """Refuse to serve without what the explorer is made with."""
    for package in ("panel", "panel_material_ui", "holoviews"):
        if find_spec(package) is None:
            raise MissingDependencyError("the dashboard", package, "dashboard")


def dashboard_script() -> Path:
    """Return the explorer: inside the installed package, or beside it in a checkout."""
    package = Path(xstxm.__file__).parent
    for folder in (package / "dashboards", package.parent / "dashboards"):
        if (folder / "explorer.py").exists():
            return folder / "explorer.py"
    raise MissingDependencyError("the dashboard", "its explorer.py", "dashboard")
