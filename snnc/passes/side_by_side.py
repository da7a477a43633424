"""The trained and the spiking network side by side, as choices are made from front to back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from snnc.data import Feeds, Samples
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.ir.rate_neuron import Polarity, RateNeuron
from snnc.passes.assign_thresholds import AssignThresholds
from snnc.passes.fold_time import FoldTime
from snnc.passes.partwise import Partwise
from snnc.passes.softmax_max import SoftmaxMax
from snnc.passes.substitute import Substitute
from snnc.runtime import batch_size


@dataclass(frozen=True)
class Station:
    """A choice: of the constants `changes` of the spiking network, from a value of the trained one
    (`wanted`) and what stands for it in the spiking one (`found`)."""

    changes: tuple[str, ...]
    wanted: str
    found: str


@dataclass(frozen=True)
class Compared:
    """One batch in both networks. samples: how many; share: of all; wanted, found: values by
    name."""

    feeds: Feeds
    samples: int
    share: float
    wanted: Mapping[str, Array]
    found: Mapping[str, Array]


def spiking_of(
    graph: Graph, neuron: RateNeuron, scale: float, polarity: Polarity, timesteps: int
) -> Graph:
    """The spiking network of a calibrated one, with float synapses."""
    graph = SoftmaxMax(neuron)(AssignThresholds(neuron, scale, polarity)(graph))
    return FoldTime(timesteps)(Substitute(neuron, timesteps=timesteps)(graph))


class SideBySide:
    """Rounds of choices that do not depend on each other, each after all that it depends on.

    Every batch of a round runs both networks from where the last round ended (see Partwise).
    spiking: to be replaced by the network with what a round chose.
    """

    def __init__(
        self, trained: Graph, spiking: Graph, stations: Sequence[Station], samples: Samples
    ) -> None:
        self._trained, self.spiking, self._samples = trained, spiking, samples
        self._rounds = _rounds(spiking, stations)
        sizes = [batch_size(trained, [s.wanted for s in each]) for each in self._rounds]
        sizes += [batch_size(spiking, [s.found for s in each]) for each in self._rounds]
        self._size = min(sizes, default=1)
        self._real, self._spikes = (Partwise(samples, self._size) for _ in range(2))

    def rounds(self) -> Iterator[tuple[Sequence[Station], Iterator[Compared]]]:
        """The choices of each round and its batches, which are to be read to the end."""
        for index, stations in enumerate(self._rounds):
            later = [station for each in self._rounds[index + 1 :] for station in each]
            yield stations, self._batches(stations, later)

    def _batches(self, stations: Sequence[Station], later: Sequence[Station]) -> Iterator[Compared]:
        real = self._real.run(
            self._trained,
            tuple(dict.fromkeys(s.wanted for s in stations)),
            tuple(dict.fromkeys(s.wanted for s in later)),
        )
        spikes = self._spikes.run(
            self.spiking,
            tuple(dict.fromkeys(s.found for s in stations)),
            tuple(dict.fromkeys(s.found for s in later)),
            {name for station in stations for name in station.changes},
        )
        feeds = self._samples.batches(self._size)
        for given, wanted, found in zip(feeds, real, spikes, strict=True):
            size = self._samples.size_of(given)
            yield Compared(given, size, size / (self._samples.count or 1), wanted, found)


def _rounds(graph: Graph, stations: Sequence[Station]) -> list[list[Station]]:
    """Stations by how many others lie in front of them on the longest way."""
    owner = {name: station for station in stations for name in station.changes}
    depth: dict[str, int] = {}
    found: dict[int, list[Station]] = {}
    for node in graph.nodes:
        before = max((depth.get(v, 0) for v in node.inputs), default=0)
        mine = dict.fromkeys(owner[v] for v in node.inputs if v in owner)
        found.setdefault(before, []).extend(mine)
        depth.update(dict.fromkeys(node.outputs, before + bool(mine)))
    return [found[key] for key in sorted(found) if found[key]]
