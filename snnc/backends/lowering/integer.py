"""Layers with int8 weights, and products of spikes, on 8-bit spike counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from snnc.backends.lowering.channels_last import move_channels_last
from snnc.backends.lowering.convolution import convolution
from snnc.backends.lowering.counts import (
    check_counts,
    count_operation,
    counting_neuron,
    moves_counts,
    step_of,
)
from snnc.backends.lowering.drive import Drive
from snnc.backends.lowering.linear import linear
from snnc.backends.lowering.pooling import pool_counts
from snnc.backends.lowering.product import product
from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Attribute, Neuron, Node, Op
from snnc.ir.rate_neuron import ZERO_POINT
from snnc.ir.weights import quantized, quantized_layers

_ZERO_POINTS = {"SpikeMatMul": ("a_zero_point", "b_zero_point")}


def to_integers(graph: Graph) -> Graph:
    """Integer layers become operations on counts, which their neurons emit; whoever else reads
    those spikes reads step x count. A network without int8 weights stays as it is."""
    if not quantized_layers(graph):
        return graph
    drives: dict[str, tuple[Drive, tuple[Neuron, ...]]] = {}
    counting: dict[str, Neuron] = {}
    for drive in _drives(graph):
        sources = [counting_neuron(graph, v) for v in drive.spikes]
        neurons = tuple(n for n in sources if n is not None)
        if len(neurons) < len(sources) or _overflows(graph, drive, neurons):
            continue
        for neuron in neurons:
            check_counts(graph, neuron, drive.parts[0])
            counting[neuron.outputs[0]] = neuron
        drives[drive.result] = drive, neurons
    counted = graph.rewrite(_Rewriting(graph, drives, _moved(graph, counting)))
    return move_channels_last(pool_counts(counted))


def float_weights(graph: Graph) -> Graph:
    """Weights of int8 that only float layers read, as numbers: onnxruntime would round the
    activations of such layers to 8 bits."""
    layers = quantized_layers(graph)
    found = {v: quantized(graph, v) for layer in layers for v in layer.inputs}
    arrays = {v: weights.array for v, weights in found.items() if weights is not None}
    nodes = tuple(node for node in graph.nodes if node.outputs[0] not in arrays)
    return replace(graph, nodes=nodes, consts={**graph.consts, **arrays}).pruned()


def _drives(graph: Graph) -> Iterator[Drive]:
    for node in graph.nodes:
        if isinstance(node, Op):
            found = linear(graph, node) or convolution(graph, node) or product(graph, node)
            if found is not None:
                yield found


def _overflows(graph: Graph, drive: Drive, neurons: tuple[Neuron, ...]) -> bool:
    """Whether the sums of a product of spikes may leave 32 bits; weights were checked before."""
    if drive.weights is not None:
        return False
    depth = (graph.types[drive.spikes[0]].shape or (None,))[-1]
    largest = [n.model.top if n.sides == "positive" else 128 for n in neurons]
    return isinstance(depth, int) and depth * max(largest[0], 1) * max(largest[-1], 1) >= 2**31


def _moved(graph: Graph, counting: dict[str, Neuron]) -> dict[str, Neuron]:
    """Every value that will hold counts, and the neurons they are of."""
    moved = dict(counting)
    for node in graph.nodes:
        if moves_counts(graph, node) and node.inputs[0] in moved:
            moved.update((v, moved[node.inputs[0]]) for v in node.outputs if v)
    return moved


class _Rewriting:
    """What becomes of each node. moved: values that will hold counts."""

    def __init__(
        self,
        graph: Graph,
        drives: dict[str, tuple[Drive, tuple[Neuron, ...]]],
        moved: dict[str, Neuron],
    ) -> None:
        self._graph, self._drives, self._moved = graph, drives, moved
        self._real: dict[str, str] = {}

    def __call__(self, node: Node) -> Replacement | None:
        if node.outputs[0] in self._drives:
            return self._lowered(*self._drives[node.outputs[0]])
        if any(v in self._moved for v in node.outputs):
            types = {v: replace(self._graph.types[v], dtype="uint8") for v in node.outputs if v}
            return Replacement(
                (count_operation(node) if isinstance(node, Neuron) else node,), types
            )
        if any(v in self._moved for v in node.inputs):
            return self._reading_numbers(node)
        return None

    def _lowered(self, drive: Drive, neurons: tuple[Neuron, ...]) -> Replacement:
        points = _ZERO_POINTS.get(drive.name, ("zero_point",))
        attrs: dict[str, Attribute] = {
            point: ZERO_POINT[neuron.sides] for point, neuron in zip(points, neurons, strict=True)
        }
        steps = [step_of(self._graph, neuron) for neuron in neurons]
        op, consts = drive.lowered(self._graph, steps, attrs)
        return Replacement((op,), {}, consts)

    def _reading_numbers(self, node: Node) -> Replacement:
        """A reader that is no integer layer, on step x count."""
        new: list[Op] = []
        types, consts = {}, {}
        for value in dict.fromkeys(v for v in node.inputs if v in self._moved):
            if value in self._real:
                continue
            neuron = self._moved[value]
            real, step, zero = (
                self._graph.fresh(f"{value}.{key}") for key in ("real", "real.step", "real.zero")
            )
            self._real[value] = real
            consts[step] = step_of(self._graph, neuron)
            consts[zero] = np.array(ZERO_POINT[neuron.sides], np.uint8)
            types[real] = self._graph.types[value]
            new.append(Op((real,), (value, step, zero), neuron.loc, "DequantizeLinear"))
        inputs = tuple(self._real.get(v, v) for v in node.inputs)
        return Replacement((*new, replace(node, inputs=inputs)), types, consts)
