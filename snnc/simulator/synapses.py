"""Sums over constant synapses, one addition for each event at each synapse it reaches.

Sums are taken in float64: those of integers are exact.
"""

from __future__ import annotations

import math
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.sparse import block_diag, csr_array, issparse

from snnc.ir.node import Array, Op
from snnc.ir.weights import Quantized
from snnc.synapses import Shape, result_shape, taps


class Sums(NamedTuple):
    """sums: what arrives, float64; synops: additions, one an event and synapse."""

    sums: Array
    synops: float


def through(op: Op, place: int, events: Array, weights: Array) -> Sums | None:
    """Events of input `place` through the constant weights that are the other one; None for forms
    of operations whose synapses are not known here."""
    if op.op_type in ("Conv", "ConvTranspose"):
        if place != 0:
            return None
        return through_kernel(op, events, weights, result_shape(op, events.shape, weights.shape))
    if op.op_type not in ("MatMul", "Gemm") or weights.ndim != 2 or events.ndim < 2:
        return None
    swaps = [bool(op.integer(key, 0)) for key in ("transA", "transB")]
    if swaps[place] != (place == 1):
        events = np.swapaxes(events, -1, -2)
    if swaps[1 - place] != (place == 1):
        weights = weights.T
    found = through_matrix(events, weights)
    return found if place == 0 else Sums(np.swapaxes(found.sums, -1, -2), found.synops)


def scale_of(op: Op, held: Quantized, factor: np.float32) -> Array:
    """What sums of counts times integer weights are multiplied by, as the result's channels lie."""
    scale = np.asarray(held.scale * factor, np.float32)
    if not scale.ndim:
        return scale
    return scale.reshape(-1, *[1] * (held.values.ndim - 2)) if op.op_type == "Conv" else scale


def through_matrix(events: Array, weights: Array) -> Sums:
    """events [..., K] through weights [K, N]."""
    rows = csr_array(events.reshape(-1, events.shape[-1]).astype(np.float64))
    sums = rows @ weights.astype(np.float64)
    return Sums(
        np.asarray(sums).reshape(*events.shape[:-1], weights.shape[1]),
        float(rows.nnz) * weights.shape[1],
    )


def through_kernel(op: Op, events: Array, weights: Array, out: Shape) -> Sums:
    """events [B, C, ...] through the kernel of a Conv or ConvTranspose; out: shape of the result.

    One tap of the kernel at a time: each place of the result takes over the events of the place
    that the tap connects it to.
    """
    group, transposed = op.integer("group", 1), op.op_type == "ConvTranspose"
    width = out[1] // group
    columns = np.moveaxis(events, 1, -1).reshape(-1, events.shape[1]).astype(np.float64)
    rows = csr_array(np.vstack([columns, np.zeros_like(columns[:1])]))
    sources = _sources(op, events.shape, weights.shape, out)
    sums, synops = np.zeros((math.prod(out) // max(out[1], 1), out[1])), 0.0
    for number, tap in enumerate(product(*map(range, weights.shape[2:]))):
        place = np.arange(out[0])
        connected = np.ones(out[0], bool)
        for axis, along in enumerate(tap):
            source = sources[axis][:, along]
            place = (place[:, None] * events.shape[2 + axis] + source).reshape(-1)
            connected = (connected[:, None] & (source >= 0)).reshape(-1)
        arriving = rows[np.where(connected, place, len(columns))]
        kernel = weights.reshape(*weights.shape[:2], -1)[:, :, number].astype(np.float64)
        synops += float(arriving.nnz) * width
        arrived = arriving @ _matrix(kernel, group, transposed)
        sums += arrived.toarray() if issparse(arrived) else arrived
    laid_out = np.moveaxis(sums.reshape(out[0], *out[2:], out[1]), -1, 1)
    return Sums(np.ascontiguousarray(laid_out), synops)


def _matrix(kernel: Array, group: int, transposed: bool) -> Array | csr_array:
    """Weights from each channel to each channel of the result at one tap; sparse where they are in
    groups."""
    if group == 1:
        return kernel if transposed else kernel.T
    blocks = kernel.reshape(group, kernel.shape[0] // group, kernel.shape[1])
    return block_diag(list(blocks if transposed else blocks.swapaxes(1, 2)), format="csr")


def _sources(op: Op, data: Shape, weight: Shape, out: Shape) -> list[Array]:
    """Per spatial axis, for each place of the result and tap of the kernel: the place of the input
    that it is connected to; -1 where there is none."""
    found = []
    for axis, (place, real) in enumerate(taps(op, data, weight, out)):
        if op.op_type == "Conv":
            found.append(np.where(real, place, -1))
            continue
        source = np.full((out[2 + axis], weight[2 + axis]), -1, np.int64)
        step, tap = np.nonzero(real)
        source[place[step, tap], tap] = step
        found.append(source)
    return found
