"""Averages that onnxruntime adds up in another order from opset 19 on."""

from __future__ import annotations

from onnx import ModelProto, NodeProto, helper

from snnc.frontend.legal import ONNX_DOMAINS, opset_of
from snnc.frontend.naming import Locs

_CHANGED = 19
"""Opset from which AveragePool adds row by row; before, each column first where the window moves by
at most two columns."""


def split_average_pools(model: ModelProto, locs: Locs) -> None:
    """AveragePool in front of a quantiser as one over columns and one over rows, in place.

    In even windows an average of integers may lie halfway between two, where the last bit of the
    sum decides. In this order each sum is what onnxruntime computes for the model as it is. Only
    windows whose height is a power of two, by which dividing is exact; with padding 2 x 2 alone.
    """
    if opset_of(model) >= _CHANGED:
        return
    quantised = {n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        split = node.domain in ONNX_DOMAINS and node.op_type == "AveragePool"
        nodes += _split(node, locs) if split and node.output[0] in quantised else [node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _split(node: NodeProto, locs: Locs) -> list[NodeProto]:
    attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    kernel = attrs.get("kernel_shape", [])
    strides = attrs.get("strides", [1] * len(kernel))
    pads = attrs.get("pads", [0] * 4)
    other = attrs.get("auto_pad", b"NOTSET") not in _UNPADDED or attrs.get("ceil_mode", 0)
    if len(kernel) != 2 or other or strides[1] > 2 or (any(pads) and kernel != [2, 2]):
        return [node]
    height, width = kernel
    if height & (height - 1) or 1 in kernel:
        return [node]
    zeros = attrs.get("count_include_pad", 0)
    columns = helper.make_node(
        "AveragePool",
        node.input,
        [f"{node.output[0]}/columns"],
        f"{node.name}/columns",
        kernel_shape=[height, 1],
        strides=[strides[0], 1],
        pads=[pads[0], 0, pads[2], 0],
        count_include_pad=zeros,
    )
    rows = helper.make_node(
        "AveragePool",
        columns.output,
        node.output,
        node.name,
        kernel_shape=[1, width],
        strides=[1, strides[1]],
        pads=[0, pads[1], 0, pads[3]],
        count_include_pad=zeros,
    )
    locs[columns.name] = (node.name,)
    return [columns, rows]


_UNPADDED = (b"NOTSET", b"VALID")
