"""GELU written out: x/2 (1 + erf(x/sqrt 2)), or its tanh approximation, in any association."""

from __future__ import annotations

import math

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Node, Op
from snnc.passes.normalize.algebra import (
    close,
    factors,
    plus_constant,
    polynomial,
    same_rank,
)

_ERF = {1: 1 / math.sqrt(2)}
_TANH = {1: math.sqrt(2 / math.pi), 3: math.sqrt(2 / math.pi) * 0.044715}

TOLERANCE = {"float32": 1e-5, "float16": 1e-3, "bfloat16": 8e-3}
"""Relative error of constants stored in each type that onnxruntime computes Gelu in."""


def recognise_gelu(graph: Graph) -> Graph:
    """Replaces the chain by one Gelu operation."""

    def rule(node: Node) -> Replacement | None:
        if not isinstance(node, Op) or node.op_type not in ("Mul", "Div"):
            return None
        found = _match(graph, node)
        if found is None:
            return None
        x, approximate = found
        attrs = {} if approximate == "none" else {"approximate": approximate}
        return Replacement((Op(node.outputs, (x,), node.loc, "Gelu", attrs),))

    return graph.rewrite(rule)


def _match(graph: Graph, op: Op) -> tuple[str, str] | None:
    constant, leaves = factors(graph, op.outputs[0])
    tolerance = TOLERANCE.get(graph.types[op.outputs[0]].dtype)
    if tolerance is None or abs(constant - 0.5) > 1e-6 or len(leaves) != 2:
        return None
    for x, bracket in (leaves, leaves[::-1]):
        shifted = plus_constant(graph, bracket)
        if shifted is None or shifted[1] != 1.0:
            continue
        inner = graph.op(shifted[0], "Erf", "Tanh")
        if inner is None:
            continue
        wanted = _ERF if inner.op_type == "Erf" else _TANH
        found = polynomial(graph, inner.inputs[0], x)
        if close(found, wanted, tolerance) and same_rank(graph, x, op.outputs[0]):
            return x, "none" if inner.op_type == "Erf" else "tanh"
    return None
