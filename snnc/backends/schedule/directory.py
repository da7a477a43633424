"""Directories of schedules: replaced whole or not at all, and nothing else is ever replaced."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from snnc.errors import CompileError, few

FORMAT = "snnc-schedule"
"""What the manifest of every schedule names."""

FILES = MANIFEST, NETWORK, WEIGHTS, SYNAPSES, TARGET, PLACEMENT, ROUTES, EVENTS = (
    "manifest.json",
    "network.txt",
    "weights.npz",
    "synapses.npz",
    "target.toml",
    "placement.npz",
    "routes.npz",
    "events.parquet",
)

_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)
"""What a rename fails with where another process replaces the same directory."""

_TRIES = 100


@contextmanager
def replacing_directory(path: Path) -> Iterator[Path]:
    """An empty directory to write the new `path` in; it takes the place of an older schedule at the
    end. Of several processes the last one wins. Raises CompileError if there is anything else, or
    if it cannot be written."""
    require_directory(path)
    try:
        place = path.resolve()
        with tempfile.TemporaryDirectory(prefix=".snnc-", dir=place.parent) as directory:
            new = Path(directory) / "new"
            new.mkdir()
            yield new
            _exchange(new, place, Path(directory))
    except OSError as error:
        raise CompileError(f"cannot write '{path}': {error.strerror or error}") from None


def _exchange(new: Path, place: Path, spare: Path) -> None:
    for number in range(_TRIES):
        old = spare / f"old{number}"
        try:
            if place.exists():
                place.rename(old)
            new.rename(place)
            return
        except BaseException as error:
            if old.exists() and new.exists():
                with suppress(OSError):  # another process has put its own there
                    old.rename(place)
            last = number == _TRIES - 1
            if last or not isinstance(error, OSError) or error.errno not in _TAKEN:
                raise


def require_directory(path: Path, *sources: Path) -> None:
    """Raises at once where `replacing_directory` would refuse, or destroy a source in it."""
    try:
        _require_directory(path, sources)
    except OSError as error:
        raise CompileError(f"cannot write '{path}': {error.strerror or error}") from None


def _require_directory(path: Path, sources: tuple[Path, ...]) -> None:
    place = path.resolve()
    inside = [each for each in sources if place in each.resolve().parents]
    if inside:
        raise CompileError(
            f"'{inside[0]}' lies in '{path}', which would be replaced",
            help="choose another directory",
        )
    if path.exists() and not path.is_dir():
        raise CompileError(f"cannot write '{path}': it is no directory")
    held = [each.name for each in path.iterdir()] if path.is_dir() else []
    strange = sorted(set(held) - set(FILES)) or (held if not _is_ours(path, held) else [])
    if strange:
        raise CompileError(
            f"'{path}' holds files that are no schedule and would be lost: {few(strange)}",
            help="choose another directory",
        )
    if not place.parent.is_dir():
        raise CompileError(f"cannot write '{path}': there is no directory '{path.parent}'")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise CompileError(f"cannot write '{path}': no permission in '{place.parent}'")


def _is_ours(path: Path, held: list[str]) -> bool:
    """Whether files with the names of a schedule's are one, possibly damaged."""
    if not held or {*FILES} - {EVENTS} <= {*held}:
        return True
    try:
        found = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("format") == FORMAT
