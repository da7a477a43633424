"""Events at the neurons between two factors and their product."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snnc.ir.node import Op
from snnc.ir.spike_times import SPIKE_TIME
from snnc.spike_events.writer import EventWriter


@dataclass(frozen=True)
class Product:
    """Values that count at a product of two values of spikes, one entry for each result.

    pairs: spikes of the factors at one of its layers; layers: 2 for quarter squares, of sums and
    of differences, 1 for logarithms; fired: spikes of these; reached: those that reach the
    result. assumed: all are taken to fire.
    """

    pairs: str
    layers: int
    fired: str
    reached: str
    assumed: bool


def product_events(write: EventWriter, op: Op, a: str, b: str, full: bool) -> Product:
    """a, b: spikes of the factors. full: all neurons fire.

    Those of a product of matrices are taken to fire all: one is silent only where both factors
    are the least of their ranges (for differences: one the least, one the largest), and telling
    would cost as much as the product.
    """
    log_exp, matrices = takes_logarithms(op), op.op_type.endswith("MatMul")
    result = op.outputs[0]
    if matrices:
        both = write.add(write.summed(a, -1), write.summed(b, -2))
        pairs = write.spread(both, result)
        terms = write.spread(write.summed(write.ones(op.inputs[1]), -2), result)
    else:
        pairs, terms = write.add(a, b), write.ones(result)
    if matrices or full:
        fired = terms if log_exp else write.add(terms, terms)
    else:
        fired = _logarithms(write, op) if log_exp else _squares(write, op)
    # the result of logarithms takes both factors once more
    reached = write.add(fired, pairs) if log_exp else fired
    return Product(pairs, 1 if log_exp else 2, fired, reached, matrices)


def takes_logarithms(op: Op) -> bool:
    """Whether a product is the exponential of a sum of logarithms."""
    return "LogExp" in op.op_type


def _squares(write: EventWriter, op: Op) -> str:
    balance = np.float32(op.number("balance", 1.0))
    factor = write.constant(np.asarray(balance))
    a, b = write.op("Mul", op.inputs[0], factor), write.op("Div", op.inputs[1], factor)
    a_low, a_high, b_low, b_high = _ranges(op)
    a_low, a_high, b_low, b_high = (
        a_low * balance,
        a_high * balance,
        b_low / balance,
        b_high / balance,
    )
    sums = _spikes(write, op, write.add(a, b), a_low + b_low, a_high + b_high)
    less = _spikes(write, op, write.op("Sub", a, b), a_low - b_high, a_high - b_low)
    return write.add(sums, less)


def _logarithms(write: EventWriter, op: Op) -> str:
    one, (a_low, a_high, b_low, b_high) = np.float32(1), _ranges(op)
    a, b = (write.log(v, one - low) for v, low in zip(op.inputs, (a_low, b_low), strict=True))
    most = np.log(a_high + (one - a_low)) + np.log(b_high + (one - b_low))
    return _spikes(write, op, write.add(a, b), np.float32(0), np.float32(most))


def _ranges(op: Op) -> list[np.float32]:
    return [np.float32(op.number(n)) for n in ("a_low", "a_high", "b_low", "b_high")]


def _spikes(write: EventWriter, op: Op, x: str, low: np.float32, high: np.float32) -> str:
    """1 where a neuron in between fires."""
    attrs = {"low": float(low), "high": float(high), "early": op.number("early")}
    steps = {name: op.integer(name, 0) for name in ("ticks", "window")}
    return write.above(write.op(SPIKE_TIME, x, **attrs, **steps), float(low))
