"""Which float inputs are masks, so that the host makes of them which neurons are silent."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Node, Op
from snnc.ir.ops import LAYOUT, SHAPE_ONLY, SHAPE_READING

MASKED = -1e3
"""An addend from here on down masks: its exponential is 0 in every format of numbers."""

ARITHMETIC = LAYOUT | {
    *("Add", "Sub", "Mul", "Div", "Neg", "Abs", "Min", "Max", "Clip", "Pow", "Sqrt", "Reciprocal"),
    *("ReduceSum", "ReduceMax", "ReduceMin", "ReduceMean", "CumSum"),
}
"""Operations on numbers made of integer inputs (masks, lengths) that the host computes; any other
one on such numbers reads spikes for them."""

_COMPARING = {"Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Not", "And", "Or"}

_ON_HOST = (ARITHMETIC - SHAPE_READING) | _COMPARING

_GATING = {"Add", "Sub", "Mul", "Div", "Where"}
"""What a mask may do to activations."""

_SCORING = SHAPE_ONLY | {"Cast", "Add", "Sub", "Mul", "Div", "Where", "Max", "Min", "Clip"}
"""What scores may go through on their way to a softmax."""


def leads_to_softmax(graph: Graph, value: str) -> bool:
    """Whether a value is, or becomes part of, the scores of a softmax."""
    found, seen = [value], {value}
    while found:
        for node in graph.readers.get(found.pop(), ()):
            if not isinstance(node, Op) or not node.outputs:
                continue
            if node.op_type in ("Softmax", "LogSoftmax"):
                return True
            if node.op_type in _SCORING and node.outputs[0] not in seen:
                seen.add(node.outputs[0])
                found.append(node.outputs[0])
    return False


def is_far(array: Array | None) -> bool:
    """Whether a constant holds a number as large as those that masks are made with."""
    if array is None or array.dtype.kind != "f" or not array.size:
        return False
    return bool(np.abs(array).max() >= -MASKED)


def mask_inputs(graph: Graph) -> frozenset[str]:
    """Masks among the float inputs, and what the host makes of them.

    Such an input decides, with a number that masks, which scores of a softmax count; or it adds to
    scores, and does nothing else.
    """
    known = {*graph.inputs, *graph.consts}
    for node in graph.nodes:
        if _kind(node) in _ON_HOST and known.issuperset(filter(None, node.inputs)):
            known.update(filter(None, node.outputs))
    uses = {(v, node.outputs[0]) for node in graph.nodes for v in _masking(graph, node, known)}
    deciding = {v for use, _ in uses for v in _deciding(graph, use)}
    found = {v for v in deciding if not _is_data(graph, v, known)} | _only(graph, uses, known)
    for node in graph.nodes:
        if found.intersection(node.inputs) and known.issuperset(filter(None, node.outputs)):
            found.update(filter(None, node.outputs))
    return frozenset(found)


def _kind(node: Node) -> str:
    return node.op_type if isinstance(node, Op) else ""


def _masking(graph: Graph, node: Node, known: set[str]) -> Iterator[str]:
    """What masks in a node: an addend of scores, or a condition that chooses a masking number."""
    if sum(v not in known for v in node.inputs) != 1:
        return
    first, *rest = node.inputs
    if _kind(node) == "Where" and first in known:
        yield first
    elif _kind(node) in ("Add", "Sub") and leads_to_softmax(graph, node.outputs[0]):
        if first not in known:
            yield rest[0]
        elif _kind(node) == "Add":
            yield first


def _deciding(graph: Graph, use: str) -> set[str]:
    """The float inputs that a mask is made of with a masking number."""
    found, seen, far = [use], set[str](), False
    chosen = [n for n in graph.readers.get(use, ()) if _kind(n) == "Where" and n.inputs[0] == use]
    far = any(is_far(graph.consts.get(v)) for node in chosen for v in node.inputs[1:])
    while found:
        value = found.pop()
        far |= is_far(graph.consts.get(value))
        if value not in seen and (op := graph.op(value)) is not None:
            found += [v for v in op.inputs if v]
        seen.add(value)
    return {v for v in seen if far and v in graph.inputs and graph.types[v].is_float}


def _is_data(graph: Graph, value: str, known: set[str]) -> bool:
    """Whether activations are computed of an input in another way than masks are applied."""
    found, seen = [value], {value}
    while found:
        for node in graph.readers.get(found.pop(), ()):
            results = {v for v in node.outputs if v}
            if _kind(node) in _COMPARING | SHAPE_READING or results <= seen:
                continue
            if not known.issuperset(results) and _kind(node) not in _GATING:
                return True
            found += [v for v in results if v in known]
            seen |= results
    return False


def _only(graph: Graph, uses: set[tuple[str, str]], known: set[str]) -> set[str]:
    """The float inputs that add to scores, and do nothing else."""
    masks = set[str]()

    def only_masks(value: str) -> bool:
        return value not in graph.outputs and all(
            _kind(reader) in SHAPE_READING
            or (value, reader.outputs[0]) in uses
            or masks.issuperset(filter(None, reader.outputs))
            for reader in graph.readers.get(value, ())
        )

    for node in reversed(graph.nodes):
        masks.update(v for v in node.outputs if v in known and only_masks(v))
    return {v for v in graph.inputs if graph.types[v].is_float and only_masks(v)}
