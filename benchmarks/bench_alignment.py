"""Accuracy and time of finding shifts, and time of applying them, beside other programs, on stacks with known drift.

    python benchmarks/bench_alignment.py --size S [--seeds 0 1] [--peers /path/to/another/python]

scikit-image runs in this interpreter, pystackreg, HyperSpy and MANTiS in that of `--peers`, each where it is installed.
Peers see every `--every`th frame of a size M stack, their time is scaled up. Times are of one thread, counts in, shifts out.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import peers as others
import scipy.ndimage
import skimage
from drifting_stacks import Drifting, drifting_stack, error
from measuring import N_ENERGIES, SIDES, facts, in_turn, spread
from skimage.registration import phase_cross_correlation

import xstxm

DOSES = {"high": 4000.0, "low": 200.0}

Method: TypeAlias = Callable[[Drifting, np.ndarray], tuple[np.ndarray, float]]
"""Takes a stack and its optical density, gives pixels (frame, axis) and seconds."""


@dataclass(frozen=True)
class Found:
    """Error of the shifts in pixels, and seconds for the whole stack."""

    rms: float
    largest: float
    seconds: float


def ours(reference: str) -> Method:
    def run(made: Drifting, od: np.ndarray) -> tuple[np.ndarray, float]:
        with warnings.catch_warnings(), xstxm.set_options(num_threads=1):
            warnings.simplefilter("ignore")
            start = time.perf_counter()
            found = xstxm.estimate_shifts(made.intensity, reference)
            seconds = time.perf_counter() - start
        moved = np.stack([found["shift_y"], found["shift_x"]], axis=1) / -0.03
        return moved, seconds

    return run


def scikit_image(made: Drifting, od: np.ndarray) -> tuple[np.ndarray, float]:
    at = len(od) // 2
    start = time.perf_counter()
    found = [phase_cross_correlation(od[at], frame, upsample_factor=20, normalization=None)[0] for frame in od]
    return -np.array(found), time.perf_counter() - start


def peer(code: str, python: str | None) -> Method:
    def run(made: Drifting, od: np.ndarray) -> tuple[np.ndarray, float]:
        ran = others.run(code, python, 1, od=od, at=len(od) // 2)
        return ran.found, float(ran.seconds[0])

    return run


def find(method: Method, made: Drifting, thin: int = 1, signs: tuple[int, ...] = (1,)) -> Found:
    """Run a method on every `thin`th frame, its time scaled up; a peer may count shifts with either sign."""
    brightest = np.quantile(made.intensity[:, ::4, ::4], 0.999, axis=(1, 2))[:, None, None]
    od = np.log(brightest / np.maximum(made.intensity.values, 1)).astype(np.float32)[::thin]
    found, seconds = method(made, od)
    rms, largest = min(error(sign * found, made.displacement[::thin]) for sign in signs)
    return Found(rms, largest, seconds * thin)


def peers(size: str, every: int, python: str | None) -> dict[str, tuple[Method, int]]:
    """Return the peers by name, with the step between the frames they see."""
    step = every if size == "M" else 1
    separate = {name: peer(code, python) for name, code in others.SHIFTS.items()}
    return {
        name: (method, step) for name, method in {"scikit-image, no normalisation": scikit_image, **separate}.items()
    }


def compare(size: str, seeds: list[int], every: int, python: str | None) -> None:
    methods = {f"xstxm {name}": (ours(name), 1) for name in ("model", "neighbours", "previous", "first", "mean")}
    rows: dict[str, dict[str, list[Found]]] = {}
    for seed in seeds:
        for dose, counts in DOSES.items():
            made = drifting_stack(SIDES[size], counts=counts, seed=seed)
            rows.setdefault("Cramer-Rao bound", {}).setdefault(dose, []).append(Found(made.bound, np.nan, np.nan))
            for name, (method, thin) in (methods | peers(size, every, python)).items():
                try:
                    found = find(method, made, thin, (1,) if name in methods else (1, -1))
                except others.NotRun as problem:
                    print(f"{name}: not run, {problem}", file=sys.stderr)
                    continue
                rows.setdefault(name, {}).setdefault(dose, []).append(found)
    print(
        f"\n{size}: {N_ENERGIES} x {SIDES[size]} x {SIDES[size]}, {len(seeds)} seed(s); error in pixels: rms / largest; seconds"
    )
    print(f"{'':34}" + "".join(f"{dose + f', I0 = {counts:g}':>30}" for dose, counts in DOSES.items()))
    for name, doses in rows.items():
        print(f"{name:34}" + "".join(f"{cell(found):>30}" for found in doses.values()))


def cell(seeds: list[Found]) -> str:
    rms, seconds = np.sqrt(np.mean([found.rms**2 for found in seeds])), np.median([found.seconds for found in seeds])
    rest = "" if np.isnan(seconds) else f" / {max(found.largest for found in seeds):.3f} {seconds:8.2f} s"
    return f"{rms:.4f}{rest}"


def time_apply(size: str, rounds: int) -> np.ndarray:
    """Return seconds a frame (xstxm or `scipy.ndimage.shift`, round), in turn; scipy moves a sample of the frames."""
    made = drifting_stack(SIDES[size], counts=4000.0, seed=0, n_energies=24)
    shifts = xstxm.estimate_shifts(made.intensity)
    frames = made.intensity.values[:4]

    def scipy_shift() -> None:
        for frame, moved in zip(frames, made.displacement, strict=False):
            scipy.ndimage.shift(frame, -moved, order=3, cval=np.nan)

    def move() -> None:
        with xstxm.set_options(num_threads=1):
            xstxm.apply_shifts(made.intensity, shifts)

    return in_turn(move, scipy_shift, rounds=rounds) / [[len(made.intensity)], [len(frames)]]


def apply(size: str, rounds: int) -> None:
    ours, theirs = time_apply(size, rounds)
    print(
        f"apply_shifts, cubic, one thread: {np.median(ours) * 1e3:.2f} ms a frame, ndimage.shift order 3 {np.median(theirs) * 1e3:.1f} ms, "
        f"ratio {spread(theirs / ours)}"
    )


def warm_up() -> None:
    xstxm.estimate_shifts(drifting_stack(64, counts=4000.0, seed=0, n_energies=12).intensity)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", nargs="+", choices=SIDES, default=["S"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--every", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    others.add_option(parser)
    given = parser.parse_args()
    print(facts(scipy, skimage))
    warm_up()
    for size in given.size:
        compare(size, given.seeds, given.every, given.peers)
        apply(size, given.rounds)


if __name__ == "__main__":
    main()
