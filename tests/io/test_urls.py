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

import xstxm
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
    files.put(str(path), f"{url}/{path.name}", recursive=path.is_dir())
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
    for place, version in ((f"{bucket[1]}/other.zarr", 3), (tmp_path / "other.zarr", 3), (tmp_path / "old.zarr", 2)):
        other.to_zarr(place, consolidated=False, zarr_format=version)
        message = (
            r"(other|old)\.zarr: expected a stack of xstxm, found a Zarr store of another program: .* xarray\.open_zarr"
        )
        with pytest.raises(FileFormatError, match=message):
            xstxm.open_stack(place)


@pytest.mark.parametrize("suffix", [*WRITERS, "dat", "hdr"])
def test_writers__refuse_a_url_and_say_how_to_upload(stack, suffix):
    with pytest.raises(OptionError, match=r"fsspec.filesystem\('s3'\).put\('night.*', 'a/night.*', recursive=True\)"):
        {**WRITERS, "dat": xstxm.write_ncb, "hdr": xstxm.write_sdf}[suffix](stack, f"s3://a/night.{suffix}")


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
