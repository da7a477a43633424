"""Linear layers, pools and layout as nodes of NIR: one rule an operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from snnc.backends.schedule.export.packages import package
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.ir.time import REPEAT
from snnc.ir.weights import weight

Shape = tuple[int, ...]


class InexpressibleError(Exception):
    """NIR has no node for an operation, or none of this form. help: what to do instead."""

    def __init__(self, why: str, help: str = "take a network without it") -> None:
        super().__init__(why)
        self.why, self.help = why, help


Rule = Callable[[Graph, Op, Shape, Shape], Any]
"""The node for an operation that reads and gives values of these shapes (without the batch); None
for one that changes nothing. Raises InexpressibleError."""


def _constant(graph: Graph, op: Op, place: int) -> Array:
    found = weight(graph, op.inputs[place])
    if found is None:
        raise InexpressibleError("both factors are activations, NIR multiplies by constants only")
    return found


def _matrix(graph: Graph, op: Op, given: Shape, made: Shape) -> Any:
    if op.op_type == "Gemm":
        return _gemm(graph, op, given)
    weights = _constant(graph, op, 1)
    if weights.ndim != 2 or len(given) != 1:
        raise InexpressibleError(
            "NIR's linear layers read vectors, not a row of features for each position"
        )
    return package("nir").Linear(weight=np.ascontiguousarray(weights.T))


def _gemm(graph: Graph, op: Op, given: Shape) -> Any:
    weights = _constant(graph, op, 1)
    if op.integer("transA", 0) or len(given) != 1:
        raise InexpressibleError("NIR's linear layers do not transpose what they read")
    weights = weights if op.integer("transB", 0) else weights.T
    weights = np.ascontiguousarray(weights * np.float32(op.number("alpha", 1.0)))
    if len(op.inputs) < 3 or not op.inputs[2]:
        return package("nir").Linear(weight=weights)
    bias = _constant(graph, op, 2) * np.float32(op.number("beta", 1.0))
    bias = np.broadcast_to(bias.reshape(-1), weights.shape[:1]).copy()
    return package("nir").Affine(weight=weights, bias=bias)


def _convolution(graph: Graph, op: Op, given: Shape, made: Shape) -> Any:
    weights = _dense(_constant(graph, op, 1), op.integer("group", 1))
    rank = len(given) - 1
    if rank not in (1, 2):
        raise InexpressibleError(f"NIR knows convolutions over one and two axes, not over {rank}")
    if len(set(weights.shape[2:])) > 1:
        raise InexpressibleError("nir 1.0.8 infers shapes of square kernels only")
    biased = len(op.inputs) > 2 and op.inputs[2]
    bias = _constant(graph, op, 2) if biased else np.zeros(len(weights), np.float32)
    strides, dilations = op.ints("strides", (1,) * rank), op.ints("dilations", (1,) * rank)
    pads = padding(op, rank)
    nir = package("nir")
    if rank == 1:
        return nir.Conv1d(given[1], weights, strides[0], pads[0], dilations[0], 1, bias)
    return nir.Conv2d(given[1:], weights, strides, pads, dilations, 1, bias)


def _dense(weights: Array, groups: int) -> Array:
    """A kernel of groups as one over all channels: nir 1.0.8 infers wrong shapes of groups."""
    if groups == 1:
        return weights
    made, read = weights.shape[:2]
    dense = np.zeros((made, read * groups, *weights.shape[2:]), np.float32)
    for group in range(groups):
        rows = slice(group * made // groups, (group + 1) * made // groups)
        dense[rows, group * read : (group + 1) * read] = weights[rows]
    return dense


def padding(op: Op, rank: int) -> Shape:
    """Of a window, alike at both ends of each axis."""
    if op.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise InexpressibleError("padding that depends on the input's size")
    pads = op.ints("pads", (0,) * 2 * rank)
    if pads[:rank] != pads[rank:]:
        raise InexpressibleError("NIR pads both ends of an axis alike")
    return pads[:rank]


def _pool(graph: Graph, op: Op, given: Shape, made: Shape) -> Any:
    rank = len(given) - 1
    if rank != 2:
        raise InexpressibleError("NIR's pools are over two axes")
    whole = op.op_type == "GlobalAveragePool"
    kernel = given[1:] if whole else op.ints("kernel_shape", ())
    strides = (1, 1) if whole else op.ints("strides", (1, 1))
    pads = padding(op, rank)
    counted = not any(pads) or op.integer("count_include_pad", 0)
    if not counted or op.integer("ceil_mode", 0) or set(op.ints("dilations", (1,))) != {1}:
        raise InexpressibleError("NIR's averages are over whole windows, padding included")
    arrays = (np.array(each, np.int64) for each in (kernel, strides, pads))
    return package("nir").AvgPool2d(*arrays)


def _layout(graph: Graph, op: Op, given: Shape, made: Shape) -> Any:
    if given == made:
        return None
    if made != (int(np.prod(given)),):
        raise InexpressibleError("NIR flattens, and moves entries in no other way")
    nir = package("nir")
    return nir.Flatten(input_type={"input": np.array(given)}, start_dim=0, end_dim=-1)


def _unchanged(graph: Graph, op: Op, given: Shape, made: Shape) -> Any:
    return None


def _factor(graph: Graph, op: Op, given: Shape, made: Shape) -> Any:
    places = [place for place in (0, 1) if weight(graph, op.inputs[place]) is not None]
    if not places or (op.op_type == "Div" and places != [1]):
        raise InexpressibleError("a product (or ratio) of two activations")
    factor = _constant(graph, op, places[0])
    factor = np.float32(1) / factor if op.op_type == "Div" else factor
    return package("nir").Scale(scale=entrywise(factor, given))


def entrywise(constant: Array, shape: Shape) -> Array:
    """A constant that broadcasts against a batch, for each entry of one sample."""
    if constant.ndim > len(shape):
        constant = constant.reshape(constant.shape[constant.ndim - len(shape) :])
    return np.ascontiguousarray(np.broadcast_to(constant, shape), np.float32)


RULES: Mapping[str, Rule] = {
    "MatMul": _matrix,
    "Gemm": _matrix,
    "Conv": _convolution,
    "AveragePool": _pool,
    "GlobalAveragePool": _pool,
    "Mul": _factor,
    "Div": _factor,
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), _layout),
    **dict.fromkeys(("Identity", "Dropout", REPEAT), _unchanged),
}
