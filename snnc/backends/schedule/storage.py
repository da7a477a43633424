"""How much of a core's memory the weights of a layer take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from snnc.backends.schedule.layers import Connection, Layer, Network
from snnc.backends.schedule.reading import Box, fan, shape_of
from snnc.ir.node import Neuron, Op
from snnc.ir.ops import multiplied
from snnc.targets import Target

FLOAT_BITS = 32
"""Of a weight where the target has no format of its own."""


def weighted(layer: Layer) -> Connection | None:
    """The operand that a layer multiplies by constant weights."""
    found = (c for c in layer.connections if c.kind == "synapses" and c.value in _operands(c))
    return next(found, None)


def weights_per_channel(network: Network, layer: Layer) -> int | None:
    """Weights that one channel of a layer shares among all its positions; None where they are not
    known to be shared (or there are none)."""
    connection = weighted(layer)
    if connection is None:
        return None
    op, weight = connection.op, shape_of(network, _operands(connection)[1])
    size = int(np.prod(weight, dtype=np.int64))
    if not isinstance(op, Op) or connection.place or layer.channel >= len(layer.shape):
        return None
    channels = layer.shape[layer.channel]
    if op.op_type in ("Conv", "ConvTranspose", "Gemm") or (
        op.op_type == "MatMul" and len(weight) == 2
    ):
        return size // channels
    return None


def bits_of_a_weight(network: Network, connection: Connection, target: Target) -> int:
    """Twice as many where spikes of each sign come to a weight of their own, as they carry none."""
    node = network.graph.producer.get(connection.neurons or "")
    signed = isinstance(node, Neuron) and node.sides == "both" and not target.signed_payload
    return (FLOAT_BITS if target.weight_bits is None else target.weight_bits) * (1 + signed)


def synapse_bits(network: Network, layer: Layer, boxes: Sequence[Box], target: Target) -> int:
    """Memory for the weights of the cells of one layer on one core: every weight once where the
    target shares them, once for each synapse elsewhere (padding has none)."""
    connection = weighted(layer)
    if connection is None:
        return 0
    bits = bits_of_a_weight(network, connection, target)
    shared = weights_per_channel(network, layer) if target.shares_convolutions else None
    if shared is not None:
        channels = np.unique(np.concatenate([box[layer.channel] for box in boxes]))
        return shared * len(channels) * bits
    synapses = sum(fan(network, connection, box).synapses for box in boxes)
    return round(synapses) * bits


def _operands(connection: Connection) -> tuple[str, ...]:
    op = connection.op
    return multiplied(op) if isinstance(op, Op) else ()
