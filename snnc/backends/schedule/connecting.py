"""How numbers reach the cells of an operation, and whose spikes they are."""

from __future__ import annotations

from collections.abc import Container

from snnc.backends.schedule.layers import Kind
from snnc.ir.graph import Graph
from snnc.ir.node import Node, Op
from snnc.ir.ops import BROADCASTING, POINTWISE, multiplied
from snnc.ir.spike_times import (
    GATED_SPIKE_TIME,
    MULTIPLIED,
    RELAY,
    SPIKE_TIME,
    neurons_behind,
)
from snnc.ir.time import RUNNING_MEAN, TELESCOPE
from snnc.streams import neuron_behind

BY_ENTRY = BROADCASTING | POINTWISE | {RUNNING_MEAN, TELESCOPE, "BatchNormalization", "Clip"}
"""Operations that a cell performs on what it holds and on what others send it."""

RETYPING = frozenset({"Cast", "CastLike"})

_ONE_TO_ONE = BY_ENTRY | RETYPING | {SPIKE_TIME, GATED_SPIKE_TIME, RELAY}


def kind_of(node: Node, data: Container[str]) -> Kind:
    """The kind of a node's connections. data: values that depend on the samples."""
    if not isinstance(node, Op) or node.op_type in _ONE_TO_ONE:
        return "wire"
    if node.op_type in MULTIPLIED:
        return "product"
    operands = multiplied(node)
    if not operands:
        return "gather"
    computed = [v for v in operands if v in data]
    return "synapses" if len(computed) == 1 else "product"


def neurons_of(graph: Graph, value: str, data: Container[str]) -> str | None:
    """The neurons whose spikes a value holds; a function of single spike times is what a synapse
    makes of them."""
    found = neuron_behind(graph, value)
    while found is None:
        timed, op = neurons_behind(graph, value), graph.op(value)
        if timed is not None:
            return timed.outputs[0]
        if op is None or op.op_type not in BY_ENTRY:
            return None
        read = {v for v in op.inputs if v in data}
        if len(read) > 1:
            return None
        (value,) = read
    return found
