"""Batches of a run, added up."""

from __future__ import annotations

import numpy as np

from snnc.backends.schedule.counts import Counts
from snnc.backends.schedule.execution import Fired
from snnc.backends.schedule.layers import Network
from snnc.ir.node import Array


class Tally:
    """Adds up batches."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._sums: dict[str, Array] = {}
        self._synops: dict[str, float] = {}
        self._samples = 0

    def update(self, fired: Fired) -> None:
        for name, counts in fired.counts.items():
            size = np.abs(counts)
            digits = range(int(size.max(initial=0)).bit_length())
            ones = sum(((size >> digit) & 1 for digit in digits), np.zeros_like(size))
            found = np.stack([each.sum((0, 1), np.float64) for each in (size, size != 0, ones)])
            self._sums[name] = self._sums.get(name, 0.0) + found
        for name, synops in fired.synops.items():
            self._synops[name] = self._synops.get(name, 0.0) + synops
        self._samples += fired.samples

    @property
    def counts(self) -> Counts:
        samples = max(self._samples, 1)
        shapes = {name: self._network.homes[name].shape for name in self._sums}
        spikes, events, packets = (
            {name: (sums[i] / samples).reshape(shapes[name]) for name, sums in self._sums.items()}
            for i in range(3)
        )
        synops = {name: total / samples for name, total in self._synops.items()}
        return Counts(self._samples, spikes, events, synops, packets)
