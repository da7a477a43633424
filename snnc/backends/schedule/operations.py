"""Which operations of a target a layer needs: one table from operations of ONNX."""

from __future__ import annotations

from snnc.backends.schedule.layers import Connection, Layer, Network
from snnc.ir.flow import Flow
from snnc.ir.graph import Graph
from snnc.ir.node import Coding, Op
from snnc.ir.ops import BROADCASTING, LAYOUT, POINTWISE, SYNAPTIC, multiplied
from snnc.ir.spike_times import WINDOWED
from snnc.ir.time import LAST, REPEAT, RUNNING_MEAN, TELESCOPE
from snnc.targets import Operation

_TABLE: dict[Operation, str] = {
    "rectifier": "Relu Clip",
    "scale": f"Neg BatchNormalization {RUNNING_MEAN} {TELESCOPE}",
    "max-pooling": "MaxPool GlobalMaxPool ReduceMax ReduceMin",
    "average-pooling": "AveragePool GlobalAveragePool ReduceMean ReduceSum",
    "normalisation": (
        "LayerNormalization InstanceNormalization GroupNormalization RMSNormalization "
        "LpNormalization MeanVarianceNormalization LRN"
    ),
    "softmax": "Softmax LogSoftmax Hardmax",
}
_OF_TYPE: dict[str, Operation] = {
    op_type: operation for operation, op_types in _TABLE.items() for op_type in op_types.split()
}
_SUMS = frozenset({"Add", "Sub", "Sum", "Mean"})
_FACTORS = frozenset({"Mul", "Div"})
_NOTHING = LAYOUT | {"Identity", REPEAT, LAST}
_FUNCTIONS = (POINTWISE | BROADCASTING) - _SUMS - _FACTORS - {"Max", "Min", "Where"}


def needed(network: Network, layer: Layer) -> dict[Operation, tuple[str, ...]]:
    """The operations that a layer needs, each with the types of the nodes that need it."""
    data = Flow(network.graph).data
    return needed_of(network.graph, layer, data)


def needed_of(
    graph: Graph, layer: Layer, data: frozenset[str] | set[str]
) -> dict[Operation, tuple[str, ...]]:
    """The same, where the values that depend on the inputs are known."""
    found: dict[Operation, tuple[str, ...]] = {}
    for node in layer.nodes:
        if not isinstance(node, Op):
            continue
        foreign = [each for each in layer.connections if each.op is node]
        for operation in _operations(graph, node, foreign, [v for v in node.inputs if v in data]):
            types = found.get(operation, ())
            found[operation] = types if node.op_type in types else (*types, node.op_type)
    return found


def _operations(
    graph: Graph, op: Op, foreign: list[Connection], computed: list[str]
) -> list[Operation]:
    timed = any(graph.types[v].coding is Coding.TIME for v in computed)
    if op.op_type in WINDOWED or (timed and op.op_type not in _NOTHING):
        return ["spike-time-kernel"]
    spikes = bool(foreign) and all(each.neurons is not None for each in foreign)
    if op.op_type in SYNAPTIC:
        if len([v for v in multiplied(op) if v in computed]) > 1:
            return ["product"]
        return ["synapses" if spikes else "real-input"]
    if op.op_type in _SUMS:
        return [] if len(computed) < 2 else ["synapses" if spikes else "sum"]
    if op.op_type in _FACTORS:
        return _factor(op, computed)
    return _other(op, spikes, computed)


def _factor(op: Op, computed: list[str]) -> list[Operation]:
    if len(computed) > 1:
        return ["gate" if op.op_type == "Mul" else "other"]
    divides = op.op_type == "Div" and computed[0] == op.inputs[1]
    return ["activation-function" if divides else "scale"]


def _other(op: Op, spikes: bool, computed: list[str]) -> list[Operation]:
    if op.op_type in _NOTHING:
        moved = set(op.inputs) if op.op_type == "Concat" else {op.inputs[op.op_type == "Where"]}
        moved |= {op.inputs[2]} if op.op_type == "Where" else set()
        return [] if set(computed) <= moved else ["other"]
    operation = _OF_TYPE.get(op.op_type)
    if operation == "average-pooling" and spikes:
        return ["synapses"]  # of equal weights
    if operation is not None:
        return [operation]
    if op.op_type in ("Max", "Min"):
        return ["max-pooling" if len(computed) > 1 else "rectifier"]
    return ["activation-function" if op.op_type in _FUNCTIONS and len(computed) == 1 else "other"]
