"""FloatLinear, FloatConv: layers with float weights on few spikes."""

from __future__ import annotations

import numpy as np

from snnc.backends.lowering.convolution import geometry_of
from snnc.backends.lowering.drive import parts_of, rank_of, vector
from snnc.ir.composed import PARTS
from snnc.ir.graph import DOMAIN, Graph, Replacement
from snnc.ir.node import Array, Attribute, Coding, Neuron, Node, Op
from snnc.ir.ops import SHAPE_ONLY

BUSIEST_ROW = 0.4
"""Share of neurons that fire, up to which layers on one row skip the weights of silent ones."""

BUSIEST_MAP = 0.15
"""The same of convolutions."""

LARGEST_KERNEL = 2**20
"""Weights of a convolution beyond which the caches do not hold what its spikes read."""


def _bias(
    graph: Graph, op: Op, size: int, rank: int | None, factor: float = 1.0
) -> tuple[str, dict[str, Array]]:
    """The bias of a layer as a vector of constants, '' if it is none; zeros where there is none."""
    array: Array | None = np.zeros(size, np.float32)
    if len(op.inputs) > 2 and op.inputs[2]:
        array = vector(graph, op.inputs[2], size, rank)
        if array is not None and graph.consts[op.inputs[2]].shape == (size,) and factor == 1.0:
            return op.inputs[2], {}
    if array is None:
        return "", {}
    name = graph.fresh(f"{op.outputs[0]}.bias")
    return name, {name: np.asarray(np.float32(factor) * array)}


def skip_silent_inputs(graph: Graph) -> Graph:
    """Layers that read the weights of neurons that fire only: matrices on one row of spikes, and
    convolutions, where calibration measured that most are silent."""

    def rule(node: Node) -> Replacement | None:
        if not isinstance(node, Op):
            return None
        if node.op_type in ("MatMul", "Gemm"):
            return _linear(graph, node)
        return _convolution(graph, node) if node.op_type == "Conv" else None

    return graph.rewrite(rule)


def _linear(graph: Graph, op: Op) -> Replacement | None:
    weights = graph.consts.get(op.inputs[1])
    plain = not op.integer("transA", 0) and op.attrs.get("alpha", 1.0) == 1.0
    if weights is None or weights.ndim != 2 or weights.dtype != np.float32:
        return None
    if not plain or not _is_row(graph, op.inputs[0]) or _firing(graph, op.inputs[0]) > BUSIEST_ROW:
        return None
    if not _silenced(weights):
        return None
    transposed = bool(op.integer("transB", 0))
    matrix = weights.T if transposed else weights
    beta = float(op.attrs.get("beta", 1.0))  # type: ignore[arg-type]
    bias, consts = _bias(graph, op, matrix.shape[1], rank_of(graph, op.outputs[0]), beta)
    if not bias:
        return None
    stored = op.inputs[1]
    if transposed:
        stored = graph.fresh(f"{op.outputs[0]}.w")
        consts[stored] = np.ascontiguousarray(matrix)
    attrs: dict[str, Attribute] = {PARTS: parts_of((op,))}
    inputs = (op.inputs[0], stored, bias)
    layer = Op(op.outputs, inputs, op.loc, f"{DOMAIN}.FloatLinear", attrs)
    return Replacement((layer,), {}, consts)


def _convolution(graph: Graph, op: Op) -> Replacement | None:
    weights = graph.consts.get(op.inputs[1])
    if weights is None or weights.dtype != np.float32 or op.integer("group", 1) != 1:
        return None
    geometry = geometry_of(graph, op, weights.shape[2:])
    if geometry is None or weights.size > LARGEST_KERNEL:
        return None
    if _firing(graph, op.inputs[0]) > BUSIEST_MAP or not _silenced(weights):
        return None
    bias, consts = _bias(graph, op, weights.shape[0], 1)
    if not bias:
        return None
    attrs = geometry | {PARTS: parts_of((op,))}
    inputs = (op.inputs[0], op.inputs[1], bias)
    layer = Op(op.outputs, inputs, op.loc, f"{DOMAIN}.FloatConv", attrs)
    return Replacement((layer,), {}, consts)


def _silenced(weights: Array) -> bool:
    """Whether nothing remains of weights times 0, as NaN does of what is no finite number."""
    return bool(np.isfinite(weights).all())


def _is_row(graph: Graph, value: str) -> bool:
    """Whether a value is certainly one row."""
    kind = graph.types.get(value)
    if kind is None or kind.shape is None or len(kind.shape) < 2:
        return False
    return all(d == 1 for d in kind.shape[:-1])


def _firing(graph: Graph, value: str) -> float:
    """The share of a value's entries that are spikes at one timestep, on calibration data; 1 where
    nothing is known of it."""
    kind = graph.types.get(value)
    if kind is None or kind.coding is not Coding.SPIKE or kind.dtype != "float32":
        return 1.0
    while (op := graph.op(value, *SHAPE_ONLY)) is not None:
        value = op.inputs[0]
    neuron = graph.producer.get(value)
    if not isinstance(neuron, Neuron) or neuron.activity is None:
        return 1.0
    return neuron.activity.events / neuron.timesteps
