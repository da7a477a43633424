"""The two layouts of feature maps, [B, C, spatial...] and [B, spatial..., C], and what works in
either."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from snnc.ir.composed import composed
from snnc.ir.functions import MAX_POOL_COUNTS
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Dim, Neuron, Node, Op, Type
from snnc.ir.ops import BROADCASTING, POINTWISE

Permutation = tuple[int, ...]
"""Attribute `perm` of a Transpose: axis j of its result is axis perm[j] of its input."""


def channels_last(rank: int) -> Permutation:
    """From [B, C, spatial...] to [B, spatial..., C], `rank` axes."""
    return (0, *range(2, rank), 1)


def channels_first(rank: int) -> Permutation:
    """From [B, spatial..., C] to [B, C, spatial...], `rank` axes."""
    return (0, rank - 1, *range(1, rank - 1))


def map_rank(node: Node) -> int | None:
    """The number of axes of the maps that a node reads and computes channels-last: a SpikeConv with
    what is fused behind it, MaxPoolCounts.

    None for any other node.
    """
    if not isinstance(node, Op):
        return None
    made = composed(node)
    last = node.op_type == MAX_POOL_COUNTS or (made is not None and made.drive == "SpikeConv")
    return len(node.ints("strides", ())) + 2 if last else None


def maps_read(node: Op) -> tuple[int, ...]:
    """Positions of the inputs that are feature maps, of a node that works channels-last."""
    made = composed(node)
    formal = made.inputs if made is not None else ("x",)
    return tuple(i for i, name in enumerate(formal) if name in ("x", "addend"))


def entrywise(graph: Graph, node: Node) -> tuple[int, ...]:
    """Positions of the inputs that a node combines entry by entry: permuting the axes of all of
    them permutes those of its one result.

    () if it does anything else, or ranks are unknown. A Concat is entrywise: its axis moves along.
    """
    positions = _combined(graph, node)
    combined = (node.inputs[i] for i in positions)
    computed = [v for v in (*combined, *node.outputs) if v not in graph.consts]
    sizes = {_rank(graph, v) for v in computed}
    if len(sizes) != 1 or None in sizes or len(node.outputs) != 1:
        return ()
    rank = sizes.pop()
    consts = (graph.consts.get(node.inputs[i]) for i in positions)
    fits = all(array.ndim <= (rank or 0) for array in consts if array is not None)
    return positions if fits and rank and rank > 2 else ()


def _rank(graph: Graph, value: str) -> int | None:
    """The number of axes of a computed value; None where it is unknown."""
    shape = graph.types[value].shape if value in graph.types else None
    return None if shape is None else len(shape)


def _combined(graph: Graph, node: Node) -> tuple[int, ...]:
    op_type = node.op_type if isinstance(node, Op) else ""
    if op_type in BROADCASTING or op_type == "Concat":
        return tuple(range(len(node.inputs)))
    made = composed(node) if isinstance(node, Op) else None
    alone = made is not None and not made.drive
    single = all(graph.scalar(v) is not None for v in node.inputs[1:] if v)
    if single and (isinstance(node, Neuron) or alone or op_type in POINTWISE):
        return (0,)
    return ()


def held_channels_last(graph: Graph) -> frozenset[str]:
    """The values of a lowered graph that hold feature maps [B, spatial..., C]."""
    held: set[str] = set()
    for node in graph.nodes:
        moved = any(node.inputs[i] in held for i in entrywise(graph, node))
        if moved or map_rank(node) is not None:
            held.update(name for name in node.outputs if name)
    return frozenset(held)


def permuted(
    graph: Graph, node: Node, perm: Permutation, of: Callable[[str], str]
) -> tuple[Node, dict[str, Array]]:
    """An entrywise node on permuted inputs, and the constants it then reads. of: the name of the
    permuted form of a computed value."""
    inputs, consts = list(node.inputs), dict[str, Array]()
    for i in entrywise(graph, node):
        array = graph.consts.get(inputs[i])
        if array is None:
            inputs[i] = of(inputs[i])
        elif array.size > 1:
            whole = array.reshape((1,) * (len(perm) - array.ndim) + array.shape)
            inputs[i] = graph.fresh(f"{node.outputs[0]}.constant{i}")
            consts[inputs[i]] = np.ascontiguousarray(whole.transpose(perm))
    moved = replace(node, inputs=tuple(inputs))
    if isinstance(moved, Op) and moved.op_type == "Concat":
        axis = perm.index(moved.integer("axis", 0) % len(perm))
        moved = replace(moved, attrs={**moved.attrs, "axis": axis})
    return moved, consts


def permuted_type(kind: Type, perm: Permutation) -> Type:
    """The type of a value behind a Transpose."""
    shape: tuple[Dim, ...] | None = None
    if kind.shape is not None:
        shape = tuple(kind.shape[axis] for axis in perm)
    return replace(kind, shape=shape)
