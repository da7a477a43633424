"""Samples for calibration and evaluation: arrays, .npz files, streams; checked, in batches."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Type
from snnc.npz import DAMAGED, npy_array, npy_header, npy_rows, refuse_statistics

Feeds: TypeAlias = Mapping[str, Array]
Source: TypeAlias = "str | Path | Array | Feeds | Iterable[Feeds]"

LABELS = "labels"
"""Name of the array that holds the class of every sample."""


@dataclass
class Samples:
    """Samples for one network. count: how many, None for a stream; labels: where known.

    batches(n) yields dictionaries of arrays, samples first, of at most n samples each; a stream
    can be read once. single: the model takes one sample at a time, without a sample axis;
    splittable: a batch may be cut anywhere (its size is not fixed by the model); random: numbers
    without meaning.
    """

    batches: Callable[[int], Iterator[Feeds]]
    count: int | None
    labels: Array | None = None
    single: bool = False
    splittable: bool = True
    streamed_labels: list[Array] = field(default_factory=list)
    random: bool = False

    def size_of(self, feeds: Feeds) -> int:
        """Samples in a batch."""
        return samples_in(feeds, self.single)

    def class_labels(self, start: int, count: int) -> Array | None:
        """Labels of the samples from `start` on, where they are known."""
        labels = self.labels
        if self.streamed_labels:
            labels = np.concatenate(self.streamed_labels)
        if labels is None:
            return None
        if labels.dtype.kind not in "iu":
            raise CompileError(
                f"the labels are {labels.dtype}, not class indices",
                help="pass integer labels, or leave them out",
            )
        if len(labels) < start + count:
            raise CompileError("some parts of the data stream have labels and some have none")
        return labels[start : start + count]


def samples_in(feeds: Feeds, single: bool) -> int:
    """Samples in a batch. single: the model takes one sample at a time, without a sample axis."""
    return 1 if single else min((len(a) for a in feeds.values() if a.ndim), default=1)


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
    if not isinstance(source, Iterable):
        raise CompileError(
            f"a {type(source).__name__} holds no samples",
            help="pass a .npz path, an array, a dict of arrays or an iterable of dicts",
        )
    return _from_stream(source, graph)


def _only_input(graph: Graph) -> str:
    if len(graph.inputs) != 1:
        raise CompileError(
            f"the model has {len(graph.inputs)} inputs, one array cannot serve them all",
            help=f"pass a dict with {_listing(graph.inputs)}",
        )
    return graph.inputs[0]


def _listing(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"


def _select(names: Iterable[str], graph: Graph, where: str) -> dict[str, str]:
    """Array name by input name."""
    names = list(names)
    if all(name in names for name in graph.inputs):
        return {name: name for name in graph.inputs}
    others = [name for name in names if name != LABELS]
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
    known = LABELS in arrays and LABELS not in graph.inputs
    labels = np.asarray(arrays[LABELS]) if known else None

    def rows(name: str, size: int) -> Iterator[Array]:
        for start in range(0, plan.count, size):
            yield chosen[name][start : start + size]

    return _samples(plan, rows, graph, where, labels)


def _from_npz(path: Path, graph: Graph) -> Samples:
    where = f"'{path}'"
    try:
        with zipfile.ZipFile(path) as archive:
            members = {n.removesuffix(".npy"): n for n in archive.namelist() if n.endswith(".npy")}
            refuse_statistics(members, where)
            chosen = _select(members, graph, where)
            headers = {name: npy_header(archive, members[key]) for name, key in chosen.items()}
            known = LABELS in members and LABELS not in graph.inputs
            labels = npy_array(archive, members[LABELS]) if known else None
    except FileNotFoundError:
        raise CompileError(f"there is no file {where}") from None
    except DAMAGED as error:
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
        if not shape:
            raise CompileError(
                f"array '{name}' of {where} has no axis", help="samples lie along the first axis"
            )
        if kind.shape is not None and len(shape) == len(kind.shape) + 1 and _may_be_single(kind):
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
        raise CompileError(
            f"the arrays of {where} differ in their number of samples: {words}",
            help="put an axis of samples in front; fix what is the same for all: snnc fix",
        )
    count = next(iter(counts.values()))
    if count == 0:
        raise CompileError(f"{where} holds no samples", help="pass at least one sample")
    fixed = None if single else _fixed_batch(graph, count, where)
    return _Plan(count, frozenset(single), fixed)


def _may_be_single(kind: Type) -> bool:
    """Whether an input may lack a sample axis: with an open first dimension it has one."""
    assert kind.shape is not None
    return len(kind.shape) < 2 or isinstance(kind.shape[0], int)


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

    single = len(plan.single) == len(graph.inputs)
    splittable = not plan.single and plan.fixed_batch is None
    return Samples(batches, plan.count, labels, single, splittable)


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
    start = _stream_part(first, graph)
    used = False
    labels: list[Array] = []

    def batches(size: int) -> Iterator[Feeds]:
        nonlocal used
        if used:
            raise CompileError("the data stream was read already", help="pass arrays or a path")
        used = True
        for part in chain([start], (_stream_part(feeds, graph) for feeds in stream)):
            if part.labels is not None:
                labels.append(part.labels)
            yield from part.batches(size)

    return Samples(batches, None, None, start.single, start.splittable, labels)


def _stream_part(feeds: Feeds, graph: Graph) -> Samples:
    if not isinstance(feeds, Mapping):
        raise CompileError(
            f"the data stream holds a {type(feeds).__name__}, not a dict",
            help="yield {input name: array}, samples first",
        )
    return _from_arrays(feeds, graph, "the data stream")
