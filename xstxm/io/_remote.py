"""Files and Zarr stores at URLs, through fsspec."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xstxm.errors import MissingDependencyError, OptionError, StxmError

_URL = re.compile(r"[a-z][a-z0-9+.-]+(://|::)")
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
_PACKAGES |= {"az": "adlfs", "abfs": "adlfs", "abfss": "adlfs"}
_ROOT = "zarr.json"


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

        with fsspec.open(f"{self.url}/{_ROOT}", "rt", encoding="utf-8") as file:
            return str(file.read())


def is_url(source: Any) -> bool:
    """Tell whether a source is a URL, as s3://bucket/night.zarr; a drive of one letter is none."""
    return isinstance(source, str) and _URL.match(source) is not None


def require_no_url(path: str | os.PathLike[str]) -> None:
    """Refuse to write to a URL, where nothing can take its place at once when it is complete.

    Raises
    ------
    OptionError
        It is one.
    """
    text = os.fspath(path)
    if is_url(text):
        protocol, _, place = text.partition("://")
        do = f"fsspec.filesystem({protocol!r}).put({Path(place).name!r}, {place!r}, recursive=True)"
        raise OptionError("path", text, f"write it to a folder of this machine, then upload it: {do}")


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
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    url = source.rstrip("/")
    protocol = re.split("://|::", url)[0]
    try:
        files, path = fsspec.url_to_fs(url)
        if isinstance(files, LocalFileSystem):
            return path
        if files.exists(f"{path}/{_ROOT}"):
            return RemoteStore(url)
        return _named(files.open(path, "rb"), url)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {source!r}") from None
    except ImportError as error:
        package = _PACKAGES.get(protocol, "a package of fsspec")
        raise MissingDependencyError(f"reading {protocol}://", package) from error
    except StxmError:
        raise
    except Exception as error:  # each protocol has a library with errors of its own
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        do = f"{said}; fsspec takes keys from the environment, e.g. FSSPEC_{protocol.upper()}='{{\"anon\": true}}'"
        raise OptionError("path", source, f"it cannot be opened: {do}") from error


def _named(file: Any, url: str) -> Any:
    """Return a file object whose messages and stack say what it is called."""
    file.name = url
    return file
