"""The page in a headless Chromium: served by `panel serve`, nothing stubbed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.ui
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("no chromium: apt-get install chromium", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api")

EXPLORER = Path(__file__).resolve().parents[2] / "dashboards" / "explorer.py"
ARGS = [
    "--no-sandbox",
    "--headless=new",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
UNSAFE_PORTS = {5060, 5061}
RANGES = """fig => {
  const view = Bokeh.documents[0]._all_models
  return [...view.values()].filter(m => m.type == "Figure").map(m => ({
    across: m.frame_width / (m.x_range.end - m.x_range.start),
    upwards: m.frame_height / (m.y_range.end - m.y_range.start),
    title: m.title.text, images: m.renderers.filter(r => r.glyph && r.glyph.type == "Image").length,
  }))
}"""
POINTS = """() => [...Bokeh.documents[0]._all_models.values()]
  .filter(r => r.type == "GlyphRenderer" && r.glyph && r.glyph.type == "Scatter")
  .map(r => { const data = r.data_source.data; return (data.get ? data.get("energy") : data.energy) || [] })
  .filter(values => values.length > 2).length"""
FRAME = """() => {
  const figure = [...Bokeh.documents[0]._all_models.values()].find(
    m => m.type == "Figure" && m.renderers.some(r => r.glyph && r.glyph.type == "Image"))
  const view = Bokeh.index.find_one_by_id(figure.id)
  const canvas = view.canvas_view.el.getBoundingClientRect(), frame = view.frame.bbox
  return {x: canvas.x + frame.left, y: canvas.y + frame.top, width: frame.width, height: frame.height}
}"""
LEGENDS = """() => [...Bokeh.documents[0]._all_models.values()]
  .filter(m => m.type == "Legend").map(m => m.items.map(i => i.label.value))"""
SCROLLS = (
    "() => [document.scrollingElement.scrollWidth, ...[...document.querySelectorAll('main')].map(e => e.scrollWidth)]"
)


def _free_port() -> int:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port not in UNSAFE_PORTS:
            return port


@contextmanager
def served(root: Path, file: str, log: Path, script: Path = EXPLORER) -> Iterator[str]:
    """Serve the explorer on a folder; the address."""
    port = _free_port()
    command = [sys.executable, "-m", "panel", "serve", str(script), "--address", "127.0.0.1", "--port", str(port)]
    command += ["--allow-websocket-origin", f"127.0.0.1:{port}"]
    environment = {**os.environ, "XSTXM_ROOT": str(root), "XSTXM_FILE": str(root / file) if file else ""}
    with log.open("w") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, cwd=log.parent)
        try:
            _wait_for(f"http://127.0.0.1:{port}/", server)
            yield f"http://127.0.0.1:{port}/explorer"
        finally:
            server.terminate()
            server.wait(10)


def _wait_for(address: str, server: subprocess.Popen) -> None:
    for _ in range(150):
        try:
            urllib.request.urlopen(address, timeout=2)
            return
        except OSError:
            assert server.poll() is None, "the server ended"
            time.sleep(0.2)
    raise AssertionError("the server does not answer")


class Visitor:
    """A page, and what must not happen on it."""

    def __init__(self, page, shots: Path) -> None:
        self.page, self.shots = page, shots
        self.outside: list[str] = []
        self.errors: list[str] = []
        page.on("request", self._request)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("response", lambda response: response.status >= 400 and self.errors.append(response.url))

    def _request(self, request) -> None:
        if not request.url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")):
            self.outside.append(request.url)

    def shot(self, name: str) -> None:
        width = self.page.viewport_size["width"]
        self.page.mouse.move(3, self.page.viewport_size["height"] - 3)
        self.page.wait_for_timeout(400)
        self.page.screenshot(path=self.shots / f"{name}-{width}.png")

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()
        self.page.wait_for_timeout(300)

    def references(self, *names: str) -> None:
        self.page.locator(".MuiSelect-multiple").click()
        for name in names:
            self.page.locator("li", has_text=name).first.click()
        self.page.keyboard.press("Escape")
        self.page.wait_for_selector(".MuiMenu-root, .MuiPopover-root", state="detached")
        self.page.wait_for_selector(".legend")

    def tap(self, right: float, up: float) -> None:
        """Tap a place of the image, as shares of its frame."""
        frame = self.page.evaluate(FRAME)
        self.page.mouse.click(frame["x"] + frame["width"] * right, frame["y"] + frame["height"] * (1 - up))

    def map_phases(self) -> None:
        self.tab("Phases")
        self.page.get_by_role("button", name="Map phases").last.click()
        self.page.wait_for_selector("table", timeout=60_000)
        self.page.wait_for_timeout(300)

    def leave(self) -> None:
        """Assert what holds for every visit."""
        assert not self.outside
        assert not self.errors
        width = self.page.viewport_size["width"]
        assert max(self.page.evaluate(SCROLLS)) <= width


@pytest.fixture(scope="session")
def shots(tmp_path_factory) -> Path:
    folder = Path(os.environ.get("XSTXM_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def simulated(filled, tmp_path_factory) -> Iterator[str]:
    with served(filled, "lixv2o5.hdf5", tmp_path_factory.mktemp("log") / "log") as address:
        yield address


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


def test_ui__from_image_to_phases_and_script(browser, simulated, shots, names):
    with visit(browser, simulated, shots) as visitor:
        page = visitor.page
        page.wait_for_selector(".bk-Figure", timeout=40_000)
        page.wait_for_timeout(500)
        assert_equal_aspect(visitor)
        visitor.references("references.csv")
        visitor.tap(0.5, 0.5)
        page.wait_for_function(f"({POINTS})() == 1", timeout=60_000)  # the first fit may have to be compiled
        page.wait_for_timeout(300)
        for name in ["measured", *names, "fit"]:
            assert page.locator(".legend").get_by_text(name).count()
        visitor.shot("explore")
        visitor.map_phases()
        legend = _legend_with(page, names[0])
        assert [name for name in legend if name != "undecided"] == names
        assert_equal_aspect(visitor)
        visitor.shot("phases")
        visitor.tab("Code")
        text = page.locator("pre", has_text="open_stack").first.inner_text()
        assert "xstxm.open_stack('lixv2o5.hdf5')" in text
        assert "xstxm.read_references('references.csv')" in text
        visitor.shot("code")


def _legend_with(page, name: str) -> list[str]:
    """Return the newest legend with an entry."""
    found = [legend for legend in page.evaluate(LEGENDS) if name in legend]
    return found[-1] if found else []


def test_ui__arrow_keys_step_the_energy(browser, simulated, shots):
    with visit(browser, simulated, shots, (1920, 1080)) as visitor:
        page = visitor.page
        page.wait_for_selector(".bk-Figure", timeout=40_000)
        page.wait_for_timeout(500)
        label = page.get_by_text("Photon energy:")
        before = label.inner_text()
        page.locator("main input[type=range]").first.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("before => !document.body.innerText.includes(before)", arg=before, timeout=5000)
        assert_equal_aspect(visitor)
        visitor.shot("explore")


def test_ui__without_a_file_says_what_to_do(browser, filled, shots, tmp_path):
    with served(filled, "", tmp_path / "log") as address, visit(browser, address, shots) as visitor:
        visitor.page.get_by_text("Choose a stack on the left").first.wait_for(timeout=40_000)
        visitor.shot("empty")
        visitor.page.locator(".MuiSelect-select").first.click()
        visitor.page.locator("li", has_text="lixv2o5.hdf5").first.click()
        visitor.page.wait_for_selector(".bk-Figure", timeout=20_000)


def test_ui__real_stack(browser, real_data, shots, tmp_path):
    root = real_data / "fe-l-edge-stack"
    with (
        served(root, "71214078.hdr", tmp_path / "log") as address,
        visit(browser, address, shots, (1920, 1080)) as visitor,
    ):
        page = visitor.page
        page.wait_for_selector(".bk-Figure", timeout=40_000)
        page.wait_for_timeout(500)
        visitor.references("oxidized.t", "reduced.t")
        visitor.tap(0.12, 0.08)
        page.wait_for_function(f"({POINTS})() == 1", timeout=60_000)  # the first fit may have to be compiled
        visitor.shot("real-explore")
        visitor.map_phases()
        assert [name for name in _legend_with(page, "oxidized") if name != "undecided"] == [
            "oxidized",
            "reduced",
        ]
        assert_equal_aspect(visitor)
        visitor.shot("real-phases")
        assert str(root) not in page.content()
