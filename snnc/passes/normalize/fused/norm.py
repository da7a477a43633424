"""Normalisations that onnxruntime fuses with the residual sum before them."""

from __future__ import annotations

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Op
from snnc.passes.normalize.spelling import Spelling, shape_of


def spell_skip_layer_norm(graph: Graph, op: Op) -> Replacement | None:
    """SkipLayerNormalization: layer norm of x + skip (+ bias), and that sum as fourth result."""
    x, skip, gamma, beta, bias = (*op.inputs, "", "")[:5]
    if not _only_results(op, 0, 3):
        return None
    s = Spelling(graph, op)
    total = _sum(s, (x, skip, bias))
    scale_and_shift = (gamma, beta) if beta else (gamma,)
    s.op(
        "LayerNormalization",
        total,
        *scale_and_shift,
        into=op.outputs[0],
        axis=-1,
        epsilon=op.attrs.get("epsilon", 1e-12),
    )
    return s.done()


def spell_skip_rms_norm(graph: Graph, op: Op) -> Replacement | None:
    """SkipSimplifiedLayerNormalization: the same without mean and shift."""
    x, skip, gamma, bias = (*op.inputs, "")[:4]
    if not _only_results(op, 0, 3):
        return None
    s = Spelling(graph, op)
    _rms_norm(s, _sum(s, (x, skip, bias)), gamma, float(op.attrs.get("epsilon", 1e-12)))  # type: ignore[arg-type]
    return s.done()


def spell_rms_norm(graph: Graph, op: Op) -> Replacement | None:
    """SimplifiedLayerNormalization over the last axis: x / sqrt(mean(x^2) + eps) * gamma."""
    x, gamma = op.inputs
    shape, axis = shape_of(graph, x), op.integer("axis", -1)
    if not _only_results(op, 0) or (axis != -1 and (shape is None or axis != len(shape) - 1)):
        return None
    s = Spelling(graph, op)
    if s.dtype(x) != "float32" or s.dtype(gamma) != "float32":
        return None
    _rms_norm(s, x, gamma, float(op.attrs.get("epsilon", 1e-5)))  # type: ignore[arg-type]
    return s.done()


def _rms_norm(s: Spelling, x: str, gamma: str, epsilon: float) -> None:
    square = s.op("ReduceMean", s.op("Mul", x, x), s.ints(-1))
    spread = s.op("Sqrt", s.op("Add", square, s.const(epsilon, s.dtype(x))))
    s.op("Mul", s.op("Div", x, spread), gamma, into=s.node.outputs[0])


def _sum(s: Spelling, terms: tuple[str, str, str]) -> str:
    """x + skip + bias, which is the fourth result where that is asked for."""
    x, skip, bias = terms
    into = s.node.outputs[3] if len(s.node.outputs) > 3 else ""
    if not bias:
        return s.op("Add", x, skip, into=into)
    return s.op("Add", s.op("Add", x, skip), bias, into=into)


def _only_results(op: Op, *places: int) -> bool:
    """Whether the operation has no result but those; the others are for training."""
    return all(not value or place in places for place, value in enumerate(op.outputs))
