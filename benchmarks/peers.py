"""Other programs, each called through its public functions in an interpreter of its own that the user names with `--peers`.

The code of a peer defines `prepare`, which takes arrays and returns the call to be timed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MANTIS = """
from mantis_xray.analysis import analyze, data_stack, data_struct
def stack_of(values, ev):
    stack = data_stack.data(data_struct.h5())
    stack.n_ev, stack.n_rows, stack.n_cols = values.shape
    stack.stack4D, stack.ev = None, ev.copy()
    return stack, values.transpose(2, 1, 0).astype(float)
def analysis_of(od, energy):
    stack, stack.od3d = stack_of(od, energy)
    stack.od = stack.od3d.reshape(-1, len(energy), order="F")
    return analyze.analyze(stack)
"""
DENSITY = {
    "MANTiS calculate_optical_density": MANTIS
    + """
def prepare(counts, i0, energy):
    stack, stack.absdata = stack_of(counts, energy)
    stack.evi0, stack.i0data, stack.data_dwell, stack.i0_dwell = energy.copy(), i0, None, None
    return stack.calculate_optical_density
"""
}
FITS = {
    "pymcr NNLS": """
from pymcr.regressors import NNLS
def prepare(design, spectra):
    return lambda: NNLS().fit(design, spectra.T)
"""
}
PCA = {
    "MANTiS calculate_pca": MANTIS
    + """
def prepare(od, energy):
    return analysis_of(od, energy).calculate_pca
""",
    "HyperSpy decomposition": """
import hyperspy.api as hs
def prepare(od, energy):
    pixels = od.transpose(1, 2, 0).copy()
    return lambda: hs.signals.Signal1D(pixels).decomposition(algorithm="SVD", output_dimension=8, print_info=False)
""",
}
CLUSTERS = {
    "MANTiS calculate_clusters": MANTIS
    + """
def prepare(od, energy, n_clusters):
    analysis = analysis_of(od, energy)
    def call():
        analysis.calculate_pca()
        analysis.calculate_clusters(int(n_clusters))
    return call
"""
}
SHIFTS = {
    "pystackreg": """
from pystackreg import StackReg
register = StackReg(StackReg.TRANSLATION).register
def prepare(od, at):
    return lambda: [register(od[at], frame)[:2, 2][::-1] for frame in od]
""",
    "HyperSpy estimate_shift2D": """
import hyperspy.api as hs
hs.preferences.General.show_progressbar = False
def prepare(od, at):
    def call():
        signal = hs.signals.Signal2D(od.copy())
        return signal.estimate_shift2D(reference="current", sub_pixel_factor=20, show_progressbar=False)
    return call
""",
    "MANTiS register_images": MANTIS
    + """
stack = data_stack.data(data_struct.h5())
def prepare(od, at):
    od = od.astype(float)
    def call():
        stack.register_images(od[at], od[at])
        return [stack.register_images(od[at], frame, have_ref_img_fft=True)[:2] for frame in od]
    return call
""",
}
RUN = """
import contextlib, json, sys, time
import numpy as np
from resident import beyond
given = dict(np.load(sys.argv[1]))
seconds = []
def timed():
    global found
    start = time.perf_counter()
    found = call()
    seconds.append(time.perf_counter() - start)
with contextlib.redirect_stdout(sys.stderr):
    exec(sys.argv[3])
    call = prepare(**given)
    memory = beyond(timed)
    for _ in range(int(sys.argv[2])):
        timed()
    found = found if isinstance(found, (list, np.ndarray)) else []
print(json.dumps([np.asarray(found, float).tolist(), seconds[1:], memory]))
"""


class NotRun(Exception):
    """A peer that is not there, or that failed."""


@dataclass(frozen=True)
class Ran:
    """What a peer returned, its seconds (round), and its memory at the peak beyond what was resident before, GB."""

    found: np.ndarray
    seconds: np.ndarray
    memory: float


def run(code: str, python: str | None, rounds: int, **arrays: np.ndarray | int) -> Ran:
    """Run a peer once for its memory, which also warms it, then `rounds` times for the clock; one thread."""
    if python is None:
        raise NotRun("give --peers an interpreter that has it")
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arrays.npz"
        np.savez(path, **arrays)
        command = [python, "-c", RUN, str(path), str(rounds), code]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **one})
    if done.returncode:
        raise NotRun((done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1].replace("|", "/"))
    found, seconds, memory = json.loads(done.stdout.splitlines()[-1])
    return Ran(np.array(found), np.array(seconds), memory)


def add_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter that has HyperSpy, MANTiS, pymcr, pystackreg")
