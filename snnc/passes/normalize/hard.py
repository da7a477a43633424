"""Hard sigmoid and hard swish written out by a Clip: clip(a x + b, 0, 1), and x times that."""

from __future__ import annotations

from dataclasses import dataclass

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Node, Op
from snnc.ir.ops import rectifier_bound
from snnc.passes.normalize.algebra import factors, polynomial, same_rank

_TYPES = ("float32", "float16")
"""Types that onnxruntime computes both in."""

_TOLERANCE = 1e-5
"""Relative error of the constants, as exporters round 1/6."""


@dataclass(frozen=True)
class _Gate:
    """clip(slope x + shift, 0, 1)."""

    x: str
    slope: float
    shift: float


def recognise_hard_functions(graph: Graph) -> Graph:
    """Replaces them by HardSwish and HardSigmoid.

    A Clip alone stays: a neuron can perform it.
    """

    def rule(node: Node) -> Replacement | None:
        if not isinstance(node, Op) or node.op_type not in ("Mul", "Div"):
            return None
        if graph.types[node.outputs[0]].dtype not in _TYPES:
            return None
        constant, leaves = factors(graph, node.outputs[0])
        return _swish(graph, node, constant, leaves) or _sigmoid(graph, node, constant, leaves)

    return graph.rewrite(rule)


def _swish(graph: Graph, node: Op, constant: float, leaves: list[str]) -> Replacement | None:
    """x clip(x / 6 + 1 / 2, 0, 1)."""
    if len(leaves) != 2:
        return None
    for x, other in (leaves, leaves[::-1]):
        gate = _gate(graph, other, constant, x)
        if gate is None or not same_rank(graph, x, node.outputs[0]):
            continue
        if _near(gate.slope, 1 / 6) and _near(gate.shift, 1 / 2):
            return Replacement((Op(node.outputs, (x,), node.loc, "HardSwish"),))
    return None


def _sigmoid(graph: Graph, node: Op, constant: float, leaves: list[str]) -> Replacement | None:
    clip = graph.op(leaves[0], "Clip") if len(leaves) == 1 else None
    x = _base(graph, clip.inputs[0]) if clip is not None else None
    gate = _gate(graph, leaves[0], constant, x) if x is not None else None
    if gate is None or not same_rank(graph, gate.x, node.outputs[0]):
        return None
    attrs = {"alpha": gate.slope, "beta": gate.shift}
    return Replacement((Op(node.outputs, (gate.x,), node.loc, "HardSigmoid", attrs),))


def _gate(graph: Graph, value: str, constant: float, x: str) -> _Gate | None:
    """`constant` times `value` as a hard sigmoid of `x`."""
    op = graph.op(value, "Clip", "HardSigmoid")
    if op is None:
        return None
    if op.op_type == "HardSigmoid":
        slope, shift = (float(op.attrs.get(*a)) for a in (("alpha", 0.2), ("beta", 0.5)))  # type: ignore[arg-type]
        return _Gate(x, slope, shift) if op.inputs[0] == x and _near(constant, 1.0) else None
    bound, inner = rectifier_bound(graph, op), polynomial(graph, op.inputs[0], x)
    if bound is None or inner is None or not _near(constant * bound, 1.0):
        return None
    if inner.keys() > {0, 1} or not inner.get(1):
        return None
    return _Gate(x, constant * inner[1], constant * inner.get(0, 0.0))


def _base(graph: Graph, value: str) -> str:
    """What is scaled and shifted by constants to `value`."""
    while (op := graph.op(value, "Add", "Sub", "Mul", "Div")) is not None:
        others = [v for v in op.inputs if graph.scalar(v) is None]
        if len(others) != 1 or (op.op_type == "Div" and others[0] != op.inputs[0]):
            break
        value = others[0]
    return value


def _near(found: float, wanted: float) -> bool:
    return abs(found - wanted) <= _TOLERANCE * wanted
