"""What a chip is to the compiler: cores, memories, limits, spikes, time and energy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Operation: TypeAlias = Literal[
    "synapses",
    "real-input",
    "product",
    "gate",
    "sum",
    "scale",
    "rectifier",
    "max-pooling",
    "average-pooling",
    "activation-function",
    "normalisation",
    "softmax",
    "spike-time-kernel",
    "other",
]
"""What a layer may need of a core: constant weights on spikes; on real numbers (a raw image);
sums of products of two activations (attention); one such product an entry; sums of real numbers (a
residual branch); constant factors; ReLU and Clip; pooling; GELU and the like; LayerNorm and the
like; softmax; the kernels of spike times; anything else."""

OPERATIONS: tuple[Operation, ...] = get_args(Operation)

PICOJOULES = ("synop", "neuron_update", "packet", "packet_hop", "real_operation")
"""Energies that every target has a figure of: a weight added to a membrane, a neuron decided, a
packet sent, its way from one core to the next, a real number computed with."""

NANOSECONDS = ("synop", "neuron_update", "packet_hop", "real_operation", "barrier")
"""Times of the same on one core; of the synchronisation of all cores at the end of a tick."""


@dataclass(frozen=True)
class Target:
    """Limits of a chip; None: no limit.

    cores: of one chip; chips: of the largest system; columns: cores in a row of a chip's mesh;
    cells_per_core: neurons; synapse_bits_per_core: memory for weights in bits; weight_bits: of a
    weight with its sign, None for float32; shares_convolutions: whether the weights of a
    convolution are stored once a core; fan_in, fan_out: synapses of a neuron; axons_per_core:
    neurons elsewhere whose spikes a core takes; partial_sums: whether cores add up the sum of one
    neuron between them; payload_bits: of the count a spike carries, 1 for binary ones;
    signed_payload: whether one of them is a sign; bit_planes: whether neurons can weigh binary
    spikes by the tick they come in; real_bits: of a real number in a packet, 0 where none can
    travel; timesteps: whether neurons keep their membrane from one timestep to the next.

    tick_nanoseconds: the shortest tick, or the fixed one; picojoules, nanoseconds: of PICOJOULES
    and NANOSECONDS; idle_watts: of one chip. sources: of every figure ("cores",
    "picojoules.synop"); unverified: figures that no public text was found to confirm, also single
    operations ("operations.softmax"); notes: limits of the chip that the figures cannot say.
    """

    name: str
    title: str
    operations: frozenset[Operation]
    cores: int | None
    chips: int | None
    columns: int | None
    cells_per_core: int | None
    synapse_bits_per_core: int | None
    weight_bits: int | None
    shares_convolutions: bool
    fan_in: int | None
    fan_out: int | None
    partial_sums: bool
    payload_bits: int
    signed_payload: bool
    bit_planes: bool
    real_bits: int
    timesteps: bool
    tick_nanoseconds: float
    picojoules: Mapping[str, float]
    nanoseconds: Mapping[str, float]
    idle_watts: float
    sources: Mapping[str, str]
    unverified: frozenset[str]
    notes: tuple[str, ...] = ()
    axons_per_core: int | None = None

    @property
    def total_cores(self) -> int | None:
        """Cores of the largest system; None for no limit."""
        return None if self.cores is None or self.chips is None else self.cores * self.chips
