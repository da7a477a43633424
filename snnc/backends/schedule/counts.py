"""What a simulation counted, as means of a sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from snnc.ir.node import Array


@dataclass(frozen=True, eq=False)
class Counts:
    """Means over `samples` samples, at all timesteps together.

    spikes, events, packets: |spike count|, events (a count that is not 0), and binary spikes if
    each bit of a count travels by itself (bits that are set), of each neuron, float64, by the
    result of its layer of neurons. Without `packets` every event of a neuron is taken to carry its
    mean count, rounded. synops: by first result of the operation; what is missing is counted from
    the spikes.
    """

    samples: int
    spikes: Mapping[str, Array]
    events: Mapping[str, Array]
    synops: Mapping[str, float] = field(default_factory=dict)
    packets: Mapping[str, Array] = field(default_factory=dict)
