"""How long an inference takes, tick by tick."""

from __future__ import annotations

from collections.abc import Mapping as Mapped

from snnc.backends.schedule.mapping import HOST, Mapping
from snnc.backends.schedule.reach import Unit
from snnc.targets import Target


def latency(mapping: Mapping, target: Target, busy: Mapped[Unit, float], timesteps: int) -> float:
    """Seconds: every tick takes as long as the busiest core in it, the longest way of a packet and
    the barrier, but at least a tick of the target.

    busy: nanoseconds of each layer on each core at all timesteps together, which are taken to be
    alike and spread over the ticks of the layer's slot.
    """
    loads: dict[int, dict[int, float]] = {}
    for (layer, core), nanoseconds in busy.items():
        if core != HOST:
            ticks = mapping.slots[layer].ticks * timesteps
            loads.setdefault(layer, {})[core] = nanoseconds / ticks
    ways = _ways(mapping, target)
    changes: dict[int, list[tuple[int, int]]] = {mapping.ticks: []}
    for slot in mapping.slots:
        for t in range(timesteps):
            start = slot.first + t * mapping.period
            changes.setdefault(start, []).append((slot.layer, 1))
            changes.setdefault(start + slot.ticks, []).append((slot.layer, -1))
    total, last = 0.0, 0
    active: dict[int, int] = {}
    known: dict[frozenset[int], float] = {}
    for tick in sorted(changes):
        key = frozenset(layer for layer, times in active.items() if times)
        if key not in known:
            known[key] = _tick(key, loads, ways, target)
        total += (tick - last) * known[key]
        last = tick
        for layer, change in changes[tick]:
            active[layer] = active.get(layer, 0) + change
    return total * 1e-9


def _tick(
    active: frozenset[int],
    loads: Mapped[int, Mapped[int, float]],
    ways: Mapped[int, float],
    target: Target,
) -> float:
    """Nanoseconds of a tick in which these layers are active."""
    sums: dict[int, float] = {}
    for layer in sorted(active):
        for core, nanoseconds in loads.get(layer, {}).items():
            sums[core] = sums.get(core, 0.0) + nanoseconds
    way = max((ways.get(layer, 0.0) for layer in active), default=0.0)
    slowest = max(sums.values(), default=0.0) + way + target.nanoseconds.get("barrier", 0.0)
    return max(target.tick_nanoseconds, slowest)


def _ways(mapping: Mapping, target: Target) -> dict[int, float]:
    """Nanoseconds of the longest way of a packet of each layer."""
    found: dict[int, float] = {}
    hop = target.nanoseconds.get("packet_hop", 0.0)
    for route in mapping.routes:
        depth = {route.core: 0}
        for start, end in route.links:
            depth[end] = depth[start] + 1
        longest = max(depth.values()) * hop
        found[route.layer] = max(found.get(route.layer, 0.0), longest)
    return found
