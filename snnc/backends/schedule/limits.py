"""The limits of a target that a layer may break."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from snnc.backends.schedule.demands import Demand
from snnc.backends.schedule.layers import Network
from snnc.backends.schedule.sending import largest_count, sent
from snnc.errors import few
from snnc.targets import Target

Limit: TypeAlias = Literal[
    "operation", "real numbers", "payload", "timesteps", "fan-in", "fan-out", "memory"
]

SIZES: frozenset[Limit] = frozenset({"fan-in", "fan-out", "memory"})
"""Limits that fewer neurons or synapses keep."""


@dataclass(frozen=True)
class Reason:
    """Why a layer does not fit: the limit of the target, and what the layer asks for."""

    limit: Limit
    text: str


def against(demand: Demand, target: Target, network: Network) -> tuple[Reason, ...]:
    """What speaks against a layer on a target; nothing where it fits."""
    return (
        *_of_operations(demand, target),
        *_of_real_numbers(demand, target, network),
        *_of_spikes(demand, target),
        *_of_size(demand, target),
    )


def _of_operations(demand: Demand, target: Target) -> Iterator[Reason]:
    for operation, types in demand.operations.items():
        if operation not in target.operations:
            nodes = ", ".join(op_type.rpartition(".")[2] for op_type in types)
            what = f"no {operation} ({nodes})" if operation != "other" else f"nothing for {nodes}"
            yield Reason("operation", what)


def _of_real_numbers(demand: Demand, target: Target, network: Network) -> Iterator[Reason]:
    if demand.real and not target.real_bits:
        sources = few(f"'{network.layers[i].name}'" for i in demand.real)
        yield Reason("real numbers", f"reads real numbers of {sources}, only spikes travel")


def _of_spikes(demand: Demand, target: Target) -> Iterator[Reason]:
    if demand.remembers and not target.timesteps:
        yield Reason("timesteps", "neurons of several timesteps, no membrane is kept between them")
    if demand.spikes is not None and sent(demand.spikes, target) is None:
        carried = largest_count(demand.spikes.signed, target)
        text = f"counts up to {demand.spikes.top}, a spike carries up to {carried}"
        yield Reason("payload", f"{text} and neurons do not add up several")


def _of_size(demand: Demand, target: Target) -> Iterator[Reason]:
    synapses = synapses_of(demand, target)
    if target.fan_in is not None and synapses > target.fan_in:
        text = f"{synapses} synapses into a neuron, at most {target.fan_in}"
        yield Reason("fan-in", text)
    if target.fan_out is not None and demand.fan_out > target.fan_out:
        text = f"{demand.fan_out} synapses out of a neuron, at most {target.fan_out}"
        yield Reason("fan-out", text)
    memory, bits = target.synapse_bits_per_core, synapses * weight_bits(target)
    if memory is not None and bits > memory:
        text = f"{bits} bits of weights for one neuron, a core has {memory}"
        yield Reason("memory", text)


def synapses_of(demand: Demand, target: Target) -> int:
    """Synapses into one cell: those of spikes of both signs twice where a spike has no sign."""
    return demand.synapses + (1 if target.signed_payload else 2) * demand.signed_synapses


def weight_bits(target: Target) -> int:
    """Bits that a weight takes in memory."""
    return 32 if target.weight_bits is None else target.weight_bits


def stored_bits(demand: Demand, target: Target) -> int:
    """Memory that the weights of a layer take where none is stored on two cores."""
    stored = demand.weights
    if demand.slides and not target.shares_convolutions:
        stored = synapses_of(demand, target) * demand.layer.cells
    return stored * weight_bits(target)


def least_cores(cells: int, bits: int, target: Target) -> int:
    """A lower bound of the cores that cells and their weights take: neither fits fewer."""
    least = 1 if cells else 0
    if target.cells_per_core is not None:
        least = max(least, math.ceil(cells / target.cells_per_core))
    if target.synapse_bits_per_core is not None:
        least = max(least, math.ceil(bits / target.synapse_bits_per_core))
    return least
