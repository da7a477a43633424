"""The event stream of a schedule: one row a spike, in Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from snnc.backends.schedule.execution import Fired
from snnc.backends.schedule.layers import Network
from snnc.backends.schedule.mapping import Mapping as CoreMapping
from snnc.backends.schedule.timing import Timing
from snnc.errors import CompileError
from snnc.ir.node import Array

SCHEMA = pa.schema(
    [
        pa.field("sample", pa.int32(), False),
        pa.field("layer", pa.dictionary(pa.int32(), pa.string()), False),
        pa.field("timestep", pa.int32(), False),
        pa.field("tick", pa.int64(), False),
        pa.field("core", pa.int32(), False),
        pa.field("neuron", pa.int32(), False),
        pa.field("polarity", pa.int8(), False),
        pa.field("count", pa.int32(), False),
    ]
)
"""layer: name of the layer of cells; tick: at which the spike is sent (the first of its ticks,
where one count takes several); neuron: number of the cell in its layer; polarity: 1 or -1."""


class Events:
    """The spikes of a schedule as events."""

    def __init__(self, network: Network, mapping: CoreMapping) -> None:
        self._network, self._cores = network, mapping.cores
        self._timing = Timing(network, mapping)

    def of(self, fired: Fired, first: int) -> Iterator[dict[str, Array]]:
        """Those of a batch, columns of SCHEMA with the number of the layer as `layer`, one layer of
        neurons at a time. first: number of the batch's first sample."""
        network = self._network
        for name, counts in fired.counts.items():
            timestep, sample, entry = np.nonzero(counts)
            cell = network.homes[name].reshape(-1)[entry]
            layer = network.layer_of(cell)
            count = counts[timestep, sample, entry]
            ticks = fired.ticks.get(name)
            within = 0 if ticks is None else ticks[timestep, sample, entry]
            yield {
                "sample": (sample + first).astype(np.int32),
                "layer": layer.astype(np.int32),
                "timestep": timestep.astype(np.int32),
                "tick": self._timing.tick(name, layer, timestep, within),
                "core": self._cores[cell].astype(np.int32),
                "neuron": (cell - network.starts[layer]).astype(np.int32),
                "polarity": np.sign(count).astype(np.int8),
                "count": np.abs(count).astype(np.int32),
            }


class EventFile:
    """Events written to a Parquet file as batches come; a context manager."""

    def __init__(self, path: Path, network: Network, mapping: CoreMapping) -> None:
        self._events = Events(network, mapping)
        self._names = pa.array([layer.name for layer in network.layers], pa.string())
        self._file = pq.ParquetWriter(path, SCHEMA, compression="zstd")
        self.written = 0

    def __enter__(self) -> EventFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, fired: Fired, first: int) -> None:
        """Adds a batch; first: number of its first sample."""
        for batch in self._events.of(fired, first):
            layer = pa.DictionaryArray.from_arrays(pa.array(batch["layer"]), self._names)
            columns = [layer if f.name == "layer" else pa.array(batch[f.name]) for f in SCHEMA]
            self._file.write_table(pa.Table.from_arrays(columns, schema=SCHEMA))
            self.written += len(batch["sample"])


class EventCheck:
    """Recorded events beside those of a run over the same samples."""

    def __init__(self, path: Path, network: Network, mapping: CoreMapping) -> None:
        self._events = Events(network, mapping)
        self._names = np.array([layer.name for layer in network.layers])
        self._recorded = read_events(path)
        self._left: dict[str, Array] = {name: np.zeros(0, object) for name in SCHEMA.names}
        self._differing = 0

    def check(self, fired: Fired, first: int) -> None:
        """Compares a batch; first: number of its first sample."""
        for batch in self._events.of(fired, first):
            found = self._take(len(batch["sample"]))
            batch["layer"] = self._names[batch["layer"]]
            size = len(found["sample"])
            differs = np.zeros(size, bool)
            for name, column in found.items():
                differs |= column != batch[name][:size]
            self._differing += int(differs.sum()) + len(batch["sample"]) - size

    def differing(self) -> int:
        """Events that differ, when all batches are checked; those recorded beyond them, too."""
        surplus = len(self._left["sample"]) + sum(len(more["sample"]) for more in self._recorded)
        self._left = {name: column[:0] for name, column in self._left.items()}
        self._differing += surplus
        return self._differing

    def _take(self, rows: int) -> dict[str, Array]:
        while len(self._left["sample"]) < rows:
            more = next(self._recorded, None)
            if more is None:
                break
            self._left = {k: np.concatenate([v, more[k]]) for k, v in self._left.items()}
        taken = {name: column[:rows] for name, column in self._left.items()}
        self._left = {name: column[rows:] for name, column in self._left.items()}
        return taken


def read_events(path: Path, rows: int = 2**20) -> Iterator[dict[str, Array]]:
    """The events of a file, `rows` at a time; `layer` as names. CompileError for any other file."""
    if not path.exists():
        raise CompileError(
            f"the schedule '{path.parent}' has no recorded events",
            help="write it with samples: snnc schedule OUT.onnx --target NAME --data X.npz",
        )
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(SCHEMA):
                raise CompileError(f"'{path}' holds no events: its columns are others")
            for batch in file.iter_batches(rows):
                yield {
                    name: np.asarray(batch.column(name).to_numpy(zero_copy_only=False))
                    for name in SCHEMA.names
                }
    except (pa.ArrowException, OSError) as error:
        raise CompileError(
            f"cannot read events from '{path}': {error}",
            help="write the schedule again: snnc schedule, with --data",
        ) from None
