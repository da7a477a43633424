"""A file for HDF5 that does not fail under it: where a disk is full, HDF5 crashes the process."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class CarefulFile(io.RawIOBase):
    """A new file. After a write fails nothing is written any more; `check` raises that error."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self._error: OSError | None = None

    def check(self) -> None:
        """Raises the OSError of a write that failed."""
        if self._error is not None:
            raise self._error

    def write(self, data: object) -> int:
        left = memoryview(data).cast("B")  # type: ignore[arg-type]
        size = len(left)
        while left and self._error is None:
            try:
                left = left[self._file.write(left) :]
            except OSError as error:
                self._error = error
        if left:
            self._file.seek(len(left), io.SEEK_CUR)
        return size

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        found = self._file.read(len(view)) or b""
        view[:] = found.ljust(len(view), b"\0")
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return self._file.truncate(size)
        except OSError as error:
            self._error = self._error or error
            return size or 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def careful(path: Path) -> Iterator[CarefulFile]:
    """A new file that HDF5 writes to; raises OSError at the end, or in place of any other error, if
    a write failed."""
    with CarefulFile(path) as file:
        try:
            yield file
        finally:
            file.check()
