"""The spiking network at any scale factor: one onnxruntime session, to which steps are fed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from snnc.calibrated import step_constants, with_scale
from snnc.data import Feeds
from snnc.energy import EnergyMeter
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.ir.rate_neuron import Polarity, RateNeuron, Synapses
from snnc.runtime import Session


@dataclass(frozen=True)
class AtScale:
    """The network at one scale factor; steps: base step of every layer of neurons."""

    graph: Graph
    steps: Mapping[str, Array]
    session: Session

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Every output (and what the session taps) by name."""
        return self.session.run({**feeds, **self.steps})

    @property
    def key(self) -> str:
        """Equal for two scale factors whose steps are all equal in float32: the same network."""
        digest = hashlib.sha256()
        for name, step in self.steps.items():
            digest.update(f"{name}={step.tobytes().hex()};".encode())
        return digest.hexdigest()


class Scaled:
    """Networks of every scale factor from one graph of stage calibrated.

    metered: sessions also return what an EnergyMeter of the graph reads.
    """

    def __init__(
        self,
        calibrated: Graph,
        neuron: RateNeuron,
        polarity: Polarity = "separate",
        *,
        metered: bool = False,
        synapses: Synapses = "float",
        timesteps: int = 1,
    ) -> None:
        self._source = calibrated, neuron, polarity
        self._synapses, self._timesteps = synapses, timesteps
        self._metered = metered
        self._session: Session | None = None
        self._free: tuple[str, ...] = ()

    def at(self, scale: float) -> AtScale:
        """The network for lambda = `scale`: the passes from threshold assignment on."""
        calibrated, neuron, polarity = self._source
        graph = with_scale(
            calibrated,
            neuron,
            scale,
            polarity,
            synapses=self._synapses,
            timesteps=self._timesteps,
        )
        steps = step_constants(graph)
        if self._session is None or tuple(steps) != self._free:  # a branch died: another graph
            self._free = tuple(steps)
            self._session = self._opened(graph)
        return AtScale(graph, steps, self._session)

    def _opened(self, graph: Graph) -> Session:
        if not self._metered:
            return Session(graph, free=self._free)
        meter = EnergyMeter(graph)
        return Session(meter.graph, taps=meter.taps, shapes_of=meter.shapes_of, free=self._free)
