"""What the values of a network are on the way to spike times."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Form(enum.Enum):
    """HOST: constants, and what integer inputs alone decide; no neuron computes it.
    SOURCE: numbers from outside (float inputs, look-ups, analog operations): neurons encode them.
    TIME: spikes of neurons of one range. POINTWISE: what synapses make of single spikes, a function
    of each. POTENTIAL: sums of such, the membrane potential of neurons that are still to come.
    CLIPPED: a potential between bounds, or a function of it, that only neurons can apply."""

    HOST = enum.auto()
    SOURCE = enum.auto()
    TIME = enum.auto()
    POINTWISE = enum.auto()
    POTENTIAL = enum.auto()
    CLIPPED = enum.auto()


@dataclass(frozen=True)
class Value:
    """A value of the new graph. name: there; origin: two POINTWISE or TIME values of one origin are
    functions of the same spikes, entry by entry; gate: bool, false where a mask silences the
    neurons; filled: what the network has there instead."""

    name: str
    form: Form
    origin: str = ""
    gate: str = ""
    filled: str = ""

    @property
    def is_host(self) -> bool:
        return self.form is Form.HOST

    @property
    def is_synaptic(self) -> bool:
        """Whether synapses can hand it on: spikes, or a function of each."""
        return self.form in (Form.TIME, Form.POINTWISE)
