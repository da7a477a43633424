"""Whether an integrate-and-fire network equals its multi-threshold one, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from snnc.calibrated import CalibratedNetwork, require_calibrated
from snnc.data import Source, samples_of
from snnc.errors import CompileError
from snnc.fits import DEFAULT_RECIPE, Fits, Recipe, Setting
from snnc.ir.graph import Graph
from snnc.ir.neuron_spec import NeuronSpec
from snnc.ir.node import Array, Neuron
from snnc.ir.rate_neuron import RateNeuron, rate_neuron
from snnc.neurons.dual_if import DualIF
from snnc.neurons.integrate_fire import IF
from snnc.passes.fold_time import FoldTime
from snnc.runtime import Session, batch_groups, batch_size
from snnc.sites import site_names
from snnc.theorems import Compared, Theta, compare_layer

Verdict: TypeAlias = Literal["exact", "bounded", "violated"]


@dataclass(frozen=True)
class LayerEquivalence:
    """A layer of integrate-and-fire neurons and its counterpart on the mean of its own inputs.

    theta: of positive and negative spikes, 0 for a sign that never fires; the largest where
    channels have their own. exact: share of entries (neuron and sample) that meet the premises of
    Theorem 1; beyond: share of inputs x(t) outside the thresholds, in entries that do not; worst:
    the one furthest out. error: largest |obar_IF - o_M|; bound: largest of Theorem 3 over entries
    that are not exact; limit: the bound that needs no membrane, (2 theta + theta of the other sign)
    / T, where all |x(t)| <= theta. These, and the mean error, are in parts of each neuron's own
    threshold, the larger of its two. holds: whether no entry has a larger error than its bound, and
    none where the premises are met.
    """

    name: str
    theta: tuple[float, float]
    verdict: Verdict
    entries: int
    exact: float
    beyond: float
    worst: float
    error: float
    mean_error: float
    bound: float
    limit: float | None
    ties: int
    holds: bool

    def summary(self) -> dict[str, Any]:
        return {
            "layer": self.name,
            "theta": list(self.theta),
            "verdict": self.verdict,
            "entries": self.entries,
            "exact_share": self.exact,
            "beyond_share": self.beyond,
            "worst_input": self.worst,
            "error": self.error,
            "mean_error": self.mean_error,
            "bound": self.bound,
            "limit": self.limit,
            "ties": self.ties,
            "within_bound": self.holds,
        }


@dataclass(frozen=True)
class Equivalence:
    """Every layer of an integrate-and-fire network against its counterpart, from input to output.

    neuron: with its timesteps; scale: its lambda; reached: whether that keeps the fidelity asked
    for, None if it was given.
    """

    neuron: NeuronSpec
    scale: float
    reached: bool | None
    samples: int
    layers: tuple[LayerEquivalence, ...]

    def summary(self) -> dict[str, Any]:
        """As `snnc verify-equivalence --json` prints it."""
        return {
            "neuron": str(self.neuron),
            "timesteps": self.neuron.timesteps,
            "lambda": self.scale,
            "fidelity_reached": self.reached,
            "samples": self.samples,
            "layers": [layer.summary() for layer in self.layers],
        }


def require_integrate_and_fire(model: RateNeuron) -> None:
    """Raises CompileError for neurons that the theorems do not speak of."""
    if not isinstance(model, IF | DualIF):
        raise CompileError(
            f"neuron '{model.name}' is not integrate-and-fire", help="take if, or dual-if"
        )
    if isinstance(model, IF) and model.reset != "soft":
        raise CompileError(
            "a hard reset loses what lies above the threshold: no multi-threshold neuron equals it",
            help="leave reset=hard out",
        )


def verify_equivalence(
    network: CalibratedNetwork,
    data: Source,
    *,
    timesteps: int,
    neuron: RateNeuron | str = "if",
    scale: float | None = None,
    percentile: float | None = None,
    recipe: Recipe = DEFAULT_RECIPE,
) -> Equivalence:
    """Runs `if` or `dual-if` over T timesteps on `data`, streaming, and checks every layer against
    the multi-threshold neuron of theta/T, N = T and v(0)/T on the mean of the layer's own inputs.

    scale: lambda; None chooses it as `compile` would. Raises CompileError for other neurons, and
    for a hard reset, to which no theorem applies.
    """
    require_calibrated(network)
    FoldTime(timesteps)
    model = rate_neuron(neuron)
    require_integrate_and_fire(model)
    fits = Fits(network, recipe)
    asked = Setting(model, 1.0, fits.percentile(percentile, [model]), None, timesteps)
    setting = fits.scaled([asked], scale)[0]
    graph = fits.spiking(setting)
    names = site_names(network.sited)
    layers = [
        _Layer(graph, neuron, names.get(neuron.outputs[0], neuron.loc.names[0]))
        for neuron in graph.neurons
        if isinstance(neuron.model, IF | DualIF)
    ]
    groups = batch_groups(graph, [layer.taps for layer in layers])
    parts = [[layers[index] for index in group] for group in groups]
    sessions = [Session(graph, taps=_taps(part)) for part in parts]
    samples, done = samples_of(data, network.ann), 0
    for feeds in samples.batches(batch_size(graph, _taps(layers))):
        for session, part in zip(sessions, parts, strict=True):
            values = session.run(feeds)
            for layer in part:
                layer.update(*(values[v] for v in layer.taps))
        done += samples.size_of(feeds)
        recipe.progress("comparing neurons", done, samples.count)
    return Equivalence(
        setting.spec, setting.scale, setting.reached, done, tuple(x.result() for x in layers)
    )


def _taps(layers: list[_Layer]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(v for layer in layers for v in layer.taps))


class _Layer:
    """Running comparison of one layer. taps: its inputs and outputs."""

    def __init__(self, graph: Graph, neuron: Neuron, name: str) -> None:
        self._neuron, self._name, self._steps = neuron, name, graph.timesteps
        potential = float(neuron.model.parameters["potential"])
        self._potential = potential
        self._thetas = [graph.consts[s] if s else np.float32(0) for s in neuron.inputs[1:]]
        self._largest = float(np.max(self._thetas[0])), float(np.max(self._thetas[1]))
        self._cap = float(neuron.model.parameters["bound"])
        self.taps = neuron.inputs[0], neuron.outputs[0]
        self._entries = self._exact = self._beyond = self._ties = 0
        self._worst = self._error = self._total = self._bound = self._limit = 0.0
        self._within = self._holds = True

    def update(self, x: Array, out: Array) -> None:
        """Adds a batch, [T * N, ...] each."""
        entries = (len(x) // self._steps, *x.shape[1:])
        positive, negative = (
            np.broadcast_to(t, entries).ravel().astype(np.float64) for t in self._thetas
        )
        largest = np.maximum(positive, negative)
        own = np.where(largest > 0, largest, 1.0)
        found: Compared = compare_layer(
            np.minimum(x, self._cap).reshape(self._steps, -1) / own,
            out.reshape(self._steps, -1) / own,
            Theta(positive / own, negative / own, self._potential),
        )
        self._entries += found.exact.size
        self._exact += int(np.count_nonzero(found.exact))
        self._beyond += found.beyond
        self._ties += found.ties
        self._worst = max(self._worst, found.worst, key=abs)
        self._error = max(self._error, float(found.error.max(initial=0.0)))
        self._total += float(found.error.sum())
        self._bound = max(self._bound, float(found.bound[~found.exact].max(initial=0.0)))
        self._limit = max(self._limit, float(found.limit[found.within].max(initial=0.0)))
        self._within &= bool((found.exact | found.within).all())
        self._holds &= found.holds

    def result(self) -> LayerEquivalence:
        theta = self._largest
        exact = self._exact == self._entries
        entries = max(self._entries, 1)
        return LayerEquivalence(
            self._name,
            theta,
            "exact" if exact else "bounded" if self._within else "violated",
            self._entries,
            self._exact / entries,
            self._beyond / (entries * self._steps),
            self._worst,
            self._error,
            self._total / entries,
            self._bound,
            self._limit if self._within else None,
            self._ties,
            self._holds,
        )
