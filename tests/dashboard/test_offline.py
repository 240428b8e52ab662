"""Nothing is loaded from outside this computer, whichever process made the page, before the log-in and after it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from browser import free_port

from xstxm._commands.serving import Serving

pytestmark = [pytest.mark.ui, pytest.mark.xdist_group("offline")]
HERE = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")
PASSWORD = "swordfish-7f3a"


@contextmanager
def served(root: Path, log: Path, *more: str, **environment: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """Serve the explorer with the command of `xstxm dashboard`; its address and process."""
    serving = Serving(
        root, file=root / "lixv2o5.hdf5", port=free_port(), max_sessions=int(environment.pop("most", "20"))
    )
    given = {name: value for name, value in os.environ.items() if not name.startswith(("PANEL_", "BOKEH_"))}
    with log.open("w") as output:
        server = subprocess.Popen(
            [*serving.command(), *more],
            env=serving.environment({**given, **environment}),
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            start_new_session=True,
        )
        try:
            _wait_for(f"http://{serving.hosts[0]}/static/js/bokeh.min.js", server)  # a page would be a session
            yield f"http://{serving.hosts[0]}", server
        finally:
            os.killpg(server.pid, signal.SIGKILL)  # with its processes, which outlive a gentler end
            server.wait(15)


def _wait_for(address: str, server: subprocess.Popen) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(address, timeout=2)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            assert server.poll() is None, "the server ended"
            time.sleep(0.2)
    raise AssertionError("the server does not answer")


class Watched:
    """A page, what it asks of others, and what it complains of."""

    def __init__(self, browser, **look) -> None:
        self.page = browser.new_page(viewport={"width": 1280, "height": 800}, **look)
        self.page.set_default_timeout(40_000)
        self.outside: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: request.url.startswith(HERE) or self.outside.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda line: line.type == "error" and self.errors.append(line.text))
        self.page.on("requestfailed", self._failed)

    def _failed(self, request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page was left while a font was on its way
            self.errors.append(f"{request.url}: {request.failure}")

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.page.close()
        if kind is None:
            assert not self.outside
            assert not self.errors


def test_offline__pages_of_two_processes(browser, filled, tmp_path, shots):
    setup = tmp_path / "setup.py"  # else a process that has made no page yet does not find the files of its components
    setup.write_text("import panel_material_ui\n")
    with served(filled, tmp_path / "log", "--num-procs", "2", "--setup", str(setup)) as (address, _):
        for visit in range(4):  # the page and its connection meet different processes by chance
            with Watched(browser) as watched:
                watched.page.goto(f"{address}/explorer")
                watched.page.wait_for_selector(".bk-Figure")
                watched.page.get_by_role("button", name="Unmix", exact=True).click()
                watched.page.get_by_text("lie above the noise floor").first.wait_for()
                if visit == 0:
                    watched.page.screenshot(path=shots / "two-processes.png")


def test_offline__log_in(browser, filled, tmp_path, shots):
    with served(filled, tmp_path / "log", PANEL_BASIC_AUTH=PASSWORD) as (address, server):
        with Watched(browser, color_scheme="dark") as watched:
            watched.page.goto(f"{address}/explorer")
            watched.page.get_by_label("Password").wait_for()
            watched.page.screenshot(path=shots / "login-dark.png")
        with Watched(browser, color_scheme="light") as watched:
            _log_in_and_out(watched.page, address, shots)
        shown = Path(f"/proc/{server.pid}/cmdline")
        assert not shown.exists() or PASSWORD not in shown.read_text()
    assert PASSWORD not in (tmp_path / "log").read_text()


def _log_in_and_out(page, address: str, shots: Path) -> None:
    page.goto(f"{address}/explorer")
    page.wait_for_url("**/login**")
    page.get_by_label("User name").fill("me")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("Invalid username or password").wait_for()
    page.screenshot(path=shots / "login-light.png")
    page.get_by_label("User name").fill("me")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_selector(".bk-Figure")
    page.goto(f"{address}/logout")
    page.get_by_role("link", name="Log in again").wait_for()
    page.goto(f"{address}/explorer")
    page.wait_for_url("**/login**")


@pytest.fixture(scope="module")
def of_one_page(filled, tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """Address of an explorer that takes one page at a time, and its log."""
    log = tmp_path_factory.mktemp("one") / "log"
    with served(filled, log, most="1") as (address, _):
        yield address, log


def test_offline__one_page_too_many_says_so(browser, of_one_page, shots):
    address, log = of_one_page
    with Watched(browser) as first:
        first.page.goto(f"{address}/explorer")
        first.page.wait_for_selector(".bk-Figure")
        with Watched(browser) as second:
            second.page.goto(f"{address}/explorer")
            second.page.get_by_text("The explorer is busy").wait_for()
            second.page.screenshot(path=shots / "busy.png")
            assert not second.page.locator(".bk-Figure").count()
    assert "refused a page: 1 are open" in log.read_text()


def test_serving__a_page_of_another_origin_is_not_connected(of_one_page):
    address, _ = of_one_page
    answers = {origin: _upgrade(address, origin) for origin in (address, "http://evil.example.org", "null")}
    assert answers == {address: 101, "http://evil.example.org": 403, "null": 403}


def _upgrade(address: str, origin: str) -> int:
    """Ask for a websocket as a page of an origin would; the status of the answer."""
    host = address.removeprefix("http://")
    lines = [
        "GET /explorer/ws HTTP/1.1",
        f"Host: {host}",
        f"Origin: {origin}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: bokeh, none",
    ]
    name, port = host.rsplit(":", 1)
    with socket.create_connection((name, int(port)), timeout=10) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return int(connection.recv(100).split()[1])
