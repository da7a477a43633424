"""Which layers of neurons see nothing but sums of integers."""

from __future__ import annotations

from snnc.ir.graph import Graph
from snnc.ir.node import Coding, Neuron, Op
from snnc.ir.ops import PERMUTING
from snnc.ir.weights import quantized, quantized_layers
from snnc.simulator.values import single_step, steps_of
from snnc.streams import neuron_behind

_EXACT = PERMUTING | {"Relu", "MaxPool"}
"""Operations that round nothing."""


def exact_layers(graph: Graph) -> frozenset[str]:
    """Results of the neurons whose potentials are integers times one scale and plus one bias, in
    whatever order the integers were added."""
    if not quantized_layers(graph):
        return frozenset()
    return frozenset(n.outputs[0] for n in graph.neurons if _is_exact(graph, n))


def _is_exact(graph: Graph, neuron: Neuron) -> bool:
    value = neuron.inputs[0]
    if neuron.timesteps > 1:
        return False
    while (op := graph.op(value, *_EXACT)) is not None:
        value = op.inputs[0]
    op = graph.op(value)
    if op is not None and op.op_type == "Add":
        added = [v for v in op.inputs if v not in graph.consts]
        op = graph.op(added[0], "MatMul") if len(added) == 1 else None
    return op is not None and _sums_integers(graph, op)


def _sums_integers(graph: Graph, op: Op) -> bool:
    if op.op_type not in ("MatMul", "Gemm", "Conv"):
        return False
    counted, integers = (
        [_is_counted(graph, v) for v in op.inputs[:2]],
        quantized(graph, op.inputs[1]),
    )
    return counted[0] and (integers is not None or (op.op_type == "MatMul" and counted[1]))


def _is_counted(graph: Graph, value: str) -> bool:
    """Whether a value holds spikes of one step."""
    if value not in graph.types or graph.types[value].coding is not Coding.SPIKE:
        return False
    neuron = graph.producer.get(neuron_behind(graph, value) or "")
    return isinstance(neuron, Neuron) and single_step(*steps_of(graph, neuron)) is not None
