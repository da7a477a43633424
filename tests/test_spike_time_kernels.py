"""Spikes in continuous time do what spec 4 says: membranes are integrated over time, literally.

Each test integrates the kernels over time, finds the crossings of the threshold numerically and
compares the numbers that the spikes stand for with the function, to 1e-9.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import pytest
from onnx import TensorProto, helper

from snnc.errors import CompileError
from snnc.ir.graph import DOMAIN, OPSET
from snnc.ir.node import Array, Loc, Op
from snnc.passes.spike_times.entrywise import FUNCTIONS
from snnc.pointwise import Dual, constant, forward, is_pointwise
from snnc.spike_time_kernels import (
    LINKS,
    Function,
    Link,
    Window,
    chain,
    charges,
    eta,
    exponential,
    first_ticks,
    identity,
    integrated,
    quarter_square,
    rest,
    shifted_log,
)
from tests.onnx_models import run_onnx

CLOSE = 1e-9
NODES, WEIGHTS = np.polynomial.legendre.leggauss(20)
Scalar: TypeAlias = Callable[[float], float]


def op(op_type: str, **attrs: Any) -> Op:
    return Op(("y",), ("x",), Loc(("f",)), op_type, attrs)


def with_constants(op_type: str, *others: float) -> Function:
    """An operation whose other inputs are numbers."""
    return lambda x: forward(op(op_type), x, *(constant(np.array(c)) for c in others))


def then(*functions: Function) -> Function:
    def function(x: tuple[Array, Array]) -> tuple[Array, Array]:
        for f in functions:
            x = f(x)
        return x

    return function


def piece(rate: Callable[[Array], Array], left: float, right: float) -> float:
    """The integral of a rate without kinks."""
    edges = np.linspace(left, right, 9)
    half = np.diff(edges) / 2
    points = (edges[:-1] + half)[:, None] + half[:, None] * NODES
    rates = np.asarray(rate(points.ravel())).reshape(points.shape)
    return float(np.einsum("mq,q,m->", rates, WEIGHTS, half))


def over_time(
    rate: Callable[[Array], Array], start: float, end: float, cuts: Sequence[float]
) -> float:
    """The integral of a rate from start to end, split at `cuts`."""
    edges = sorted({start, end, *(t for t in cuts if start < t < end)})
    return sum(piece(rate, a, b) for a, b in pairwise(edges))


@dataclass(frozen=True)
class Synapse:
    """From a neuron that fires for x in `window`. kinks: numbers where f' jumps."""

    function: Function
    window: Window
    x: float
    weight: float = 1.0
    kinks: tuple[float, ...] = ()

    @property
    def time(self) -> float:
        """Of its spike; the end of the window where it has none, which adds nothing."""
        return float(self.window.time(np.array(self.x)))


def potential(synapses: Sequence[Synapse], bias: float = 0.0) -> float:
    """What a membrane has at the end of the window in which all these spikes arrive."""
    total = 0.0
    for s in synapses:
        window = s.window
        cuts = [s.time + (kink - window.low) * window.tau for kink in s.kinks]

        def spike(t: Array, s: Synapse = s) -> Array:
            return eta(s.function, s.window, t - s.time) / s.window.tau

        def drive(t: Array, s: Synapse = s) -> Array:
            held = rest(s.function, s.window.low) / (s.window.high - s.window.low)
            return np.full(t.shape, held / s.window.tau)

        arrived = over_time(spike, 0.0, window.delta, [s.time, *cuts])
        total += s.weight * (arrived + over_time(drive, 0.0, window.delta, []))
    duration = synapses[0].window.delta
    assert all(s.window.delta == duration for s in synapses)
    return total + over_time(lambda t: np.full(t.shape, bias / duration), 0.0, duration, [])


def emitted(potential: float, link: Link, window: Window) -> float:
    """The number for which a neuron fires: its threshold's crossing by bisection in time."""
    missing = link.theta(window) - potential
    if not missing > 0:
        return window.high
    cuts = [window.delta * (1 - 2.0**-k) for k in range(1, 45)]

    def risen(until: float) -> float:
        return over_time(lambda t: link.psi(window, t), 0.0, until, cuts)

    reach = {t: risen(t) for t in [*cuts, 0.0]}
    late = [t for t in sorted(reach) if reach[t] >= missing]
    low = max(t for t in reach if reach[t] < missing)
    high = late[0] if late else window.delta
    base = reach[low]
    start = low
    if (
        not late
        and base + piece(lambda t: link.psi(window, t), low, math.nextafter(high, 0)) < missing
    ):
        return window.low
    for _ in range(60):
        middle = (low + high) / 2
        crossed = base + piece(lambda t: link.psi(window, t), start, middle) >= missing
        low, high = (low, middle) if crossed else (middle, high)
    return float(window.number(np.array(high)))


def phi(u: float) -> float:
    return 0.5 * (1 + math.erf(u / math.sqrt(2)))


def sigmoid(u: float) -> float:
    return 1 / (1 + math.exp(-u)) if u > -700 else 0.0


def hard(u: float) -> float:
    return min(max(u / 6 + 0.5, 0.0), 1.0)


SELU, SELU_SCALE = 1.6732631921768188, 1.0507010221481323
ANYWHERE: dict[str, tuple[Function, Scalar, tuple[float, ...]]] = {
    "identity": (identity, lambda u: u, ()),
    "relu": (chain(op("Relu")), lambda u: max(u, 0.0), (0.0,)),
    "gelu": (chain(op("Gelu")), lambda u: u * phi(u), ()),
    "gelu tanh": (
        chain(op("Gelu", approximate="tanh")),
        lambda u: 0.5 * u * (1 + math.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3))),
        (),
    ),
    "silu": (chain(op(f"{DOMAIN}.Silu")), lambda u: u * sigmoid(u), ()),
    "exp": (chain(op("Exp")), math.exp, ()),
    "square": (lambda x: forward(op("Mul"), x, x), lambda u: u * u, ()),
    "power": (with_constants("Pow", 3.0), lambda u: u**3, ()),
    "quarter square": (quarter_square, lambda u: u * u / 4, ()),
    "sigmoid": (chain(op("Sigmoid")), sigmoid, ()),
    "tanh": (chain(op("Tanh")), math.tanh, ()),
    "erf": (chain(op("Erf")), math.erf, ()),
    "softplus": (chain(op("Softplus")), lambda u: math.log1p(math.exp(u)), ()),
    "softsign": (chain(op("Softsign")), lambda u: u / (1 + abs(u)), (0.0,)),
    "mish": (chain(op("Mish")), lambda u: u * math.tanh(math.log1p(math.exp(u))), ()),
    "abs": (chain(op("Abs")), abs, (0.0,)),
    "neg": (chain(op("Neg")), lambda u: -u, ()),
    "sin": (chain(op("Sin")), math.sin, ()),
    "tan": (then(with_constants("Mul", 0.25), chain(op("Tan"))), lambda u: math.tan(u / 4), ()),
    "atan": (chain(op("Atan")), math.atan, ()),
    "sinh": (chain(op("Sinh")), math.sinh, ()),
    "cosh": (chain(op("Cosh")), math.cosh, ()),
    "asinh": (chain(op("Asinh")), math.asinh, ()),
    "exponential": (exponential, math.exp, ()),
    "cos": (chain(op("Cos")), math.cos, ()),
    "leaky": (chain(op("LeakyRelu", alpha=0.2)), lambda u: u if u > 0 else 0.2 * u, (0.0,)),
    "prelu": (with_constants("PRelu", 0.3), lambda u: u if u > 0 else 0.3 * u, (0.0,)),
    "elu": (chain(op("Elu", alpha=0.7)), lambda u: u if u > 0 else 0.7 * math.expm1(u), (0.0,)),
    "selu": (
        chain(op("Selu")),
        lambda u: SELU_SCALE * (u if u > 0 else SELU * math.expm1(u)),
        (0.0,),
    ),
    "celu": (chain(op("Celu", alpha=2.0)), lambda u: u if u > 0 else 2 * math.expm1(u / 2), (0.0,)),
    "hard sigmoid": (
        chain(op("HardSigmoid")),
        lambda u: min(max(0.2 * u + 0.5, 0.0), 1.0),
        (-2.5, 2.5),
    ),
    "hard swish": (chain(op("HardSwish")), lambda u: u * hard(u), (-3.0, 3.0)),
    "clip": (with_constants("Clip", -0.75, 1.5), lambda u: min(max(u, -0.75), 1.5), (-0.75, 1.5)),
    "affine": (
        then(with_constants("Mul", -2.0), with_constants("Add", 0.5)),
        lambda u: 0.5 - 2 * u,
        (),
    ),
    "max and min": (
        then(with_constants("Max", 0.25), with_constants("Min", 0.6)),
        lambda u: min(max(u, 0.25), 0.6),
        (0.25, 0.6),
    ),
    "gated": (
        lambda x: forward(op("Mul"), x, forward(op("Sigmoid"), with_constants("Mul", 1.702)(x))),
        lambda u: u * sigmoid(1.702 * u),
        (),
    ),
    "mean of two": (
        lambda x: forward(op("Mean"), x, forward(op("Exp"), x)),
        lambda u: (u + math.exp(u)) / 2,
        (),
    ),
    "quotient": (
        lambda x: forward(op("Div"), x, with_constants("Add", 1.0)(forward(op("Mul"), x, x))),
        lambda u: u / (u * u + 1),
        (),
    ),
}
"""Function on a synapse, the same in numbers, and where its derivative jumps."""

EPS = 1e-3
POSITIVE: dict[str, tuple[Function, Scalar]] = {
    "reciprocal square root": (
        then(with_constants("Add", EPS), chain(op("Sqrt"), op("Reciprocal"))),
        lambda u: (u + EPS) ** -0.5,
    ),
    "power -1/2": (
        then(with_constants("Add", EPS), with_constants("Pow", -0.5)),
        lambda u: (u + EPS) ** -0.5,
    ),
    "log": (chain(op("Log")), math.log),
    "sqrt": (chain(op("Sqrt")), math.sqrt),
    "reciprocal": (chain(op("Reciprocal")), lambda u: 1 / u),
}
"""Functions of positive numbers."""

SETTINGS = [(-3.0, 2.0, 1.0), (0.0, 1.0, 2.5), (0.5, 4.0, 0.7), (-3.5, -0.25, 3.0)]
"""Ranges (a, b) and durations: of both signs, from 0, above 0 and below 0."""


def numbers(a: float, b: float) -> Array:
    """A grid with values at and beyond both ends."""
    width = b - a
    return np.array([a - 1, a - 0.01 * width, *np.linspace(a, b, 39), b + 0.01 * width, b + 1])


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", ANYWHERE)
def test_the_potential_is_the_function(name: str, setting: tuple[float, float, float]) -> None:
    function, wanted, kinks = ANYWHERE[name]
    window = Window(*setting)
    for x in numbers(*setting[:2]).tolist():
        seen = min(max(x, window.low), window.high)
        found = potential([Synapse(function, window, x, 1.0, kinks)])
        assert abs(found - wanted(seen)) <= CLOSE, x


@pytest.mark.parametrize("setting", [(0.05, 2.0, 1.0), (0.5, 4.0, 0.7), (1.0, 30.0, 2.5)])
@pytest.mark.parametrize("name", POSITIVE)
def test_the_potential_is_the_function_of_positive_numbers(
    name: str, setting: tuple[float, float, float]
) -> None:
    function, wanted = POSITIVE[name]
    window = Window(*setting)
    for x in numbers(*setting[:2]).tolist():
        seen = min(max(x, window.low), window.high)
        found = potential([Synapse(function, window, x)])
        assert abs(found - wanted(seen)) <= CLOSE, x


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_shifted_logarithm_needs_no_drive(setting: tuple[float, float, float]) -> None:
    window = Window(*setting)
    shift = 1 - window.low
    assert rest(shifted_log(shift), window.low) == 0
    for x in numbers(*setting[:2]).tolist():
        seen = min(max(x, window.low), window.high)
        found = potential([Synapse(shifted_log(shift), window, x)])
        assert abs(found - math.log(seen + shift)) <= CLOSE


def test_kernels_are_those_of_the_paper() -> None:
    window = Window(-1.5, 2.0, 0.7)
    s = np.linspace(0, 0.7, 29)
    u = s / window.tau + window.low
    density = np.exp(-u * u / 2) / math.sqrt(2 * math.pi)
    gate = np.array([sigmoid(v) for v in u])
    wanted = {
        "identity": np.ones_like(u),
        "gelu": np.array([phi(v) for v in u]) + u * density,
        "silu": gate * (1 + u * (1 - gate)),
        "exp": np.exp(u),
        "square": 2 * u,
        "quarter square": u / 2,
        "relu": (u > 0) * 1.0,
    }
    for name, kernel in wanted.items():
        np.testing.assert_allclose(eta(ANYWHERE[name][0], window, s), kernel, atol=1e-14)
        assert not eta(ANYWHERE[name][0], window, -s[1:]).any(), "before the spike"
    up = Window(0.5, 2.0, 0.7)
    u = s / up.tau + up.low
    found = eta(POSITIVE["reciprocal square root"][0], up, s)
    np.testing.assert_allclose(found, -0.5 * (u + EPS) ** -1.5, rtol=1e-13)
    np.testing.assert_allclose(eta(shifted_log(0.5), up, s), 1 / (u + 0.5), rtol=1e-14)


def test_senders_keep_their_own_ranges() -> None:
    ranges = [(-3.0, 2.0), (0.5, 4.0), (-4.0, -0.25), (0.0, 1.0)]
    names = ["gelu", "identity", "exp", "relu"]
    rng = np.random.default_rng(0)
    for _ in range(20):
        synapses, wanted = [], 0.7
        for (a, b), name in zip(ranges, names, strict=True):
            function, f, kinks = ANYWHERE[name]
            x, w = rng.uniform(a - 0.5, b + 0.5), rng.normal()
            synapses.append(Synapse(function, Window(a, b, 1.3), x, w, kinks))
            wanted += w * f(min(max(x, a), b))
        assert abs(potential(synapses, bias=0.7) - wanted) <= CLOSE


ROOTED = ("Exp", "Sqrt")
"""Functions whose results are positive."""


@pytest.mark.parametrize(
    ("name", "setting"),
    [(name, s) for name in LINKS for s in SETTINGS if name not in ROOTED or s[0] >= 0],
)
def test_neurons_fire_for_a_function_of_their_potential(
    name: str, setting: tuple[float, float, float]
) -> None:
    window, link = Window(*setting), LINKS[name]
    inverses: dict[str, Scalar] = {"": lambda y: y, "Sqrt": lambda y: y * y}
    inverse = (inverses | {"Log": math.exp, "Exp": math.log})[name]
    for y in numbers(*setting[:2]).tolist():
        if name in ROOTED and y <= 0:
            continue
        found = emitted(inverse(y), link, window)
        assert abs(found - min(max(y, window.low), window.high)) <= CLOSE, y


def test_an_impossible_logarithm_is_silent() -> None:
    window = Window(0.0, 2.0)
    found = first_ticks(np.array([0.0, -1.0, np.nan, -np.inf, np.inf]), LINKS["Log"], window, 16)
    assert found.tolist() == [-1, -1, -1, -1, 0]


@pytest.mark.parametrize("early", [0.0, 1 / 64, 0.5])
@pytest.mark.parametrize("ticks", [1, 5, 1024])
@pytest.mark.parametrize("name", LINKS)
def test_ticks_are_the_first_after_the_crossing(name: str, ticks: int, early: float) -> None:
    window, link = Window(0.25, 3.0), LINKS[name]
    y = np.random.default_rng(0).uniform(0, 3.3, 5000)
    with np.errstate(divide="ignore"):
        v = link.inverse(y)
    late = ticks * (window.high - y) / (window.high - window.low) - early
    wanted = np.clip(np.ceil(late), 0, ticks)
    found = first_ticks(v, link, window, ticks, early)
    np.testing.assert_array_equal(found, np.where(wanted < ticks, wanted, -1))


@pytest.mark.parametrize("ticks", [1, 7, 1024])
@pytest.mark.parametrize("name", ANYWHERE)
def test_charges_of_all_ticks(name: str, ticks: int) -> None:
    function, wanted, _ = ANYWHERE[name]
    for low, high in [(-3.0, 2.0), (0.1, 3.3), (-4.5, -0.3)]:
        x = np.linspace(low, high, ticks + 1)
        found = rest(function, low) + charges(function, Window(low, high), ticks)
        np.testing.assert_allclose(found, [wanted(v) for v in x], rtol=0, atol=1e-11)


@pytest.mark.parametrize("body", [["Reciprocal"], ["Abs", "Log"], ["Mul", "Reciprocal"]])
@pytest.mark.parametrize("ticks", [1, 256])
def test_a_pole_has_no_integral(body: list[str], ticks: int) -> None:
    function = chain(*map(op, body)) if body[0] != "Mul" else _inverse_square
    with pytest.raises(CompileError, match="pole"):
        charges(function, Window(-1.0, 1.3), ticks)


def _inverse_square(x: Dual) -> Dual:
    return x[0] ** -2.0, -2 * x[0] ** -3.0 * x[1]


def test_a_kink_anywhere_in_a_tick_is_found() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        kink, ticks = rng.uniform(-1, 1), int(rng.integers(1, 60))
        found = charges(with_constants("Max", kink), Window(-1, 1), ticks)
        x = np.linspace(-1, 1, ticks + 1)
        np.testing.assert_allclose(found, np.maximum(x, kink) - kink, rtol=0, atol=1e-13)


def test_constants_of_several_entries_have_kernels_each() -> None:
    slopes, shifts = np.array([0.1, 0.5, -1.0]), np.array([[0.3], [-0.4]])

    def function(x: tuple[Array, Array]) -> tuple[Array, Array]:
        moved = forward(op("Add"), x, constant(shifts))
        return forward(op("PRelu"), moved, constant(slopes))

    found = rest(function, -2.0, rank=2) + charges(function, Window(-2.0, 1.0), 100, rank=2)
    moved = np.linspace(-2, 1, 101)[:, None, None] + shifts
    assert found.shape == (101, 2, 3)
    np.testing.assert_allclose(found, np.where(moved > 0, moved, slopes * moved), atol=1e-13)


def test_a_pole_at_the_end_is_integrated() -> None:
    found = integrated(lambda t: 0.5 / np.sqrt(t), np.array([0.0, 0.25, 1.0]))
    np.testing.assert_allclose(found, [0, 0.5, 1.0], rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("op_type", "attrs"),
    [
        ("Elu", {"alpha": 0.7}),
        ("Selu", {}),
        ("Selu", {"alpha": 1.5, "gamma": 1.1}),
        ("Celu", {"alpha": 0.3}),
        ("LeakyRelu", {}),
        ("HardSigmoid", {}),
        ("HardSigmoid", {"alpha": 0.4, "beta": 0.1}),
        ("HardSwish", {}),
        ("Gelu", {}),
        ("Gelu", {"approximate": "tanh"}),
        ("Mish", {}),
        ("Softsign", {}),
        ("Softplus", {}),
        ("Erf", {}),
    ],
)
def test_operations_are_those_of_onnx(op_type: str, attrs: dict[str, Any]) -> None:
    x = np.linspace(-4.97, 5.03, 98, dtype=np.float32)
    kind = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)
    node = helper.make_node(op_type, ["x"], ["y"], **attrs)
    graph = helper.make_graph([node], "g", [kind], [result])
    opsets = [helper.make_opsetid("", OPSET)]
    wanted = run_onnx(helper.make_model(graph, opset_imports=opsets, ir_version=10), {"x": x})["y"]
    found, slope = forward(op(op_type, **attrs), (x.astype(np.float64), np.ones(x.shape)))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6)
    step = 1e-6
    beyond, _ = forward(op(op_type, **attrs), constant(x.astype(np.float64) + step))
    np.testing.assert_allclose(slope, (beyond - found) / step, rtol=0, atol=1e-5)


def test_jumps_have_no_kernel() -> None:
    assert is_pointwise(op("Relu")) and is_pointwise(op("Cast", to=1))
    jumping = ["Floor", "Ceil", "Round", "Sign", "ThresholdedRelu", "MatMul", "Softmax"]
    assert not any(is_pointwise(op(name)) for name in jumping)
    assert not is_pointwise(op("Cast", to=7))


def test_every_function_that_synapses_compute_has_a_kernel() -> None:
    assert all(is_pointwise(op(name)) for name in FUNCTIONS)


def test_products_by_quarter_squares() -> None:
    a, b = Window(-1.0, 2.0), Window(-3.0, -0.5)
    total, difference = Window(-4.0, 1.5), Window(-0.5, 5.0)
    rng = np.random.default_rng(0)
    for x, y in zip(rng.uniform(-1.2, 2.2, 12), rng.uniform(-3, -0.4, 12), strict=True):
        s = emitted(potential([Synapse(identity, a, x), Synapse(identity, b, y)]), LINKS[""], total)
        minus = [Synapse(identity, a, x), Synapse(identity, b, y, -1.0)]
        d = emitted(potential(minus), LINKS[""], difference)
        found = potential(
            [Synapse(quarter_square, total, s), Synapse(quarter_square, difference, d, -1.0)]
        )
        assert abs(found - np.clip(x, -1, 2) * np.clip(y, -3, -0.5)) <= CLOSE


def test_products_by_logarithms() -> None:
    a, b = Window(-1.0, 2.0), Window(-3.0, -0.5)
    c, e = 1 - a.low, 1 - b.low
    logs = Window(0.0, math.log(a.high + c) + math.log(b.high + e))
    rng = np.random.default_rng(0)
    for x, y in zip(rng.uniform(-1.2, 2.2, 12), rng.uniform(-3, -0.4, 12), strict=True):
        v = potential([Synapse(shifted_log(c), a, x), Synapse(shifted_log(e), b, y)])
        y_log = emitted(v, LINKS[""], logs)
        exp = Synapse(ANYWHERE["exp"][0], logs, y_log)
        relayed = [Synapse(identity, a, x, -e), Synapse(identity, b, y, -c)]
        found = potential([exp, *relayed], bias=-c * e)
        assert abs(found - np.clip(x, -1, 2) * np.clip(y, -3, -0.5)) <= CLOSE


def softmax(x: Sequence[float], alive: Sequence[bool]) -> list[float]:
    """As its four layers of neurons compute it, every one with its own window (spec 4.4)."""
    n = len(x)
    seen, shifted = Window(-4.0, 3.0), Window(-7.0, 0.0)
    logs, ends = Window(0.0, max(math.log(n), 0.1)), Window(0.0, 1.0)
    hat = [v if ok else seen.low for v, ok in zip(x, alive, strict=True)]
    first = min(float(seen.time(np.array(v))) for v in hat)
    most = float(seen.number(np.array(first)))
    z = [
        emitted(
            potential([Synapse(identity, seen, v), Synapse(identity, seen, most, -1.0)]),
            LINKS[""],
            shifted,
        )
        for v in hat
    ]
    exp = ANYWHERE["exp"][0]
    terms = [Synapse(exp, shifted, v, float(ok)) for v, ok in zip(z, alive, strict=True)]
    y = emitted(potential(terms), LINKS["Log"], logs)
    return [
        emitted(
            potential([Synapse(identity, shifted, v), Synapse(identity, logs, y, -1.0)]),
            LINKS["Exp"],
            ends,
        )
        if ok
        else 0.0
        for v, ok in zip(z, alive, strict=True)
    ]


@pytest.mark.parametrize("n", range(1, 11))
@pytest.mark.parametrize("masked", [False, True])
def test_a_whole_softmax(n: int, masked: bool) -> None:
    rng = np.random.default_rng(n)
    x = rng.uniform(-3, 2.9, n)
    alive = np.arange(n) % 3 != 1 if masked else np.ones(n, bool)
    powers = np.exp(x) * alive
    found = softmax(x.tolist(), alive.tolist())
    np.testing.assert_allclose(found, powers / powers.sum(), rtol=0, atol=CLOSE)
    assert all(p == 0 for p, ok in zip(found, alive, strict=True) if not ok)


def layer_norm(x: Array, gamma: Array, beta: Array, eps: float) -> list[float]:
    """As its layers of neurons compute it, the product by quarter squares (spec 4.5)."""
    n = len(x)
    seen, centre, mean = Window(-2.0, 3.0), Window(-4.0, 4.0), Window(-2.0, 3.0)
    var = Window(0.3, 6.0)
    r = Window(0.3, 2.0)
    share = [Synapse(identity, seen, v, 1 / n) for v in x]
    m = emitted(potential(share), LINKS[""], mean)
    minus = Synapse(identity, mean, m, -1.0)
    c = [emitted(potential([Synapse(identity, seen, v), minus]), LINKS[""], centre) for v in x]
    square = ANYWHERE["square"][0]
    v = emitted(potential([Synapse(square, centre, u, 1 / n) for u in c]), LINKS[""], var)
    root = then(with_constants("Add", eps), chain(op("Sqrt"), op("Reciprocal")))
    scale = emitted(potential([Synapse(root, var, v)]), LINKS[""], r)
    total, difference = Window(-3.7, 6.0), Window(-6.0, 3.7)
    found = []
    for u, g, b in zip(c, gamma, beta, strict=True):
        pair = [Synapse(identity, centre, u), Synapse(identity, r, scale)]
        s = emitted(potential(pair), LINKS[""], total)
        pair[1] = Synapse(identity, r, scale, -1.0)
        d = emitted(potential(pair), LINKS[""], difference)
        terms = [
            Synapse(quarter_square, total, s, g),
            Synapse(quarter_square, difference, d, -g),
        ]
        found.append(potential(terms, bias=b))
    return found


def test_a_whole_layer_norm() -> None:
    rng = np.random.default_rng(0)
    for _ in range(4):
        x, gamma, beta = rng.uniform(-2, 3, 8), rng.normal(size=8), rng.normal(size=8)
        wanted = (x - x.mean()) / np.sqrt(x.var() + 1e-5) * gamma + beta
        found = layer_norm(x, gamma, beta, 1e-5)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=CLOSE)
