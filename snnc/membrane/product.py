"""Products of two layers' spikes, through the neurons inside (spec 4.6)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snnc.ir.node import Array, Op
from snnc.ir.spike_times import PRODUCTS
from snnc.membrane.layer import Layer, layer_of, number
from snnc.membrane.synapse import Kernel
from snnc.membrane.values import Potential, Spikes
from snnc.spike_time_kernels import Function, exponential, quarter_square, shifted_log


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


def multiply(product: Product, a: Spikes, b: Spikes) -> tuple[Array, list[Array]]:
    """Charges of each pair by the end of the product's own window; ticks left of its neurons."""
    x, y = product.expanded(a.potential.charges, b.potential.charges)
    if product.kind == PRODUCTS["quarter"]:
        c = product.balance
        s, d = product.inside
        total = Potential(lambda: x * c + y / c, None).fired(s)
        difference = Potential(lambda: x * c - y / c, None).fired(d)
        squares = [_kernel(layer, quarter_square) for layer in (s, d)]
        return squares[0][total] - squares[1][difference], [total, difference]
    if product.kind == PRODUCTS["logexp"]:
        c, e = product.shifts
        (layer,) = product.inside
        left = product.expanded(a.left, b.left)
        logs = [
            _kernel(sender.layer, shifted_log(shift))[ticks]
            for sender, shift, ticks in zip((a, b), (c, e), left, strict=True)
        ]
        fired = Potential(lambda: logs[0] + logs[1], None).fired(layer)
        return _kernel(layer, exponential)[fired] - x * e - y * c - c * e, [fired]
    x, y = product.expanded(a.numbers, b.numbers)
    return x * y, []


def _kernel(layer: Layer, function: Function) -> Array:
    return Kernel(layer.range, layer.ticks, function).table


def multiply_numbers(product: Product, x: Array, y: Array) -> tuple[Array, list[Array]]:
    """Product of each pair of numbers; the numbers that the neurons inside stand for."""
    a, b = product.expanded(x, y)
    if product.kind == PRODUCTS["quarter"]:
        c = product.balance
        inside = _emitted(product, a * c + b / c, a * c - b / c)
        return (inside[0] ** 2 - inside[1] ** 2) / 4, inside
    if product.kind == PRODUCTS["logexp"]:
        c, e = product.shifts
        with np.errstate(all="ignore"):
            inside = _emitted(product, np.log(a + c) + np.log(b + e))
        return np.exp(inside[0]) - a * e - b * c - c * e, inside
    return a * b, []


def _emitted(product: Product, *potentials: Array) -> list[Array]:
    layers = zip(product.inside, potentials, strict=True)
    return [layer.emitted(potential) for layer, potential in layers]
