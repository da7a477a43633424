"""Target files: those that come with snnc, by name, and users' own, by path."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from snnc.errors import CompileError, unknown_name
from snnc.targets.figures import target_of
from snnc.targets.target import Target

_FOLDER = Path(__file__).parent
_SUFFIX = ".toml"


def target_names() -> tuple[str, ...]:
    """The targets that snnc knows by name."""
    return tuple(sorted(path.stem for path in _FOLDER.glob(f"*{_SUFFIX}")))


def load_target(name_or_path: str | Path) -> Target:
    """A target by its name, or of a file: a path, or a text that ends in .toml or has a folder.

    Raises CompileError for a name that is not known, a file that cannot be read, is no TOML, or
    describes no possible chip.
    """
    path = target_file(name_or_path)
    return target_of(_table(path), path.stem, str(path))


def target_file(name_or_path: str | Path) -> Path:
    """The file of a target that is known by name, or the path itself. CompileError for an unknown
    name."""
    path = Path(name_or_path)
    if isinstance(name_or_path, str) and path.suffix != _SUFFIX and path.name == name_or_path:
        if name_or_path not in target_names():
            error = unknown_name("target", name_or_path, target_names())
            error.help = f"snnc targets lists them; a file of your own ends in {_SUFFIX}"
            raise error
        return _FOLDER / f"{name_or_path}{_SUFFIX}"
    return path


def _table(path: Path) -> dict[str, Any]:
    """The content of a TOML file."""
    try:
        if path.exists() and not path.is_file():
            kind = "a directory" if path.is_dir() else "no regular file"
            raise CompileError(f"target file {path} is {kind}", help="pass a TOML file")
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise CompileError(
            f"target file {path} cannot be read: {error.strerror or error}",
            help=f"pass a path that exists, or a name: {', '.join(target_names())}",
        ) from error
    except UnicodeDecodeError as error:
        raise CompileError(
            f"target file {path} is no UTF-8 text", at=f"byte {error.start}", help=_WRITE_ONE
        ) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise CompileError(
            f"target file {path} is no valid TOML: {error}", help=_WRITE_ONE
        ) from error


_WRITE_ONE = "docs/targets.md says what a target file holds"
