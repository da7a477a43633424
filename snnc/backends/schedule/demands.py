"""What each layer of a network asks of a chip, whatever the chip."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from snnc.backends.schedule.layers import NOWHERE, Connection, Layer, Network, operation
from snnc.backends.schedule.operations import needed_of
from snnc.ir.flow import Flow
from snnc.ir.graph import Graph
from snnc.ir.node import Neuron, Node, Op
from snnc.ir.ops import SYNAPTIC, multiplied
from snnc.ir.rate_neuron import RateNeuron
from snnc.ir.weights import weight
from snnc.synapses import fan_out
from snnc.targets import Operation

_READING = ("wire", "gather")
"""Kinds of connections without synapses."""


@dataclass(frozen=True)
class Spikes:
    """The counts that the neurons of a layer send.

    top: the largest; signed: whether both signs occur; model: that fires them, None for neurons
    that fire once; window: ticks of the window of those.
    """

    top: int
    signed: bool
    model: RateNeuron | None = None
    window: int = 1


@dataclass(frozen=True)
class Demand:
    """index: of the layer in its network; operations: with the types of the nodes that need each;
    spikes: None where a layer has no neurons; remembers: whether they keep a membrane over
    timesteps; real: the layers that real numbers come from, those of the host left out; synapses,
    signed_synapses: into one cell from spikes of one sign, and of both; fan_out: synapses of one of
    its neurons; weights: into the layer, those of a convolution once; slides: whether there is one.
    outside: whether it stands at the inputs and computes entry by entry, as the host can do that
    feeds them (it encodes them in spikes, say), or at the outputs behind all neurons and synapses
    (the label of the largest output, say), which the host reads.
    """

    index: int
    layer: Layer
    operations: Mapping[Operation, tuple[str, ...]]
    spikes: Spikes | None
    remembers: bool
    real: tuple[int, ...]
    synapses: int
    signed_synapses: int
    fan_out: int
    weights: int
    slides: bool
    outside: bool

    @property
    def name(self) -> str:
        return self.layer.name


def demands(network: Network) -> tuple[Demand, ...]:
    """What each layer asks for, inputs left out."""
    return tuple(_Demands(network))


class _Demands:
    def __init__(self, network: Network) -> None:
        self._network, self._graph = network, network.graph
        self._data = Flow(network.graph).data
        self._fans: dict[int, int] = defaultdict(int)
        self._outside: set[int] = set()
        for index, layer in enumerate(network.layers):
            if all(each.kind == "wire" and self._fed(each) for each in layer.connections):
                self._outside.add(index)
        self._outside |= self._decoding()
        for layer in network.layers:
            for each in layer.connections:
                if each.neurons is not None and isinstance(each.op, Op):
                    for source in self._sources(each):
                        self._fans[source] += self._fan_out(each.op, each)

    def __iter__(self) -> Iterator[Demand]:
        for index, layer in enumerate(self._network.layers):
            if not layer.is_input:
                yield self._demand(index, layer)

    def _demand(self, index: int, layer: Layer) -> Demand:
        inside = [each for each in layer.connections if each.neurons is not None]
        synapses = {False: 0, True: 0}
        for each in inside:
            synapses[self._signed(each)] += fan_in(self._graph, self._network, each)
        neurons = [node for node in layer.nodes if isinstance(node, Neuron)]
        stored = sum(_weights(self._graph, each) for each in layer.connections)
        return Demand(
            index,
            layer,
            self._operations(index, layer),
            _widest([_spikes(node) for node in layer.neurons]),
            any(node.timesteps > 1 for node in neurons),
            self._real(layer),
            synapses[False],
            synapses[True],
            self._fans[index],
            stored,
            any(_slides(each) for each in layer.connections),
            index in self._outside,
        )

    def _sources(self, connection: Connection) -> tuple[int, ...]:
        """The layers whose cells a connection reads."""
        cells = connection.cells[connection.cells != NOWHERE]
        return tuple(int(i) for i in np.unique(self._network.layer_of(cells)))

    def _fed(self, connection: Connection) -> bool:
        """Whether it reads real numbers of the host's alone."""
        return connection.neurons is None and self._outside.issuperset(self._sources(connection))

    def _decoding(self) -> set[int]:
        """The layers that only outputs depend on, without neurons or weights."""
        read = set(range(len(self._network.layers)))
        found: set[int] = set()
        for index in reversed(range(len(self._network.layers))):
            layer = self._network.layers[index]
            plain = not layer.neurons and all(c.kind in _READING for c in layer.connections)
            if index in read and plain and layer.connections:
                found.add(index)
            else:
                read -= {s for c in layer.connections for s in self._sources(c)}
        return found

    def _real(self, layer: Layer) -> tuple[int, ...]:
        sources = {
            source
            for each in layer.connections
            if each.neurons is None
            for source in self._sources(each)
            if source not in self._outside
        }
        return tuple(sorted(sources))

    def _operations(self, index: int, layer: Layer) -> dict[Operation, tuple[str, ...]]:
        """What it needs; also to read real numbers of the host in another way than by weights."""
        found = needed_of(self._graph, layer, self._data)
        fed = {operation(each.op) for each in layer.connections if self._fed(each)}
        if fed and index not in self._outside:
            found.setdefault("real-input", tuple(sorted(fed)))
        return found

    def _signed(self, connection: Connection) -> bool:
        """Whether the spikes that a connection reads have both signs."""
        assert connection.neurons is not None
        node = self._graph.producer[connection.neurons]
        return isinstance(node, Neuron) and node.sides == "both"

    def _fan_out(self, op: Op, connection: Connection) -> int:
        if connection.kind == "synapses":
            shapes = {**self._shapes(op), **self._network.shapes}
            return int(np.ceil(np.max(fan_out(op, connection.value, shapes))))
        return 1

    def _shapes(self, op: Op) -> dict[str, tuple[int, ...]]:
        """Shapes of its weights."""
        arrays = {v: weight(self._graph, v) for v in multiplied(op)}
        return {v: array.shape for v, array in arrays.items() if array is not None}


def _spikes(node: Node) -> Spikes:
    if isinstance(node, Neuron):
        return Spikes(node.model.top, node.sides == "both", node.model)
    assert isinstance(node, Op)
    return Spikes(1, False, None, node.integer("ticks", 1))


def _widest(spikes: list[Spikes]) -> Spikes | None:
    """The largest counts of several layers of neurons, of both signs where any has both."""
    if not spikes:
        return None
    widest = max(spikes, key=lambda each: (each.top, each.window))
    return replace(widest, signed=any(each.signed for each in spikes))


def fan_in(graph: Graph, network: Network, connection: Connection) -> int:
    """Synapses of one cell through a connection: those of the middle, where padding is far."""
    op = connection.op
    if not isinstance(op, Op) or connection.kind == "wire":
        return 1
    shape = network.shapes[connection.value]
    if op.op_type in SYNAPTIC and connection.kind == "synapses":
        place = 1 - connection.place if op.op_type != "Einsum" else 0
        array = weight(graph, op.inputs[place])
        if array is None:
            return math.prod(shape)
        return _depth(op, array.shape, shape, connection.place)
    if "kernel_shape" in op.attrs:
        return int(math.prod(op.ints("kernel_shape", (1,))))
    if connection.kind == "product":
        return shape[-1] if connection.place == 0 else 0
    result = math.prod(network.shapes.get(op.outputs[0], shape))
    return max(math.prod(shape) // max(result, 1), 1)


def _depth(op: Op, weights: tuple[int, ...], data: tuple[int, ...], place: int) -> int:
    """Numbers that are added up to one entry of a result."""
    if op.op_type == "Conv":
        return math.prod(weights[1:])
    if op.op_type == "ConvTranspose":
        strides = op.ints("strides", (1,) * (len(weights) - 2))
        taps = (-(-k // s) for k, s in zip(weights[2:], strides, strict=True))
        return weights[0] // op.integer("group", 1) * math.prod(taps)
    if op.op_type == "Einsum":
        return math.prod(data)
    turned = op.integer("transA" if place == 0 else "transB", 0)
    along_first = bool(turned) == (place == 0)
    return data[-2] if along_first and len(data) > 1 else data[-1]


def _slides(connection: Connection) -> bool:
    """Whether the weights of a connection are used at several places."""
    op = connection.op
    return isinstance(op, Op) and op.op_type in ("Conv", "ConvTranspose")


def _weights(graph: Graph, connection: Connection) -> int:
    """How many weights a connection has, those of a convolution once."""
    if connection.kind != "synapses" or not isinstance(connection.op, Op):
        return 0
    arrays = (weight(graph, v) for v in multiplied(connection.op))
    return sum(array.size for array in arrays if array is not None)
