"""Partwise: a network run over the same samples again and again, each time only a further part."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import chain, repeat

from snnc.data import Samples
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Node
from snnc.runtime import Session

BYTES = 2**28
"""Bytes of values that are held between two runs, at most."""


class Partwise:
    """Runs of one network over `samples`, `size` at a time, in which constants change in between.

    What a later run needs of an earlier one is held for all samples where it fits into BYTES;
    else the later run computes it again from what was held before, or from the inputs.
    """

    def __init__(self, samples: Samples, size: int) -> None:
        self._samples, self._size = samples, size
        self._held: list[dict[str, Array]] = []

    def run(
        self,
        graph: Graph,
        wanted: Collection[str],
        later: Collection[str] = (),
        changing: Collection[str] = (),
    ) -> Iterator[dict[str, Array]]:
        """The values `wanted`, batch by batch; to be read to the end.

        graph: as it is now. later: the values that further runs will want. changing: constants
        that will change after this run, and no others.
        """
        known = {*graph.inputs, *(self._held[0] if self._held else ())}
        part = _needed(graph, wanted, known)
        stale = _behind(part, changing)
        done = known.union(*(node.outputs for node in part)) - stale
        rest = _needed(graph, later, done)
        read = {*later, *(v for node in rest for v in node.inputs)}
        kept = (read & done) - {"", *graph.inputs}
        fresh = ({*wanted} | kept) - known
        session = _session(graph, part, known, tuple(sorted(fresh))) if fresh else None
        yield from self._batches(session, tuple(wanted), kept, graph)

    def _batches(
        self, session: Session | None, wanted: tuple[str, ...], kept: set[str], graph: Graph
    ) -> Iterator[dict[str, Array]]:
        before = self._held
        holding = False
        earlier: Iterator[dict[str, Array]] = chain(before, repeat({}))
        for index, feeds in enumerate(self._samples.batches(self._size)):
            values = {**feeds, **next(earlier)}
            if session is not None:
                values |= session.run({name: values[name] for name in session.graph.inputs})
            if not index:
                share = self._samples.size_of(feeds) / (self._samples.count or 1)
                holding = sum(values[name].nbytes for name in kept) <= BYTES * share
                self._held = [] if holding else before
            if holding:
                self._held.append({name: values[name] for name in kept})
            yield {name: values[name] for name in wanted}


def _needed(graph: Graph, values: Collection[str], known: Collection[str]) -> list[Node]:
    """The nodes that compute `values` from what is known."""
    needed, nodes = {*values} - {*known}, []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            nodes.append(node)
            needed.update(v for v in node.inputs if v and v not in known)
    return nodes[::-1]


def _behind(nodes: Collection[Node], constants: Collection[str]) -> set[str]:
    """The values that change with any of the constants."""
    found: set[str] = {*constants}
    for node in nodes:
        if found.intersection(node.inputs):
            found.update(node.outputs)
    return found


def _session(
    graph: Graph, part: list[Node], known: Collection[str], outputs: tuple[str, ...]
) -> Session:
    read = dict.fromkeys(v for node in part for v in node.inputs if v in known)
    return Session(replace(graph, nodes=tuple(part), inputs=tuple(read), outputs=outputs).pruned())
