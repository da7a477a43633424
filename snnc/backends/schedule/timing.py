"""At which tick a spike is sent."""

from __future__ import annotations

import numpy as np

from snnc.backends.schedule.layers import Network
from snnc.backends.schedule.mapping import Mapping
from snnc.backends.schedule.windows import windows_of
from snnc.ir.node import Array, Op
from snnc.ir.spike_times import RELAY, fires, neurons_behind


class Timing:
    """Ticks of layers that count (slot of the layer, one period further at each timestep) and of
    spike times (window of the neurons, whose ticks are spread over those of the finest one)."""

    def __init__(self, network: Network, mapping: Mapping) -> None:
        self._period = mapping.period
        self._first = np.array([slot.first for slot in mapping.slots], np.int64)
        graph, windows = network.graph, windows_of(network.graph)
        self._window = max(windows.ticks, 1)
        self._timed: dict[str, tuple[int, int]] = {}
        for node in graph.nodes:
            name = node.outputs[0]
            relays = isinstance(node, Op) and node.op_type == RELAY
            behind = neurons_behind(graph, name) if fires(node) or relays else None
            if behind is not None:  # a relay has the ticks of the neurons that it repeats
                self._timed[name] = windows.of[name], behind.integer("ticks", 1)

    def tick(self, name: str, layer: Array, timestep: Array, within: Array | int) -> Array:
        """name: result of the neurons; within: ticks since the start of their window."""
        if name in self._timed:
            window, ticks = self._timed[name]
            return np.asarray(window * self._window + np.asarray(within) * self._window // ticks)
        return np.asarray(self._first[layer] + timestep * self._period)
