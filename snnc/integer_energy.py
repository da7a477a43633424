"""What the levels of a spiking network cost as plain integer multiply-accumulates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from snnc.energy import Energy
from snnc.ir.graph import Graph
from snnc.ir.node import Neuron

Seen: TypeAlias = Mapping[str, tuple[float, float]]
"""Smallest and largest input that calibration saw, by the name of the neurons' output."""

PJ_MULTIPLY = {4: 0.05, 8: 0.2, 16: 0.8, 32: 3.1}
"""Energy of an integer multiplication by the bits of both operands, picojoule, 45 nm CMOS.

8 and 32 bits: Horowitz, ISSCC 2014. 4 and 16 bits from the 8 by the number of partial products,
bits squared: from 8 to 32 bits that law gives 3.2, Horowitz 3.1.
"""

PJ_ADD = 0.1
"""Energy of a 32-bit integer addition (Horowitz): products are summed in 32 bits. With his 8-bit
adder (0.03), too narrow for a sum of products, an 8-bit one would cost 0.23 in place of 0.3."""


@dataclass(frozen=True)
class IntegerNetwork:
    """The ANN with activations and weights of as many bits as its spiking network uses levels for.

    ratio: its energy over the ANN's, where layers that stay real in the spiking network stay real.
    """

    levels: int
    bits: int
    ratio: float

    @property
    def pj_mac(self) -> float:
        return pj_integer_mac(self.bits)

    def summary(self) -> dict[str, Any]:
        """As `snnc compare --json` prints it."""
        return {
            "levels": self.levels,
            "bits": self.bits,
            "pj_mac": self.pj_mac,
            "energy": self.ratio,
        }


def levels_of(graph: Graph, seen: Seen) -> int:
    """The most levels that a neuron's output takes, both signs and 0, for inputs as in `seen`.

    Over several timesteps those of its sum, taken to reach every count between its extremes.
    """
    return max((_levels(graph, neuron, seen) for neuron in graph.neurons), default=1)


def _levels(graph: Graph, neuron: Neuron, seen: Seen) -> int:
    extremes = np.array(seen.get(neuron.outputs[0], (-np.inf, np.inf)), np.float32)
    steps = (graph.consts[s].ravel() if s else 0.0 for s in neuron.inputs[1:])
    counts = neuron.model.count(extremes[:, None], *steps)
    lowest, highest = int(counts.min(initial=0)), int(counts.max(initial=0))
    if graph.timesteps == 1:
        return neuron.model.levels_between(lowest, highest)
    return 1 + graph.timesteps * (highest - lowest)


def bits_for(levels: int) -> int:
    """The narrowest width of PJ_MULTIPLY that tells so many levels apart; 32 beyond all."""
    needed = math.ceil(math.log2(levels)) if levels > 1 else 1
    return min((bits for bits in PJ_MULTIPLY if bits >= needed), default=max(PJ_MULTIPLY))


def as_integers(graph: Graph, energy: Energy, seen: Seen) -> IntegerNetwork:
    """The integer network that matches a spiking one, whose measured energy is given."""
    levels = levels_of(graph, seen)
    bits = bits_for(levels)
    pj = pj_integer_mac(bits)
    return IntegerNetwork(levels, bits, integer_ratio(energy, pj))


def pj_integer_mac(bits: int, pj_add: float = PJ_ADD) -> float:
    """Energy of an integer multiply-accumulate, picojoule: multiplication of the bits of both
    operands, by the square law where PJ_MULTIPLY has none, and an addition in 32 bits."""
    return PJ_MULTIPLY.get(bits, PJ_MULTIPLY[8] * (bits / 8) ** 2) + pj_add


def integer_ratio(energy: Energy, pj_mac: float) -> float:
    """Energy over the ANN's, where the layers that spikes drive take `pj_mac` a multiply-accumulate
    and all others what they take in the ANN."""
    ann = energy.ann_macs * energy.pj_mac
    spent = sum(x.macs * (pj_mac if x.kind == "spiking" else energy.pj_mac) for x in energy.layers)
    return spent / ann if ann else 0.0
