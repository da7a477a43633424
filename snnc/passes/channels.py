"""Which axis of a value holds channels, and entries of a value by channel."""

from __future__ import annotations

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op, Site
from snnc.ir.weights import is_weight

WHOLE = 0
"""The axis of a value without channels; others are counted from the last, -1."""


def axis_of(graph: Graph, site: Site) -> int:
    """The axis of the channels that all layers reading a site agree on; WHOLE if there is none."""
    found = {_axis(graph, op, site.outputs[0]) for op in graph.readers.get(site.outputs[0], ())}
    return found.pop() if len(found) == 1 and site.role == "activation" else WHOLE


def _axis(graph: Graph, reader: object, value: str) -> int:
    rank = len(graph.types[value].shape or ())
    if not isinstance(reader, Op) or reader.inputs[0] != value or value in reader.inputs[1:]:
        return WHOLE
    if reader.op_type in ("Conv", "ConvTranspose"):
        return 1 - rank if rank > 1 else WHOLE
    if not is_weight(graph, reader.inputs[1]):
        return WHOLE
    matrix = reader.op_type == "MatMul" or not reader.integer("transA", 0)
    return -1 if reader.op_type in ("Gemm", "MatMul") and matrix else WHOLE


def by_channel(array: Array, axis: int, limit: int) -> Array:
    """Entries [channels, n] of an array, n at most `limit` and spread evenly.

    axis: of the channels, negative; WHOLE for one channel of all entries.
    """
    moved = np.moveaxis(array, axis, 0) if axis else array[None]
    flat = moved.reshape(len(moved), -1)
    return np.asarray(flat[:, spread(flat.shape[1], limit)])


def spread(count: int, limit: int) -> Array:
    """At most `limit` of the numbers below `count`, evenly."""
    return np.linspace(0, count - 1, min(count, limit)).round().astype(np.int64)


def instants_by_channel(array: Array, axis: int, timesteps: int, limit: int) -> Array:
    """The same of a value [T * N, ...], time first, as [T, channels, n]: the same n entries of
    every timestep."""
    unfolded = array.reshape(timesteps, -1, *array.shape[1:])
    return np.stack([by_channel(now, axis, limit) for now in unfolded])
