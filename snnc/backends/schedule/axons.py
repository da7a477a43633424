"""How many cells a core takes spikes or numbers of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from snnc.backends.schedule.layers import Connection, Layer, Network
from snnc.backends.schedule.reading import Box, fan


def axons(network: Network, layer: Layer, boxes: Sequence[Box]) -> int:
    """Cells that the cells of one layer on one core read, those of each operand apart; none is
    taken to lie on that core, so that this is an upper bound."""
    return sum(_of(network, connection, boxes) for connection in layer.connections)


def _of(network: Network, connection: Connection, boxes: Sequence[Box]) -> int:
    if connection.kind == "wire":
        cells = sum(math.prod(map(len, box)) for box in boxes)
        return min(cells, connection.cells.size)
    reads = [fan(network, connection, box).read for box in boxes]
    if len(reads) == 1:
        return math.prod(map(len, reads[0]))
    mask = np.zeros(connection.cells.shape, bool)
    for read in reads:
        mask[np.ix_(*read)] = True
    return int(mask.sum())
