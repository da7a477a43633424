"""A network of integrate-and-fire neurons as architecture and network files of SANA-FE.

https://github.com/SLAM-Lab/SANA-FE, version 2.2.9. docs/exports.md says what it can express.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from snnc.backends.schedule.export.populations import MOST_SYNAPSES, Population, populations
from snnc.backends.schedule.export.refusals import raise_refusals, refused
from snnc.backends.schedule.export.sana_fe_chip import Chip, architecture
from snnc.backends.schedule.layers import Network
from snnc.backends.schedule.mapping import HOST
from snnc.backends.schedule.mapping import Mapping as CoreMapping
from snnc.errors import CompileError, RefusedNode
from snnc.files import replacing
from snnc.ir.node import Array, Neuron
from snnc.neurons.integrate_fire import IF
from snnc.neurons.mtn import MTN
from snnc.targets import Target

ARCHITECTURE, NETWORK, GROUPS = "architecture.yaml", "network.net", "groups.json"

_NEVER = 1e30
"""Threshold of cells that never fire: those of dead channels, and those that are read out."""


def write_sana_fe(
    network: Network,
    mapping: CoreMapping,
    target: Target,
    feeds: Mapping[str, Array],
    directory: Path,
) -> None:
    """Writes `architecture.yaml`, `network.net` (netlist format) and `groups.json` for one sample.

    feeds: inputs of one sample, batch 1. A cell of depth d integrates timestep t in tick d + t, so
    that each layer reads what the one before sent a tick earlier; `groups.json` has the first and
    last tick of each group, and the ticks to simulate. What no spike brings (biases, the drive of
    a sample's input, v(0)) comes from two source neurons a layer, on a tile of the host. Raises
    CompileError for neurons and layers that SANA-FE cannot express.
    """
    if not network.graph.neurons:
        raise CompileError(
            "SANA-FE export needs neurons that count spikes", help="compile with --neuron if"
        )
    raise_refusals("SANA-FE", network.graph, _refused(network))
    sizes = {name: len(array) for name, array in feeds.items()}
    if set(sizes) != set(network.graph.inputs) or set(sizes.values()) - {1}:
        raise CompileError(
            f"SANA-FE export takes one sample of {', '.join(network.graph.inputs)}, not {sizes}"
        )
    found = populations(network, feeds)
    total = sum(np.count_nonzero(w) for each in found for w in each.synapses.values())
    if total > MOST_SYNAPSES:
        raise CompileError(
            f"SANA-FE's network file names every synapse, and this network has {total}",
            help=f"export a network of at most {MOST_SYNAPSES}",
        )
    files = _Files(network, mapping, target, found)
    with _directory(directory), replacing(directory / GROUPS) as place:
        (place / ARCHITECTURE).write_text(architecture(files.chip), encoding="utf-8")
        with (place / NETWORK).open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in files.lines())
        (place / GROUPS).write_text(json.dumps(files.groups(), indent=1) + "\n", encoding="utf-8")


@contextmanager
def _directory(path: Path) -> Iterator[None]:
    """Makes a directory, and takes it away again if an error leaves it empty."""
    made = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CompileError(f"cannot write '{path}': {error.strerror}") from None
    try:
        yield
    except BaseException:
        if made and not any(path.iterdir()):
            path.rmdir()
        raise


def _refused(network: Network) -> list[RefusedNode]:
    """Neurons that emit more than one spike at once, and signed ones."""
    found = []
    help = "compile with --neuron if --timesteps T"
    for neuron in network.graph.neurons:
        model = neuron.model
        if neuron.inputs[2]:
            found.append(refused(neuron, "its spikes have no sign", help))
        elif not (isinstance(model, IF) or (isinstance(model, MTN) and model.N == 1)):
            found.append(refused(neuron, "a neuron sends at most one spike a tick", help))
        elif np.isfinite(model.bound):
            found.append(refused(neuron, "its potentials have no upper bound", help))
    return found


class _Files:
    def __init__(
        self,
        network: Network,
        mapping: CoreMapping,
        target: Target,
        found: tuple[Population, ...],
    ) -> None:
        self._network, self._mapping, self._found = network, mapping, found
        self._steps = network.graph.timesteps
        self._cores = [self._cores_of(each) for each in found]
        used = np.unique(np.concatenate(self._cores))
        counts = {int(c): sum(int((k == c).sum()) for k in self._cores) for c in used}
        self.chip = Chip(target, counts, sources=2 * len(found))

    def _cores_of(self, population: Population) -> Array:
        cells = self._network.homes.get(population.value)
        if cells is None or cells.size != population.cells:
            return np.full(population.cells, HOST)
        return np.asarray(self._mapping.cores[cells.reshape(-1)])

    def _layer(self, value: str) -> str:
        """The name of the layer whose cells hold a value, as events carry it."""
        cells = self._network.homes.get(value)
        if cells is None or not cells.size:
            return value
        return self._network.layers[int(self._network.layer_of(cells.reshape(-1)[:1])[0])].name

    def groups(self) -> dict[str, object]:
        """What the groups of the network file are; ticks count from 1."""
        listed = [
            {
                "group": number,
                "layer": self._layer(each.value),
                "value": each.value,
                "neurons": each.cells,
                "fires": each.neuron is not None,
                "first_tick": each.depth + 1,
                "last_tick": each.depth + self._steps,
                "sources": [self._source(number, place) for place in (0, 1)],
            }
            for number, each in enumerate(self._found)
        ]
        ticks = self._steps + max(each.depth for each in self._found)
        return {
            "format": "snnc sana-fe 1",
            "timesteps": self._steps,
            "ticks": ticks,
            "groups": listed,
        }

    def lines(self) -> Iterator[str]:
        """The netlist: groups, neurons, edges, then where each neuron lives."""
        for each in self._found:
            reset = _reset(each.neuron)
            yield f"g {each.cells} {_UNITS} soma_hw_name=cells log_spikes=1 reset_mode={reset}"
        for number in range(2 * len(self._found)):
            yield f"g 1 {_UNITS} soma_hw_name=sources[{number}]"
        for number, each in enumerate(self._found):
            for cell, step in enumerate(each.step.tolist()):
                yield f"n {number}.{cell} threshold={step if step > 0 else _NEVER!r}"
            for place, spikes in enumerate((1, self._steps)):
                train = [0] * (each.depth - 1) + [1] * spikes
                yield f"n {self._source(number, place)}.0 {{spikes: {train}}}"
        yield from self._edges()
        for number, cores in enumerate(self._cores):
            for cell, core in enumerate(cores.tolist()):
                yield f"& {number}.{cell}@{self.chip.tile(core)}.0"
        for number in range(2 * len(self._found)):
            yield f"& {len(self._found) + number}.0@{self.chip.tile(HOST)}.0"

    def _source(self, number: int, place: int) -> int:
        """The group of the neuron that brings a population v(0) (place 0), and of the one that
        brings what flows in at every timestep (1); both start one tick before it."""
        return len(self._found) + 2 * number + place

    def _edges(self) -> Iterator[str]:
        numbers = {each.value: n for n, each in enumerate(self._found) if each.neuron is not None}
        for number, each in enumerate(self._found):
            for value, weights in each.synapses.items():
                for source, cell in np.argwhere(weights).tolist():
                    weight = float(weights[source, cell])
                    yield f"e {numbers[value]}.{source}->{number}.{cell} w={weight!r}"
            for place, given in enumerate((_start(each), each.drive)):
                for cell in np.flatnonzero(given).tolist():
                    weight = float(given[cell])
                    yield f"e {self._source(number, place)}.0->{number}.{cell} w={weight!r}"


_UNITS = "synapse_hw_name=synapses dendrite_hw_name=dendrites"


def _start(population: Population) -> Array:
    """v(0)."""
    neuron = population.neuron
    share = 0.0 if neuron is None else float(getattr(neuron.model, "potential", 0.0))
    return share * population.step


def _reset(neuron: Neuron | None) -> str:
    return neuron.model.reset if neuron is not None and isinstance(neuron.model, IF) else "soft"
