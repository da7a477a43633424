"""Zero padding written as an operation of its own joins the convolution behind it."""

from __future__ import annotations

from dataclasses import replace

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Node, Op


def merge_padding(graph: Graph) -> Graph:
    """Pad (constant 0, spatial axes only) -> Conv becomes Conv with larger pads."""

    def rule(node: Node) -> Replacement | None:
        if not isinstance(node, Op) or node.op_type != "Conv":
            return None
        pad = graph.op(node.inputs[0], "Pad")
        amounts = spatial_zero_padding(graph, pad) if pad is not None else None
        if pad is None or amounts is None or node.attrs.get("auto_pad", "NOTSET") != "NOTSET":
            return None
        own = node.ints("pads", (0,) * len(amounts))
        pads = tuple(a + b for a, b in zip(own, amounts, strict=True))
        merged = replace(
            node,
            inputs=(pad.inputs[0], *node.inputs[1:]),
            attrs={**node.attrs, "pads": pads},
            loc=node.loc | pad.loc,
        )
        return Replacement((merged,))

    return graph.rewrite(rule)


def spatial_zero_padding(graph: Graph, pad: Op) -> tuple[int, ...] | None:
    """Amounts in the order of Conv's pads, None if the padding is anything else."""
    amounts = graph.consts.get(pad.inputs[1]) if len(pad.inputs) > 1 else None
    value = graph.scalar(pad.inputs[2]) if len(pad.inputs) > 2 and pad.inputs[2] else 0.0
    has_axes = len(pad.inputs) > 3 and pad.inputs[3]
    if (
        amounts is None
        or value != 0.0
        or has_axes
        or pad.attrs.get("mode", "constant") != "constant"
    ):
        return None
    begin, end = (list(map(int, half)) for half in amounts.reshape(2, -1))
    if any(begin[:2] + end[:2]) or min(begin + end) < 0:
        return None
    return (*begin[2:], *end[2:])
