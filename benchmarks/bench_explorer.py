"""Measure the explorer in a headless Chromium: how soon it follows, and what one more page costs.

    python benchmarks/bench_explorer.py [--sides 512 2048] [--rounds 15] [--sessions 10]

Each stack has 40 energies and four references. A time runs from the event in the browser to the second frame that it
draws after the new data came, that of a page from its address until its first image is there, in a window that was
open before; browser and server share the cores. Memory is that of the server, resident.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import xstxm

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "dashboard"), str(ROOT / "dashboards")]

from browser import ARGS, CHROMIUM, FRAME, running  # noqa: E402  tests and this measure the same page
from stxm_explorer.state import ExplorerState  # noqa: E402

N_ENERGIES = 40
SHOWN = """() => {
  const models = [...Bokeh.documents[0]._all_models.values()]
  return models.some(m => m.type == "GlyphRenderer" && m.glyph.type == "Image" && image(m.data_source.data))
  function image(data) { return ((data.get ? data.get("image") : data.image) || []).length > 0 }
}"""
WATCH = """([event, type]) => {
  const models = [...Bokeh.documents[0]._all_models.values()]
  const sources = models.filter(m => m.type == "GlyphRenderer" && m.glyph.type == type).map(m => m.data_source)
  window.took = null
  document.addEventListener(event, pressed => {
    const before = sources.map(source => source.data), started = pressed.timeStamp
    const look = () => sources.every((source, k) => source.data === before[k]) ? requestAnimationFrame(look)
      : requestAnimationFrame(() => requestAnimationFrame(() => { window.took = performance.now() - started }))
    look()
  }, {once: true, capture: true})
}"""


def make_root(folder: Path, side: int) -> str:
    """Write a stack and its references; return the choices of a page that shows them."""
    references = xstxm.testing.simulate_references()
    stack = xstxm.testing.simulate_stack(shape=(side, side), seed=0)[["intensity"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xstxm.errors.MetadataWarning)
        xstxm.write_nxstxm(stack.isel(energy=slice(0, 3 * N_ENERGIES, 3)), folder / "stack.hdf5")
    references["absorption"].to_pandas().T.to_csv(folder / "references.csv", index_label="energy")
    state = ExplorerState()
    state.open("stack.hdf5")
    state.references.param.update(
        files=["references.csv"], names=[str(name) for name in references["reference"].values]
    )
    state.view.page = "Explore"
    return f"?state={state.to_query()}"


class Tab:
    """One page of the explorer."""

    def __init__(self, browser: Any, address: str) -> None:
        self.page = browser.new_page(viewport={"width": 1280, "height": 800})
        self.page.wait_for_timeout(2000)  # a new window of Chromium takes a core for its own bars
        start = time.perf_counter()
        self.page.goto(address)
        self.page.wait_for_selector(".bk-Figure", timeout=180_000)
        self.page.wait_for_function(SHOWN, timeout=180_000)
        self.opened = time.perf_counter() - start

    def took(self, event: str, glyph: str, act: Callable[[], None]) -> float:
        """Return the milliseconds from an event to what it draws."""
        self.page.evaluate(WATCH, [event, glyph])
        act()
        while (found := self.page.evaluate("window.took")) is None:
            self.page.wait_for_timeout(500)  # asking more often would slow the page down
        return float(found)


def follow(tab: Tab, side: int, rounds: int) -> None:
    """Step through energies, then tap pixels."""
    page = tab.page
    page.wait_for_timeout(3000)
    place = page.evaluate(FRAME, 0)

    def tap(k: int) -> None:
        across, up = 0.1 + 0.8 * k / rounds, 0.2 + 0.5 * k / rounds
        page.mouse.click(place["x"] + place["width"] * across, place["y"] + place["height"] * up)

    tap(rounds)  # elsewhere than those that are measured: a tap on the pixel that is picked changes nothing
    page.wait_for_timeout(15_000)  # the first fit may have to be compiled
    page.mouse.move(3, 3)
    steps = [tab.took("keydown", "Image", lambda: page.keyboard.press("ArrowRight")) for _ in range(rounds)]
    report(f"{side} px: key to image", steps, "ms")
    report(
        f"{side} px: tap to spectrum",
        [tab.took("pointerup", "Scatter", lambda k=k: tap(k)) for k in range(rounds)],
        "ms",
    )


def sessions(browser: Any, address: str, server: int, count: int) -> None:
    """Open pages beside the first, step in all of them, close them."""
    before = resident(server)
    tabs = [Tab(browser, address) for _ in range(count)]
    report("warm page to its first image", [tab.opened for tab in tabs], "s")
    report("one more page", [(resident(server) - before) / count], "MB")
    for tab in tabs:
        tab.page.keyboard.press("ArrowRight")
    for tab in tabs:
        tab.page.close()
    time.sleep(20)
    report("left by each page that was closed", [(resident(server) - before) / count], "MB")


def soak(browser: Any, address: str, server: int, cycles: int) -> None:
    """Open and close a page again and again."""
    memory = []
    for _ in range(cycles):
        Tab(browser, address).page.close()
        memory.append(resident(server))
    time.sleep(20)
    grown = (resident(server) - memory[cycles // 5]) / (cycles - cycles // 5)
    report(f"grown by each of {cycles} pages opened and closed", [grown], "MB")


def resident(server: int) -> float:
    """Return the memory of a process in MB."""
    lines = Path(f"/proc/{server}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def report(what: str, values: list[float], unit: str) -> None:
    ends = f" ({min(values):.3g}-{max(values):.3g})" if len(values) > 1 else ""
    print(f"| {what} | {np.median(values):.3g} {unit}{ends} |", flush=True)


@contextmanager
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--cycles", type=int, default=50)
    given = parser.parse_args()
    for side in given.sides:
        with tempfile.TemporaryDirectory() as folder, chromium() as browser:
            query = make_root(Path(folder), side)
            with running(Path(folder), "", Path(folder) / "log") as (address, server):
                first = Tab(browser, address + query)
                report(f"{side} px: first page of a cold server", [first.opened], "s")
                follow(first, side, given.rounds)
                if side == given.sides[0]:
                    sessions(browser, address + query, server, given.sessions)
                    soak(browser, address + query, server, given.cycles)


if __name__ == "__main__":
    main()
