"""Synaptic events of a network of spike times, counted where it runs.

Every value gets a companion that says how many spikes each of its entries got: the sum over its
synapses, weights left out. It is worked out twice, for the spikes that occur and for a network all
of whose neurons fire, so that no activation need be kept: what is read off are sums.
"""

from snnc.spike_events.walk import (
    CountedGraph,
    CountedLayer,
    Counts,
    Kind,
    Total,
    windows,
    with_spike_events,
)

__all__ = [
    "CountedGraph",
    "CountedLayer",
    "Counts",
    "Kind",
    "Total",
    "windows",
    "with_spike_events",
]
