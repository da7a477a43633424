"""The triangle of a matrix, which old exporters wrote as an operator of onnxruntime."""

from __future__ import annotations

from dataclasses import replace

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Op


def spell_triangle(graph: Graph, op: Op) -> Replacement:
    """Trilu, which ONNX has had since opset 14."""
    return Replacement((replace(op, op_type="Trilu"),))
