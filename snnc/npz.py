"""Reading .npz files row by row, so that a large one never has to fit in memory; writing them."""

from __future__ import annotations

import io
import lzma
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from snnc.errors import CompileError
from snnc.ir.node import Array

DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    NotImplementedError,
)  # what zipfile and numpy raise for files that are cut, altered, encrypted or too new

Header: TypeAlias = "tuple[tuple[int, ...], np.dtype[Any]]"
"""Shape and element type."""


def npy_header(archive: zipfile.ZipFile, member: str) -> Header:
    """Shape and element type of an array, without reading it."""
    with archive.open(member) as file:
        return _read_header(file)[:2]


def _read_header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read:
        raise ValueError(f"version {version} of the .npy format")
    shape, fortran, dtype = read[version](file)
    if dtype.hasobject:
        raise ValueError("an array of Python objects")
    return shape, dtype, fortran


def npy_array(archive: zipfile.ZipFile, member: str) -> Array:
    """A whole array."""
    with archive.open(member) as file:
        array: Array = np.lib.format.read_array(file, allow_pickle=False)
        return array


def npy_checked(archive: zipfile.ZipFile, member: str) -> Array:
    """A whole array whose checksum was compared."""
    data = archive.read(member)
    file = io.BytesIO(data)
    shape, dtype, fortran = _read_header(file)
    array: Array = np.frombuffer(data, dtype, offset=file.tell())
    return array.reshape(shape, order="F" if fortran else "C")


def npy_rows(archive: zipfile.ZipFile, member: str, size: int, where: str) -> Iterator[Array]:
    """The rows of an array in a .npz file, `size` at a time, without loading the others."""
    try:
        with archive.open(member) as file:
            shape, dtype, fortran = _read_header(file)
            if fortran:
                array = npy_array(archive, member)
                yield from (array[i : i + size] for i in range(0, shape[0], size))
                return
            row = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
            for start in range(0, shape[0], size):
                count = min(size, shape[0] - start)
                data = file.read(count * row)
                if len(data) != count * row:
                    raise EOFError(f"array '{member}' is cut off")
                yield np.frombuffer(data, dtype).reshape(count, *shape[1:])
    except DAMAGED as error:
        raise CompileError(f"{where} is damaged: {error}") from None


FAST = 1
"""Level of compression; higher ones are slower and hardly smaller on numbers."""

STATISTICS = "snnc.statistics"
"""Name of the array that tells a file of calibration statistics from one of samples."""


def refuse_statistics(names: Iterable[str], where: str) -> None:
    """Raises CompileError where samples were expected and statistics given."""
    if STATISTICS in names:
        raise CompileError(
            f"{where} holds calibration statistics, not samples",
            help="compile, tune and eval take it as --statistics, in place of --calibration",
        )


def write_npz(path: Path, arrays: Mapping[str, Array], compressed: bool = False) -> None:
    """Writes arrays of any names (numpy.savez cannot take 'file')."""
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method, compresslevel=FAST) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array))
