"""Measure how soon the explorer's figures follow: a key to the next image, a tap to its curve, in a headless Chromium.

    python benchmarks/bench_explorer_figures.py [--sides 512 2048] [--rounds 15] [--frame 480]

It serves a page of its own with a map, a curve and a slider. A time runs from the event in the browser to the second
frame that the browser draws after the new data came.
"""

from __future__ import annotations

import argparse
import itertools
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

import numpy as np
import panel as pn
import xarray as xr

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "dashboards"))

ARGS = ["--no-sandbox", "--headless=new", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
N_ENERGIES = 12
WATCH = """([event, type]) => {
  const models = [...Bokeh.documents[0]._all_models.values()]
  const drawn = models.find(m => m.type == type || m.type == "GlyphRenderer" && m.visible && m.glyph.type == type)
  const state = () => type == "Span" ? drawn.location : drawn.data_source.data
  window.took = null
  document.addEventListener(event, pressed => {
    const before = state(), started = pressed.timeStamp
    const look = () => state() === before ? requestAnimationFrame(look)
      : requestAnimationFrame(() => requestAnimationFrame(() => { window.took = performance.now() - started }))
    look()
  }, {once: true, capture: true})
}"""
FRAME = """() => {
  const figure = [...Bokeh.documents[0]._all_models.values()].find(m => m.type == "Figure")
  const view = Bokeh.index.find_one_by_id(figure.id)
  const canvas = view.canvas_view.el.getBoundingClientRect(), frame = view.frame.bbox
  return {x: canvas.x + frame.left, y: canvas.y + frame.top, width: frame.width, height: frame.height}
}"""


def synthetic_stack(side: int) -> xr.DataArray:
    """Return synthetic optical density (energy, y, x)."""
    frames = np.random.default_rng(0).random((N_ENERGIES, side, side), dtype=np.float32)
    centres = {dim: (dim, np.arange(side) * 0.02, {"units": "um"}) for dim in ("y", "x")}
    energy = ("energy", np.linspace(510.0, 532.0, N_ENERGIES), {"units": "eV"})
    return xr.DataArray(frames, dims=("energy", "y", "x"), coords={"energy": energy, **centres}, name="optical_density")


def page() -> None:
    """Build the page that is measured."""
    import panel_material_ui as pmui
    from stxm_explorer.figures import Curve, CurveFigure, MapFigure, MapRanges

    pn.extension()
    stack = pn.state.as_cached("stack", synthetic_stack, side=int(os.environ["BENCH_SIDE"]))
    frame = int(os.environ["BENCH_FRAME"])
    image, spectrum = MapFigure(MapRanges(), side=frame), CurveFigure(width=frame, height=frame)
    slider = pmui.IntSlider(label="Frame", start=0, end=N_ENERGIES - 1, value=0)

    def step(number: int) -> None:
        image.show(stack[number], clim=(0.0, 1.0))
        spectrum.mark(float(stack["energy"][number]))

    def tap(_: str, vertices: tuple[tuple[float, float], ...]) -> None:
        ((x, y),) = vertices
        image.mark((x, y))
        curve = stack.sel(x=x, y=y, method="nearest")
        spectrum.show([Curve("pixel", stack["energy"], curve)], xlabel="Photon energy [eV]", ylabel="Optical density")

    step(0)
    tap("point", ((1.0, 1.0),))
    image.on_pick(tap)
    slider.param.watch(lambda event: step(event.new), "value")
    pmui.Page(title="figures", main=[slider, pn.FlexBox(image.pane, spectrum.pane)]).servable()


@contextmanager
def served(side: int, frame: int) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "panel", "serve", __file__, "--address", "127.0.0.1", "--port", str(port)]
    command += ["--allow-websocket-origin", f"127.0.0.1:{port}"]
    environment = {**os.environ, "BENCH_SIDE": str(side), "BENCH_FRAME": str(frame)}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(150):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2)
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/{Path(__file__).stem}"
    finally:
        server.terminate()
        server.wait(10)


def measure(side: int, frame: int, rounds: int) -> None:
    from playwright.sync_api import sync_playwright

    browser_path = shutil.which("chromium") or shutil.which("chromium-browser")
    with served(side, frame) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=ARGS)
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        tab.goto(address)
        tab.wait_for_selector(".bk-Figure", timeout=90_000)
        tab.wait_for_timeout(2000)
        place = tab.evaluate(FRAME)
        there_and_back = itertools.cycle(["ArrowRight"] * (N_ENERGIES - 1) + ["ArrowLeft"] * (N_ENERGIES - 1))

        def key(_: int) -> None:
            tab.locator("input[type=range]").first.focus()
            tab.keyboard.press(next(there_and_back))

        def tap(k: int) -> None:
            across, upwards = 0.1 + 0.8 * k / rounds, 0.2 + 0.5 * k / rounds
            tab.mouse.click(place["x"] + place["width"] * across, place["y"] + place["height"] * upwards)

        for what, event, glyph, act in (
            ("key to cursor of the curve, no image", "keydown", "Span", key),
            ("key to image", "keydown", "Image", key),
            ("tap to curve", "pointerup", "Line", tap),
        ):
            took = []
            for k in range(rounds):
                tab.evaluate(WATCH, [event, glyph])
                act(k)
                while (found := tab.evaluate("window.took")) is None:
                    tab.wait_for_timeout(500)  # asking more often would slow the page down
                took.append(found)
            print(f"| {side} | {what} | {np.median(took):.0f} ms ({min(took):.0f}-{max(took):.0f}) |", flush=True)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--frame", type=int, default=480)
    given = parser.parse_args()
    print("| pixels a side | what | median (lowest-highest) |\n|---|---|---|")
    for side in given.sides:
        measure(side, given.frame, given.rounds)
    if hasattr(os, "getloadavg"):
        print(f"\nload {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs, which the browser and the server share")


if __name__ == "__main__":
    main()
elif __name__.startswith("bokeh_app"):
    page()
