"""A neuron model and its number of timesteps as users write them: NAME[:PARAMETER=VALUE]...[@T]."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from snnc.errors import CompileError
from snnc.ir.rate_neuron import RateNeuron, rate_neuron

_PLACE = re.compile(r"(?<==)T(?=[:@]|$)|(?<=@)T$")
"""Where a spec may say T: the value of a parameter, or the timesteps."""


@dataclass(frozen=True)
class NeuronSpec:
    """A neuron model over a number of timesteps."""

    neuron: RateNeuron
    timesteps: int = 1

    def __str__(self) -> str:
        """As users write it, without what is the default."""
        given = (f"{key}={value}" for key, value in self.neuron.given.items())
        text = ":".join([self.neuron.name, *given])
        return text if self.timesteps == 1 else f"{text}@{self.timesteps}"


def neuron_spec(asked: RateNeuron | str, timesteps: int = 1) -> NeuronSpec:
    """A model, or a spec such as 'if:potential=0@32', over `timesteps` where it does not say."""
    if isinstance(asked, RateNeuron):
        return NeuronSpec(asked, timesteps)
    if not isinstance(asked, str):
        raise CompileError(f"{asked!r} is no neuron model", help="pass snnc.SFN(), or its name")
    text, at, number = asked.partition("@")
    if at and not (number.isascii() and number.isdigit()):
        raise CompileError(
            f"'{asked}' names no number of timesteps: '{number}'", help=f"write {text}@8, say"
        )
    return NeuronSpec(rate_neuron(text), int(number) if at else timesteps)


def listed(
    neurons: RateNeuron | str | Iterable[RateNeuron | str],
) -> list[RateNeuron | str]:
    """Neurons one by one: of a list, of specs between commas, or one model."""
    if isinstance(neurons, RateNeuron):
        return [neurons]
    if not isinstance(neurons, Iterable):
        raise CompileError(f"{neurons!r} is no list of neurons", help="pass ('sfn', 'if@32'), say")
    return [*neurons.split(",")] if isinstance(neurons, str) else list(neurons)


def spec_at(asked: RateNeuron | str, timesteps: int) -> NeuronSpec:
    """The spec for one number of timesteps T, where 'T' in it stands for that number.

    'if' runs T timesteps; 'mtn:N=T@1' has T levels and runs one. CompileError for timesteps that
    are the same for every T, as in 'if@4'.
    """
    text = _PLACE.sub(str(timesteps), asked) if isinstance(asked, str) else asked
    spec = neuron_spec(text, timesteps)
    if isinstance(asked, str) and text == asked and "@" in asked:
        raise CompileError(
            f"'{asked}' is the same network at every number of timesteps",
            help=f"leave @{spec.timesteps} out, or write T where the number belongs, as in "
            "mtn:N=T@1",
        )
    return spec
