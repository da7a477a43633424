"""Coverage of a network in layers of neurons that fire at most once."""

from __future__ import annotations

from collections.abc import Iterable

from snnc.coverage import Coverage, Entry, Fate, shapes_at
from snnc.data import Feeds
from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.node import Op
from snnc.ir.ops import MULTIPLYING, has_uncounted_macs, multiplied, why_analog
from snnc.passes.spike_times.place import RULES, placed
from snnc.synapses import macs


def spike_time_coverage(
    normal: Graph, keep: tuple[str, ...] = (), sample: Feeds | None = None
) -> Coverage:
    """What becomes of every operation of a normalised network; MACs as in `coverage_of`."""
    sited, fates = placed(normal, keep)
    ops = [node for node in normal.nodes if isinstance(node, Op)]
    become = dict(zip(map(id, ops), fates, strict=True))
    entries = tuple(_entry(op, become[id(op)]) for op in ops)
    uncounted = tuple(op.loc.names[0] for op in ops if has_uncounted_macs(normal, op))
    counted = [op for op in ops if op.op_type in MULTIPLYING]
    values = {v for op in counted for v in (*multiplied(op), op.outputs[0]) if v in normal.types}
    try:
        shapes, open_dim = shapes_at(normal, sorted(values), sample)
    except CompileError:
        return Coverage(entries, None, None, uncounted, len(sited.sites))
    totals = _macs(normal, [(op, become[id(op)]) for op in counted], shapes)
    return Coverage(entries, totals, open_dim, uncounted, len(sited.sites))


def _entry(op: Op, fate: Fate) -> Entry:
    name = op.loc.names[0]
    if fate == "host":
        return Entry(name, op.op_type, fate, "computed from integers and masks before encoding")
    if fate != "analog":
        return Entry(name, op.op_type, fate)
    known = op.op_type in RULES
    why = "kept analog, or a form without neurons" if known else _why(op)
    return Entry(name, op.op_type, fate, why)


def _why(op: Op) -> str:
    return f"no layers of neurons for {op.op_type}: {why_analog(op.op_type)}"


def _macs(
    graph: Graph,
    ops: Iterable[tuple[Op, Fate]],
    shapes: dict[str, tuple[int, ...]],
) -> dict[str, float]:
    totals = {"spiking": 0.0, "direct-coded": 0.0, "analog": 0.0}
    for op, fate in ops:
        full = {v: tuple(graph.consts[v].shape) for v in op.inputs if v in graph.consts} | shapes
        if fate in totals:  # the rest is the same for all data
            totals[fate] += macs(op, full)
    return totals
