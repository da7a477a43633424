"""A network on the cores of a chip: which cell lives where, which spikes travel where and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from snnc.ir.node import Array

HOST = -1
"""In place of a core: the host, which sends the network's inputs and reads its outputs."""

Sending: TypeAlias = Literal["graded", "unary", "bit-plane"]
"""How a spike count travels: as the payload of one packet; as that many binary spikes in as many
ticks; as one binary spike for each bit that is set, a tick for each bit."""


@dataclass(frozen=True)
class Tile:
    """The cells of one layer on one core.

    synapse_bits: memory that their weights take there, with weights of a convolution stored once
    where the target shares them.
    """

    layer: int
    core: int
    cells: int
    synapse_bits: int


@dataclass(frozen=True)
class Route:
    """Where the spikes (or real numbers) travel that cells of one layer on one core send.

    links: pairs of neighbouring cores (routers), a tree from `core` to all of `targets`.
    """

    layer: int
    core: int
    targets: tuple[int, ...]
    links: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Slot:
    """When a layer fires. first: tick at which it starts at timestep 0; ticks: how long it sends;
    at timestep t it starts at first + t * period of the mapping."""

    layer: int
    first: int
    ticks: int
    sending: Sending


@dataclass(frozen=True)
class Buffer:
    """A value that is read later than in the tick behind the one it is computed in (a residual
    branch), kept by the cores of its cells. since, until: ticks at timestep 0."""

    value: str
    layer: int
    entries: int
    bits: int
    since: int
    until: int


@dataclass(frozen=True, eq=False)
class Mapping:
    """cores: of every cell of the network, int32, HOST for its inputs; period: ticks from one
    timestep to the next; ticks: of one whole inference."""

    cores: Array
    tiles: tuple[Tile, ...]
    routes: tuple[Route, ...]
    slots: tuple[Slot, ...]
    buffers: tuple[Buffer, ...]
    period: int
    ticks: int

    @property
    def used(self) -> int:
        """How many cores hold anything."""
        return len({tile.core for tile in self.tiles})
