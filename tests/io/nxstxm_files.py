"""Writes tiny NXstxm files, in the dialects of several beamlines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

ENERGIES = np.array([528.0, 530.5, 531.25])
Y = np.array([2.0, 2.05])
X = np.array([-1.0, -0.95, -0.9, -0.85])
COUNTS = np.arange(24, dtype="float64").reshape(3, 2, 4) + 50


def group(parent: h5py.Group, name: str, nexus_class: str | bytes | None = None) -> h5py.Group:
    """A group with its NeXus class."""
    made = parent.create_group(name)
    if nexus_class is not None:
        made.attrs["NX_class"] = nexus_class
    return made


def field(parent: h5py.Group, name: str, value: object, **attrs: object) -> h5py.Dataset:
    """A dataset with attributes."""
    parent[name] = value
    for key, said in attrs.items():
        parent[name].attrs[key] = said
    return parent[name]


def pollux(file: h5py.File) -> None:
    """PolLux 2016: bytes, `axes` as an array of bytes, um as a Latin-1 byte, ring current with NaN."""
    entry = group(file, "entry1", b"NXentry")
    field(entry, "definition", np.array([b"NXstxm"]), version=b"1.1")
    entry["title"] = b"carbon particle"
    entry["start_time"] = b"2016-05-20T11:12:13"
    instrument = group(entry, "instrument", b"NXinstrument")
    group(instrument, "source", b"NXsource")["name"] = b"Swiss Light Source"
    group(entry, "sample", b"NXsample")["name"] = b"None"
    data = group(entry, "counter0", b"NXdata")
    data.attrs["signal"] = b"data"
    data.attrs["axes"] = np.array([b"energy", b"sample_y", b"sample_x"])
    field(data, "data", COUNTS.astype("int32"))
    field(data, "energy", ENERGIES, units=b"eV")
    field(data, "sample_y", Y, units=np.bytes_(b"\xb5m"))
    field(data, "sample_x", X, units="µm")
    data["count_time"] = np.array([0.005])
    data["stxm_scan_type"] = np.array([b"sample image stack"])
    field(group(entry, "control", b"NXmonitor"), "data", np.array([400.0, np.nan, 401.0]), units=b"mA")
    group(group(entry, "collection", b"NXcollection"), "beamline", b"NXcollection")


def pixelator(file: h5py.File) -> None:
    """MAXYMUS 2024: str, two detectors, ring current per pixel, positions as NXdata too."""
    file.attrs["creator"] = "Pixelator"
    entry = group(file, "entry1", "NXentry")
    field(entry, "definition", "NXstxm", version="1.3")
    instrument = group(entry, "instrument", "NXinstrument")
    group(instrument, "source", "NXsource")["name"] = "Swiss Light Source"
    for place, name in enumerate(["APD", "photodiode", "Sample_X"]):
        data = group(entry, name, "NXdata")
        data.attrs["signal"] = "data"
        data.attrs["axes"] = ["energy", "sample_y", "sample_x"]
        field(data, "data", COUNTS + 1000 * place)
        field(data, "energy", ENERGIES, units="eV")
        field(data, "sample_y", Y, units="um")
        field(data, "sample_x", X, units="um")
        data["count_time"] = np.full(COUNTS.shape, 0.002)
        data["stxm_scan_type"] = "sample image stack"
    control = np.full(COUNTS.shape, 300.0)
    control[0, 0, 0] = np.nan
    field(group(entry, "control", "NXmonitor"), "data", control, units="mA")


def i08(file: h5py.File) -> None:
    """Diamond I08: no `axes`, an `axis` per field, photon_energy, scan_type, mm that nobody names."""
    entry = group(file, "entry1", "NXentry")
    entry["definition"] = "NXstxm"
    data = group(entry, "Counter1", "NXdata")
    data.attrs["signal"] = "data"
    field(data, "data", COUNTS.astype("uint16"))
    field(data, "photon_energy", ENERGIES, axis=1)
    field(data, "sample_y", -1.779 + 6.7e-5 * np.arange(2), axis=2)
    field(data, "sample_x", 0.5 + 6.7e-5 * np.arange(4), axis=3)
    data["count_time"] = 0.01
    data["scan_type"] = "sample image stack"


def hermes(file: h5py.File) -> None:
    """SOLEIL HERMES: no classes at all, and the beamline in a collection."""
    entry = group(file, "entry1")
    entry["definition"] = "NXstxm"
    data = group(entry, "Counter0")
    data["data"], data["energy"], data["sample_y"], data["sample_x"] = COUNTS, ENERGIES, Y, X
    data["stxm_scan_type"] = "sample image stack"
    data["count_time"] = np.array([0.001, 0.002, 0.003])
    group(entry, "collection")["beamline"] = "Hermes"
    group(entry, "empty")


def cls(file: h5py.File) -> None:
    """CLS pyStxm: `signal` on group and dataset, a control whose axes name positioners."""
    entry = group(file, "entry0", "NXentry")
    field(entry, "definition", "NXstxm")
    entry["version"] = "1.0"
    data = group(entry, "counter0", "NXdata")
    data.attrs["signal"], data.attrs["axes"] = "data", ["energy", "sample_y", "sample_x"]
    field(data, "data", COUNTS, signal="1")
    field(data, "energy", ENERGIES, units="eV")
    field(data, "sample_y", Y, units="um")
    field(data, "sample_x", X, units="um")
    data["stxm_scan_type"] = "sample image stack"
    control = group(entry, "control", "NXdata")
    control.attrs["axes"] = ["GoniX", "GoniY"]
    control["data"] = np.ones((2, 4))


def cls_line(file: h5py.File) -> None:
    """CLS pyStxm: a line spectrum whose `axes` are in one order in the data and in another in the control."""
    entry = group(file, "entry0", "NXentry")
    entry["definition"], entry["version"] = "NXstxm", "1.0"
    data = group(entry, "counter0", "NXdata")
    data.attrs["signal"], data.attrs["axes"] = "data", ["sample_x", "energy"]
    field(data, "data", COUNTS[:, 0], signal="1")
    field(data, "energy", ENERGIES, units="eV")
    field(data, "sample_y", np.full(4, 2.0), units="um")
    field(data, "sample_x", X, units="um")
    data["stxm_scan_type"] = "sample line spectrum"
    control = group(entry, "control", "NXmonitor")
    control.attrs["axes"] = ["energy", "GoniX"]
    control["data"] = np.ones((3, 4))


def _counter0(file: h5py.File, name: str, counts: np.ndarray, **positions: np.ndarray) -> h5py.Group:
    """An entry of pystxmcontrol before version 3: dwell in ms that is called s, a ring current of zeros."""
    entry = group(file, name, b"NXentry")
    entry["start_time"] = [b"2021-05-06 07:08:09.123456"]
    entry["sample_description"] = [b"cathode"]
    group(entry, "motors", b"NXmonitor")["Sample X"] = 1.0
    control = group(entry, "control", b"NXmonitor")
    field(control, "data", np.zeros(counts.shape), units=b"mA")
    data = group(entry, "counter0", b"NXdata")
    data.attrs["axes"] = np.array([b"energy", b"sample_y", b"sample_x"])
    data.attrs["signal"] = np.array([b"data"])
    for axis, place in enumerate(("energy", "sample_y", "sample_x")):
        data.attrs[f"{place}_indices"] = [axis]
    field(data, "data", counts, units=b"")
    field(data, "count_time", np.full(3, 2.0), units=b"s")
    field(data, "energy", ENERGIES, units=b"eV")
    for place, values in positions.items():
        field(data, place, values, units=b"um")
    data["stxm_scan_type"] = [b"Image"]
    return entry


def als_0(file: h5py.File) -> None:
    """ALS pystxmcontrol before it had versions: no definition, two regions."""
    _counter0(file, "entry0", COUNTS, sample_y=Y, sample_x=X)
    _counter0(file, "entry1", COUNTS[:, :, :3] + 1000, sample_y=Y, sample_x=X[:3])


def points() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Raw points (energy, line, point): three in each pixel, one in each turn; counts, y, x as measured."""
    offsets = np.array([-0.015, 0.0, 0.015])
    inside = (X[:, None] + offsets).ravel()
    x = np.concatenate([[X[0] - 0.04], inside, [X[-1] + 0.04]])
    shift = 0.001 * np.arange(6).reshape(3, 2, 1)
    xs, ys = x + shift, np.broadcast_to(Y[:, None], (3, 2, 14)) + 0.002
    turns = np.full((3, 2, 1), 9999.0)
    counts = (COUNTS[..., None] + [-1, 0, 1]).reshape(3, 2, 12)
    return np.concatenate([turns, counts, turns], axis=2), ys, xs


def als_2(file: h5py.File) -> None:
    """ALS pystxmcontrol 2: raw points with their measured positions, the requested grid beside them."""
    counts, ys, xs = points()
    entry = _counter0(file, "entry0", counts, sample_y=ys, sample_x=xs)
    field(entry, "definition", np.bytes_(b"NXstxm"), version=b"2")
    wanted = group(entry, "requested_values")
    field(wanted, "sample_y", Y, units=b"um")
    field(wanted, "sample_x", X, units=b"um")


def als_2_line(file: h5py.File) -> None:
    """ALS pystxmcontrol 2: a line spectrum as images of one line, along a slanted way."""
    counts = np.arange(36.0).reshape(3, 1, 12)
    along = (5 * np.arange(4)[:, None] + [-1.0, 0, 1]).ravel()
    xs, ys = np.broadcast_to(0.6 * along, counts.shape), np.broadcast_to(0.8 * along + 7, counts.shape)
    entry = _counter0(file, "entry0", counts, sample_y=ys, sample_x=xs)
    del entry["counter0/stxm_scan_type"]
    entry["counter0/stxm_scan_type"] = [b"Line Spectrum"]
    entry["definition"] = b"2"
    wanted = group(entry, "requested_values")
    wanted["sample_x"], wanted["sample_y"] = 3.0 * np.arange(4), 4.0 * np.arange(4) + 7


def als_21(file: h5py.File) -> None:
    """ALS pystxmcontrol 2.1: raw points, and beside them what became of them on the grid."""
    counts, ys, xs = points()
    entry = _counter0(file, "entry0", counts, sample_y=ys, sample_x=xs)
    entry["definition"] = 2.1
    binned = group(entry, "binned_values", b"NXdata")
    field(binned, "data", COUNTS, units=b"")
    field(binned, "sample_y", Y, units=b"um")
    field(binned, "sample_x", X, units=b"um")


def als(file: h5py.File) -> None:
    """ALS pystxmcontrol 3: a numeric version, NXdata per DAQ, raw points in the instrument, dwell in ms."""
    entry = group(file, "entry0", b"NXentry")
    entry["version"], entry["definition"] = 3.0, [b"NXstxm"]
    instrument = group(entry, "instrument", b"NXinstrument")
    group(instrument, "monochromator", b"NXmonochromator")["energy"] = ENERGIES
    group(instrument, "motors", b"NXdetector")["sample_x"] = 1.0
    group(entry, "sample", b"NXsample")["description"] = "cathode"
    spectrum = np.linspace(400.0, 900.0, 7)
    for name, energies, counts in (("analyzer", spectrum, COUNTS + 1000), ("default", ENERGIES, COUNTS)):
        daq = group(instrument, name, b"NXdetector")
        daq.attrs["type"] = np.bytes_(b"photon")
        field(daq, "data", np.ones((3, 24)), energies=energies)
        data = group(entry, name, b"NXdata")
        data.attrs["signal"] = "data"
        data.attrs["axes"] = [b"energy", b"sample_y", b"sample_x"]
        field(data, "data", counts)
        for axis, (place, values) in enumerate([("energy", energies), ("sample_y", Y), ("sample_x", X)], start=1):
            field(data, place, values, axis=axis)
        data["count_time"], data["stxm_scan_type"] = np.full(3, 2.0), [b"Image"]
    motor = group(instrument, "stage", b"NXdetector")
    motor.attrs["type"] = np.bytes_(b"motor")
    group(entry, "stage", b"NXdata")["data"] = COUNTS + 5000


DIALECTS = {
    "pollux": pollux,
    "pixelator": pixelator,
    "i08": i08,
    "hermes": hermes,
    "cls": cls,
    "als 0": als_0,
    "als 2": als_2,
    "als 2.1": als_21,
    "als 3": als,
}


def write(path: Path, *writers: Callable[[h5py.File], None]) -> Path:
    """A file made by some writers in turn."""
    with h5py.File(path, "w") as file:
        for writer in writers:
            writer(file)
    return path


def scan(
    data: np.ndarray, *, axes: list[str] | None = None, kind: str | None = None, entry: str = "entry1", **fields: object
) -> Callable[[h5py.File], None]:
    """A writer of one detector ``counter0`` with the fields given; a pair is (values, units)."""

    def writer(file: h5py.File) -> None:
        place = file.get(entry) or group(file, entry, "NXentry")
        if "definition" not in place:
            place["definition"] = "NXstxm"
        made = group(place, "counter0", "NXdata")
        made["data"] = data
        if axes is not None:
            made.attrs["axes"] = axes
        if kind is not None:
            made["stxm_scan_type"] = kind
        for name, value in fields.items():
            values, units = value if isinstance(value, tuple) else (value, None)
            field(made, name, values, **({} if units is None else {"units": units}))

    return writer
