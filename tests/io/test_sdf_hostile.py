"""SDF headers and data files that are broken on purpose, or by a bad copy."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from damage import damaged, opens_or_refuses
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sdf_files import ENERGIES, X, Y, axis, counts, header, write_frame, write_stack

import xstxm
from xstxm.errors import CorruptFileError, MetadataWarning
from xstxm.io.sdf import SDF
from xstxm.io.sdf.grammar import parse


@pytest.mark.parametrize("mark", ["A={", "(", "A=({", "B=("], ids=["structs", "marks", "both", "arrays"])
def test_parse__refuses_endless_nesting(mark):
    with pytest.raises(CorruptFileError, match="nested at most 32 deep, found more"):
        parse("A=(1," + mark * 100_000, "scan.hdr")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        pytest.param("9" * 1_000_000, np.inf, id="a million digits"),
        pytest.param("1_000", "1_000", id="underscores make no number"),
        pytest.param("-12", -12, id="a negative number"),
        pytest.param("+.5e3", 500.0, id="no digit before the point"),
        pytest.param("1234567890123456", 1234567890123456.0, id="more digits than needed"),
        pytest.param("²", "²", id="a digit that is none"),
    ],
)
def test_parse__takes_for_numbers_what_are_numbers(word, value):
    found = parse(f"A = {word};", "scan.hdr")["A"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(("705.500", "9" * 5000), "finite Points of StackAxis", id="an energy of 5000 digits"),
        pytest.param(("705.500", "0.000"), "energies above zero, found 1 of 4 that are not", id="an energy of zero"),
        pytest.param(("705.500", "-3.5"), "energies above zero, found 1 of 4", id="an energy below zero"),
        pytest.param(("(4, 700", "(4000000000, 700"), "expected 4000000000 Points of StackAxis, found 4", id="a claim"),
        pytest.param(("(4, 700", "(-4, 700"), "expected -4 Points of StackAxis, found 4", id="a negative count"),
        pytest.param(("(4, 700", "(4.0, 700"), "expected -1 Points", id="a count that is no whole number"),
        pytest.param(
            ('Unit = "um"', 'Unit = "9**9**9**9"'), r"in um, found '9\*\*9\*\*9\*\*9'", id="a unit to compute"
        ),
        pytest.param(('Unit = "um"', 'Unit = "' + "(" * 5000 + '"'), "in um, found", id="a unit that nests"),
        pytest.param(
            ("Channels = (1", "Channels = (99" + ", {}" * 99), "at most 26 Channels.*found 100", id="channels"
        ),
    ],
)
def test_header__that_lies_is_refused(tmp_path, change, message):
    path = write_stack(tmp_path)
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change, 1))
    with pytest.raises(CorruptFileError, match=message):
        xstxm.open_stack(path)


def test_header__of_a_hundred_megabytes_is_not_parsed(tmp_path):
    path = write_stack(tmp_path)
    with path.open("ab") as file:
        file.truncate(100 * 1024**2)
    with pytest.raises(CorruptFileError, match="a small text, found more than 8 MB"):
        xstxm.open_stack(path)


def test_header__of_bytes_that_are_no_text_is_read_by_its_fields(tmp_path):
    path = write_stack(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"other_name", b"Probe\xe9\xff\x00\x85"))
    np.testing.assert_array_equal(xstxm.open_stack(path).intensity, counts())


def test_records__with_numbers_nobody_counts_to_are_no_records(tmp_path):
    extra = f"Image{'9' * 5000} = {{StorageRingCurrent = 5;}}; Image0 = {{StorageRingCurrent = 7;}};"
    assert "ring_current" not in xstxm.open_stack(write_stack(tmp_path, extra=extra)).coords


def test_energy_regions__with_negative_counts_give_no_dwell_times(tmp_path):
    asked = "ImageScan = {EnergyRegions = (2, {Points = -1; DwellTime = 2;}, {Points = 5; DwellTime = 5;});};"
    assert xstxm.open_stack(write_stack(tmp_path, extra=asked)).dwell_time.item() == 0.5


# data files


def test_files__are_looked_up_beside_the_header_only(tmp_path):
    (tmp_path / "inside").mkdir()
    path = write_stack(tmp_path / "inside", np.empty((0, 3, 4)), base="x")
    write_frame(tmp_path / "x_a000.xim", counts(1)[0])
    text = path.read_text().replace("other_name.hdr", "../x.hdr")
    path.write_text(text)
    with pytest.raises(CorruptFileError, match=r"its data beside it, x_a000\.xim first, found none"):
        xstxm.open_stack(path)


def test_files__that_are_folders_or_lead_nowhere_are_no_frames(tmp_path):
    path = write_stack(tmp_path, counts(2))
    (tmp_path / "scan_a002.xim").mkdir()
    (tmp_path / "scan_a003.xim").symlink_to(tmp_path / "scan_a003.xim")
    with pytest.warns(MetadataWarning, match="2 of 4 frames exist"):
        np.testing.assert_array_equal(xstxm.open_stack(path).intensity, counts(2))


def test_files__through_links_are_read(tmp_path):
    path = write_stack(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "scan_a001.xim").rename(tmp_path / "elsewhere" / "frame.xim")
    (tmp_path / "scan_a001.xim").symlink_to(moved)
    np.testing.assert_array_equal(xstxm.open_stack(path).intensity, counts())


@pytest.mark.parametrize("name", ["scan_a01.xim", "Scan_A001.xim"], ids=["other digits", "other case"])
def test_files__two_for_one_frame_are_refused(tmp_path, name):
    path = write_stack(tmp_path)
    write_frame(tmp_path / name, counts()[0])
    if len(list(tmp_path.glob("*.xim"))) < 5:
        pytest.skip("file names do not tell upper from lower case here")
    with pytest.raises(CorruptFileError, match=r"expected one file for each frame, found .*\.xim and .*\.xim"):
        xstxm.open_stack(path)


def test_frame__that_is_far_too_large_is_not_read(tmp_path):
    path = write_stack(tmp_path)
    with (tmp_path / "scan_a001.xim").open("ab") as file:
        file.truncate(10 * 1024**3)
    stack = xstxm.open_stack(path)
    with pytest.raises(
        CorruptFileError, match=r"scan_a001\.xim: expected 3 rows of 4 numbers, found 10737418\d+ bytes"
    ):
        stack.intensity.load()


def test_frame__of_a_size_nobody_holds_is_not_allocated(tmp_path):
    wide = axis("Sample X", "um", [n / 10 for n in range(90_000)])
    tall = axis("Sample Y", "um", [n / 10 for n in range(90_000)])
    path = write_stack(tmp_path, energies=(700.0,), p=wide, q=tall, data=counts(1))
    with pytest.raises(CorruptFileError, match="expected 90000 rows of 90000 numbers, found fewer"):
        xstxm.open_stack(path)


# regions


def test_scans__are_the_regions_with_the_options_that_open_them(tmp_path):
    one = (axis("Sample X", "um", X), axis("Sample Y", "um", Y))
    text = header(flags="Multi-Region Image Stack", regions=[one] * 12, stack=axis("Energy", "eV", ENERGIES))
    path = tmp_path / "many.hdr"
    path.write_text(text)
    data = counts(48).reshape(4, 12, 3, 4)
    for place in np.ndindex(4, 12):
        write_frame(tmp_path / f"many_a{place[0]:03d}{place[1]}.xim", data[place])
    found = SDF.scans(path)
    assert list(found) == [f"region{index}" for index in range(12)]
    for index, options in enumerate(found.values()):
        np.testing.assert_array_equal(xstxm.open_stack(path, **options).intensity, data[:, index])
    assert SDF.scans(write_stack(tmp_path)) == {"region0": {"region": 0}}


def test_regions__have_their_own_energies_and_ring_currents(tmp_path):
    one = (axis("Sample X", "um", X), axis("Sample Y", "um", Y))
    records = "".join(
        f"Image{n:03d}_{r} = {{Energy = {e + 0.1 * r}; StorageRingCurrent = {100 * (r + 1) + n};}};"
        for n, e in enumerate(ENERGIES)
        for r in (0, 1)
    )
    channels = [("APD", "counts"), ("DCCT", "mA")]
    path = tmp_path / "two.hdr"
    stack_axis = axis("Energy", "eV", ENERGIES)
    path.write_text(
        header(flags="Multi-Region Image Stack", regions=[one] * 2, stack=stack_axis, channels=channels, extra=records)
    )
    for letter, region, (n, frame) in ((a, r, f) for a in "ab" for r in (0, 1) for f in enumerate(counts())):
        write_frame(tmp_path / f"two_{letter}{n:03d}{region}.xim", frame + 1000 * region + 500 * (letter == "b"))
    stack = xstxm.open_stack(path, region=1)
    np.testing.assert_allclose(stack.energy, np.array(ENERGIES) + 0.1)
    np.testing.assert_array_equal(stack.ring_current, [200, 201, 202, 203])
    np.testing.assert_array_equal(stack.intensity, counts() + 1000)
    np.testing.assert_array_equal(stack.DCCT, counts() + 1500)


# damage of every kind


def test_damaged_headers__open_or_say_what_is_wrong(tmp_path):
    records = "".join(f"Image{n:03d}_0 = {{Energy = {e};}};" for n, e in enumerate(ENERGIES))
    path = write_stack(tmp_path, channels=[("APD", "Hz"), ("DCCT", "mA")], letters="ab", extra=records)
    whole, ends = path.read_bytes(), Counter()
    for content in damaged(whole, 300):
        path.write_bytes(content)
        ends[opens_or_refuses(path)] += 1
    assert ends["opened"] > 20
    assert ends["CorruptFileError"] > 20


def test_damaged_frames__are_read_or_named(tmp_path):
    path = write_stack(tmp_path)
    frame = tmp_path / "scan_a003.xim"
    ends = Counter()
    for content in damaged(frame.read_bytes(), 200):
        frame.write_bytes(content)
        ends[opens_or_refuses(path)] += 1
    assert ends["opened"] > 10
    assert ends["CorruptFileError"] > 10


def test_damaged_spectra__are_read_or_named(tmp_path):
    path = tmp_path / "points.hdr"
    path.write_text(header(kind="NEXAFS Point Scan", flags="Spectra", p=axis("Energy", "eV", ENERGIES), stack=""))
    whole = "".join(f"{e:.7E} {n}\r\n" for n, e in enumerate(ENERGIES)).encode()
    ends = Counter()
    for content in damaged(whole, 200):
        (tmp_path / "points_0.xsp").write_bytes(content)
        ends[opens_or_refuses(path)] += 1
    assert ends["opened"] > 10
    assert ends["CorruptFileError"] > 10


_words = st.sampled_from([b"ScanDefinition", b"Regions", b"PAxis", b"QAxis", b"StackAxis", b"Points", b"Channels"])
_words |= st.sampled_from([b"Type", b"Flags", b"Dwell", b"Image001_0", b"Energy", b"Unit", b"Name", b"ImageScan"])
_marks = st.sampled_from([b"=", b";", b"{", b"}", b"(", b")", b",", b'"', b" ", b"\n"])
_pieces = _words | _marks | st.integers(-9, 9**20).map(lambda n: str(n).encode()) | st.binary(max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(_pieces, max_size=40), st.integers(0, 2**16))
def test_any_pieces_in_a_header__open_or_are_refused(tmp_path, pieces, at):
    path = tmp_path / "any.hdr"
    whole = write_stack(tmp_path, base="any").read_bytes()
    at %= len(whole)
    path.write_bytes(whole[:at] + b"".join(pieces) + whole[at:])
    assert opens_or_refuses(path) != "an error without words"
