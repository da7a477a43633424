"""The packages of other formats, imported when they are used."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from snnc.errors import CompileError


def package(name: str) -> ModuleType:
    """A package of the extra `snnc[nir]`; CompileError where it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise CompileError(
            f"this export needs the package '{name}': {error}",
            help="pip install 'snnc[nir]'",
        ) from None
