"""Damaged files of every format: flipped bytes, cut ends, doubled and blanked pieces, opened and read to the last number.

    python benchmarks/fuzz_readers.py --cases 20000 --data ../shared/data

Each case is a good file, damaged at random, beside its good companions. Allowed are a result and the errors of xstxm (`StxmError`);
anything else, more than 2 s, and a reader that dies are failures: their files are kept under ``--keep``. Prints a table of counts.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import xstxm
from xstxm.errors import StxmError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "io"))

LIMIT_S, GIVE_UP_S, LIMIT_MB = 2.0, 20.0, 500


@dataclass(frozen=True)
class Seed:
    """A good file to damage: the folder it lies in, its name, which file to open, and how."""

    format: str
    folder: Path
    damaged: str
    opened: str
    how: str


def open_scan(path: Path) -> None:
    """Open a stack and read its numbers, of many frames the first and the last."""
    with xstxm.open_stack(path) as stack:
        some = stack.isel(energy=[0, -1]) if stack.sizes.get("energy", 0) > 10 else stack
        some.load()


HOW: dict[str, Callable[[Path], object]] = {
    "stack": open_scan,
    "references": xstxm.read_references,
    "i0": lambda path: xstxm.read_i0(path, units="count"),
    "shifts": xstxm.read_shifts,
}


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """Return the bytes with a few wounds, often a single one."""
    wounded = bytearray(data)
    for _ in range(int(rng.geometric(0.5))):
        size = len(wounded)
        if not size:
            break
        at, length = int(rng.integers(size)), int(rng.integers(1, 33))
        # half of the wounds in the head, where the structure is
        at = at % min(size, 2048) if rng.random() < 0.5 else at
        match int(rng.integers(7)):
            case 0:
                wounded[at] ^= 1 << int(rng.integers(8))
            case 1:
                wounded[at : at + length] = rng.bytes(length)
            case 2:
                del wounded[at:]
            case 3:
                del wounded[at : at + length]
            case 4:
                wounded[at:at] = wounded[at : at + length]
            case 5:
                wounded[at : at + 4] = rng.choice([b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\xff\xff\xff\xff", b"9999"])
            case 6:
                wounded[at : at + length] = rng.choice([b"{", b"(", b"nan", b"1e999", b"-1", b"\0"]) * int(length)
    return bytes(wounded)


def run_case(seed: Seed, number: int, folder: Path) -> str:
    """Damage, open, and say how it ended: a word for the table, or a traceback."""
    rng = np.random.default_rng(number)
    shutil.rmtree(folder)
    (folder / seed.damaged).parent.mkdir(parents=True)
    for path in seed.folder.rglob("*") if ".zarr" in seed.damaged else seed.folder.iterdir():
        beside = folder / path.relative_to(seed.folder)
        if path.is_file() and beside != folder / seed.damaged:
            beside.parent.mkdir(parents=True, exist_ok=True)
            beside.symlink_to(path)
    (folder / seed.damaged).write_bytes(damage((seed.folder / seed.damaged).read_bytes(), rng))
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            HOW[seed.how](folder / seed.opened)
        ended = "read"
    except StxmError as error:
        ended = type(error).__name__
    except Exception:
        return traceback.format_exc(limit=-6)
    taken = time.perf_counter() - start
    return ended if taken < LIMIT_S else f"slow: {taken:.1f} s"


def work(seeds: list[Seed], numbers: list[int], folder: str, connection: multiprocessing.connection.Connection) -> None:
    """Run cases in a process of its own and send how each ended."""
    for number in numbers:
        ended = run_case(seeds[number % len(seeds)], number, Path(folder))
        connection.send((number, ended, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
    connection.close()


def run_all(seeds: list[Seed], count: int) -> Iterator[tuple[int, str, float]]:
    """Yield number, end and peak memory (MB) of every case; a process that dies or hangs costs its case only."""
    context, left = multiprocessing.get_context("fork"), list(range(count))
    while left:
        with tempfile.TemporaryDirectory() as folder:
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=work, args=(seeds, left, folder, there))
            process.start()
            there.close()
            try:
                while left and here.poll(GIVE_UP_S):
                    yield here.recv()
                    left.pop(0)
                ended = f"hangs: over {GIVE_UP_S:g} s"
            except EOFError:
                ended = "dies"
            process.kill()
            process.join()
        if left:
            yield left.pop(0), ended, 0.0


def generated(root: Path) -> Iterator[Seed]:
    """Write small files of every format."""
    import cxi_files
    import exchange_files
    import ncb_files
    import nxstxm_files
    import sdf_files
    import xrm_files

    folder = root / "sdf"
    folder.mkdir()
    opened = sdf_files.write_stack(folder).name
    for damaged in sorted(path.name for path in folder.iterdir())[:3]:
        yield Seed("sdf", folder, damaged, opened, "stack")
    for dialect in (*nxstxm_files.DIALECTS.values(), nxstxm_files.als_2_line, nxstxm_files.cls_line):
        folder = root / f"nxstxm-{dialect.__name__}"
        folder.mkdir()
        nxstxm_files.write(folder / "scan.hdf5", dialect)
        yield Seed("nxstxm", folder, "scan.hdf5", "scan.hdf5", "stack")
    folder = root / "cxi"
    folder.mkdir()
    cxi_files.write(folder / "scan.cxi")
    yield Seed("cxi", folder, "scan.cxi", "scan.cxi", "stack")
    folder = root / "exchange"
    folder.mkdir()
    exchange_files.write(folder / "scan.hdf5")
    yield Seed("exchange", folder, "scan.hdf5", "scan.hdf5", "stack")
    folder = root / "stk"
    folder.mkdir()
    ncb_files.write_stk(folder / "scan.stk", ncb_files.numbers())
    yield Seed("stk", folder, "scan.stk", "scan.stk", "stack")
    folder = root / "xrm"
    folder.mkdir()
    xrm_files.write_xrm(folder / "scan.txrm", xrm_files.counts(), (853.0, 854.0, 855.0))
    yield Seed("xrm", folder, "scan.txrm", "scan.txrm", "stack")
    yield from written(root)


def written(root: Path) -> Iterator[Seed]:
    """Write a stack and references with the writers of the package."""
    stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)[["intensity"]]
    full = xstxm.calibrate_energy(stack, 0.1)
    full["optical_density"] = full["intensity"].assign_attrs(units="1")
    full["thickness"] = full["intensity"].mean("energy").assign_attrs(units="nm")
    folder = root / "written-nxstxm-full"
    folder.mkdir()
    xstxm.write_nxstxm(full, folder / "scan.hdf5")
    yield Seed("nxstxm", folder, "scan.hdf5", "scan.hdf5", "stack")
    writers = {
        "nxstxm": (xstxm.write_nxstxm, ["scan.hdf5"]),
        "netcdf": (xstxm.write_netcdf, ["scan.nc"]),
        "tiff": (xstxm.write_tiff, ["scan.tif"]),
        "ncb": (xstxm.write_ncb, ["scan.dat", "scan.ncb"]),
    }
    for format, (write, names) in writers.items():
        folder = root / f"written-{format}"
        folder.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write(stack, folder / names[0])
        for name in names:
            yield Seed(format, folder, name, names[0], "stack")
    folder = root / "written-zarr"
    folder.mkdir()
    store = xstxm.write_zarr(stack, folder / "scan.zarr")
    inside = sorted(path.relative_to(folder) for path in store.rglob("*") if path.is_file())
    for kind in (Path("scan.zarr/zarr.json"), Path("scan.zarr/intensity/zarr.json"), inside[-1]):
        assert kind in inside
        yield Seed("zarr", folder, str(kind), "scan.zarr", "stack")


def real(data: Path) -> Iterator[Seed]:
    """Take the measured files."""
    for path in sorted(data.rglob("*")):
        suffix = path.suffix.lower()
        if suffix == ".hdr":
            yield Seed("sdf", path.parent, path.name, path.name, "stack")
        elif suffix == ".xim" and path.name.endswith(("a000.xim", "_a.xim")):
            header = next(path.parent.glob(f"{path.name.split('_')[0]}.hdr"))
            yield Seed("sdf", path.parent, path.name, header.name, "stack")
        elif suffix == ".xsp":
            yield Seed("text", path.parent, path.name, path.name, "i0")
        elif (
            suffix in (".t", ".r", ".xdi", ".nor", ".xmu", ".prj", ".txt", ".dat", ".csv")
            and "LICENSE" not in path.name
        ):
            yield Seed(suffix[1:], path.parent, path.name, path.name, "references")


def main() -> int:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--data", type=Path, help="folder of measured files")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"), help="folder for what failed")
    options = parser.parse_args()
    for name in ("tifffile", "asyncio"):  # they report every tag and every part of a store that they cannot read
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    with tempfile.TemporaryDirectory() as root:
        seeds = [*generated(Path(root)), *(real(options.data.resolve()) if options.data else ())]
        counts: Counter[tuple[str, str]] = Counter()
        failures, peak = 0, 0.0
        for number, ended, used in run_all(seeds, options.cases):
            seed, peak = seeds[number % len(seeds)], max(peak, used)
            failed = ended in ("dies",) or ended.startswith(("Traceback", "slow", "hangs"))
            counts[seed.format, "FAILED" if failed else ended] += 1
            if failed:
                failures += 1
                keep(seed, number, ended, options.keep)
    print_table(counts)
    print(
        f"{options.cases} cases of {len(seeds)} files, {failures} failures, peak memory {peak:.0f} MB (limit {LIMIT_MB})"
    )
    return int(failures > 0 or peak > LIMIT_MB)


def keep(seed: Seed, number: int, ended: str, folder: Path) -> None:
    """Write down what failed: the damaged file and how it ended."""
    folder.mkdir(parents=True, exist_ok=True)
    data = damage((seed.folder / seed.damaged).read_bytes(), np.random.default_rng(number))
    (folder / f"{number}-{Path(seed.damaged).name}").write_bytes(data)
    (folder / f"{number}.txt").write_text(f"{seed}\n{ended}\n")


def print_table(counts: Counter[tuple[str, str]]) -> None:
    """Print a row for each format, a column for each end."""
    ends = sorted({end for _, end in counts})
    print("| format | " + " | ".join(ends) + " |")
    print("|---" * (len(ends) + 1) + "|")
    for format in sorted({name for name, _ in counts}):
        print(f"| {format} | " + " | ".join(str(counts[format, end]) for end in ends) + " |")


if __name__ == "__main__":
    raise SystemExit(main())
