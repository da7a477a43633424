"""Neuron that fires at most once: a number is the time of its spike (TTFSFormer, spec 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from snnc.errors import CompileError
from snnc.ir.neuron import NeuronModel
from snnc.ir.node import Array
from snnc.ir.spike_times import TOLERANCE, Products, balance

MOST_TICKS = 2**16
"""Ticks a window that float32 tells apart with TOLERANCE to spare."""


@dataclass(frozen=True)
class TTFS(NeuronModel):
    """fires once, the earlier the larger x is; not at all where x is the least of its range.

    p: ticks of a window. rule: fire at the first tick from the crossing on (`causal`), or at the
    tick nearest to it. products: how two activations are multiplied: through spikes for their sum
    and difference (`quarter`) or for the sum of their logarithms (`logexp`), or exactly (`ideal`).
    """

    p: int = 1024
    rule: Literal["causal", "nearest"] = "causal"
    products: Products = "quarter"

    name: ClassVar[str] = "ttfs"
    equation: ClassVar[str] = (
        "t = ceil(p (b - x) / (b - a)); out = b - t (b - a) / p, a without spike"
    )

    def __post_init__(self) -> None:
        self._check_choices()
        if type(self.p) is not int or not 1 <= self.p <= MOST_TICKS:
            raise CompileError(
                f"time precision p = {self.p!r} is out of range",
                help=f"choose a whole number of ticks from 1 to {MOST_TICKS}",
            )

    @property
    def early(self) -> float:
        """Ticks by which a crossing may come after the tick that it counts for."""
        return float(np.float32(TOLERANCE + 0.5 * (self.rule == "nearest")))

    def emit(self, x: Array, low: float, high: float) -> Array:
        """The numbers that the spikes for potentials x stand for, float32 (spec 4.1, 4.7)."""
        return fired(np.asarray(x, np.float32), low, high, self.p, self.early)

    def ticks(self, y: Array, low: float, high: float) -> Array:
        """The tick of each spike from the start of the window on, int32; -1 where there is none."""
        return spike_ticks(y, low, high, self.p)

    def product(
        self, a: Array, b: Array, a_range: tuple[float, float], b_range: tuple[float, float]
    ) -> Array:
        """a b as the neurons in between make it, entry by entry, float32."""
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        a_low, a_high, b_low, b_high = (np.float32(end) for end in (*a_range, *b_range))
        if self.products == "ideal":
            return np.asarray(a * b)
        if self.products == "quarter":
            c = np.float32(balance(a_range, b_range))
            a, a_low, a_high = a * c, a_low * c, a_high * c
            b, b_low, b_high = b / c, b_low / c, b_high / c
            s = self.emit(a + b, float(a_low + b_low), float(a_high + b_high))
            d = self.emit(a - b, float(a_low - b_high), float(a_high - b_low))
            return np.asarray((s * s - d * d) * np.float32(0.25))
        one = np.float32(1)
        c, e = one - a_low, one - b_low
        most = np.log(a_high + c) + np.log(b_high + e)
        logs = self.emit(np.log(a + c) + np.log(b + e), 0.0, float(most))
        return np.asarray(np.exp(logs) - a * e - b * c - c * e)


def fired(x: Array, low: float, high: float, ticks: int, early: float) -> Array:
    """Numbers that spikes stand for, in the precision of x: NaN and x <= low do not fire."""
    kind = x.dtype.type
    least, count = kind(low), kind(ticks)
    width = kind(high) - least
    with np.errstate(all="ignore"):
        number = (np.maximum(x, least) - least) * (count / width) + kind(early)
        left = np.floor(np.minimum(np.where(number > 0, number, kind(0)), count))
        return np.asarray(np.maximum(left * (width / count) + least, least))


def spike_ticks(y: Array, low: float, high: float, ticks: int) -> Array:
    """Ticks of the spikes that stand for the numbers y; -1 where there is none."""
    tick = (np.float64(high) - np.float64(low)) / ticks
    left = np.rint((np.asarray(y, np.float64) - low) / tick).astype(np.int32)
    return np.where(left > 0, ticks - left, np.int32(-1)).astype(np.int32)
