"""The explorer in a headless Chromium: served by `panel serve`, nothing stubbed."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import panel as pn
import pytest
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "chromium-browser"))), None)
"""A browser; the first, which has no windows of its own, takes 3 seconds of processor time less for a page."""
EXPLORER = Path(__file__).resolve().parents[2] / "dashboards" / "explorer.py"
ARGS = [
    "--no-sandbox",
    "--headless=new",
    "--disable-gpu",
    "--font-render-hinting=none",  # letters as wide as on a screen
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
UNSAFE_PORTS = {5060, 5061}
RANGES = """fig => {
  const view = Bokeh.documents[0]._all_models
  return [...view.values()].filter(m => m.type == "Figure" && Bokeh.index.find_one_by_id(m.id)).map(m => ({
    across: m.frame_width / (m.x_range.end - m.x_range.start),
    upwards: m.frame_height / (m.y_range.end - m.y_range.start),
    title: m.title.text, images: m.renderers.filter(r => r.glyph && ["Image", "ImageRGBA"].includes(r.glyph.type)).length,
  }))
}"""
FRAME = """which => {
  const figure = [...Bokeh.documents[0]._all_models.values()].filter(
    m => m.type == "Figure" && m.renderers.some(r => r.glyph && ["Image", "ImageRGBA"].includes(r.glyph.type)) && Bokeh.index.find_one_by_id(m.id)?.canvas_view.el.getBoundingClientRect().width)[which]
  const view = Bokeh.index.find_one_by_id(figure.id)
  const canvas = view.canvas_view.el.getBoundingClientRect(), frame = view.frame.bbox
  return {x: canvas.x + frame.left, y: canvas.y + frame.top, width: frame.width, height: frame.height}
}"""
PLACES = """([which, places]) => {
  const figure = [...Bokeh.documents[0]._all_models.values()].filter(
    m => m.type == "Figure" && m.renderers.some(r => r.glyph && ["Image", "ImageRGBA"].includes(r.glyph.type)) && Bokeh.index.find_one_by_id(m.id)?.canvas_view.el.getBoundingClientRect().width)[which]
  const view = Bokeh.index.find_one_by_id(figure.id)
  const canvas = view.canvas_view.el.getBoundingClientRect(), frame = view.frame
  return places.map(([x, y]) => [canvas.x + frame.x_scale.compute(x), canvas.y + frame.y_scale.compute(y)])
}"""
LABELS = """which => {
  const sheets = [...Bokeh.documents[0]._all_models.values()].filter(
    m => m.type == "GlyphRenderer" && m.visible && m.glyph.type == "ImageRGBA")
  const column = sheets.map(m => m.data_source.data.get ? m.data_source.data.get("label") : m.data_source.data.label)
    .filter(labels => labels && labels.length)[which][0]
  return {shape: column.shape, values: [...column]}
}"""
"""The labels that the page has of the pixels of a map, lowest y first."""
IMAGE = """() => {
  const images = [...Bokeh.documents[0]._all_models.values()]
    .filter(m => m.type == "GlyphRenderer" && m.glyph.type == "Image")
    .map(m => { const data = m.data_source.data; return (data.get ? data.get("image") : data.image)[0] })
  return JSON.stringify(images.filter(image => image).map(image => [...image.slice(2000, 2100)]))
}"""
"""A part of the pixels of every map of values."""
LISTEN = """() => {
  window.messages = 0
  const heard = () => { window.messages += 1 }
  window.WebSocket = class extends WebSocket {
    constructor(...where) { super(...where); this.addEventListener("message", heard) }
    send(message) { heard(); super.send(message) }
  }
}"""
"""Counts what page and server tell each other."""
QUIET = """async () => {
  const before = window.messages
  for (const pause of [75, 350]) {  // Panel takes a change up 50 ms after it came; of work the page tells after 300 ms
    await new Promise(done => setTimeout(done, pause))
    await fetch("/static/js/bokeh.min.js", {method: "HEAD", cache: "no-store"})  // answered once the server is free
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))
  }
  return window.messages == before
}"""
"""Whether page and server have nothing to tell each other."""
SCROLLS = (
    "() => [document.scrollingElement.scrollWidth, ...[...document.querySelectorAll('main')].map(e => e.scrollWidth)]"
)


def free_port() -> int:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port not in UNSAFE_PORTS:
            return port


@contextmanager
def served(root: Path, file: str, log: Path, script: Path = EXPLORER) -> Iterator[str]:
    """Serve the explorer on a folder; the address."""
    with running(root, file, log, script) as (address, _):
        yield address


@contextmanager
def running(root: Path, file: str, log: Path, script: Path = EXPLORER) -> Iterator[tuple[str, int]]:
    """Serve the explorer on a folder; the address, and the number of the process."""
    port = free_port()
    command = [sys.executable, "-m", "panel", "serve", str(script), "--address", "127.0.0.1", "--port", str(port)]
    command += ["--allow-websocket-origin", f"127.0.0.1:{port}"]
    environment = {**os.environ, "XSTXM_ROOT": str(root), "XSTXM_FILE": str(root / file) if file else ""}
    with log.open("w") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, cwd=log.parent)
        try:
            _wait_for_port(port, server)
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=120).close()  # what the first page imports
            yield f"http://127.0.0.1:{port}/explorer", server.pid
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:  # in the middle of a computation
                server.kill()
                server.wait(10)


@contextmanager
def in_process(page: Callable[[], Any]) -> Iterator[str]:
    """Serve pages from this process, whose work can be held back; the address. Those that were left end after two seconds."""

    def local() -> Any:
        pn.state.curdoc.template_variables["dist_url"] = "static/extensions/panel/"  # as explorer.py does
        return page()

    pn.extension("tabulator", notifications=True)
    port = free_port()
    server = pn.serve(
        {"explorer": local}, address="127.0.0.1", port=port, threaded=True, show=False, verbose=False,
        websocket_origin=f"127.0.0.1:{port}", check_unused_sessions_milliseconds=500,
        unused_session_lifetime_milliseconds=2000,
    )  # fmt: skip
    try:
        _wait_for_port(port)
        yield f"http://127.0.0.1:{port}/explorer"
    finally:
        server.stop()


def _wait_for_port(port: int, server: subprocess.Popen | None = None) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=2).close()
            return
        except OSError:
            assert server is None or server.poll() is None, "the server ended"
            time.sleep(0.2)
    raise AssertionError("the server does not listen")


class Visitor:
    """A page, and what must not happen on it."""

    def __init__(self, page, shots: Path) -> None:
        self.page, self.shots = page, shots
        page.add_init_script(f"({LISTEN})()")
        self.outside: list[str] = []
        self.errors: list[str] = []
        page.on("request", self._request)
        page.on("pageerror", lambda error: self.errors.append(error.stack or str(error)))
        page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        page.on("response", lambda response: response.status >= 400 and self.errors.append(response.url))

    def _request(self, request) -> None:
        if not request.url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")):
            self.outside.append(request.url)

    def shot(self, name: str) -> None:
        """Keep a picture, where pictures are asked for."""
        width = self.page.viewport_size["width"]
        if not os.environ.get("XSTXM_SCREENSHOTS"):
            return
        self.page.mouse.move(3, self.page.viewport_size["height"] - 3)
        self.page.wait_for_timeout(400)
        self.page.screenshot(path=self.shots / f"{name}-{width}.png")

    def open(self, title: str) -> None:
        """Go to a page of the rail, and wait until all of it is there."""
        self.page.get_by_role("button", name=title, exact=True).first.click()
        self.settle()

    def settle(self, timeout: float = 90_000) -> None:
        """Wait until no work is under way, and page and server are silent."""
        stop, quiet = self.page.get_by_role("button", name="Stop"), False
        end = time.monotonic() + timeout / 1000
        while not quiet:
            assert time.monotonic() < end, "the page does not come to rest"
            stop.wait_for(state="hidden", timeout=timeout)
            quiet = self.page.evaluate(QUIET) and stop.is_hidden()

    def toggle_theme(self) -> None:
        """Turn light into dark, and back."""
        self.page.locator("[aria-label*='theme' i], .theme-toggle").first.click()
        self.settle()

    def resize(self, width: int, height: int) -> None:
        """Give the window another size, which the page notices a little later."""
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.wait_for_timeout(350)
        self.settle()

    def tap(self, right: float, up: float, which: int = 0) -> None:
        """Tap a place of one of the maps, as shares of its frame."""
        frame = self.page.evaluate(FRAME, which)
        self.page.mouse.click(frame["x"] + frame["width"] * right, frame["y"] + frame["height"] * (1 - up))

    def leave(self) -> None:
        """Assert what holds for every visit."""
        assert not self.outside
        assert not self.errors, self.errors
        self.assert_no_scroll_bar()

    def assert_no_scroll_bar(self) -> None:
        """Assert that nothing reaches beyond the window to the right."""
        assert max(self.page.evaluate(SCROLLS)) <= self.page.viewport_size["width"]


def type_in(field, text: str) -> None:
    """Type a text and Enter, for which the field sends what it has drawn."""
    field.fill(text)
    field.page.evaluate("() => new Promise(drawn => requestAnimationFrame(() => setTimeout(drawn, 50)))")
    field.press("Enter")


def colors_on_screen(page, places: list[tuple[float, float]], which: int = 0) -> list[str]:
    """Return the colours of places (x, y) on the sample as a map shows them."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    found = page.evaluate(PLACES, [which, places])
    return ["#{:02x}{:02x}{:02x}".format(*picture.getpixel((int(x), int(y)))) for x, y in found]


def labels_on_page(page) -> np.ndarray:
    """Return the labels (y, x) behind the first map of classes, lowest y first."""
    found = page.evaluate(LABELS, 0)
    return np.array(found["values"]).reshape(found["shape"])


@contextmanager
def visit(browser, address: str, shots: Path, size: tuple[int, int] = (1280, 800)) -> Iterator[Visitor]:
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    visitor = Visitor(page, shots)
    page.goto(address)
    page.set_default_timeout(15_000)
    try:
        yield visitor
    except BaseException:
        page.screenshot(path=shots / f"failed-{size[0]}.png")
        raise
    visitor.leave()
    page.close()


def assert_equal_aspect(visitor: Visitor) -> None:
    images = [figure for figure in visitor.page.evaluate(RANGES) if figure["images"]]
    assert images
    for figure in images:
        assert figure["across"] == pytest.approx(figure["upwards"], rel=0.01)
