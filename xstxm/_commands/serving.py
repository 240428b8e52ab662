"""The explorer in the browser, as a process of its own."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import secrets
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import typer

from xstxm._commands.scheduling import require_scheduler
from xstxm.errors import OptionError
from xstxm.exploring import dashboard_script

MESSAGE = 4 * 2**20
"""Bytes of a message of a page: what is sent up are choices, and small files of references in pieces."""
KEEP_ALIVE = 30_000
"""Milliseconds between signs of life, well below the minute after which proxies give a connection up."""
LOOPBACK = "127.0.0.1"
WITHOUT_LOGIN = (
    "warning: there is no log-in: whoever reaches this address reads every file of the root folder that the explorer opens. "
    "Set PANEL_BASIC_AUTH, or the variables of OAuth; see docs/deployment.md"
)

_ORIGIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?")
_LOGINS = ("PANEL_BASIC_AUTH", "PANEL_OAUTH_PROVIDER")
"""Variables of Panel that turn a log-in on; as options they would be in the list of processes."""
_OVERRULING = ("BOKEH_ALLOW_WS_ORIGIN", "BOKEH_RESOURCES", "PANEL_NUM_THREADS")
"""Variables that would set aside what is decided here."""


@dataclass(frozen=True)
class Serving:
    """What is served, to whom, and how much of it."""

    root: Path
    file: Path | None = None
    output: Path | None = None
    address: str = LOOPBACK
    port: int = 5006
    origins: tuple[str, ...] = ()
    scheduler: str | None = None
    max_sessions: int = 20
    session_minutes: float = 5.0
    check_minutes: float = 1.0
    show: bool = False

    def check(self) -> None:
        """Refuse what would not be served, or served to people it is not for.

        Raises
        ------
        OptionError
            A folder or file that is not there or lies outside the root folder, an address without origins, a bad
            origin or scheduler, a port that is taken.
        """
        self._check_files()
        self._check_origins()
        if self.scheduler is not None:
            require_scheduler(self.scheduler)
        if self.check_minutes > self.session_minutes:
            do = f"look at least once in the {self.session_minutes:g} minutes that a page is kept"
            raise OptionError("check_minutes", self.check_minutes, do)
        require_port(self.port, self.address)

    def _check_files(self) -> None:
        if not self.root.is_dir():
            raise OptionError("root", str(self.root), "that folder does not exist")
        if self.output is not None and not self.output.is_dir():
            raise OptionError("output", str(self.output), "that folder does not exist: make it first")
        if self.output is not None and not os.access(self.output, os.W_OK | os.X_OK):
            raise OptionError("output", str(self.output), "that folder cannot be written to: give another")
        if self.file is None:
            return
        if not self.file.exists():
            raise typer.BadParameter(f"{self.file} does not exist")
        if not self.file.resolve().is_relative_to(self.root):
            do = f"{self.file.name} lies outside it: leave --root out, or choose one above both"
            raise OptionError("root", str(self.root), do)

    def _check_origins(self) -> None:
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                do = "name the host as the browser shows it, without https:// and wildcards, e.g. stxm.example.org"
                raise OptionError("allow_websocket_origin", origin, do)
        if not self.is_local and not self.origins:
            do = "say where the page will be, e.g. --allow-websocket-origin stxm.example.org: others stay locked out"
            raise OptionError("address", self.address, do)

    @property
    def is_local(self) -> bool:
        """Whether programs of this computer only reach the server."""
        if self.address == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.address).is_loopback
        except ValueError:
            return False

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts whose pages may connect; a browser finds the explorer at the first."""
        if not self.is_local:
            return self.origins
        own = f"[{self.address}]" if ":" in self.address else self.address
        return (*(f"{host}:{self.port}" for host in dict.fromkeys((own, "localhost"))), *self.origins)

    def command(self) -> list[str]:
        """Return the command that serves the explorer; nothing secret is in it."""
        script = dashboard_script()
        options = {
            "--address": self.address,
            "--port": self.port,
            "--websocket-max-message-size": MESSAGE,
            "--keep-alive": KEEP_ALIVE,
            "--unused-session-lifetime": round(self.session_minutes * 60_000),
            "--check-unused-sessions": round(self.check_minutes * 60_000),
        }
        pages = ["--basic-login-template", "--logout-template", "--oauth-error-template"]
        # without -P a param.py in the folder where it is started, often one of data, would be imported
        command = [sys.executable, "-P", "-m", "panel", "serve", str(script)]
        command += [part for name, value in options.items() for part in (name, str(value))]
        command += [part for page in pages for part in (page, str(script.with_name("login.html")))]
        command += [part for host in self.hosts for part in ("--allow-websocket-origin", host)]
        return [*command, *(["--show"] if self.show else [])]

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of the command, from that of this process."""
        kept = {name: value for name, value in given.items() if name not in _OVERRULING}
        settings = {
            "XSTXM_ROOT": str(self.root),
            "XSTXM_FILE": "" if self.file is None else str(self.file.resolve()),
            "XSTXM_OUTPUT": "" if self.output is None else str(self.output.resolve()),
            "XSTXM_SCHEDULER": self.scheduler or "",
            "XSTXM_MAX_SESSIONS": str(self.max_sessions),
        }
        if has_login(given) and not given.get("PANEL_COOKIE_SECRET"):
            settings["PANEL_COOKIE_SECRET"] = secrets.token_urlsafe(32)
        return {**kept, **settings}


def has_login(environment: Mapping[str, str]) -> bool:
    """Tell whether users have to log in."""
    guests = environment.get("PANEL_OAUTH_OPTIONAL", "").lower() in ("1", "true")
    return not guests and any(environment.get(name) for name in _LOGINS)


def check_login(environment: Mapping[str, str]) -> None:
    """Refuse a password, or file of passwords, that Panel would take for another.

    Raises
    ------
    OptionError
        It has capitals, which Panel makes small; or it looks like a file that is not there, whose path would be the password.
    """
    given = environment.get("PANEL_BASIC_AUTH", "")
    if given != given.lower():
        do = "Panel reads it in lower case: use small letters, or the path in small letters of a .json of users and passwords"
        raise OptionError("PANEL_BASIC_AUTH", "...", do)
    if ("/" in given or given.endswith(".json")) and not Path(given).is_file():
        raise OptionError("PANEL_BASIC_AUTH", "...", "there is no such file, and its path would be the password")


def require_port(port: int, address: str = LOOPBACK) -> None:
    """Refuse an address that is none of this computer, or a port that is taken."""
    try:
        family, _, _, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise OptionError("address", address, "no such address: 127.0.0.1 is this computer only") from error
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
        except PermissionError as error:
            raise OptionError("port", port, "ports below 1024 are kept for the system: pass another one") from error
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise OptionError("address", address, "this computer has no such address") from error
            raise OptionError("port", port, "something else uses it; pass another one, e.g. --port 5007") from error
