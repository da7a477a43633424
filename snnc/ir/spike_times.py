"""Operations whose results are spike times: their names, and texts of their function bodies.

A neuron that fires at most once stands for a number of its range [low, high] by the time of its
spike in its layer's window: at the start for `high`, never for `low` (spec 4.1). Values hold the
numbers that spikes stand for, low + n (high - low) / ticks for a spike n ticks before the window
ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, TypeAlias

from snnc.ir.graph import DOMAIN, Graph
from snnc.ir.node import Coding, Node, Op
from snnc.ir.ops import SHAPE_ONLY

SPIKE_TIME = f"{DOMAIN}.TimeToFirstSpike"
"""A layer of neurons. input: membrane potential at the start of their window."""

GATED_SPIKE_TIME = f"{DOMAIN}.GatedTimeToFirstSpike"
"""The same with a second input, false where a neuron stays silent whatever it gets."""

RELAY = f"{DOMAIN}.Relay"
"""Neurons that fire as those of their input did, `windows` windows later."""

Products: TypeAlias = Literal["quarter", "logexp", "ideal"]
"""How two activations are multiplied: by squares of their sum and difference, by the exponential
of the sum of their logarithms, or exactly."""

PRODUCTS: Mapping[Products, str] = {
    "quarter": "QuarterSquare",
    "logexp": "LogExp",
    "ideal": "Ideal",
}
"""First part of the operations that multiply; `Mul` or `MatMul` follows."""

MULTIPLIED = frozenset(
    f"{DOMAIN}.{p}{kind}" for p in PRODUCTS.values() for kind in ("Mul", "MatMul")
)
"""Operations that multiply two values of spike times."""

WINDOWED = MULTIPLIED | {SPIKE_TIME, GATED_SPIKE_TIME, RELAY}
"""Operations whose neurons fire in the window of their attribute `window`."""

FIRST_SPIKE = frozenset({"MaxPool", "GlobalMaxPool", "ReduceMax"})
"""Operations that the earliest of several spikes performs, where all have one range."""

TOLERANCE = 1 / 61
"""Ticks by which a crossing may come after a tick and still count for it: sums of spike times often
fall upon a tick, and rounding must not move them behind it."""


def fires(node: Node) -> bool:
    """Whether a node is a layer of neurons that fire at most once."""
    return isinstance(node, Op) and node.op_type in (SPIKE_TIME, GATED_SPIKE_TIME)


_MOVING = SHAPE_ONLY | {"Dropout", "TopK", RELAY} | FIRST_SPIKE


def has_spike_times(graph: Graph) -> bool:
    """Whether the neurons of a spiking graph fire at most once."""
    return any(map(fires, graph.nodes))


def balance(a: tuple[float, float], b: tuple[float, float]) -> float:
    """The power of two by which widths of two ranges differ least: a times it, b divided by it."""
    return float(2.0 ** round(math.log2((b[1] - b[0]) / (a[1] - a[0])) / 2))


def time_ranges(graph: Graph) -> dict[str, tuple[float, float]]:
    """The range of every value that holds spike times: results of neurons, moved or the earliest
    of several."""
    found: dict[str, tuple[float, float]] = {}
    for node in graph.nodes:
        if not isinstance(node, Op):
            continue
        if fires(node):
            found[node.outputs[0]] = node.number("low"), node.number("high")
        elif node.op_type in _MOVING and node.inputs[0] in found:
            moved = node.outputs if node.op_type == "Split" else node.outputs[:1]
            found |= {name: found[node.inputs[0]] for name in moved if name}
    return found


def neurons_behind(graph: Graph, value: str) -> Op | None:
    """The neurons whose spike times a value holds, moved or the earliest of several."""
    while (op := graph.op(value)) is not None and not fires(op):
        if op.op_type not in _MOVING:
            return None
        value = op.inputs[0]
    return op


def with_times(graph: Graph) -> Graph:
    """The graph with types that say which values are times of spikes."""
    timed = time_ranges(graph)
    types = {
        name: replace(kind, coding=Coding.TIME) if name in timed else kind
        for name, kind in graph.types.items()
    }
    return replace(graph, types=types)


def emission(x: str, y: str, low: str, high: str) -> str:
    """Text of y, the number that the spike for x stands for; x, low and high are values.

    Starts and ends with a Max, which onnxruntime moves into no neighbour. NaN is silent.
    """
    p = f"{y}_"
    return f"""{p}ticks_int = Constant <value_int: int = @ticks> ()
        {p}ticks = Cast <to = 1> ({p}ticks_int)
        {p}early = Constant <value_float: float = @early> ()
        {p}width = Sub ({high}, {low})
        {p}rate = Div ({p}ticks, {p}width)
        {p}tick = Div ({p}width, {p}ticks)
        {p}raised = Max ({x}, {low})
        {p}above = Sub ({p}raised, {low})
        {p}exact = Mul ({p}above, {p}rate)
        {p}ahead = Add ({p}exact, {p}early)
        {p}number = ThresholdedRelu <alpha = 0.0> ({p}ahead)
        {p}capped = Min ({p}number, {p}ticks)
        {p}left = Floor ({p}capped)
        {p}gained = Mul ({p}left, {p}tick)
        {p}decoded = Add ({p}gained, {low})
        {y} = Max ({p}decoded, {low})"""


def _attributes(*names: str) -> str:
    return "\n".join(f"{n} = Constant <value_float: float = @{n}> ()" for n in names)


_FIRED = f"{_attributes('low', 'high')}\n{emission('x', 'fired', 'low', 'high')}"
_RANGES = _attributes("a_low", "a_high", "b_low", "b_high")

_QUARTER = f"""{_RANGES}
    balance = Constant <value_float: float = @balance> ()
    a_less = Mul (a_low, balance)
    a_more = Mul (a_high, balance)
    b_less = Div (b_low, balance)
    b_more = Div (b_high, balance)
    a_scaled = Mul (a_wide, balance)
    b_scaled = Div (b_wide, balance)
    sum_low = Add (a_less, b_less)
    sum_high = Add (a_more, b_more)
    difference_low = Sub (a_less, b_more)
    difference_high = Sub (a_more, b_less)
    sum = Add (a_scaled, b_scaled)
    difference = Sub (a_scaled, b_scaled)
    {emission("sum", "s", "sum_low", "sum_high")}
    {emission("difference", "d", "difference_low", "difference_high")}
    s_square = Mul (s, s)
    d_square = Mul (d, d)
    four_times = Sub (s_square, d_square)
    quarter = Constant <value_float = 0.25> ()
    product = Mul (four_times, quarter)"""
"""a b = ((c a + b / c)^2 - (c a - b / c)^2) / 4 with neurons for sum and difference; the balance c
is the power of two that makes both ranges most alike (the error goes with the wider one)."""

_LOG_EXP = f"""{_RANGES}
    one = Constant <value_float = 1.0> ()
    none = Constant <value_float = 0.0> ()
    a_shift = Sub (one, a_low)
    b_shift = Sub (one, b_low)
    a_most = Add (a_high, a_shift)
    b_most = Add (b_high, b_shift)
    a_log_most = Log (a_most)
    b_log_most = Log (b_most)
    most = Add (a_log_most, b_log_most)
    a_shifted = Add (a_wide, a_shift)
    b_shifted = Add (b_wide, b_shift)
    a_log = Log (a_shifted)
    b_log = Log (b_shifted)
    logs = Add (a_log, b_log)
    {emission("logs", "l", "none", "most")}
    powers = Exp (l)
    a_part = Mul (a_wide, b_shift)
    b_part = Mul (b_wide, a_shift)
    shifts = Mul (a_shift, b_shift)
    less_a = Sub (powers, a_part)
    less_b = Sub (less_a, b_part)
    product = Sub (less_b, shifts)"""
"""a b = exp(ln(a + c) + ln(b + d)) - d a - c b - c d with neurons for the logarithm (spec 4.6)."""

_ENTRYWISE = "a_wide = Identity (a)\n b_wide = Identity (b)"
_PAIRWISE = """last = Constant <value_ints = [-1]> ()
    third = Constant <value_ints = [-3]> ()
    a_wide = Unsqueeze (a, last)
    b_wide = Unsqueeze (b, third)"""
_SUMMED = """inner = Constant <value_ints = [-2]> ()
    y = ReduceSum <keepdims = 0> (product, inner)"""

_X, _AB = ("x",), ("a", "b")
BODIES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "TimeToFirstSpike": (_X, f"{_FIRED}\n y = Identity (fired)"),
    "GatedTimeToFirstSpike": (("x", "alive"), f"{_FIRED}\n y = Where (alive, fired, low)"),
    "Relay": (_X, "y = Identity (x)"),
    "QuarterSquareMul": (_AB, f"{_ENTRYWISE}\n{_QUARTER}\n y = Identity (product)"),
    "QuarterSquareMatMul": (_AB, f"{_PAIRWISE}\n{_QUARTER}\n{_SUMMED}"),
    "LogExpMul": (_AB, f"{_ENTRYWISE}\n{_LOG_EXP}\n y = Identity (product)"),
    "LogExpMatMul": (_AB, f"{_PAIRWISE}\n{_LOG_EXP}\n{_SUMMED}"),
    "IdealMul": (_AB, "y = Mul (a, b)"),
    "IdealMatMul": (_AB, "y = MatMul (a, b)"),
}
"""Inputs and text of every body, by name in domain ai.snnc."""
