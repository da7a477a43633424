"""MaxPoolCounts: neurons in front of a MaxPool, whose windows then are of bytes."""

from __future__ import annotations

from dataclasses import replace

from snnc.backends.lowering.convolution import geometry_of
from snnc.backends.lowering.drive import parts_of
from snnc.ir.channels_last import map_rank
from snnc.ir.composed import PARTS, composed
from snnc.ir.functions import MAX_POOL_COUNTS
from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Attribute, Coding, Node, Op, Type


def pool_counts(graph: Graph) -> Graph:
    """Neurons of positive spikes behind a MaxPool move in front of it, and of its Relu, where an
    integer convolution then drives them: the more a neuron reads, the more it fires."""

    def rule(node: Node) -> Replacement | None:
        return _in_front(graph, node) if isinstance(node, Op) and _counts(node) else None

    return graph.rewrite(rule)


def _counts(op: Op) -> bool:
    """Whether an operation is neurons that kernels make part of an integer layer."""
    made = composed(op)
    if made is None or made.drive or made.neuron is None or made.sides != "positive":
        return False
    return made.count and made.neuron.fuses(made.sides)


def _in_front(graph: Graph, neuron: Op) -> Replacement | None:
    pool = graph.op(neuron.inputs[0], "MaxPool")
    geometry = None if pool is None else _geometry(graph, pool)
    if pool is None or geometry is None or graph.only_reader(pool.outputs[0]) is not neuron:
        return None
    relu = graph.op(pool.inputs[0], "Relu")
    parts = (pool,) if relu is None else (relu, pool)
    value = parts[0].inputs[0]
    drive = graph.op(value)
    if drive is None or map_rank(drive) is None or graph.only_reader(value) is not parts[0]:
        return None
    if graph.only_reader(pool.inputs[0]) is not pool:
        return None
    spikes = graph.fresh(f"{value}.spikes")
    earlier = replace(neuron, inputs=(value, *neuron.inputs[1:]), outputs=(spikes,))
    attrs = geometry | {PARTS: parts_of(parts)}
    pooled = Op(neuron.outputs, (spikes,), pool.loc, MAX_POOL_COUNTS, attrs)
    kind = Type(Coding.SPIKE, "uint8", graph.types[value].shape)
    return Replacement((earlier, pooled), {spikes: kind})


def _geometry(graph: Graph, pool: Op) -> dict[str, Attribute] | None:
    """The window and where it goes, explicitly; None where kernels cannot do it."""
    kernel = pool.ints("kernel_shape", ())
    if pool.integer("ceil_mode", 0) or any(pool.outputs[1:]) or _padded_anew(pool):
        return None
    geometry = geometry_of(graph, pool, kernel)
    if geometry is None:
        return None
    return {"kernel_shape": kernel} | {
        key: geometry[key] for key in ("strides", "pads", "dilations")
    }


def _padded_anew(pool: Op) -> bool:
    """Whether onnxruntime pads otherwise than ONNX says: SAME as if nothing were dilated."""
    same = pool.attrs.get("auto_pad") in ("SAME_UPPER", "SAME_LOWER")
    return same and any(d > 1 for d in pool.ints("dilations", ()))
