"""What the levels of a spiking network cost as plain integer multiply-accumulates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from snnc.energy import Energy
from snnc.ir.graph import Graph

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
    """The ANN with activations and weights of as many bits as its spiking network has levels for.

    ratio: its energy over the ANN's, where layers that stay real in the spiking network stay real.
    """

    levels: int
    bits: int
    ratio: float

    @property
    def pj_mac(self) -> float:
        return PJ_MULTIPLY[self.bits] + PJ_ADD

    def summary(self) -> dict[str, Any]:
        """As `snnc compare --json` prints it."""
        return {
            "levels": self.levels,
            "bits": self.bits,
            "pj_mac": self.pj_mac,
            "energy": self.ratio,
        }


def levels_of(graph: Graph) -> int:
    """The most levels that a neuron's output has, both signs and 0; over several timesteps its sum.

    The sum is taken to reach every count between its extremes.
    """
    t = graph.timesteps
    counts = (
        n.model.level_count(n.sides) if t == 1 else 1 + t * n.model.span(n.sides)
        for n in graph.neurons
    )
    return max(counts, default=1)


def bits_for(levels: int) -> int:
    """The narrowest width of PJ_MULTIPLY that tells so many levels apart; 32 beyond all."""
    needed = math.ceil(math.log2(levels)) if levels > 1 else 1
    return min((bits for bits in PJ_MULTIPLY if bits >= needed), default=max(PJ_MULTIPLY))


def as_integers(graph: Graph, energy: Energy) -> IntegerNetwork:
    """The integer network that matches a spiking one, whose measured energy is given."""
    levels = levels_of(graph)
    bits = bits_for(levels)
    pj = PJ_MULTIPLY[bits] + PJ_ADD
    ann = energy.ann_macs * energy.pj_mac
    spent = sum(x.macs * (pj if x.kind == "spiking" else energy.pj_mac) for x in energy.layers)
    return IntegerNetwork(levels, bits, spent / ann if ann else 0.0)
