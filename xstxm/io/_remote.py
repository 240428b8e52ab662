"""Files and Zarr stores at URLs, through fsspec."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xstxm.errors import MissingDependencyError, OptionError, StxmError

_URL = re.compile(r"[a-z][a-z0-9+.-]+(:/|::)")
"""A URL, also one of which `Path` has taken a slash; a drive has one letter."""
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
_PACKAGES |= {"az": "adlfs", "abfs": "adlfs", "abfss": "adlfs"}
_ROOT = "zarr.json"
_OLD_ROOT = ".zgroup"
"""That of Zarr version 2."""


@dataclass(frozen=True)
class RemoteStore:
    """A Zarr store at a URL."""

    url: str

    @property
    def name(self) -> str:
        """The URL, as file objects have a name."""
        return self.url

    def root(self) -> str:
        """Return the metadata of the root."""
        import fsspec

        files, path = fsspec.url_to_fs(self.url)
        return str(files.cat_file(f"{path}/{_ROOT}"), "utf-8")

    def keys(self) -> set[str]:
        """Return the names of all that is in the store; none where they cannot be listed."""
        import fsspec

        files, path = fsspec.url_to_fs(self.url)
        if _protocol(self.url) in ("http", "https"):
            return set()
        try:
            return {name.partition(f"{path}/")[2] for name in files.find(path)}
        except Exception:  # each protocol has errors of its own, and some who may read may not list
            return set()


def is_url(source: Any) -> bool:
    """Tell whether a source is a URL, as s3://bucket/night.zarr."""
    return isinstance(source, str) and _URL.match(source) is not None


def place(source: str | os.PathLike[str]) -> Path | str:
    """Return a URL as it is, of which `Path` would take a slash, and the path of anything else."""
    return source if isinstance(source, str) and is_url(source) else Path(source)


def version_of(source: str) -> list[Any]:
    """Return the size of a file at a URL, and when it was changed; for a store those of its metadata."""
    found = fetched(source)
    files, path = _filesystem(source.rstrip("/"))
    if isinstance(found, RemoteStore):
        path = next(at for name in (_ROOT, _OLD_ROOT) if files.exists(at := f"{path}/{name}"))
    about = files.info(path)
    try:
        changed = files.modified(path).timestamp()
    except NotImplementedError:  # https, where some servers tell a version
        changed = about.get("ETag", "")
    return [about.get("size"), changed]


def require_no_url(path: Path, *, alone: bool = True) -> None:
    """Refuse to write to a URL, where nothing can take its place at once when it is complete.

    Not `alone` is a file with others beside it that begin with its name.

    Raises
    ------
    OptionError
        It is one.
    """
    if is_url(str(path)):
        protocol, there = _protocol(str(path)), "/".join(path.parts[1:])
        url = f"{protocol}://{there}"  # a Path has lost one of its slashes
        end = "/" if path.suffix in ("", ".zarr") else ""  # else a folder goes into one of its name that is there
        here = path.name + end if alone else f"{path.stem}*"
        there = there + end if alone else f"{there.rpartition('/')[0]}/"
        do = f"fsspec.filesystem({protocol!r}).put({here!r}, {there!r}, recursive=True)"
        raise OptionError("path", url, f"write it to a folder of this machine, then upload it: {do}")


def fetched(source: Any) -> Any:
    """Return the store, file object or path behind a URL; anything else as it is.

    Raises
    ------
    OptionError
        A protocol that fsspec does not know, or a place that refuses or fails.
    MissingDependencyError
        The package for the protocol is not installed.
    FileNotFoundError
        There is nothing.
    """
    if not is_url(source):
        return source
    from fsspec.implementations.local import LocalFileSystem

    url = source.rstrip("/")
    files, path = _filesystem(url)
    if isinstance(files, LocalFileSystem):
        return path
    try:
        if files.exists(f"{path}/{_ROOT}"):
            return RemoteStore(url)
        if files.info(path)["type"] == "directory":  # which s3fs would open, as an empty file
            return _old_store(files, path, url)
        return _named(files.open(path, "rb"), url)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {source!r}") from None
    except StxmError:
        raise
    except Exception as error:  # each protocol has a library with errors of its own
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        keys = f"FSSPEC_{_protocol(url).upper()}='{{\"anon\": true}}'"
        do = f"it cannot be opened, {said}; fsspec takes keys from the environment, e.g. {keys}"
        raise OptionError("path", source, do) from error


def _old_store(files: Any, path: str, url: str) -> RemoteStore:
    """Return the store of Zarr version 2 in a folder; refuse one without."""
    if files.exists(f"{path}/{_OLD_ROOT}"):
        return RemoteStore(url)
    inside = ", ".join(name.rsplit("/", 1)[-1] for name in files.ls(path, detail=False)[:5])
    raise OptionError("path", url, f"that is a folder, with {inside or 'nothing'}: give the URL of one file or store")


def _filesystem(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it."""
    import fsspec

    try:
        return fsspec.url_to_fs(url)
    except ImportError as error:
        if (package := _PACKAGES.get(_protocol(url))) is None:
            raise OptionError("path", url, str(error)) from error
        raise MissingDependencyError(f"reading {_protocol(url)}://", package) from error
    except ValueError as error:
        raise OptionError("path", url, f"{error}: use s3://, gs://, https:// or another that fsspec knows") from error


def _protocol(url: str) -> str:
    return url.partition(":")[0]


def _named(file: Any, url: str) -> Any:
    """Return a file object whose messages and stack say what it is called."""
    file.name = url
    return file
