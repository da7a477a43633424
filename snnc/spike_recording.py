"""The spike times of every layer of neurons, written to a file while the network runs."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snnc.data import Samples
from snnc.errors import CompileError
from snnc.evaluation import Progress, silent
from snnc.files import replacing
from snnc.ir.flow import Flow
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.ir.spike_times import fires
from snnc.neurons.ttfs import spike_ticks
from snnc.rows import batches_and_axes, rows_of
from snnc.runtime import Session, batch_size


@dataclass(frozen=True)
class Timing:
    """A layer of neurons: when its window is, its range, the ticks of its window."""

    name: str
    window: int
    ticks: int
    low: float
    high: float

    @property
    def key(self) -> str:
        """The name of its array in a recording, which tells it from the columns of the table."""
        return f"{self.name}.spikes" if self.name in ("layers", *_COLUMNS) else self.name

    def times(self, values: Array) -> Array:
        """Ticks of the spikes that stand for `values`, int32; -1 where there is none."""
        return spike_ticks(values, self.low, self.high, self.ticks)


def timings(graph: Graph) -> tuple[Timing, ...]:
    """The layers of neurons in the order in which they are computed; relays are not listed."""
    return tuple(_timing(node) for node in graph.nodes if isinstance(node, Op) and fires(node))


def _timing(op: Op) -> Timing:
    low, high, ticks = op.number("low"), op.number("high"), op.integer("ticks", 1)
    return Timing(op.outputs[0], op.integer("window", 0), ticks, low, high)


def record_spikes(
    graph: Graph, samples: Samples, path: Path, progress: Progress = silent
) -> tuple[Timing, ...]:
    """Writes a .npz: for each layer, by its name, ticks from the start of its window, int32
    [samples, ...], -1 for neurons that do not fire; and `layers` (their names), `window`, `ticks`,
    `low`, `high`, one entry a layer. A layer that depends on no data has one row.

    Raises CompileError for a network without spike times, and for samples of different lengths.
    """
    layers = timings(graph)
    if not layers:
        raise CompileError(
            "the network has no spike times",
            at=graph.source or None,
            help="--spikes goes with a network that was compiled with --neuron ttfs",
        )
    names = tuple(layer.name for layer in layers)
    session = Session(graph, taps=names)
    data = Flow(graph).data
    varying = tuple(name for name in names if name in data)
    batches, axes = batches_and_axes(session, samples, batch_size(graph, names), varying)
    with replacing(path) as directory:
        columns = {x.name: _Column(directory / f"{i}.raw", x.key) for i, x in enumerate(layers)}
        done = 0
        for feeds in batches:
            values, size = session.run(feeds), samples.size_of(feeds)
            for layer in layers:
                if layer.name in axes or not done:
                    alone = size == 1 and not samples.splittable
                    rows = _rows(values[layer.name], axes.get(layer.name), alone)
                    columns[layer.name].write(layer.times(rows))
            done += size
            progress(done)
        _join(directory / path.name, columns.values(), _table(layers))
    return layers


_COLUMNS = {"window": np.int32, "ticks": np.int32, "low": np.float32, "high": np.float32}


def _rows(array: Array, axis: int | None, alone: bool) -> Array:
    """One row a sample. alone: of a model that takes one at a time, whatever its first axis is."""
    return array[None] if alone and array.shape[:1] != (1,) else rows_of(array, axis)


def _table(layers: tuple[Timing, ...]) -> dict[str, Array]:
    columns = {key: [getattr(x, key) for x in layers] for key in _COLUMNS}
    table = {key: np.array(values, _COLUMNS[key]) for key, values in columns.items()}
    return {"layers": np.array([x.key for x in layers]), **table}


class _Column:
    """Rows of one layer, appended to a file of their own."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.rows = 0
        self.shape: tuple[int, ...] | None = None
        self.path.touch()

    def write(self, ticks: Array) -> None:
        if self.shape not in (None, ticks.shape[1:]):
            raise CompileError(
                f"layer '{self.name}' has {list(ticks.shape[1:])} neurons for some samples and "
                f"{list(self.shape or ())} for others",
                help="record samples of one length at a time",
            )
        self.shape = ticks.shape[1:]
        self.rows += len(ticks)
        with self.path.open("ab") as file:
            file.write(np.ascontiguousarray(ticks, "<i4").tobytes())


def _join(path: Path, columns: Iterable[_Column], table: Mapping[str, Array]) -> None:
    """One archive of all columns; their own files go."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in table.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array)
        for column in columns:
            shape = (column.rows, *(column.shape or ()))
            header = {"descr": "<i4", "fortran_order": False, "shape": shape}
            with archive.open(f"{column.name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, header)
                with column.path.open("rb") as file:
                    shutil.copyfileobj(file, member)
            column.path.unlink()
