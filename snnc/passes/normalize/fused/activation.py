"""Activation functions that onnxruntime fuses with a bias or a scaled sigmoid."""

from __future__ import annotations

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Op
from snnc.passes.normalize.gelu import TOLERANCE as GELU_TYPES
from snnc.passes.normalize.spelling import Spelling


def spell_gelu(graph: Graph, op: Op) -> Replacement | None:
    """Gelu, BiasGelu: GELU by erf of x, or of x + bias."""
    return _gelu(graph, op, "none")


def spell_fast_gelu(graph: Graph, op: Op) -> Replacement | None:
    """FastGelu: GELU by tanh of x, or of x + bias."""
    return _gelu(graph, op, "tanh")


def _gelu(graph: Graph, op: Op, approximate: str) -> Replacement | None:
    x, *bias = op.inputs
    if graph.types[op.outputs[0]].dtype not in GELU_TYPES:
        return None
    s = Spelling(graph, op)
    if bias:
        x = s.op("Add", x, *bias)
    attrs = {} if approximate == "none" else {"approximate": approximate}
    s.op("Gelu", x, into=op.outputs[0], attrs=attrs)
    return s.done()


def spell_quick_gelu(graph: Graph, op: Op) -> Replacement:
    """QuickGelu: x sigmoid(alpha x); with alpha 1 it is SiLU."""
    s = Spelling(graph, op)
    x, alpha = op.inputs[0], float(op.attrs.get("alpha", 1.702))  # type: ignore[arg-type]
    scaled = x if alpha == 1 else s.op("Mul", x, s.const(alpha, s.dtype(x)))
    s.op("Mul", x, s.op("Sigmoid", scaled), into=op.outputs[0])
    return s.done()
