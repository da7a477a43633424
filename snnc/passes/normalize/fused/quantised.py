"""Products with weights that are stored as small integers, block by block."""

from __future__ import annotations

import numpy as np

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Op
from snnc.passes.normalize.constants import LARGEST
from snnc.passes.normalize.spelling import Spelling

_FLOAT = (0, 1)
"""Levels of accuracy at which the kernel does not quantise activations as well."""


def spell_matmul_nbits(graph: Graph, op: Op) -> Replacement | None:
    """MatMulNBits: x times weights of 2, 4 or 8 bits, as a product with real weights [K, N]."""
    x, packed, scales, zeros, order, bias = (*op.inputs, "", "", "")[:6]
    arrays = [graph.consts.get(name) for name in (packed, scales, zeros) if name]
    known = op.attrs.get("accuracy_level", 0) in _FLOAT and not op.attrs.get("weight_prepacked", 0)
    if order or not known or any(array is None for array in arrays):
        return None
    weight = _dequantised(op, [array for array in arrays if array is not None])
    if weight is None:
        return None
    s = Spelling(graph, op)
    out = op.outputs[0]
    product = s.op("MatMul", x, s.const(weight, s.dtype(x)), into="" if bias else out)
    if bias:
        s.op("Add", product, bias, into=out)
    return s.done()


def _dequantised(op: Op, arrays: list[Array]) -> Array | None:
    """(q - zero) * scale, [K, N]. arrays: packed integers, scales and, if given, zero points.

    A row of integers, [blocks, bytes], belongs to one output; the lowest bits of a byte come first.
    """
    depth, outputs, bits = (op.integer(name, 0) for name in ("K", "N", "bits"))
    bits, size = bits or 4, op.integer("block_size", 0)
    packed, scales, *zeros = arrays
    if bits not in (2, 4, 8) or size < 1 or depth * outputs > LARGEST:
        return None
    blocks = -(-depth // size)
    zero: Array = np.full((outputs, blocks), 1 << (bits - 1), np.float32)
    if zeros:
        by_output = zeros[0].reshape(outputs, -1)
        unpacked = by_output if by_output.dtype.kind == "f" else _unpacked(by_output, bits)
        zero = unpacked[:, :blocks].astype(np.float32)
    levels = _unpacked(packed.reshape(outputs * blocks, -1), bits)[:, :size]
    real = levels.reshape(outputs, blocks, size) - zero[:, :, None]
    real = real * scales.reshape(outputs, blocks, 1).astype(np.float32)
    return np.ascontiguousarray(real.reshape(outputs, blocks * size)[:, :depth].T)


def _unpacked(array: Array, bits: int) -> Array:
    """The integers of each row of bytes."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    parts = (array[:, :, None] >> shifts) & np.uint8((1 << bits) - 1)
    return np.asarray(parts.reshape(len(array), -1), np.float32)
