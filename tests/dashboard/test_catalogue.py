"""Nothing outside the root folder can be listed or opened."""

from __future__ import annotations

import os

import pytest
from stxm_explorer import catalogue as rooms
from stxm_explorer.catalogue import OutsideRootError, catalogue, resolve
from stxm_explorer.store import Store


@pytest.fixture
def root(tmp_path):
    """A root folder with a file, and neighbours that are not to be seen."""
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "inner" / "stack.hdf5").write_bytes(b"x")
    (tmp_path / "root_secret").mkdir()
    (tmp_path / "root_secret" / "secret.hdf5").write_bytes(b"x")
    (root / "linked.hdf5").symlink_to(tmp_path / "root_secret" / "secret.hdf5")
    (root / "linked_folder").symlink_to(tmp_path / "root_secret")
    (root / "inside.hdf5").symlink_to(root / "inner" / "stack.hdf5")
    return root


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("../root_secret/secret.hdf5", id="parent"),
        pytest.param("inner/../../root_secret/secret.hdf5", id="parent in the middle"),
        pytest.param("{tmp}/root_secret/secret.hdf5", id="absolute, sibling with the same prefix"),
        pytest.param("{tmp}/root/inner/stack.hdf5", id="absolute, inside"),
        pytest.param("linked.hdf5", id="link to a file outside"),
        pytest.param("linked_folder/secret.hdf5", id="link to a folder outside"),
        pytest.param("inner", id="folder"),
        pytest.param("", id="nothing"),
        pytest.param("inner/stack.hdf5\0", id="null byte"),
        pytest.param("absent.hdf5", id="absent"),
    ],
)
def test_resolve__stays_below_the_root(root, tmp_path, name):
    with pytest.raises(OutsideRootError, match="not a file below the folder that this page serves") as error:
        resolve(root, name.format(tmp=tmp_path))
    assert str(tmp_path) not in str(error.value)


def test_resolve__finds_what_is_inside(root):
    assert resolve(root, "inner/stack.hdf5") == root / "inner" / "stack.hdf5"
    assert resolve(root, "inside.hdf5") == root / "inner" / "stack.hdf5"


def test_catalogue__lists_what_may_be_opened_only(root):
    assert catalogue(root).stacks == ("inner/stack.hdf5", "inside.hdf5")


def test_catalogue__tells_stacks_from_spectra_and_text(filled):
    found = catalogue(filled)
    assert found.stacks == ("lixv2o5.hdf5",)
    assert found.spectra == ("i0.csv", "references.csv")
    assert found.complete


def test_catalogue__tells_scans_from_other_headers(tmp_path):
    (tmp_path / "scan.hdr").write_text("ScanDefinition = { Label = 'x'; };")
    (tmp_path / "envi.hdr").write_text("ENVI\nsamples = 3")
    assert catalogue(tmp_path).stacks == ("scan.hdr",)


def test_catalogue__gives_up_on_a_folder_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(rooms, "MAX_ENTRIES", 3)
    for number in range(6):
        (tmp_path / f"{number}.h5").write_bytes(b"x")
    found = catalogue(tmp_path)
    assert not found.complete
    assert len(found.stacks) == 3


def test_store__name_of_a_file_outside_is_nothing(root, tmp_path):
    store = Store(root)
    assert store.name_of(str(root / "inner" / "stack.hdf5")) == "inner/stack.hdf5"
    assert store.name_of(str(tmp_path / "root_secret" / "secret.hdf5")) == ""
    assert store.name_of(None) == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_catalogue__skips_what_it_may_not_read(tmp_path):
    closed = tmp_path / "closed.csv"
    closed.write_text("1,2\n")
    closed.chmod(0)
    assert catalogue(tmp_path).spectra == ()


def test_refuse_links_out__frames_and_external_links(tmp_path):
    import h5py
    import pytest
    from stxm_explorer.catalogue import OutsideRootError, refuse_links_out

    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "a_a000.xim").write_text("1 2")
    (root / "a.hdr").write_text("ScanDefinition")
    refuse_links_out(root, root / "a.hdr")
    (root / "a_a000.xim").symlink_to(outside / "a_a000.xim")
    with pytest.raises(OutsideRootError):
        refuse_links_out(root, root / "a.hdr")
    with h5py.File(outside / "secret.hdf5", "w") as file:
        file["data"] = [1.0]
    with h5py.File(root / "plain.hdf5", "w") as file:
        file["entry/data"] = [1.0]
    refuse_links_out(root, root / "plain.hdf5")
    with h5py.File(root / "link.hdf5", "w") as file:
        file["entry/data"] = h5py.ExternalLink("../outside/secret.hdf5", "/data")
    with pytest.raises(OutsideRootError):
        refuse_links_out(root, root / "link.hdf5")


def test_catalogue__does_not_wait_for_a_pipe(tmp_path):
    import os

    from stxm_explorer.catalogue import catalogue

    os.mkfifo(tmp_path / "p.csv")
    assert catalogue(tmp_path).spectra == ()
