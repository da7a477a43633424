"""The nearest way out for a layer that a target does not take."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, replace

from snnc.backends.schedule.demands import Demand, Spikes
from snnc.backends.schedule.limits import SIZES, Limit
from snnc.backends.schedule.sending import largest_count
from snnc.errors import CompileError
from snnc.ir.neuron_spec import NeuronSpec
from snnc.ir.ops import SYNAPTIC
from snnc.ir.rate_neuron import RateNeuron
from snnc.targets import Target

_SIZES = ("M", "N")
"""Parameters of neuron models that say how many levels there are."""

_CONTIGUOUS = "K"
"""A parameter that bounds the others: such a model knows which levels to leave out."""


@dataclass(frozen=True)
class Fix:
    """levels: the option for fewer levels, with most as the largest count; encode: spikes from the
    input on; host: the host computes it; narrower: fewer channels; targets: those that take it.

    All steps but the last are needed together; one of the targets is enough by itself.
    """

    levels: str | None = None
    most: int = 0
    encode: bool = False
    host: bool = False
    narrower: bool = False
    targets: tuple[str, ...] = ()

    @property
    def steps(self) -> tuple[str, ...]:
        """What to do, on this target."""
        return tuple(
            step
            for step in (
                f"fewer levels ({self.levels})" if self.levels else "",
                "spikes from the input on (--encode-input)" if self.encode else "",
                "the host computes it (--host)" if self.host else "",
                "a narrower layer" if self.narrower else "",
            )
            if step
        )

    def __str__(self) -> str:
        ways = [" and ".join(self.steps)] if self.steps else []
        if self.targets:
            ways.append(f"another target: {', '.join(self.targets)}")
        return "; or ".join(ways)


def fix_of(demand: Demand, target: Target, limits: Set[Limit], others: Iterable[str]) -> Fix:
    """The way out for a layer that fails for these limits. others: targets that take it."""
    fix = Fix(targets=tuple(others))
    if "payload" in limits and demand.spikes is not None:
        levels = fewer_levels(demand.spikes, target)
        if levels is None:
            return fix
        fix = replace(fix, levels=levels, most=largest_count(demand.spikes.signed, target))
    if "operation" in limits:
        raw = demand.operations.get("real-input", ())
        missing = set(demand.operations) - target.operations
        encode = missing == {"real-input"} and SYNAPTIC.issuperset(raw)
        fix = replace(fix, encode=encode, host=not encode)
    if not limits.isdisjoint(SIZES):
        fix = replace(fix, narrower=True)
    if not limits.isdisjoint(("real numbers", "timesteps")) or (fix.host and fix.narrower):
        return Fix(targets=fix.targets)
    return fix


def fewer_levels(spikes: Spikes, target: Target) -> str | None:
    """The option with which every spike count fits one spike of the target; None for none."""
    if spikes.model is None:
        return None
    model = _at_most(spikes.model, largest_count(spikes.signed, target))
    if model is None:
        return None
    size = model.parameters.get("M")
    return f"--neuron {NeuronSpec(model)}" if size is None else f"--m {size}"


def _at_most(model: RateNeuron, count: int) -> RateNeuron | None:
    """The model of most levels with no spike count above `count`."""
    for key in _SIZES:
        size = model.parameters.get(key)
        if isinstance(size, int) and _CONTIGUOUS not in model.parameters:
            for smaller in range(min(size, count), 0, -1):
                fewer: RateNeuron = replace(model, **{key: smaller})  # type: ignore[type-var]
                if fewer.top <= count:
                    return fewer
            return None
    try:
        return model.at_most(count)
    except CompileError:
        return None
