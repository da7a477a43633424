"""Quantisers of a trained network: QuantizeLinear, Clip of integers, DequantizeLinear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op, Site
from snnc.ir.rate_neuron import finite_step

INTEGERS: Mapping[str, tuple[int, int]] = {
    f"{sign}int{bits}": (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for sign in ("", "u")
    for bits in (4, 8, 16)
}
"""Smallest and largest number of each type that QuantizeLinear rounds to."""


@dataclass(frozen=True)
class Quantizer:
    """step * clip(round(x / step), lowest, highest), ties to even.

    step: float32, one number or one a channel, in broadcast shape. lowest <= 0 <= highest, the zero
    point taken away. nodes: the operations that it is written in, in their order.
    """

    x: str
    step: Array
    lowest: int
    highest: int
    nodes: tuple[Op, ...]


def quantizer(graph: Graph, value: str) -> Quantizer | None:
    """The quantiser whose result `value` is; None where its parameters are not constant, differ
    between its ends, or its zero point differs from channel to channel or is not in its range."""
    last = graph.op(value, "DequantizeLinear")
    if last is None or graph.types[value].dtype != "float32":
        return None
    clips: list[Op] = []
    while (clip := graph.op((clips or [last])[-1].inputs[0], "Clip")) is not None:
        clips.append(clip)
    first = graph.op((clips or [last])[-1].inputs[0], "QuantizeLinear")
    if first is None or first.inputs[0] not in graph.types:
        return None
    step, zero = _step(graph, first, last), _zero_point(graph, first, last)
    limits = _limits(graph, first, clips)
    if step is None or zero is None or limits is None:
        return None
    lowest, highest = limits[0] - zero, limits[1] - zero
    if not lowest <= 0 <= highest or lowest == highest:
        return None
    return Quantizer(first.inputs[0], step, lowest, highest, (first, *reversed(clips), last))


def imported(graph: Graph, site: Site) -> Quantizer | None:
    """The quantiser that a site stands behind; None for a site whose neuron is chosen."""
    return quantizer(graph, site.inputs[0]) if site.role == "quantizer" else None


def constant_scale(graph: Graph, op: Op) -> Array | None:
    """The scale of a QuantizeLinear or DequantizeLinear: float32, one number or one along `axis`;
    None for any other form."""
    scale = graph.consts.get(op.inputs[1])
    if scale is None or scale.dtype != np.float32 or scale.ndim > 1 or op.integer("block_size", 0):
        return None
    return scale.reshape(()) if scale.size == 1 else scale


def _step(graph: Graph, first: Op, last: Op) -> Array | None:
    """The scale of both ends in the shape that broadcasts against the activation."""
    scale, other = constant_scale(graph, first), constant_scale(graph, last)
    kind = graph.types[first.inputs[0]]
    if scale is None or other is None or kind.dtype != "float32":
        return None
    if not np.array_equal(scale, other) or not all(finite_step(s) == s for s in scale.ravel()):
        return None
    if not scale.ndim:
        return scale
    rank = None if kind.shape is None else len(kind.shape)
    axes = {op.integer("axis", 1) for op in (first, last)}
    if rank is None or not all(-rank <= axis < rank for axis in axes):
        return None
    places = {axis % rank for axis in axes}
    return scale.reshape(-1, *[1] * (rank - 1 - min(places))) if len(places) == 1 else None


def _zero_point(graph: Graph, first: Op, last: Op) -> int | None:
    """The one zero point of both ends."""
    found: set[int] = set()
    for op in (first, last):
        name = op.inputs[2] if len(op.inputs) > 2 else ""
        if not name:
            found.add(0)
        elif name in graph.consts:
            found.update(int(zero) for zero in graph.consts[name].ravel())
        else:
            return None
    return found.pop() if len(found) == 1 else None


def _limits(graph: Graph, first: Op, clips: list[Op]) -> tuple[int, int] | None:
    """The integers between which values lie."""
    kind = graph.types[first.outputs[0]].dtype
    if kind not in INTEGERS:
        return None
    lowest, highest = INTEGERS[kind]
    for clip in clips:
        for place, name in enumerate(clip.inputs[1:3]):
            bound = graph.scalar(name) if name else None
            if name and bound is None:
                return None
            if bound is not None and place == 0:
                lowest = max(lowest, int(bound))
            elif bound is not None:
                highest = min(highest, int(bound))
    return (lowest, highest) if lowest <= highest else None
