"""Distribution of the activation at one site and of its spike counts (Figure 4 of the paper)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from snnc.calibrated import CalibratedNetwork, require_calibrated, with_scale
from snnc.curves import DEFAULT_NEURON
from snnc.data import Source, samples_of
from snnc.errors import CompileError
from snnc.fits import DEFAULT_RECIPE, Fits, Recipe, Setting
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Neuron, Role, Site, Statistics
from snnc.ir.rate_neuron import RateNeuron, rate_neuron
from snnc.runtime import Session, batch_size
from snnc.sites import find_site, site_names, steps_at
from snnc.streams import spike_counts

BINS = 120


@dataclass(frozen=True)
class Histogram:
    """theta, step: of positive and of negative spikes, in units of the activation, the mean where
    channels have their own; 0 for a branch that never fires.

    edges: of the bins between the extremes seen in calibration; activations: entries of the ANN
    in each bin, the first and the last with all beyond; counts: entries of the spiking network by
    signed spike count; beyond: entries of the ANN beyond the edges.
    """

    site: str
    role: Role
    samples: int
    scale: float
    percentile: float
    theta: tuple[float, float]
    step: tuple[float, float]
    edges: tuple[float, ...]
    activations: tuple[int, ...]
    beyond: int
    counts: dict[int, int]

    @property
    def entries(self) -> int:
        return sum(self.activations)

    @property
    def silent(self) -> float:
        """Share of entries without a spike."""
        return self.counts.get(0, 0) / self.entries

    @property
    def mean_count(self) -> float:
        """Mean |spike count|."""
        return sum(abs(count) * n for count, n in self.counts.items()) / self.entries

    def by_size(self) -> list[tuple[str, int]]:
        """Entries by |spike count|: 0, 1, 2-3, 4-7 and so on."""
        sizes: Counter[int] = Counter()
        for count, n in self.counts.items():
            sizes[abs(count).bit_length()] += n
        names = {0: "0", 1: "1"}
        return [
            (names.get(bits, f"{2 ** (bits - 1)}-{2**bits - 1}"), sizes[bits])
            for bits in sorted(sizes)
        ]

    def summary(self) -> dict[str, Any]:
        """As `snnc eval --histogram --json` prints it."""
        return {
            "site": self.site,
            "role": self.role,
            "samples": self.samples,
            "entries": self.entries,
            "lambda": self.scale,
            "percentile": self.percentile,
            "theta": list(self.theta),
            "step": list(self.step),
            "silent": self.silent,
            "mean_count": self.mean_count,
            "beyond": self.beyond,
            "activation": {"edges": list(self.edges), "entries": list(self.activations)},
            "counts": {str(count): n for count, n in sorted(self.counts.items())},
        }


def histogram(
    network: CalibratedNetwork,
    data: Source,
    site: str,
    *,
    neuron: RateNeuron | str = DEFAULT_NEURON,
    scale: float | None = None,
    percentile: float | None = None,
    recipe: Recipe = DEFAULT_RECIPE,
) -> Histogram:
    """Streams `data` through both networks and counts what the site called `site` holds.

    Memory does not grow with the data: bins are fixed by the calibration, spike counts are levels.
    scale: None chooses lambda as `compile` would.
    """
    require_calibrated(network)
    neuron = rate_neuron(neuron)
    place = find_site(network.sited, site)
    name = site_names(network.sited)[place.outputs[0]]
    if place.role == "quantizer":
        raise CompileError(
            f"'{name}' is a quantiser of the network: its levels are not chosen, nor calibrated",
            help="name a site that is none: snnc check MODEL",
        )
    samples = samples_of(data, network.ann)
    fits = Fits(network, recipe)
    p = fits.percentile(percentile, [neuron])
    setting = fits.scaled([Setting(neuron, 1.0, p)], scale)[0]
    snn = fits.spiking(setting)
    spiking = _neuron_at(snn, place)
    seen = _statistics(fits.fitted(setting), place)
    edges = _edges(seen)
    tally = np.zeros(BINS, np.int64)
    counts: Counter[int] = Counter()
    beyond = done = 0
    sessions = Session(network.sited, taps=place.outputs), Session(snn, taps=spiking.outputs)
    for feeds in samples.batches(batch_size(network.sited, place.outputs)):
        real, spikes = (session.run(feeds) for session in sessions)
        x = np.asarray(real[place.outputs[0]], np.float64).ravel()
        beyond += int(np.count_nonzero((x < edges[0]) | (x > edges[-1])))
        tally += np.histogram(np.clip(x, edges[0], edges[-1]), edges)[0]
        counts.update(_signed_counts(snn, spiking, spikes[spiking.outputs[0]]))
        done += samples.size_of(feeds)
        recipe.progress("counting", done, samples.count)
    return Histogram(
        name,
        place.role,
        done,
        setting.scale,
        p,
        _theta(fits, setting, place, seen),
        steps_at(snn, spiking),
        tuple(float(edge) for edge in edges),
        tuple(int(n) for n in tally),
        beyond,
        dict(counts),
    )


def _statistics(calibrated: Graph, place: Site) -> Statistics:
    node = calibrated.producer[place.outputs[0]]
    assert isinstance(node, Site)
    assert node.statistics is not None
    return node.statistics


def _neuron_at(snn: Graph, place: Site) -> Neuron:
    """The neuron whose spikes the site's readers get, directly or through a Cast."""
    node = snn.producer[place.outputs[0]]
    if not isinstance(node, Neuron):
        node = snn.producer[node.inputs[0]]
    assert isinstance(node, Neuron)
    return node


def _edges(seen: Statistics) -> Array:
    """Equal bins between the extremes; around a constant, bins of a unit."""
    low, high = seen.minimum, seen.maximum
    return (
        np.linspace(low, high, BINS + 1) if low < high else low + np.linspace(-0.5, 0.5, BINS + 1)
    )


def _theta(fits: Fits, setting: Setting, place: Site, seen: Statistics) -> tuple[float, float]:
    """Thresholds: the steps at lambda = 1; at a softmax site the calibrated maximum."""
    if place.role == "softmax":
        return max(seen.maximum, 0.0), 0.0
    calibrated, polarity = fits.fitted(setting), fits.recipe.polarity
    whole = with_scale(calibrated, setting.neuron, 1.0, polarity)
    return steps_at(whole, _neuron_at(whole, place))


def _signed_counts(snn: Graph, neuron: Neuron, output: Array) -> dict[int, int]:
    signed = np.copysign(spike_counts(snn, neuron, output), output).astype(np.int64)
    values, times = np.unique(signed, return_counts=True)
    return {int(value): int(n) for value, n in zip(values, times, strict=True)}
