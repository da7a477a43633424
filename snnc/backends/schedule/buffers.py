"""Values that wait for a later reader, and the memory they take meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from snnc.backends.schedule.demands import Spikes
from snnc.backends.schedule.layers import Connection, Network
from snnc.backends.schedule.mapping import Buffer, Mapping, Slot
from snnc.backends.schedule.timeline import spikes_of
from snnc.backends.schedule.windows import windows_of
from snnc.ir.node import Array, Op
from snnc.ir.spike_times import RELAY
from snnc.targets import Target

FLOAT_BITS = 32
"""Of a real number where the target has no format for it."""


def buffers_of(
    network: Network, target: Target, slots: Sequence[Slot], period: int
) -> tuple[Buffer, ...]:
    """What is read later than in the tick behind its sending; with spike times: what relays keep.

    Over several timesteps a value waits once for each of them that is under way.
    """
    if windows_of(network.graph).ticks:
        return tuple(_relayed(network))
    spans: dict[str, tuple[int, int]] = {}
    spiking: dict[str, bool] = {}
    for reader, layer in enumerate(network.layers):
        for connection in layer.connections:
            for value in origins(network, connection):
                source = layer_at(network, value)
                sent = slots[source].first + slots[source].ticks
                if source == reader or slots[reader].first <= sent:
                    continue
                since, until = spans.get(value, (slots[source].first, 0))
                spans[value] = since, max(until, slots[reader].first)
                spiking[value] = spiking.get(value, True) and connection.neurons is not None
    found, counts = [], spikes_of(network)
    for value, (since, until) in spans.items():
        source = layer_at(network, value)
        width = _width(counts.get(source) if spiking[value] else None, target)
        waiting = min(network.graph.timesteps, -(-(until - since) // period))
        entries = int(network.homes[value].size)
        found.append(Buffer(value, source, entries, entries * width * waiting, since, until))
    return tuple(found)


def origins(network: Network, connection: Connection) -> tuple[str, ...]:
    """The values in cells that an operand is made of by layout."""
    found: dict[str, None] = {}
    pending = [connection.value]
    while pending:
        value = pending.pop()
        if value in network.homes:
            found[value] = None
        elif (op := network.graph.op(value)) is not None:
            pending += [v for v in op.inputs if v in network.shapes]
    return tuple(found)


def layer_at(network: Network, value: str) -> int:
    """The layer in whose cells a value lies."""
    return int(network.layer_of(network.homes[value].reshape(-1)[:1])[0])


def peak_bits(network: Network, mapping: Mapping) -> dict[int, int]:
    """The most bits that buffers take at a time on each core that has any."""
    found: dict[int, int] = {}
    changes: dict[int, list[tuple[int, int]]] = {}
    for buffer in mapping.buffers:
        cores = mapping.cores[network.homes[buffer.value]]
        width = buffer.bits // max(buffer.entries, 1)
        for core, entries in zip(*np.unique(cores, return_counts=True), strict=True):
            bits = int(entries) * width
            changes.setdefault(int(core), []).extend(
                [(buffer.since, bits), (buffer.until + 1, -bits)]
            )
    for core, steps in changes.items():
        sums: Array = np.cumsum([bits for _, bits in sorted(steps)])
        found[core] = int(sums.max())
    return found


def _width(spikes: Spikes | None, target: Target) -> int:
    """Bits of one entry."""
    if spikes is None:
        return target.real_bits or FLOAT_BITS
    return spikes.top.bit_length() + spikes.signed


def _relayed(network: Network) -> Iterator[Buffer]:
    windows = windows_of(network.graph)
    for index, layer in enumerate(network.layers):
        for node in layer.nodes:
            if isinstance(node, Op) and node.op_type == RELAY:
                value, window = node.outputs[0], node.integer("window", 0)
                since = (window - node.integer("windows", 0)) * windows.ticks
                entries = int(network.homes[value].size)
                bits = entries * windows.ticks.bit_length()
                yield Buffer(value, index, entries, bits, since, window * windows.ticks)
