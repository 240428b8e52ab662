"""Stacks at URLs open as those in folders do."""

from __future__ import annotations

import builtins
import threading
import uuid
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import dask
import fsspec
import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import xstxm
from xstxm import cli
from xstxm.errors import FileFormatError, MetadataWarning, MissingDependencyError, OptionError
from xstxm.io import _remote

pytest.importorskip("zarr")
WRITERS = {
    "zarr": xstxm.write_zarr,
    "nc": xstxm.write_netcdf,
    "hdf5": xstxm.write_nxstxm,
    "tif": xstxm.write_tiff,
}
every_format = pytest.mark.parametrize("suffix", WRITERS)


@pytest.fixture(scope="module")
def stack():
    return xstxm.testing.simulate_stack(shape=(12, 17), seed=0)[["intensity"]].drop_vars("ring_current")


@pytest.fixture
def bucket():
    """A folder in the memory of this process, as a bucket is elsewhere."""
    place = f"bucket-{uuid.uuid4().hex}"
    files = fsspec.filesystem("memory")
    files.mkdir(place)
    yield files, f"memory://{place}"
    files.rm(place, recursive=True)


def uploaded(stack, folder, bucket, suffix):
    files, url = bucket
    with_losses = pytest.warns(MetadataWarning) if suffix == "tif" else pytest.MonkeyPatch.context()
    with with_losses:
        path = WRITERS[suffix](stack, folder / f"night.{suffix}")
    end = "/" if path.is_dir() else ""
    files.put(f"{path}{end}", f"{url}/{path.name}{end}", recursive=path.is_dir())
    return f"{url}/{path.name}"


@every_format
def test_open_stack__opens_a_url(stack, tmp_path, bucket, suffix):
    url = uploaded(stack, tmp_path, bucket, suffix)
    opened = xstxm.open_stack(url, chunks={})
    assert opened.stxm.is_lazy
    with dask.config.set(scheduler="threads"):
        np.testing.assert_array_equal(opened["intensity"], stack["intensity"])
    with xr.open_dataset(url, engine="stxm") as again:
        np.testing.assert_array_equal(again["intensity"], stack["intensity"])


@pytest.mark.parametrize("suffix", ["zarr", "nc"])
def test_open_result__opens_a_url(stack, tmp_path, bucket, suffix):
    tree = xr.DataTree.from_dict({"a": stack, "b": stack + 1})
    assert xstxm.open_result(uploaded(tree, tmp_path, bucket, suffix)).load().identical(tree)


def test_convert__reads_a_url(stack, tmp_path, bucket):
    url = uploaded(stack, tmp_path, bucket, "hdf5")
    with xstxm.open_stack(xstxm.convert(url, tmp_path / "near.zarr")) as opened:
        np.testing.assert_array_equal(opened["intensity"], stack["intensity"])


class Quiet(SimpleHTTPRequestHandler):
    """A server that lists no folder, as most archives do."""

    def log_message(self, *arguments):
        pass

    def list_directory(self, path):
        self.send_error(404)


@pytest.fixture
def server(tmp_path):
    pytest.importorskip("aiohttp", reason="aiohttp, with which fsspec reads http, is not installed")
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.mark.parametrize("suffix", ["zarr", "tif"])
def test_open_stack__opens_http_without_a_listing(stack, tmp_path, server, suffix):
    with pytest.warns(MetadataWarning) if suffix == "tif" else pytest.MonkeyPatch.context():
        WRITERS[suffix](stack, tmp_path / f"night.{suffix}")
    opened = xstxm.open_stack(f"{server}/night.{suffix}", chunks={})
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(opened["intensity"], stack["intensity"])
    with pytest.raises(FileNotFoundError, match=r"there is no file 'http://127.*none.zarr'"):
        xstxm.open_stack(f"{server}/none.zarr")


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("memory://none/night.zarr", FileNotFoundError, "there is no file 'memory://none/night.zarr'"),
        ("nowhere://a/night.zarr", OptionError, "Protocol not known: nowhere: use s3://, gs://, https://"),
    ],
)
def test_urls__that_lead_nowhere(url, error, message):
    for open_it in (xstxm.open_stack, xstxm.open_result):
        with pytest.raises(error, match=message):
            open_it(url)


@pytest.mark.parametrize(("url", "package"), [("s3://a/b.zarr", "s3fs"), ("gs://a/b.zarr", "gcsfs")])
def test_protocols__name_the_package_that_they_need(monkeypatch, url, package):
    plain = builtins.__import__

    def without(name, *arguments, **options):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return plain(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=f"needs {package}, which is not installed: pip install {package}"):
        xstxm.open_stack(url)


def test_keys_that_are_refused__say_where_they_come_from(bucket, monkeypatch):
    def refused(*arguments, **options):
        raise PermissionError("access denied")

    monkeypatch.setattr(type(bucket[0]), "exists", refused)
    with pytest.raises(
        OptionError, match=r"access denied; fsspec takes keys from the environment, e\.g\. FSSPEC_MEMORY"
    ):
        xstxm.open_stack(f"{bucket[1]}/night.zarr")


def test_store_of_another_program__is_named(bucket, tmp_path):
    other = xr.Dataset({"a": ("x", [1.0])})
    places = [(where, "other.zarr", 3) for where in (bucket[1], tmp_path)] + [
        (where, "old.zarr", 2) for where in (bucket[1], tmp_path)
    ]
    for where, name, version in places:
        place = f"{where}/{name}" if isinstance(where, str) else where / name
        other.to_zarr(place, consolidated=False, zarr_format=version)
        message = (
            r"(other|old)\.zarr: expected a stack of xstxm, found a Zarr store of another program: .* xarray\.open_zarr"
        )
        with pytest.raises(FileFormatError, match=message):
            xstxm.open_stack(place)


@pytest.mark.parametrize("suffix", [*WRITERS, "dat", "hdr"])
def test_writers__refuse_a_url_and_say_how_to_upload(stack, suffix):
    with pytest.raises(OptionError, match=r"fsspec.filesystem\('s3'\).put\('night.*', 'a/.*', recursive=True\)"):
        {**WRITERS, "dat": xstxm.write_ncb, "hdr": xstxm.write_sdf}[suffix](stack, f"s3://a/night.{suffix}")


def test_missing_chunks_at_a_url__are_told(stack, tmp_path, bucket, monkeypatch):
    url = uploaded(stack, tmp_path, bucket, "zarr")
    bucket[0].rm(next(key for key in bucket[0].find(url) if "/intensity/c/" in key))
    with pytest.warns(MetadataWarning, match=r"night\.zarr: 1 of 1 chunks of 'intensity' are missing"):
        xstxm.open_stack(url)

    def forbidden(*arguments, **options):
        raise PermissionError

    monkeypatch.setattr(type(bucket[0]), "find", forbidden)  # as of buckets whose keys may be read, and not listed
    xstxm.open_stack(url)


def test_chunks_at_a_url__are_found_below_a_name_that_recurs(stack, tmp_path):
    path, files = xstxm.write_zarr(stack, tmp_path / "c"), fsspec.filesystem("memory")
    files.put(f"{path}/", "/c/", recursive=True)
    try:
        xstxm.open_stack("memory://c")
    finally:
        files.rm("/c", recursive=True)


def test_folders_at_urls__are_refused_with_what_they_hold(stack, tmp_path, bucket):
    uploaded(stack, tmp_path, bucket, "hdf5")
    with pytest.raises(OptionError, match=r"that is a folder, with night\.hdf5: give the URL of one file or store"):
        xstxm.open_stack(bucket[1])


def test_open_stack__refuses_a_list_with_urls():
    with pytest.raises(OptionError, match=r"path='s3://a/b\.tif': only files of this machine are joined"):
        xstxm.open_stack(["a.tif", "s3://a/b.tif"])


@pytest.fixture
def recipe():
    stack = xstxm.testing.simulate_stack(shape=(12, 17), seed=0)[["intensity"]]
    references = xstxm.testing.simulate_references()
    return xstxm.Recipe.from_result(xstxm.phase_map(stack, references), {"references": references})


@pytest.mark.parametrize("suffix", ["zarr", "hdf5"])
def test_batch__reads_urls_and_does_again_what_was_replaced(stack, recipe, tmp_path, bucket, suffix):
    (tmp_path / "later").mkdir()
    near = WRITERS[suffix](stack, tmp_path / f"here.{suffix}")
    url = uploaded(stack, tmp_path, bucket, suffix)
    states = []
    for _ in range(2):
        table = xstxm.batch(recipe, [url, near], tmp_path / "maps")
        assert table["file"].tolist() == [url, str(near)]
        states.append(table["state"].tolist())
    assert states == [["written", "written"], ["skipped", "skipped"]]
    far, here = (xstxm.open_result(tmp_path / "maps" / f"{name}.nc").load() for name in ("night", "here"))
    xr.testing.assert_equal(far, here)
    uploaded(stack, tmp_path / "later", bucket, suffix)
    assert "made by another file" in xstxm.batch(recipe, [url], tmp_path / "maps")["reason"].item()


def test_batch__of_a_url_with_nothing_fails_alone(stack, recipe, tmp_path, bucket):
    urls = [f"{bucket[1]}/none.zarr", uploaded(stack, tmp_path, bucket, "zarr")]
    table = xstxm.batch(recipe, urls, tmp_path / "maps")
    assert table["state"].tolist() == ["failed", "written"]
    assert table["reason"][0] == f"there is no file '{urls[0]}'"


def test_batch__says_that_an_old_store_is_of_another_program(stack, recipe, tmp_path, bucket):
    stack.to_zarr(tmp_path / "old.zarr", zarr_format=2, consolidated=False)
    bucket[0].put(f"{tmp_path}/old.zarr/", f"{bucket[1]}/old.zarr/", recursive=True)
    table = xstxm.batch(recipe, [f"{bucket[1]}/old.zarr"], tmp_path / "maps")
    assert table["state"].tolist() == ["failed"]
    assert "a Zarr store of another program" in table["reason"][0]


def test_batch__writes_to_no_url_and_makes_no_folder_of_its_name(stack, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = xstxm.write_nxstxm(stack, tmp_path / "night.hdf5")
    with pytest.raises(OptionError, match="write it to a folder of this machine, then upload it"):
        xstxm.batch(recipe, [path], "s3://bucket/maps")
    assert [file.name for file in tmp_path.iterdir()] == ["night.hdf5"]


def test_commands__take_urls(stack, recipe, tmp_path, bucket, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = uploaded(stack, tmp_path, bucket, "hdf5")
    recipe.save("recipe.toml")
    asked = (["info", url], ["convert", url, "near.zarr"], ["run", "recipe.toml", url, "-o", "maps"])
    for words in asked:
        done = CliRunner().invoke(cli.app, words)
        assert done.exit_code == 0, done.output
    refused = CliRunner().invoke(cli.app, ["run", "recipe.toml", url, "-o", "s3://bucket/maps"])
    assert refused.exit_code == 1
    assert "s3://bucket/maps" in refused.output
    assert {path.name for path in tmp_path.iterdir()} == {"night.hdf5", "recipe.toml", "near.zarr", "maps"}


@pytest.mark.parametrize("suffix", ["zarr", "nc"])
def test_upload_that_is_advised__replaces_what_is_there(stack, tmp_path, bucket, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    url = f"{bucket[1]}/night.{suffix}"
    for written in (stack, stack + 1):
        with pytest.raises(OptionError) as refused:
            WRITERS[suffix](written, url)
        WRITERS[suffix](written, f"night.{suffix}", overwrite=True)
        exec(str(refused.value).partition("upload it: ")[2], {"fsspec": fsspec})
        assert xstxm.open_result(url).load().identical(written)


@pytest.mark.parametrize(("suffix", "write"), [("dat", xstxm.write_ncb), ("hdr", xstxm.write_sdf)])
def test_upload_that_is_advised__takes_all_files_of_a_stack(stack, tmp_path, bucket, monkeypatch, suffix, write):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError) as refused:
        write(stack, f"{bucket[1]}/night.{suffix}")
    write(stack, f"night.{suffix}")
    exec(str(refused.value).partition("upload it: ")[2], {"fsspec": fsspec})
    there = {name.rpartition("/")[2] for name in bucket[0].ls(bucket[1], detail=False)}
    assert there == {path.name for path in tmp_path.iterdir()}
    assert len(there) > 1


@pytest.mark.parametrize("paths", ["s3://a/b.zarr", ["s3://a/b.zarr"], {"b": "s3://a/b.zarr"}])
def test_open_tree__says_how_to_open_urls(paths):
    with pytest.raises(OptionError, match=r"open each with xstxm\.open_stack"):
        xstxm.open_tree(paths)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("s3://a/b", True),
        ("simplecache::s3://a/b", True),
        ("s3:/a/b", True),
        ("C:/data/a.hdr", False),
        ("a.hdr", False),
        (3, False),
    ],
)
def test_is_url(source, found):
    assert _remote.is_url(source) == found


@pytest.fixture(scope="module")
def s3():
    """A bucket of S3, of a server in this process."""
    pytest.importorskip("s3fs", reason="s3fs, with which fsspec reads s3, is not installed")
    moto = pytest.importorskip("moto.server", reason="moto, a server of S3 for tests, is not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    account = {"key": "a", "secret": "b", "endpoint_url": f"http://{host}:{port}"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setitem(fsspec.config.conf, "s3", account)
        files = fsspec.filesystem("s3")
        files.mkdir("bucket")
        yield files, "s3://bucket"
        files.clear_instance_cache()
    server.stop()


@pytest.mark.parametrize("suffix", ["zarr", "hdf5"])
def test_s3__is_opened_and_mapped(stack, recipe, tmp_path, s3, suffix):
    url = uploaded(stack, tmp_path, s3, suffix)
    with dask.config.set(scheduler="threads"):
        np.testing.assert_array_equal(xstxm.open_stack(url, chunks={})["intensity"], stack["intensity"])
    for state in ("written", "skipped"):
        assert xstxm.batch(recipe, [url], tmp_path / "maps")["state"].tolist() == [state]


def test_s3__says_what_is_not_there(stack, tmp_path, s3):
    for url in ("s3://none/night.zarr", "s3://bucket/none.zarr"):
        with pytest.raises(FileNotFoundError, match=f"there is no file '{url}'"):
            xstxm.open_stack(url)
    url = uploaded(stack, tmp_path, s3, "zarr")
    s3[0].rm(next(key for key in s3[0].find(url) if "/intensity/c/" in key))
    with pytest.warns(MetadataWarning, match=r"night\.zarr: 1 of 1 chunks of 'intensity' are missing"):
        xstxm.open_stack(url)
    with pytest.raises(OptionError, match=r"that is a folder, with .*night\.zarr"):
        xstxm.open_stack("s3://bucket")
