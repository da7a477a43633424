"""Feature maps of an artifact in the layout of the network: channels-first everywhere."""

from __future__ import annotations

from dataclasses import replace

from snnc.frontend.raising.layers import RECOMPILE
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


def move_channels_first(graph: Graph) -> Graph:
    """The graph with every SpikeConv and MaxPoolCounts as if it read and computed
    [B, C, spatial...], and without the Transposes between the layouts.

    The inverse of snnc.backends.lowering.channels_last: a SpikeConv, and what is entrywise and
    reads its result, works on axes that are permuted back, whatever the rest of the graph does.
    """
    if not any(map_rank(node) for node in graph.nodes):
        return graph
    moved = _Moved(graph)
    for node in graph.nodes:
        moved.add(node)
    return moved.graph()


class _Moved:
    """The nodes so far.

    held: values that the artifact has channels-last, and their number of axes; same: values of the
    artifact by another name, channels-first; turned: what the values behind a Transpose to
    channels-last are made of; outputs: new names of values.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes: list[Node] = []
        self._types: dict[str, Type] = dict(graph.types)
        self._consts: dict[str, Array] = dict(graph.consts)
        self._held: dict[str, int] = {}
        self._same: dict[str, str] = {}
        self._turned: dict[str, str] = {}
        self._outputs: dict[str, str] = {}
        self._made: set[str] = set()

    def graph(self) -> Graph:
        """All that was added."""
        named = self._outputs
        nodes = tuple(
            replace(
                node,
                inputs=tuple(named.get(v, v) for v in node.inputs),
                outputs=tuple(named.get(v, v) for v in node.outputs),
            )
            for node in self._nodes
        )
        for value in self._held.keys() & set(self._graph.outputs):
            node = self._graph.producer[value]
            raise self._graph.error(f"output %{value} is channels-last", node, RECOMPILE)
        changed = replace(self._graph, nodes=nodes, types=self._types, consts=self._consts)
        return changed.pruned()

    def add(self, node: Node) -> None:
        """Adds one node channels-first."""
        rank = map_rank(node)
        if rank is not None and isinstance(node, Op):
            self._convolve(node, rank)
            return
        values = [node.inputs[i] for i in entrywise(self._graph, node)]
        ranks = {self._held[v] for v in values if v in self._held}
        if ranks:
            perm = channels_first(max(ranks))
            moved, consts = permuted(
                self._graph, node, perm, lambda v: self._as_first(v, node, len(perm))
            )
            self._consts.update(consts)
            self._hold(moved, len(perm))
        elif not self._turns_back(node):
            self._add_other(node)

    def _convolve(self, op: Op, rank: int) -> None:
        if op.ints("channels_last", ()) != channels_last(rank):
            raise self._graph.error(
                "spike counts are convolved in an unknown layout", op, RECOMPILE
            )
        maps = maps_read(op)
        inputs = tuple(
            self._as_first(v, op, rank) if i in maps else v for i, v in enumerate(op.inputs)
        )
        perms = ("channels_first", "channels_last")
        attrs = {key: value for key, value in op.attrs.items() if key not in perms}
        self._hold(replace(op, inputs=inputs, attrs=attrs), rank)

    def _turns_back(self, node: Node) -> bool:
        """Whether a node only makes a value channels-first that will be so anyway."""
        value = node.inputs[0] if node.inputs else ""
        if not isinstance(node, Op) or node.op_type != "Transpose" or value not in self._held:
            return False
        if node.ints("perm", ()) != channels_first(self._held[value]):
            return False
        result = node.outputs[0]
        if result in self._graph.outputs:
            if value in self._outputs:
                return False
            self._outputs[value] = result
            self._type(result, value, None)
        self._same[result] = value
        return True

    def _add_other(self, node: Node) -> None:
        inputs = tuple(
            self._transposed(v, channels_last(self._held[v]), node)
            if v in self._held
            else self._same.get(v, v)
            for v in node.inputs
        )
        self._nodes.append(replace(node, inputs=inputs))
        if isinstance(node, Op) and node.op_type == "Transpose":
            perm = node.ints("perm", ())
            if len(perm) > 2 and perm == channels_last(len(perm)):
                self._turned[node.outputs[0]] = inputs[0]

    def _hold(self, node: Node, rank: int) -> None:
        """Adds a node whose results were channels-last."""
        self._nodes.append(node)
        for value in node.outputs:
            self._held[value] = rank
            self._type(value, value, channels_first(rank))

    def _type(self, value: str, source: str, perm: Permutation | None) -> None:
        """`value` has the type of `source`, permuted, if that is known."""
        if source in self._types:
            kind = self._types[source]
            self._types[value] = kind if perm is None else permuted_type(kind, perm)

    def _as_first(self, value: str, reader: Node, rank: int) -> str:
        if value in self._held:
            return value
        if value in self._turned:
            return self._turned[value]
        return self._transposed(self._same.get(value, value), channels_first(rank), reader)

    def _transposed(self, value: str, perm: Permutation, reader: Node) -> str:
        name = self._graph.fresh(f"{value}.transposed", self._made)
        self._made.add(name)
        self._type(name, value, perm)
        self._nodes.append(Op((name,), (value,), reader.loc, "Transpose", {"perm": perm}))
        return name
