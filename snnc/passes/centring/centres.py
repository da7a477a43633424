"""Which sites can have a zero point: those of which the graph proves how to make up for it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from snnc.ir.graph import Graph
from snnc.ir.node import Op, Site
from snnc.passes.centring.attention import Operand, keys_of, values_of
from snnc.passes.centring.axes import PRECISE, consumers, shape_of, varying
from snnc.passes.centring.linear import takes_zero_point
from snnc.passes.channels import WHOLE, axis_of

Kind: TypeAlias = Literal["linear", "keys", "values", "queries"]
"""What reads a site: layers with constant weights, or a product of attention, as which operand."""


@dataclass(frozen=True)
class Centre:
    """A site that may have a zero point. axes: along which that varies, from the last, -1; operand:
    of the product of activations that reads it, None where layers with constant weights do.

    fixed: all axes but the samples', where a sample always has the same shape, so that each of its
    entries may have a zero point of its own; () elsewhere.
    """

    site: str
    kind: Kind
    axes: tuple[int, ...]
    operand: Operand | None = None
    fixed: tuple[int, ...] = ()

    def entries(self, graph: Graph) -> int:
        """How many entries of one sample have a zero point of their own, at most."""
        return math.prod(d for d in (shape_of(graph, self.site) or ())[1:] if isinstance(d, int))


def centres_of(graph: Graph) -> tuple[Centre, ...]:
    """The sites of a graph of stage sited that can be centred, in its order."""
    found: dict[str, Centre] = {}
    for centre in (*_linear(graph), *_attention(graph)):
        site = graph.producer[centre.site]
        if graph.types[centre.site].dtype not in PRECISE or not isinstance(site, Site):
            continue
        found[centre.site] = centre
    return tuple(found[s.outputs[0]] for s in graph.open_sites if s.outputs[0] in found)


def _linear(graph: Graph) -> Iterator[Centre]:
    for site in graph.open_sites:
        value, axis = site.outputs[0], axis_of(graph, site)
        readers = consumers(graph, value)
        fixed = _fixed(graph, value)
        alike = all(takes_zero_point(graph, op, value, bool(fixed)) for op in readers or ())
        if axis != WHOLE and readers and alike:
            yield Centre(value, "linear", (axis,), fixed=fixed)


def _fixed(graph: Graph, value: str) -> tuple[int, ...]:
    """The axes behind the first, if there are several and all have a fixed size."""
    shape = shape_of(graph, value) or ()
    known = len(shape) > 2 and all(isinstance(d, int) for d in shape[1:])
    return tuple(range(1 - len(shape), 0)) if known else ()


def _attention(graph: Graph) -> Iterator[Centre]:
    for op in graph.nodes:
        if not isinstance(op, Op) or not _of_matrices(graph, op):
            continue
        keys, values = keys_of(graph, op), values_of(graph, op)
        if keys is not None:
            yield from _operand(graph, keys, "keys")
            if isinstance(graph.producer.get(keys.value), Site):
                yield from _operand(graph, keys.other, "queries")
        elif values is not None:
            yield from _operand(graph, values, "values")


def _of_matrices(graph: Graph, op: Op) -> bool:
    """Whether an operation multiplies two different matrices, or stacks of them."""
    ranks = [len(shape_of(graph, v) or ()) for v in op.inputs]
    return op.op_type == "MatMul" and op.inputs[0] != op.inputs[1] and min(ranks) > 1


def _operand(graph: Graph, operand: Operand, kind: Kind) -> Iterator[Centre]:
    """An operand of a product, if it is a site that nothing else reads."""
    site = graph.producer.get(operand.value)
    channel = operand.free if kind == "values" else operand.summed
    axes = varying(graph, operand.value, channel)
    alone = consumers(graph, operand.value) == (operand.product,)
    if isinstance(site, Site) and site.role == "product" and axes is not None and alone:
        yield Centre(operand.value, kind, axes, operand)
