"""The native kernels: a shared library that onnxruntime loads, and what it says of itself."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from itertools import count, takewhile
from pathlib import Path

from snnc.errors import CompileError

INTERFACE = 1
"""What operations mean to the kernels; the library says which number it was built for."""

_NAMES = ("snnc_kernels.so", "snnc_kernels.dylib", "snnc_kernels.dll")


def kernel_library() -> Path | None:
    """The library of native kernels, for any program that uses onnxruntime 1.18 or newer.

    Python: SessionOptions.register_custom_ops_library; C: RegisterCustomOpsLibrary_V2; C#:
    SessionOptions.RegisterCustomOpLibraryV2. None where it could not be built at installation.
    """
    candidates = (folder / name for folder in _directories() for name in _NAMES)
    return next((path for path in candidates if path.exists()), None)


def check_kernel_library() -> None:
    """CompileError if there is a library that is damaged or of another version of snnc."""
    _library()


def _directories() -> Iterator[Path]:
    """Beside this module; else, where a checkout hides the installed package, in that."""
    yield Path(__file__).parent / "lib"
    try:
        yield Path(str(distribution("snnc").locate_file("snnc/lib")))
    except PackageNotFoundError:
        return


def instruction_sets() -> tuple[str, ...]:
    """The instruction sets of this processor that have kernels, best first; () without library."""
    library = _library()
    if library is None:
        return ()
    names = (library.snnc_kernels_supported(i) for i in count())
    return tuple(name.decode() for name in takewhile(lambda name: name is not None, names))


def active_instruction_set() -> str | None:
    """The instruction set whose kernels new sessions use; None without library."""
    library = _library()
    return None if library is None else str(library.snnc_kernels_active().decode())


@contextmanager
def using_instruction_set(name: str) -> Iterator[None]:
    """Sessions made inside use the kernels of `name`, one of `instruction_sets()`."""
    library, before = _library(), active_instruction_set()
    if library is None or before is None or not library.snnc_kernels_use(name.encode()):
        raise ValueError(f"no kernels for '{name}'; there are: {', '.join(instruction_sets())}")
    try:
        yield
    finally:
        library.snnc_kernels_use(before.encode())


@cache
def _library() -> ctypes.CDLL | None:
    path = kernel_library()
    if path is None:
        return None
    try:
        library = ctypes.CDLL(str(path))
        interface = library.snnc_kernels_interface()
    except (OSError, AttributeError) as error:
        words = " ".join(str(error).split())
        raise CompileError(
            f"the kernel library '{path}' cannot be loaded: {words}", help="install snnc again"
        ) from None
    if interface != INTERFACE:
        raise CompileError(
            f"the kernel library '{path}' belongs to another version of snnc",
            help="install snnc again",
        )
    library.snnc_kernels_active.restype = ctypes.c_char_p
    library.snnc_kernels_supported.restype = ctypes.c_char_p
    library.snnc_kernels_supported.argtypes = [ctypes.c_size_t]
    library.snnc_kernels_use.argtypes = [ctypes.c_char_p]
    return library
