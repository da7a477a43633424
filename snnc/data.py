"""Samples for calibration and evaluation: arrays, .npz files, streams; checked, in batches."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Type
from snnc.npz import npy_array, npy_header, npy_rows

Feeds: TypeAlias = Mapping[str, Array]
Source: TypeAlias = "str | Path | Array | Feeds | Iterable[Feeds]"

RANDOM_SAMPLES = 16
RANDOM_DIM = 32
"""What a dimension that the model leaves open is for --calibration random."""


@dataclass
class Samples:
    """Samples for one network. count: how many, None for a stream; labels: where known.

    batches(n) yields dictionaries of arrays, samples first, of at most n samples each; a stream
    can be read once. single: the model takes one sample at a time, without a sample axis.
    """

    batches: Callable[[int], Iterator[Feeds]]
    count: int | None
    labels: Array | None = None
    single: bool = False


def samples_of(source: Source, graph: Graph) -> Samples:
    """Samples for `graph` from an array, a dict of arrays, an iterable of dicts or a .npz path.

    Every array is checked against the model's inputs: names, element types, shapes, finiteness.
    Raises CompileError naming the array.
    """
    if isinstance(source, (str, Path)):
        return _from_npz(Path(source), graph)
    if isinstance(source, np.ndarray):
        return _from_arrays({_only_input(graph): source}, graph, "the data")
    if isinstance(source, Mapping):
        return _from_arrays(source, graph, "the data")
    return _from_stream(source, graph)


def random_samples(graph: Graph) -> Samples:
    """Random numbers in the shape of the inputs: for trying things out, thresholds mean nothing."""
    return _from_arrays(random_feeds(graph, RANDOM_SAMPLES, RANDOM_DIM), graph, "random data")


def random_feeds(graph: Graph, samples: int, dim: int) -> dict[str, Array]:
    """Normal numbers for float inputs, 0 and 1 for integers; `dim` for every open dimension."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Array] = {}
    for name in graph.inputs:
        kind = graph.types[name]
        if kind.shape is None:
            raise CompileError(
                f"input '{name}' has no shape to make random samples for", help="pass real samples"
            )
        dims = [d if isinstance(d, int) else dim for d in kind.shape[1:]]
        first = samples
        if kind.shape and isinstance(kind.shape[0], int):
            first = kind.shape[0]
        shape = (first, *dims) if kind.shape else ()
        values = rng.standard_normal(shape) if kind.is_float else rng.integers(0, 2, shape)
        arrays[name] = np.asarray(values).astype(kind.dtype)
    return arrays


def _only_input(graph: Graph) -> str:
    if len(graph.inputs) != 1:
        raise CompileError(
            f"the model has {len(graph.inputs)} inputs, one array cannot serve them all",
            help=f"pass a dict with {_listing(graph.inputs)}",
        )
    return graph.inputs[0]


def _listing(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _select(names: Iterable[str], graph: Graph, where: str) -> dict[str, str]:
    """Array name by input name."""
    names = list(names)
    if all(name in names for name in graph.inputs):
        return {name: name for name in graph.inputs}
    others = [name for name in names if name != "labels"]
    if len(graph.inputs) == 1 and len(others) == 1:
        return {graph.inputs[0]: others[0]}
    missing = [name for name in graph.inputs if name not in names]
    raise CompileError(
        f"{where} has no array for input {_listing(missing)}",
        help=f"the model's inputs are {_listing(graph.inputs)}; the arrays are {_listing(names)}",
    )


def _from_arrays(arrays: Mapping[str, Any], graph: Graph, where: str) -> Samples:
    chosen = {name: np.asarray(arrays[key]) for name, key in _select(arrays, graph, where).items()}
    headers = {name: (array.shape, array.dtype) for name, array in chosen.items()}
    plan = _check_headers(headers, graph, where)
    labels = np.asarray(arrays["labels"]) if "labels" in arrays else None

    def rows(name: str, size: int) -> Iterator[Array]:
        for start in range(0, plan.count, size):
            yield chosen[name][start : start + size]

    return _samples(plan, rows, graph, where, labels)


def _from_npz(path: Path, graph: Graph) -> Samples:
    where = f"'{path}'"
    try:
        with zipfile.ZipFile(path) as archive:
            members = {n.removesuffix(".npy"): n for n in archive.namelist() if n.endswith(".npy")}
            chosen = _select(members, graph, where)
            headers = {name: npy_header(archive, members[key]) for name, key in chosen.items()}
            labels = npy_array(archive, members["labels"]) if "labels" in members else None
    except FileNotFoundError:
        raise CompileError(f"there is no file {where}") from None
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        raise CompileError(
            f"{where} is not a readable .npz file: {error}", help="write it with numpy.savez"
        ) from None
    plan = _check_headers(headers, graph, where)

    def rows(name: str, size: int) -> Iterator[Array]:
        with zipfile.ZipFile(path) as archive:
            yield from npy_rows(archive, members[chosen[name]], size, where)

    return _samples(plan, rows, graph, where, labels)


@dataclass(frozen=True)
class _Plan:
    """count: samples; single: arrays have a sample axis before the model's own axes."""

    count: int
    single: frozenset[str]
    fixed_batch: int | None


def _check_headers(
    headers: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]], graph: Graph, where: str
) -> _Plan:
    single = set()
    for name, (shape, dtype) in headers.items():
        kind = graph.types[name]
        if str(dtype) != kind.dtype and not (kind.dtype == "str" and dtype.kind in "UO"):
            raise CompileError(
                f"array '{name}' of {where} is {dtype}, the model takes {kind.dtype}",
                help=f"convert it: array.astype('{kind.dtype}')",
            )
        if kind.shape is not None and len(shape) == len(kind.shape) + 1:
            single.add(name)
        if not _fits(shape, kind, name in single):
            wanted = ", ".join("?" if d is None else str(d) for d in kind.shape or ())
            raise CompileError(
                f"array '{name}' of {where} has shape {list(shape)}, the model takes [{wanted}]",
                help="samples lie along the first axis",
            )
    counts = {name: shape[0] for name, (shape, _) in headers.items()}
    if len(set(counts.values())) > 1:
        words = ", ".join(f"'{n}' {c}" for n, c in counts.items())
        raise CompileError(f"the arrays of {where} differ in their number of samples: {words}")
    count = next(iter(counts.values()))
    if count == 0:
        raise CompileError(f"{where} holds no samples", help="pass at least one sample")
    fixed = None if single else _fixed_batch(graph, count, where)
    return _Plan(count, frozenset(single), fixed)


def _fits(shape: tuple[int, ...], kind: Type, single: bool) -> bool:
    if kind.shape is None:
        return len(shape) > 0
    wanted = kind.shape if single else kind.shape[1:]
    return len(shape) == len(wanted) + 1 and all(
        not isinstance(d, int) or d == n for d, n in zip(wanted, shape[1:], strict=True)
    )


def _fixed_batch(graph: Graph, count: int, where: str) -> int | None:
    """The batch size that the model was exported with, None if it is dynamic."""
    for name in graph.inputs:
        shape = graph.types[name].shape
        if shape and isinstance(shape[0], int):
            if count % shape[0]:
                raise CompileError(
                    f"{where} holds {count} samples, but the model takes exactly {shape[0]} at a "
                    "time",
                    help=f"pass a multiple of {shape[0]} samples, or export with a dynamic batch",
                )
            return int(shape[0])
    return None


def _samples(
    plan: _Plan,
    rows: Callable[[str, int], Iterator[Array]],
    graph: Graph,
    where: str,
    labels: Array | None,
) -> Samples:
    if labels is not None and (labels.ndim != 1 or len(labels) != plan.count):
        raise CompileError(
            f"the labels of {where} have shape {list(labels.shape)} for {plan.count} samples"
        )

    def batches(size: int) -> Iterator[Feeds]:
        size = 1 if plan.single else plan.fixed_batch or size
        done = 0
        for arrays in zip(*(rows(name, size) for name in graph.inputs), strict=True):
            feeds = dict(zip(graph.inputs, arrays, strict=True))
            _check_finite(feeds, done, where)
            done += len(arrays[0])
            yield {n: np.asarray(a[0]) if n in plan.single else a for n, a in feeds.items()}

    return Samples(batches, plan.count, labels, bool(plan.single))


def _check_finite(feeds: Feeds, first: int, where: str) -> None:
    """first: index of the first sample of the batch."""
    for name, array in feeds.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
            raise CompileError(
                f"array '{name}' of {where} holds NaN or an infinity at sample "
                f"{first + int(np.argmin(finite))}",
                help="remove the samples that are not finite",
            )


def _from_stream(source: Iterable[Feeds], graph: Graph) -> Samples:
    """Dictionaries of arrays, samples first; read once, as they come."""
    stream = iter(source)
    first = next(stream, None)
    if first is None:
        raise CompileError("the data stream holds no samples", help="pass at least one sample")
    used = False

    def batches(size: int) -> Iterator[Feeds]:
        nonlocal used
        if used:
            raise CompileError("the data stream was read already", help="pass arrays or a path")
        used = True
        for feeds in chain([first], stream):
            if not isinstance(feeds, Mapping):
                raise CompileError(
                    f"the data stream holds a {type(feeds).__name__}, not a dict",
                    help="yield {input name: array}, samples first",
                )
            yield from _from_arrays(feeds, graph, "the data stream").batches(size)

    return Samples(batches, None)
