"""ConvTranspose: onnx's reference implementation is wrong for groups, and for auto_pad."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np

from snnc.ir.node import Array, Op
from snnc.synapses import result_shape, taps


def transposed_convolution(op: Op, inputs: Sequence[Array | None]) -> Array | None:
    """The result in float64, for data [B, C, ...], weights [C, M / group, ...] and perhaps a bias;
    None for other operations."""
    if op.op_type != "ConvTranspose" or inputs[0] is None or inputs[1] is None:
        return None
    data, weights = inputs[0], inputs[1]
    out, group = result_shape(op, data.shape, weights.shape), op.integer("group", 1)
    apart = data.reshape(len(data), group, -1, *data.shape[2:]).astype(np.float64)
    kernels = weights.reshape(group, -1, weights.shape[1], math.prod(weights.shape[2:]))
    kernels = kernels.astype(np.float64).swapaxes(1, 2)
    found = np.zeros((len(data), group, out[1] // group, *out[2:]))
    axes = taps(op, data.shape, weights.shape, out)
    for number, tap in enumerate(product(*map(range, weights.shape[2:]))):
        used = [np.flatnonzero(real[:, k]) for k, (_, real) in zip(tap, axes, strict=True)]
        places = [p[u, k] for k, u, (p, _) in zip(tap, used, axes, strict=True)]
        whole = [np.arange(n) for n in found.shape[:3]]
        read = apart[np.ix_(*whole[:2], np.arange(apart.shape[2]), *used)]
        arriving = kernels[..., number] @ read.reshape(*read.shape[:3], -1)
        found[np.ix_(*whole, *places)] += arriving.reshape(*found.shape[:3], *map(len, places))
    summed = found.reshape(out)
    bias = inputs[2] if len(inputs) > 2 else None
    return summed if bias is None else summed + bias.reshape(-1, *[1] * (data.ndim - 2))
