"""Integer convolutions work channels-last, and so does what stands between them entry by entry."""

from __future__ import annotations

from dataclasses import replace

from snnc.ir.channels_last import (
    Permutation,
    channels_first,
    channels_last,
    entrywise,
    map_rank,
    maps_read,
    permuted,
    permuted_type,
)
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Node, Op, Type


def move_channels_last(graph: Graph) -> Graph:
    """The graph with every SpikeConv and MaxPoolCounts, taken as if they were channels-first so
    far, on [B, spatial..., C], with Transposes where a value is read in the other layout.

    Values keep their names in the layout they are computed in, outputs of the graph in their own.
    """
    if not any(map_rank(node) for node in graph.nodes):
        return graph
    moved = _Moved(graph)
    for node in graph.nodes:
        moved.add(node)
    nodes = tuple(moved.nodes)
    return replace(graph, nodes=nodes, types=moved.types, consts=moved.consts).pruned()


class _Moved:
    """The nodes so far. last, first: the names of values in either layout, where they have got one
    that is not their own; held: values that are computed channels-last."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.nodes: list[Node] = []
        self.types: dict[str, Type] = dict(graph.types)
        self.consts: dict[str, Array] = dict(graph.consts)
        self._held: dict[str, int] = {}
        self._last: dict[str, str] = {}
        self._first: dict[str, str] = {}

    def add(self, node: Node) -> None:
        """Adds one node in the layout that it works in."""
        rank = map_rank(node)
        if rank is not None and isinstance(node, Op):
            self._convolve(node, rank)
        elif self._stays_last(node):
            perm = channels_last(self._rank(node.outputs[0]))
            moved, consts = permuted(self._graph, node, perm, lambda v: self._as_last(v, node))
            self.consts.update(consts)
            self._hold(moved, len(perm))
        else:
            inputs = tuple(self._as_first(v, node) if v in self._held else v for v in node.inputs)
            self.nodes.append(replace(node, inputs=inputs))

    def _rank(self, value: str) -> int:
        return len(self._graph.types[value].shape or ())

    def _convolve(self, op: Op, rank: int) -> None:
        maps = maps_read(op)
        inputs = tuple(self._as_last(v, op) if i in maps else v for i, v in enumerate(op.inputs))
        perms = {"channels_first": channels_first(rank), "channels_last": channels_last(rank)}
        self._hold(replace(op, inputs=inputs, attrs={**op.attrs, **perms}), rank)

    def _hold(self, node: Node, rank: int) -> None:
        """Adds a node that computes its result channels-last."""
        value = node.outputs[0]
        self._held[value] = rank
        kind = permuted_type(self.types[value], channels_last(rank))
        if value not in self._graph.outputs:
            self.nodes.append(node)
            self.types[value] = kind
            return
        held = self._graph.fresh(f"{value}.channels_last")
        self._last[value], self._first[value] = held, value
        self.types[held] = kind
        back = Op((value,), (held,), node.loc, "Transpose", {"perm": channels_first(rank)})
        self.nodes += [replace(node, outputs=(held,)), back]

    def _stays_last(self, node: Node) -> bool:
        """Whether a node works on values that are channels-last, the largest of them at least."""
        positions = entrywise(self._graph, node)
        values = [node.inputs[i] for i in positions if node.inputs[i] not in self._graph.consts]
        held = [v for v in values if v in self._held]
        if not held:
            return False
        shape = self._graph.types[node.outputs[0]].shape
        return held == values or (
            not _concatenates(node) and any(self._graph.types[v].shape == shape for v in held)
        )

    def _as_last(self, value: str, reader: Node) -> str:
        if value in self._held:
            return self._last.get(value, value)
        if value not in self._last:
            perm = channels_last(self._rank(value))
            self._last[value] = self._transposed(value, perm, "channels_last", reader)
        return self._last[value]

    def _as_first(self, value: str, reader: Node) -> str:
        if value not in self._first:
            perm = channels_first(self._held[value])
            self._first[value] = self._transposed(value, perm, "channels_first", reader)
        return self._first[value]

    def _transposed(self, value: str, perm: Permutation, layout: str, reader: Node) -> str:
        name = self._graph.fresh(f"{value}.{layout}")
        self.types[name] = permuted_type(self.types[value], perm)
        loc = self._graph.producer.get(value, reader).loc
        self.nodes.append(Op((name,), (value,), loc, "Transpose", {"perm": perm}))
        return name


def _concatenates(node: Node) -> bool:
    return isinstance(node, Op) and node.op_type == "Concat"
