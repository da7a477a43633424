"""One batch through a schedule: which neurons fire, how often, when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from snnc.backends.schedule.layers import Network
from snnc.backends.schedule.samples import by_sample
from snnc.errors import CompileError
from snnc.ir.node import Array
from snnc.ir.spike_times import has_spike_times
from snnc.membrane import Run as TimedRun
from snnc.membrane import simulate as simulate_times
from snnc.simulator import Differing, Simulator


@dataclass(frozen=True, eq=False)
class Fired:
    """counts: signed spike counts of each layer of neurons, by its result, [timesteps, samples,
    entries]; ticks: of spikes that are sent once, from the start of their window, -1 for none, of
    the same shape; synops: additions of each operation, in all, none where single spikes are sent;
    outputs: of the network; differing: of layers whose spikes were given."""

    samples: int
    counts: Mapping[str, Array]
    ticks: Mapping[str, Array]
    synops: Mapping[str, float]
    outputs: Mapping[str, Array]
    differing: Mapping[str, Differing]


class Execution:
    """Executes a network, batch after batch."""

    def __init__(self, network: Network) -> None:
        self._network = network
        timed = has_spike_times(network.graph)
        self._simulator = None if timed else Simulator(network.graph)

    def fire(
        self, feeds: Mapping[str, Array], samples: int, given: Mapping[str, Array] | None = None
    ) -> Fired:
        """What every neuron does for a batch.

        given: what neurons emitted elsewhere (step x count; of spike times the ticks), by the name
        of their result, as `snnc.simulator.simulate` and `snnc.membrane.simulate` take it.
        """
        network = self._network
        self._require_single(feeds, samples)
        if self._simulator is None:
            run = simulate_times(network.graph, feeds, given)
            return _timed(network, run, samples, given or {})
        found = self._simulator.run(feeds, given)
        counts = {
            name: _entries(network, name, spikes.counts, samples)
            for name, spikes in found.spikes.items()
        }
        return Fired(samples, counts, {}, found.synops, found.outputs, found.differing)

    def _require_single(self, feeds: Mapping[str, Array], samples: int) -> None:
        """CompileError if the network has cells for several samples at once."""
        homes = self._network.homes
        sizes = [
            (feeds[v].size, homes[v].size) for v in self._network.graph.inputs if feeds[v].ndim
        ]
        if samples > 1 and sizes and all(given == held for given, held in sizes):
            raise CompileError(
                f"the network takes exactly {samples} samples at a time, a schedule one",
                at=self._network.graph.source or None,
                help="export it with a dynamic batch, or a batch of 1, and compile it again",
            )


def _timed(network: Network, run: TimedRun, samples: int, given: Mapping[str, Array]) -> Fired:
    sent = {**run.ticks, **given}
    ticks = {n: _entries(network, n, array, samples) for n, array in sent.items()}
    counts = {name: (array >= 0).astype(np.int32) for name, array in ticks.items()}
    differing = {
        name: Differing(d.neurons, d.ticks, d.far, False) for name, d in run.differing.items()
    }
    return Fired(samples, counts, ticks, {}, run.outputs, differing)


def _entries(network: Network, name: str, array: Array, samples: int) -> Array:
    return by_sample(array, network.homes[name].shape, network.graph.timesteps, samples)
