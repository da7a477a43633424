"""Coverage: what becomes of every operation of a network, and how much of its work spikes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from snnc.data import Feeds
from snnc.drives import classify, coverage_macs, shaped_values
from snnc.errors import CompileError
from snnc.ir.absorbed import performed
from snnc.ir.flow import Flow
from snnc.ir.graph import Graph
from snnc.ir.node import Op
from snnc.ir.ops import (
    LAYOUT,
    has_uncounted_macs,
    multiplied,
    operands,
    why_analog,
)
from snnc.random_data import NOMINAL_DIMS, random_feeds
from snnc.runtime import Session, shape_name

Fate: TypeAlias = Literal["spiking", "direct-coded", "analog", "layout", "host", "refused"]
"""host: look-ups and masks of integer inputs, where neurons time single spikes."""


@dataclass(frozen=True)
class Entry:
    """One operation: original name, type, what becomes of it; if analog or refused, why; if
    refused, what to do next."""

    name: str
    op: str
    fate: Fate
    why: str = ""
    help: str = ""


@dataclass(frozen=True)
class Coverage:
    """Fate of every operation; macs: multiply-accumulates of one sample by fate, at open_dim for
    every open dimension (None where there is none); None where no sample could be run.

    uncounted: operations whose multiply-accumulates are missing in macs, because they depend on
    the run (control flow) or on an operator of another domain. sites: layers of neurons.
    refusal: why the network cannot be compiled, None if it can.
    """

    entries: tuple[Entry, ...]
    macs: Mapping[str, float] | None
    open_dim: int | None
    uncounted: tuple[str, ...] = ()
    sites: int = 0
    refusal: CompileError | None = None

    @property
    def spiking_fraction(self) -> float | None:
        """Spiking MACs / MACs outside the direct-coded layers; None where some are uncounted."""
        if self.macs is None or self.uncounted:
            return None
        rest = self.macs["spiking"] + self.macs["analog"]
        return self.macs["spiking"] / rest if rest else 0.0

    @property
    def direct_coded_fraction(self) -> float | None:
        """Direct-coded MACs / all MACs; None where some are uncounted."""
        if self.macs is None or self.uncounted:
            return None
        total = sum(self.macs.values())
        return self.macs["direct-coded"] / total if total else 0.0

    @property
    def analog(self) -> list[dict[str, str]]:
        """Operations that compute on activations in real numbers."""
        return [
            {"op": e.op, "name": e.name, "why": e.why} for e in self.entries if e.fate == "analog"
        ]

    def names(self, fate: Fate) -> list[str]:
        return [e.name for e in self.entries if e.fate == fate]

    def summary(self) -> dict[str, Any]:
        """As `snnc compile` and `snnc check` print it."""
        return {
            "spiking_fraction": self.spiking_fraction,
            "direct_coded_fraction": self.direct_coded_fraction,
            "direct_coded": self.names("direct-coded"),
            "analog": self.analog,
            "open_dimensions_counted_as": self.open_dim,
            "uncounted_macs": list(self.uncounted),
        }


def coverage_of(graph: Graph, sample: Feeds | None = None) -> Coverage:
    """The coverage of a graph with sites.

    MACs are counted for open dimensions of a common size, so that they do not depend on data; for
    `sample` only where no such size suits the network.
    """
    entries = tuple(_entries(graph))
    ops = [node for node in graph.nodes if isinstance(node, Op)]
    uncounted = tuple(op.loc.names[0] for op in ops if has_uncounted_macs(graph, op))
    values = shaped_values(graph)
    try:
        shapes, open_dim = shapes_at(graph, values, sample)
    except CompileError:
        return Coverage(entries, None, None, uncounted, len(graph.sites))
    return Coverage(entries, coverage_macs(graph, shapes), open_dim, uncounted, len(graph.sites))


def coverage_of_refused(error: CompileError) -> Coverage:
    """The coverage of a network that some of its nodes keep from being read."""
    entries = tuple(Entry(n.name, n.op, "refused", n.why, n.help) for n in error.refused)
    return Coverage(entries, None, None, refusal=error)


def _entries(graph: Graph) -> Iterable[Entry]:
    kinds: dict[str, Fate] = {op.outputs[0]: kind for op, kind in classify(graph)}
    absorbed, flow = performed(graph), Flow(graph)
    for node in graph.nodes:
        if not isinstance(node, Op):
            continue
        name, result = node.loc.names[0], node.outputs[0]
        kind = kinds.get(result, "analog")
        if result in absorbed:
            yield Entry(name, node.op_type, "spiking")
        elif kind != "analog":
            yield Entry(name, node.op_type, kind)
        elif is_layout(graph, node) or (flow.is_constant(node) and not multiplied(node)):
            yield Entry(name, node.op_type, "layout")
        else:
            yield Entry(name, node.op_type, "analog", _why(flow, node))
        yield from _inside(node)


def _why(flow: Flow, op: Op) -> str:
    """Why an operation stays analog."""
    if flow.is_constant(op):
        return "the same for all data: nothing to encode"
    return "kept analog as asked" if operands(op) else why_analog(op.op_type)


def _inside(op: Op) -> Iterable[Entry]:
    """The operations that a control-flow operation runs."""
    for body in op.bodies.values():
        for node in body.graph.nodes:
            if not isinstance(node, Op):
                continue
            still = is_layout(body.graph, node)
            why = "" if still else f"inside {op.op_type} '{op.loc.names[0]}'"
            fate: Fate = "layout" if still else "analog"
            yield Entry(node.loc.names[0], node.op_type, fate, why)
            yield from _inside(node)


def is_layout(graph: Graph, op: Op) -> bool:
    """Whether an operation, with all that it runs, only places, selects or retypes numbers."""
    if op.bodies:
        inner = [(b.graph, node) for b in op.bodies.values() for node in b.graph.nodes]
        return all(isinstance(n, Op) and is_layout(g, n) for g, n in inner)
    values = [v for v in (*op.inputs, *op.outputs) if v in graph.types]
    floats = any(graph.types[v].is_float for v in values) or bool(multiplied(op))
    return op.op_type in LAYOUT or not floats


def shapes_at(
    graph: Graph, values: Iterable[str], sample: Feeds | None
) -> tuple[dict[str, tuple[int, ...]], int | None]:
    """As nominal_shapes; shapes for `sample`, if there is one, where no common size suits."""
    values = tuple(values)
    try:
        return nominal_shapes(graph, values)
    except CompileError:
        if sample is None:
            raise
    run = Session(graph, shapes_of=values).run(sample)
    return {v: tuple(int(d) for d in run[shape_name(v)]) for v in values}, None


def nominal_shapes(
    graph: Graph, values: Iterable[str]
) -> tuple[dict[str, tuple[int, ...]], int | None]:
    """Run-time shapes of `values` for one sample, and the size taken for open dimensions."""
    values = tuple(values)
    static = {v: graph.types[v].shape for v in values}
    if all(s is not None and all(isinstance(d, int) for d in s) for s in static.values()):
        return {v: tuple(int(d or 0) for d in s or ()) for v, s in static.items()}, None
    session = Session(graph, shapes_of=values)
    error: CompileError | None = None
    for dim in NOMINAL_DIMS:
        try:
            run = session.run(random_feeds(graph, 1, dim))
        except CompileError as raised:
            error = error or raised
            continue
        found = {v: tuple(int(d) for d in run[shape_name(v)]) for v in values}
        if all(math.prod(shape) for shape in found.values()):
            return found, dim if _is_open(graph) else None
    raise error or CompileError(
        "the network computes nothing on a sample of any common size", at=graph.source or None
    )


def _is_open(graph: Graph) -> bool:
    shapes = [graph.types[name].shape or () for name in graph.inputs]
    return any(not isinstance(d, int) for shape in shapes for d in shape[1:])
