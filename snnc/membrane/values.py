"""What the values of a spiking network are while it is simulated."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from snnc.ir.node import Array
from snnc.membrane.layer import Layer
from snnc.membrane.synapse import Synapse, plain
from snnc.spike_time_kernels import LINKS, first_ticks


@dataclass(frozen=True, eq=False)
class Known:
    """Numbers that no membrane holds: of the host, or made of the numbers that spikes stand for.

    at: the window of those spikes; None for numbers that are there all the time.
    """

    array: Array
    at: int | None = None


@dataclass(frozen=True, eq=False)
class Spikes:
    """Of neurons, one each. left: ticks from the spike to the end of the window, 0 for none; at:
    that window."""

    left: Array
    layer: Layer
    at: int

    @property
    def numbers(self) -> Array:
        """What they stand for."""
        tick = (self.layer.range.high - self.layer.range.low) / self.layer.ticks
        return np.asarray(self.layer.range.low + self.left * tick)

    @property
    def ticks(self) -> Array:
        """From the start of the window on, -1 where there is none."""
        return np.where(self.left > 0, self.layer.ticks - self.left, -1).astype(np.int32)

    @cached_property
    def potential(self) -> Potential:
        """What they do to membranes through plain synapses."""
        synapse = plain(self.left, self.layer.range, self.layer.ticks)
        return Potential(synapse.charges, self.at, lambda: synapse, object())


@dataclass(frozen=True, eq=False)
class Potential:
    """What membranes hold at the end of a window, and how their neurons will read it.

    make: computes the charges; at: the window in which they arrive; follow: the functions of single
    spikes that they are, if they are; root: the same for functions of the same spikes, entry by
    entry; link: what the neurons perform as they fire (see LINKS);
    least, most: bounds of its result.
    """

    make: Callable[[], Array]
    at: int | None
    follow: Callable[[], Synapse] | None = None
    root: object = None
    link: str = ""
    least: float = -math.inf
    most: float = math.inf

    @cached_property
    def charges(self) -> Array:
        return self.make()

    @cached_property
    def synapse(self) -> Synapse:
        """See `follow`, which has to be there."""
        assert self.follow is not None
        return self.follow()

    @property
    def is_linked(self) -> bool:
        """Whether only neurons can perform what is still to be done."""
        return bool(self.link) or self.least > -math.inf or self.most < math.inf

    @property
    def numbers(self) -> Array:
        """What neurons of an unlimited range and precision would emit."""
        with np.errstate(all="ignore"):
            emitted = LINKS[self.link].forward(self.charges)
        return np.asarray(np.clip(emitted, self.least, self.most))

    def clipped(self, least: float, most: float) -> Potential:
        """With further bounds."""
        least, most = max(self.least, least), min(self.most, most)
        return Potential(self.make, self.at, None, None, self.link, least, most)

    def fired(self, layer: Layer) -> Array:
        """Ticks left after the first one at which each neuron has crossed its threshold."""
        link = LINKS[self.link]
        with np.errstate(all="ignore"):
            least, most = (link.inverse(np.asarray(end)) for end in (self.least, self.most))
        held = np.clip(self.charges, np.where(np.isnan(least), -np.inf, least), most)
        ticks = first_ticks(held, link, layer.range, layer.ticks, layer.early)
        return np.where(ticks >= 0, layer.ticks - ticks, 0).astype(np.int32)


Value: TypeAlias = Known | Spikes | Potential
