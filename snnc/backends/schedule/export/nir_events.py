"""Spike events as NIRData: what nir.read_data reads, written batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from snnc.backends.schedule.export.events import Events, batches
from snnc.backends.schedule.export.hdf5 import careful
from snnc.backends.schedule.export.nir_graph import nir_names
from snnc.backends.schedule.export.packages import package
from snnc.backends.schedule.layers import Network
from snnc.errors import CompileError
from snnc.files import replacing
from snnc.ir.node import Array

_CHUNK = 4096
"""Events of one sample that are compressed together."""

_OBSERVED = {"spikes": "count", "timesteps": "timestep", "cores": "core"}
"""Observables of a layer, by the column whose values they carry; spikes have their polarity."""


def write_nir_events(
    events: Events,
    path: Path,
    neurons: Mapping[str, int],
    *,
    names: Mapping[str, str] | None = None,
    ticks: int | None = None,
) -> None:
    """Writes events as a `nir.NIRGraphData` of `nir.ValuedEventData`.

    neurons: how many each layer has (`event_neurons`); names: its node of NIR (`event_names`),
    else the layer's own name with '.' for '/'; ticks: of an inference, else up to the last event.
    The time of an event is its tick. Only a batch is held in memory: rows of samples grow in the
    file, padded as NIRData pads them (idx -1, time inf).
    """
    h5py = package("h5py")
    with (
        replacing(path) as directory,
        careful(directory / path.name) as whole,
        h5py.File(whole, "w") as file,
    ):
        writer = _File(file, neurons, names or {})
        for batch in batches(events):
            writer.write(batch)
            whole.check()
        writer.finish(ticks)


def event_neurons(network: Network) -> dict[str, int]:
    """How many neurons each layer of a network has, by the name that its events carry."""
    return {layer.name: layer.cells for layer in network.layers if layer.neurons}


def event_names(network: Network) -> dict[str, str]:
    """The node of NIR that emits the spikes of each layer, by the name that its events carry."""
    nodes = nir_names(network.graph)
    fired = {layer.name: layer.neurons[-1].outputs[0] for layer in network.layers if layer.neurons}
    return {name: nodes[value] for name, value in fired.items() if value in nodes}


class _File:
    def __init__(self, file: Any, neurons: Mapping[str, int], names: Mapping[str, str]) -> None:
        self._file, self._neurons, self._names = file, neurons, names
        self._layers: dict[str, dict[str, Any]] = {}
        self._filled: dict[tuple[str, int], int] = {}
        """Events so far, by layer and sample."""
        file.attrs["__type__"] = "NIRGraphData"
        self._nodes = file.create_group("nodes")
        self._samples, self._last = 1, 0
        for name in neurons:
            self._layers[name] = self._layer(name)

    def write(self, batch: Mapping[str, Array]) -> None:
        if not len(batch["sample"]):
            return
        self._samples = max(self._samples, int(batch["sample"].max()) + 1)
        self._last = max(self._last, int(batch["tick"].max()) + 1)
        for layer in sorted(set(batch["layer"].tolist())):
            self._add(layer, {k: v[batch["layer"] == layer] for k, v in batch.items()})

    def finish(self, ticks: int | None) -> None:
        """Gives all layers the same samples and the same duration."""
        for observables in self._layers.values():
            for group in observables.values():
                group.attrs["t_max"] = float(self._last if ticks is None else ticks)
                for key in ("idx", "time", "value"):
                    group[key].resize(self._samples, axis=0)

    def _layer(self, name: str) -> dict[str, Any]:
        """The observables of a layer, empty."""
        node = self._nodes.create_group(self._names.get(name, name.strip("/").replace("/", ".")))
        node.attrs["__type__"] = "NIRNodeData"
        inside = node.create_group("observables")
        return {observed: self._observable(inside, observed, name) for observed in _OBSERVED}

    def _observable(self, inside: Any, observed: str, layer: str) -> Any:
        group = inside.create_group(observed)
        group.attrs["__type__"] = "ValuedEventData"
        group.attrs["n_neurons"] = self._neurons[layer]
        columns = (("idx", np.int64, -1), ("time", np.float64, np.inf), ("value", np.float64, 0))
        for key, dtype, empty in columns:
            group.create_dataset(
                key,
                shape=(1, 0),
                maxshape=(None, None),
                chunks=(1, _CHUNK),
                dtype=dtype,
                fillvalue=empty,
                compression="gzip",
            )
        return group

    def _add(self, layer: str, batch: Mapping[str, Array]) -> None:
        if layer not in self._layers:
            raise CompileError(f"events of a layer '{layer}' that the network does not have")
        if int(batch["neuron"].max()) >= self._neurons[layer]:
            raise CompileError(
                f"an event of neuron {int(batch['neuron'].max())} of layer '{layer}', which has "
                f"{self._neurons[layer]}"
            )
        for sample in np.unique(batch["sample"]).tolist():
            mine = batch["sample"] == sample
            start = self._filled.get((layer, sample), 0)
            end = self._filled[layer, sample] = start + int(mine.sum())
            for observed, column in _OBSERVED.items():
                values = batch[column][mine].astype(np.float64)
                if observed == "spikes":
                    values *= batch["polarity"][mine]
                group = self._layers[layer][observed]
                written = {"idx": batch["neuron"], "time": batch["tick"]}
                for key in ("idx", "time", "value"):
                    rows, size = group[key].shape
                    group[key].resize((max(rows, sample + 1), max(size, end)))
                    group[key][sample, start:end] = written[key][mine] if key in written else values
