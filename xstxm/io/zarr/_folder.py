"""The folder that a Zarr store is written to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from typing import TYPE_CHECKING

from zarr.storage import LocalStore

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer


@contextmanager
def closed_on_error(path: Path) -> Iterator[LocalStore]:
    """Give a store that after an error takes no more, and is at rest before the error goes on.

    zarr writes several chunks at once, in threads. After an error, or an interrupt, the others go on, and would bring back
    a folder that was removed meanwhile.
    """
    store = _Closable(path)
    try:
        yield store
    except BaseException:
        store.close_for_good()
        raise


class _Closable(LocalStore):
    """A store that knows of what is being written to it."""

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self._writing, self._closed, self._changed = 0, False, Condition()

    async def set(self, key: str, value: Buffer) -> None:
        """Write a chunk, unless another one failed."""
        with self._under_way(key):
            await super().set(key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write a chunk, unless another one failed: some pipelines of zarr call this in threads of their own."""
        with self._under_way(key):
            super().set_sync(key, value)

    def close_for_good(self) -> None:
        """Take no more chunks, and wait for those under way."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._writing)

    @contextmanager
    def _under_way(self, key: str) -> Iterator[None]:
        with self._changed:
            if self._closed:
                raise OSError(f"{key} is not written, as another chunk was not")
            self._writing += 1
        try:
            yield
        finally:
            with self._changed:
                self._writing -= 1
                self._changed.notify_all()
