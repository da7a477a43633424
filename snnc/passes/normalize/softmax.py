"""Softmax written out: exp(x - max) over its sum; log-softmax: x - log(sum(exp(x)))."""

from __future__ import annotations

from collections.abc import Iterable

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Node, Op
from snnc.passes.normalize.algebra import same_rank
from snnc.passes.normalize.reduction import Reduced, needed, reduced
from snnc.passes.normalize.spelling import Spelling, shape_of

_TYPES = ("float32", "float64", "float16")


def recognise_softmax(graph: Graph) -> Graph:
    """Replaces the quotient by Softmax and the difference by LogSoftmax.

    An expansion of the sum that could enlarge the quotient stays, behind the softmax.
    """
    for rule in (_softmax, _log_softmax, _unshifted):
        graph = graph.rewrite(lambda node, rule=rule, graph=graph: rule(graph, node))  # type: ignore[misc]
    return graph


def _softmax(graph: Graph, node: Node) -> Replacement | None:
    """exp(z) / sum(exp(z)), or times the reciprocal."""
    if not isinstance(node, Op) or node.op_type not in ("Div", "Mul"):
        return None
    for powers, total in _quotients(graph, node):
        exp, found = graph.op(powers, "Exp"), reduced(graph, total)
        if exp is not None and found is not None and _sums(found, powers):
            return _replaced(graph, node, "Softmax", exp.inputs[0], found)
    return None


def _quotients(graph: Graph, op: Op) -> Iterable[tuple[str, str]]:
    if op.op_type == "Div":
        yield op.inputs[0], op.inputs[1]
        return
    for value, other in (op.inputs, op.inputs[::-1]):
        inverse = graph.op(other, "Reciprocal")
        if inverse is not None:
            yield value, inverse.inputs[0]


def _log_softmax(graph: Graph, node: Node) -> Replacement | None:
    """z - log(sum(exp(z)))."""
    if not isinstance(node, Op) or node.op_type != "Sub":
        return None
    found = reduced(graph, node.inputs[1], through="Log")
    exp = graph.op(found.x, "Exp") if found is not None and found.through == 1 else None
    if found is None or exp is None or exp.inputs[0] != node.inputs[0]:
        return None
    if not _sums(found, exp.outputs[0]):
        return None
    return _replaced(graph, node, "LogSoftmax", exp.inputs[0], found)


def _unshifted(graph: Graph, node: Node) -> Replacement | None:
    """The softmax of x - max(x) is that of x."""
    if not isinstance(node, Op) or node.op_type not in ("Softmax", "LogSoftmax"):
        return None
    shifted = graph.op(node.inputs[0], "Sub")
    found = reduced(graph, shifted.inputs[1]) if shifted is not None else None
    if shifted is None or found is None or found.x != shifted.inputs[0] or not found.kept:
        return None
    shape = shape_of(graph, found.x)
    axis = node.integer("axis", -1)
    axis += len(shape) if shape is not None and axis < 0 else 0
    if found.kind != "ReduceMax" or found.factor != 1 or found.axis != axis:
        return None
    return _replaced(graph, node, node.op_type, found.x, found)


def _sums(found: Reduced, powers: str) -> bool:
    return (found.kind, found.x, found.factor, found.kept) == ("ReduceSum", powers, 1.0, True)


def _replaced(graph: Graph, node: Op, kind: str, x: str, found: Reduced) -> Replacement | None:
    """`kind` of `x` in place of a node, and the expansions that might enlarge it behind it."""
    shapes = needed(graph, found.expands, x, found.axis) if found.expands else ()
    s, out = Spelling(graph, node), node.outputs[0]
    if shapes is None or s.dtype(x) not in _TYPES or not same_rank(graph, x, out):
        return None
    value = s.op(kind, x, into="" if shapes else out, axis=found.axis)
    for i, shape in enumerate(shapes, 1):
        value = s.op("Expand", value, shape, into=out if i == len(shapes) else "")
    return s.done()
