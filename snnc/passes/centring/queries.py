"""Queries: q . k = (q - m) . k + m . k, whose last term is one number for each head and key."""

from __future__ import annotations

from dataclasses import replace

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Dim, Op
from snnc.passes.centring.attention import Operand
from snnc.passes.centring.axes import shape_of


def with_product(graph: Graph, queries: Operand, shift: Array) -> Graph:
    """The graph whose scores get m . k: a layer with the weights m on the spikes of the keys."""
    scores = queries.product.outputs[0]
    op, kind = graph.producer[scores], graph.types[scores]
    plain, weights, term = (
        graph.fresh(f"{scores}.{part}") for part in ("centred", "zero_point", "restoring")
    )
    operands = [queries.other.value, queries.other.value]
    operands[queries.place] = weights
    nodes = (
        replace(op, outputs=(plain,)),
        Op((term,), tuple(operands), op.loc, "MatMul"),
        Op((scores,), (plain, term), op.loc, "Add"),
    )
    types = {plain: kind, term: replace(kind, shape=_shape(graph, queries, shift))}
    made = Replacement(nodes, types, {weights: shift})
    return graph.rewrite(lambda node: made if node is op else None)


def _shape(graph: Graph, queries: Operand, shift: Array) -> tuple[Dim, ...] | None:
    keys = shape_of(graph, queries.other.value)
    if keys is None or len(keys) < shift.ndim:
        return None
    own = (1,) * (len(keys) - shift.ndim) + shift.shape
    heads = [k if m == 1 else m for k, m in zip(keys[:-2], own[:-2], strict=True)]
    return (*heads, keys[-2], 1) if queries.place else (*heads, 1, keys[-1])
