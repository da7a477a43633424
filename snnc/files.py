"""Writing files so that an error or an interruption leaves the old ones as they were."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snnc.errors import CompileError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A directory to write the new `path` (and files beside it) in; they move in place at the end.

    A symbolic link is followed, the mode of an older file kept. Raises CompileError if the place
    cannot be written to.
    """
    try:
        target = path.resolve()
        with tempfile.TemporaryDirectory(prefix=".snnc-", dir=target.parent) as directory:
            yield Path(directory)
            written = sorted(Path(directory).iterdir(), key=lambda f: f.name == path.name)
            for file in written:
                place = target if file.name == path.name else target.parent / file.name
                if place.exists():
                    file.chmod(place.stat().st_mode & 0o7777)
                file.replace(place)
    except OSError as error:
        raise CompileError(f"cannot write '{path}': {error.strerror or error}") from None


def require_writable(path: Path, *sources: Path) -> None:
    """Raises at once, before long work, if `path` cannot be written or would destroy a source."""
    try:
        if path.is_dir():
            raise CompileError(f"cannot write '{path}': it is a directory")
        for place in (path, path.with_name(f"{path.name}.data")):
            for source in sources:
                if place.exists() and source.exists() and place.samefile(source):
                    raise CompileError(
                        f"'{place}' is read as input and would be overwritten",
                        help="choose another output file",
                    )
        if path.exists() and not path.is_file():
            raise CompileError(f"cannot write '{path}': it is not a regular file")
        if not path.parent.is_dir():
            raise CompileError(f"cannot write '{path}': there is no directory '{path.parent}'")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise CompileError(f"cannot write '{path}': no permission")
    except OSError as error:
        raise CompileError(f"cannot write '{path}': {error.strerror or error}") from None
