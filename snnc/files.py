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

    Raises CompileError if the place cannot be written to.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".snnc-", dir=path.parent) as directory:
            yield Path(directory)
            written = sorted(Path(directory).iterdir(), key=lambda f: f.name == path.name)
            for file in written:
                file.replace(path.parent / file.name)
    except OSError as error:
        raise CompileError(f"cannot write '{path}': {error.strerror or error}") from None


def require_writable(path: Path, *sources: Path) -> None:
    """Raises at once, before long work, if `path` cannot be written or is one of `sources`."""
    for source in sources:
        if path.exists() and source.exists() and path.samefile(source):
            raise CompileError(f"'{path}' is the input itself", help="choose another output file")
    if path.is_dir():
        raise CompileError(f"cannot write '{path}': it is a directory")
    if not path.parent.is_dir():
        raise CompileError(f"cannot write '{path}': there is no directory '{path.parent}'")
    if not os.access(path.parent, os.W_OK):
        raise CompileError(f"cannot write '{path}': no permission")
