"""How many packets the entries of operands bring, from how often neurons fire."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from snnc.backends.schedule.layers import NOWHERE, Connection, Network
from snnc.ir.node import Array, Neuron, Op
from snnc.ir.time import repeated
from snnc.membrane.reference import Reference


class Emission:
    """Packets per sample. fired: of each neuron, by the result of its layer of neurons.

    Real numbers are one packet a timestep. Spikes that neurons of the first spike (MaxPool,
    ReduceMax of spike times) pass on are taken to be as many as those of the busiest neuron that
    they read, unless `fired` has them.
    """

    def __init__(self, network: Network, fired: Mapping[str, Array]) -> None:
        self._network, self._fired = network, fired
        self._folded = repeated(network.graph)
        self._perform = Reference(network.graph)
        self._by_layer: dict[tuple[str, int], Array] = {}

    def of(self, connection: Connection) -> Array:
        """Of each entry of an operand, float64; 0 where entries are constant."""
        return self._held(connection.cells, connection.neurons, connection.value)

    def of_reals(self, value: str) -> float:
        """Of each entry of a value of real numbers."""
        return float(self._network.graph.timesteps if value in self._folded else 1)

    def _held(self, cells: Array, neurons: str | None, value: str) -> Array:
        if neurons is None:
            return np.where(cells == NOWHERE, 0.0, self.of_reals(value))
        found = np.zeros(cells.shape)
        layers = self._network.layer_of(cells)
        for index in np.unique(layers[cells != NOWHERE]).tolist():
            layer, there = self._network.layers[index], (layers == index) & (cells != NOWHERE)
            found[there] = self._rates(neurons, index)[cells[there] - layer.start]
        return found

    def _rates(self, neurons: str, index: int) -> Array:
        """Of each cell of a layer, of the spikes of `neurons` that it sends or passes on."""
        key = neurons, index
        if key not in self._by_layer:
            layer = self._network.layers[index]
            rates = self._by_layer[key] = np.zeros(layer.cells)
            if not self._place(rates, layer.start, neurons, self._fired.get(neurons)):
                self._pass_on(rates, neurons, index)
        return self._by_layer[key]

    def _place(self, rates: Array, start: int, value: str, fired: Array | None) -> bool:
        """Writes those of a value down at its cells; whether they lie in this layer."""
        cells = self._network.homes[value].reshape(-1) - start
        inside = (cells >= 0) & (cells < len(rates))
        if not inside.any():
            return False
        given = np.ones(cells.shape) if fired is None else np.asarray(fired, np.float64).reshape(-1)
        rates[cells[inside]] = given[inside]
        return True

    def _pass_on(self, rates: Array, neurons: str, index: int) -> None:
        layer = self._network.layers[index]
        for connection in layer.connections:
            op = connection.op
            if connection.neurons != neurons or connection.place or not isinstance(op, Op):
                continue
            result = op.outputs[0]
            passed = self._fired.get(result)
            if passed is None and connection.kind == "wire":
                passed = self.of(connection)
            elif passed is None:
                rest = [self._network.graph.consts[v] if v else None for v in op.inputs[1:]]
                passed = self._perform(op, [self.of(connection), *rest])[0]
            shape = self._network.homes[result].shape
            self._place(rates, layer.start, result, np.broadcast_to(passed, shape))


def calibrated_events(network: Network) -> dict[str, Array]:
    """What calibration saw, as `fired`: the mean number of events of each layer of neurons over
    all timesteps; 1 where it is not known and for neurons that fire at most once."""
    found, folded = {}, repeated(network.graph)
    for layer in network.layers:
        for node in layer.neurons:
            result = node.outputs[0]
            known = node.activity if isinstance(node, Neuron) else None
            steps = network.graph.timesteps if result in folded else 1
            rate = float(steps) if known is None else known.events
            found[result] = np.full(network.homes[result].shape, rate)
    return found
