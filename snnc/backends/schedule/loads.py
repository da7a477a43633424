"""What an inference costs on a chip: per core, per link, per layer, in energy and in time."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as Mapped
from dataclasses import dataclass

from snnc.backends.schedule.counts import Counts
from snnc.backends.schedule.emission import Emission
from snnc.backends.schedule.latency import latency
from snnc.backends.schedule.layers import Network
from snnc.backends.schedule.mapping import HOST, Mapping
from snnc.backends.schedule.mesh import mesh_of
from snnc.backends.schedule.packets import Packets, fired_packets, packets_of
from snnc.backends.schedule.reach import Unit, regions_of
from snnc.backends.schedule.work import Work, work_of
from snnc.targets import Target

HOTTEST = 5
"""How many of the busiest cores are named."""


@dataclass(frozen=True)
class CoreLoad:
    """Of one core (HOST: of the host), per sample. sent, received: packets; synops, real: synaptic
    and real operations; updates: of neurons; seconds: all of these one after the other."""

    core: int
    cells: int
    sent: float
    received: float
    synops: float
    real: float
    updates: float
    seconds: float


@dataclass(frozen=True)
class LayerLoad:
    """Of one layer, per sample. packets: that it sends, hops: links that they take together;
    energy_joules: without the share of the idle chip, 0 on the host."""

    name: str
    synops: float
    real: float
    updates: float
    packets: float
    hops: float
    energy_joules: float


@dataclass(frozen=True)
class HotCore:
    """A busy core, and why: the layer that keeps it busy, for which share of its time."""

    core: int
    seconds: float
    layer: str
    share: float


@dataclass(frozen=True, eq=False)
class Loads:
    """Means of a sample. cores: by number, HOST first if it computes or sends; links: packets by
    pair of routers; layers: of the network, in order; energy: joules by what they are spent on."""

    cores: tuple[CoreLoad, ...]
    links: Mapped[tuple[int, int], float]
    layers: tuple[LayerLoad, ...]
    energy: Mapped[str, float]
    latency_seconds: float
    hot: tuple[HotCore, ...]

    @property
    def energy_joules(self) -> float:
        return sum(self.energy.values())

    @property
    def synops(self) -> float:
        return sum(core.synops for core in self.cores)


def loads(network: Network, mapping: Mapping, target: Target, counts: Counts) -> Loads:
    """From what a simulation counted, and the target's figures. What the host computes is counted,
    and costs nothing."""
    found = regions_of(network, mapping.cores)
    emission = Emission(network, fired_packets(network, mapping, counts))
    packets = packets_of(network, mapping, target, emission, found)
    work = work_of(network, mapping, counts, emission, found)
    spent = _Spent(work, packets, target)
    seconds = latency(mapping, target, spent.busy, network.graph.timesteps)
    chips = len({core // mesh_of(target).routers for core in _used(mapping)})
    energy = {kind: spent.joules(kind) for kind in target.picojoules}
    energy["idle"] = target.idle_watts * chips * seconds
    return Loads(
        _cores(mapping, spent),
        packets.links,
        _layers(network, spent),
        energy,
        seconds,
        _hot(network, spent),
    )


def _used(mapping: Mapping) -> set[int]:
    return {tile.core for tile in mapping.tiles}


class _Spent:
    """Numbers of everything that takes energy or time, by layer and core."""

    def __init__(self, work: Work, packets: Packets, target: Target) -> None:
        self.work, self.packets, self._target = work, packets, target
        self.numbers: dict[str, dict[Unit, float]] = {
            "synop": work.synops,
            "real_operation": work.real,
            "neuron_update": work.updates,
            "packet": packets.sent,
            "packet_hop": packets.hops,
        }
        self.busy: dict[Unit, float] = {}
        for kind in ("synop", "real_operation", "neuron_update", "packet"):
            nanoseconds = target.nanoseconds.get(kind, 0.0)
            for unit, number in self.numbers[kind].items():
                self.busy[unit] = self.busy.get(unit, 0.0) + number * nanoseconds

    def joules(self, kind: str, layer: int | None = None) -> float:
        """Of a layer, or of all; the host computes for nothing, its packets travel as others do."""
        free = kind not in ("packet", "packet_hop")
        return (
            sum(
                number
                for (index, core), number in self.numbers.get(kind, {}).items()
                if layer in (None, index) and not (free and core == HOST)
            )
            * self._target.picojoules.get(kind, 0.0)
            * 1e-12
        )


def _sums(numbers: Mapped[Unit, float], key: Callable[[Unit], int]) -> dict[int, float]:
    found: dict[int, float] = {}
    for unit, number in numbers.items():
        found[key(unit)] = found.get(key(unit), 0.0) + number
    return found


def _core(unit: Unit) -> int:
    return unit[1]


def _layer(unit: Unit) -> int:
    return unit[0]


def _cores(mapping: Mapping, spent: _Spent) -> tuple[CoreLoad, ...]:
    sent, received, synops, real, updates, busy = (
        _sums(numbers, _core)
        for numbers in (
            spent.packets.sent,
            spent.packets.received,
            spent.work.synops,
            spent.work.real,
            spent.work.updates,
            spent.busy,
        )
    )
    cells: dict[int, int] = {}
    for tile in mapping.tiles:
        cells[tile.core] = cells.get(tile.core, 0) + tile.cells
    return tuple(
        CoreLoad(
            core,
            cells.get(core, 0),
            sent.get(core, 0.0),
            received.get(core, 0.0),
            synops.get(core, 0.0),
            real.get(core, 0.0),
            updates.get(core, 0.0),
            0.0 if core == HOST else busy.get(core, 0.0) * 1e-9,
        )
        for core in sorted({*cells, *sent, *received, *synops, *real, *updates})
    )


def _layers(network: Network, spent: _Spent) -> tuple[LayerLoad, ...]:
    synops, real, updates, sent, hops = (
        _sums(numbers, _layer)
        for numbers in (
            spent.work.synops,
            spent.work.real,
            spent.work.updates,
            spent.packets.sent,
            spent.packets.hops,
        )
    )
    return tuple(
        LayerLoad(
            layer.name,
            synops.get(index, 0.0),
            real.get(index, 0.0),
            updates.get(index, 0.0),
            sent.get(index, 0.0),
            hops.get(index, 0.0),
            sum(spent.joules(kind, index) for kind in spent.numbers),
        )
        for index, layer in enumerate(network.layers)
    )


def _hot(network: Network, spent: _Spent) -> tuple[HotCore, ...]:
    totals = {core: ns for core, ns in _sums(spent.busy, _core).items() if core != HOST and ns}
    hottest = sorted(totals, key=lambda core: (-totals[core], core))[:HOTTEST]
    found = []
    for core in hottest:
        of_layers = {layer: ns for (layer, c), ns in spent.busy.items() if c == core}
        layer = max(of_layers, key=lambda index: of_layers[index])
        share = of_layers[layer] / totals[core]
        found.append(HotCore(core, totals[core] * 1e-9, network.layers[layer].name, share))
    return tuple(found)
