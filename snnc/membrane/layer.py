"""Layers of neurons that fire once: when and for what; what a run of a network tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from snnc.ir.node import Array, Op
from snnc.ir.spike_times import PRODUCTS
from snnc.spike_time_kernels import Window


@dataclass(frozen=True)
class Run:
    """What neurons did. ticks: of the spike of each neuron from the start of its window on, int32,
    -1 where there is none, for every layer and relay; between: the same for the neurons inside a
    product, those for sum and difference or for the logarithm; outputs: of the graph."""

    ticks: Mapping[str, Array]
    between: Mapping[str, tuple[Array, ...]]
    outputs: Mapping[str, Array]


@dataclass(frozen=True)
class Layer:
    """range: the numbers that spikes stand for, in a window of duration 1; ticks: of the window;
    early: ticks by which a crossing may come after the tick that counts."""

    range: Window
    ticks: int
    early: float


def number(op: Op, name: str) -> float:
    """A real attribute, which a file holds as float32."""
    value = op.attrs[name]
    assert isinstance(value, int | float)
    return float(np.float32(value))


def layer_of(op: Op, low: float | None = None, high: float | None = None) -> Layer:
    """The neurons of an operation; low, high: of those inside a product."""
    ends = number(op, "low") if low is None else low, number(op, "high") if high is None else high
    return Layer(Window(*ends), op.integer("ticks", 1), number(op, "early"))


@dataclass(frozen=True)
class Product:
    """An operation that multiplies two values of spike times.

    balance: of the operands of quarter squares; shifts: of those of logarithms; inside: its own
    neurons, for sum and difference or for the logarithm. The ranges are float32 sums.
    """

    kind: str
    matrices: bool
    balance: float
    shifts: tuple[float, float]
    inside: tuple[Layer, ...]

    def expanded(self, a: Array, b: Array) -> tuple[Array, Array]:
        """The operands in shapes that broadcast to all pairs that are multiplied."""
        if not self.matrices:
            return a, b
        return a[..., None], b[..., None, :, :]

    def summed(self, pairs: Array) -> Array:
        """The result from the products of all pairs."""
        return np.asarray(pairs.sum(axis=-2)) if self.matrices else pairs


def product_of(op: Op) -> Product:
    """What an operation of MULTIPLIED does."""
    name = op.op_type.rpartition(".")[2]
    kind = next(p for p in PRODUCTS.values() if name.startswith(p))
    ends = [np.float32(number(op, end)) for end in ("a_low", "a_high", "b_low", "b_high")]
    a_low, a_high, b_low, b_high = ends
    shifts = np.float32(1) - a_low, np.float32(1) - b_low
    ranges: tuple[tuple[np.float32, np.float32], ...] = ()
    balance = number(op, "balance") if "balance" in op.attrs else 1.0
    if kind == PRODUCTS["quarter"]:
        c = np.float32(balance)
        a_low, a_high, b_low, b_high = a_low * c, a_high * c, b_low / c, b_high / c
        ranges = (a_low + b_low, a_high + b_high), (a_low - b_high, a_high - b_low)
    elif kind == PRODUCTS["logexp"]:
        most = np.log(a_high + shifts[0]) + np.log(b_high + shifts[1])
        ranges = ((np.float32(0), most),)
    return Product(
        kind,
        name.endswith("MatMul"),
        balance,
        (float(shifts[0]), float(shifts[1])),
        tuple(layer_of(op, float(low), float(high)) for low, high in ranges),
    )
