"""SFN: numpy == ONNX body value for value, and both against exact rational arithmetic."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import onnx
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from snnc.errors import CompileError
from snnc.export import export
from snnc.ir.graph import Graph, Stage
from snnc.ir.neuron import (
    Parameter,
    format_neuron,
    make_neuron,
    neuron_models,
    parse_neuron,
)
from snnc.ir.node import Array, Coding, Loc, Neuron, Op, Sides, Statistics, Type, real
from snnc.ir.rate_neuron import Polarity, finite_step
from snnc.kernels import instruction_sets, using_instruction_set
from snnc.neurons.level_sets import MAX_M, MAX_TOP, WITHOUT_GAPS, Levels, Rule, fitted_top
from snnc.neurons.sfn import SFN
from snnc.runtime import Session

Run: TypeAlias = Callable[[Mapping[str, Array]], Array]

LEVELS: tuple[Levels, ...] = ("dense", "sformer", "linear", "exponential", "fitted")
RULES: tuple[Rule, ...] = ("nearest", "eq11")
SIDES: tuple[Sides, ...] = ("both", "positive", "negative", "silent")
INF = float("inf")
MAX = float(np.finfo(np.float32).max)
LOC = Loc(("relu",))

every_level_set = pytest.mark.parametrize("levels", LEVELS)
every_rule = pytest.mark.parametrize("rule", RULES)


# --- the independent reference: spec 2.1, 2.2 in exact rationals -------------------------------


def sized(m: int, rule: Rule, levels: Levels, **parameters: Any) -> SFN:
    """Level sets of size M; of fitted ones some with as many contiguous levels."""
    if levels == "fitted":
        return SFN(rule=rule, levels=levels, N=4 * m, K=m, S=2 ** (m // 3), **parameters)
    return SFN(m, rule, levels, **parameters)


def exact_levels(model: SFN) -> list[int]:
    """Eq. 12 and its relatives, as the specification writes them; those up to `limit`, if any."""
    m = model.M
    if model.levels == "fitted":
        return exact_fitted(model.N, model.K, model.S)
    if model.levels == "sformer":
        return [k if k <= m else m - 1 + 2 ** (k - m) for k in range(1, 2 * m + 1)]
    if model.levels == "exponential":
        return [2 ** (k - 1) for k in range(1, 2 * m + 1)]
    every = range(1, (m - 1 + 2**m if model.levels == "dense" else 2 * m) + 1)
    return [y for y in every if y <= (model.limit or y)]


def exact_fitted(n: int, k: int, s: int) -> list[int]:
    """One level after the other, the gap doubling whenever it has been taken S times."""
    values, gap, taken = list(range(1, k + 1)), 2, 0
    while len(values) < n:
        values.append(values[-1] + gap)
        taken += 1
        if taken % s == 0:
            gap *= 2
    return values


@cache
def exact_thresholds(model: SFN) -> tuple[Fraction, ...]:
    """Where each level starts to fire, in steps."""
    values = exact_levels(model)
    if model.rule == "eq11":
        return tuple(y - Fraction(1, 2) for y in values)
    return tuple(Fraction(below + y, 2) for below, y in pairwise([0, *values]))


def exact_count(model: SFN, x: float, positive: float, negative: float) -> int:
    """Largest level whose threshold |x| reaches; ties fire; odd in x."""
    x = min(x, model.bound)
    sign, step = (-1, negative) if x < 0 else (1, positive)
    if step == 0:
        return 0
    values = [0, *exact_levels(model)]
    if np.isinf(x):
        return sign * values[-1]
    thresholds = exact_thresholds(model)
    return sign * values[bisect_right(thresholds, abs(Fraction(x)) / Fraction(step))]


def within_two_ulp(model: SFN, x: float, step: float) -> bool:
    """Whether |x| lies so near a threshold that float32 may decide otherwise (spec 0.6)."""
    thresholds = exact_thresholds(model)
    size = abs(Fraction(x))
    at = bisect_left(thresholds, size / Fraction(step))
    near = (t * Fraction(step) for t in thresholds[max(at - 1, 0) : at + 1])
    return any(abs(size - t) <= 2 * Fraction(float(np.spacing(np.float32(t)))) for t in near)


# --- graphs and their four implementations -----------------------------------------------------


def neuron_graph(
    model: SFN, sides: Sides, positive: Array | float = 1.0, negative: Array | float = 1.0
) -> Graph:
    steps = {"positive": positive, "negative": negative}
    alive = [sign for sign in steps if sides in (sign, "both")]
    consts = {sign: np.array(steps[sign], np.float32) for sign in alive}
    inputs = ("x", *(sign if sign in alive else "" for sign in steps))
    shape = ("N",) if np.ndim(positive) == np.ndim(negative) == 0 else ("C", "N")
    types = {"x": real("float32", shape), "y": Type(Coding.SPIKE, "float32", shape)}
    neuron = Neuron(("y",), inputs, LOC, model)
    return Graph("g", ("x",), ("y",), (neuron,), types, consts, Stage.SPIKING)


def run_evaluator(evaluator: ReferenceEvaluator, feeds: Mapping[str, Array]) -> Array:
    results: Any = evaluator.run(None, dict(feeds))
    return np.asarray(results[0])


def implementations(graph: Graph, *, feed_steps: bool) -> dict[str, Run]:
    """onnxruntime with and without optimisations and with the native kernels of every instruction
    set, and ONNX's own evaluator, of a valid model."""
    free = tuple(graph.consts) if feed_steps else ()
    model = export(graph, free=free).model
    onnx.checker.check_model(model, full_check=True)
    optimized, plain = (
        Session(graph, free=free, optimize=on, kernels=False) for on in (True, False)
    )
    evaluator = ReferenceEvaluator(model)
    return native(graph, free) | {
        "onnxruntime, optimised": lambda feeds: optimized.run(feeds)["y"],
        "onnxruntime, not optimised": lambda feeds: plain.run(feeds)["y"],
        "onnx.reference": lambda feeds: run_evaluator(evaluator, feeds),
    }


def native(graph: Graph, free: tuple[str, ...]) -> dict[str, Run]:
    """The native kernels of every instruction set that this machine has."""
    runs: dict[str, Run] = {}
    for name in instruction_sets():
        with using_instruction_set(name):
            session = Session(graph, free=free)
        runs[f"kernels for {name}"] = lambda feeds, s=session: s.run(feeds)["y"]  # type: ignore[misc]
    return runs


@cache
def fed(model: SFN, sides: Sides) -> tuple[tuple[str, ...], dict[str, Run]]:
    """A neuron whose steps are fed at every run: their names and the implementations."""
    graph = neuron_graph(model, sides)
    return tuple(graph.consts), implementations(graph, feed_steps=True)


def numpy_step(model: SFN, x: Array, positive: Array | float, negative: Array | float) -> Array:
    with np.errstate(over="ignore"):
        return model.step(x, positive, negative)


def alive_steps(sides: Sides, positive: Any, negative: Any) -> tuple[Any, Any]:
    """An absent branch of the ONNX form is a step of 0 in numpy."""
    return (
        positive if sides in ("both", "positive") else 0.0,
        negative if sides in ("both", "negative") else 0.0,
    )


def assert_same_bits(actual: Array, expected: Array, x: Array, who: str) -> None:
    assert actual.dtype == expected.dtype == np.float32
    assert actual.shape == expected.shape == x.shape
    assert not np.isnan(expected).any()
    apart = actual.view(np.uint32) != expected.view(np.uint32)
    shown = [v[apart][:5].tolist() for v in (x, actual, expected)]
    assert not apart.any(), "{}: x {}, got {}, numpy {}".format(who, *shown)


def assert_all_agree(
    model: SFN, sides: Sides, x: Array, positive: Array | float, negative: Array | float
) -> Array:
    names, runs = fed(model, sides)
    steps = {"positive": positive, "negative": negative}
    feeds = {"x": x} | {name: np.array(steps[name], np.float32) for name in names}
    expected = numpy_step(model, x, *alive_steps(sides, positive, negative))
    for who, run in runs.items():
        assert_same_bits(run(feeds), expected, x, f"{who}, {model}, {sides}")
    return expected


def shifted(x: np.float32, ulps: int) -> np.float32:
    with np.errstate(all="ignore"):
        for _ in range(abs(ulps)):
            x = np.nextafter(x, np.float32(np.copysign(INF, ulps)))
    return x


def scaled(step: float, count: float | Fraction) -> np.float32:
    with np.errstate(all="ignore"):
        return np.float32(float(count)) * np.float32(step)


# --- numpy == function body, everywhere ---------------------------------------------------------


def quarter_steps(model: SFN, positive: float, negative: float) -> Array:
    """Every integer and half-integer number of half steps to beyond saturation, both signs."""
    last = 4 * model.top + 9
    k = np.arange(-last, last + 1).astype(np.float32)
    quarter = np.where(k < 0, np.float32(negative), np.float32(positive)) / np.float32(4)
    return np.asarray(k * quarter, np.float32)


def check_every_half_step(model: SFN, sides: Sides, positive: float, negative: float) -> None:
    x = quarter_steps(model, positive, negative)
    expected = numpy_step(model, x, *alive_steps(sides, positive, negative))
    graph = neuron_graph(model, sides, positive, negative)
    for who, run in implementations(graph, feed_steps=False).items():
        assert_same_bits(run({"x": x}), expected, x, f"{who}, {model}, {sides}")
    emitted = set(np.unique(expected).tolist())
    for sign, step in zip((1, -1), alive_steps(sides, positive, negative), strict=True):
        reachable = [y for y in model.level_values if sign < 0 or scaled(step, y) <= model.bound]
        assert not step or {float(scaled(sign * step, y)) for y in reachable} <= emitted


@every_level_set
@every_rule
@pytest.mark.parametrize("m", [1, 8, MAX_M])
@pytest.mark.parametrize("sides", SIDES)
def test_every_half_step_is_the_same_everywhere(
    levels: Levels, rule: Rule, m: int, sides: Sides
) -> None:
    m = 7 if levels == "exponential" and m == MAX_M else m
    model = sized(m, rule, levels)
    for one in (model, model.bounded(6.0)):
        check_every_half_step(one, sides, 0.3, 0.25)


@every_rule
@pytest.mark.parametrize("levels", ["dense", "linear"])
@pytest.mark.parametrize("sides", SIDES)
def test_every_half_step_of_limited_levels(levels: Levels, rule: Rule, sides: Sides) -> None:
    """Limits below and above the largest level; an attribute, so that one body serves them all."""
    for limit in (1, 7, 127, 1000):
        model = SFN(8, rule, levels, limit=limit)
        for one in (model, model.bounded(6.0)):
            check_every_half_step(one, sides, 0.3, 0.25)


@every_rule
def test_every_half_step_of_the_longest_level_set(rule: Rule) -> None:
    model = SFN(MAX_M, rule, "exponential")
    assert model.top == 2**19
    check_every_half_step(model, "both", 0.25, 0.3)


steps = st.floats(0.0, MAX, width=32)
plain_steps = st.floats(2.0**-10, 2.0**10, width=32)
floats = st.floats(width=32)


@st.composite
def inputs(draw: st.DrawFn, model: SFN, *sizes: float) -> Array:
    """Numbers of every kind: arbitrary ones, thresholds and their neighbours, both signs."""
    thresholds = exact_thresholds(model)
    at_threshold = st.builds(
        lambda t, step, ulps, sign: float(sign * shifted(scaled(step, t), ulps)),
        st.sampled_from(thresholds),
        st.sampled_from(sizes),
        st.integers(-3, 3),
        st.sampled_from((1, -1)),
    )
    return np.array(draw(st.lists(floats | at_threshold, min_size=1, max_size=40)), np.float32)


@every_level_set
@every_rule
@settings(deadline=None, max_examples=40)
@given(st.data())
def test_arbitrary_inputs_are_the_same_everywhere(
    levels: Levels, rule: Rule, data: st.DataObject
) -> None:
    limits = (0, 5, 127) if levels in WITHOUT_GAPS else (0,)
    m, limit = data.draw(st.sampled_from((1, 8))), data.draw(st.sampled_from(limits))
    model = sized(m, rule, levels, limit=limit)
    model = model.bounded(data.draw(st.sampled_from((INF, 6.0))))
    sides = data.draw(st.sampled_from(SIDES))
    positive, negative = (data.draw(steps | plain_steps) for _ in range(2))
    x = data.draw(inputs(model, positive, negative))
    assert_all_agree(model, sides, x, positive, negative)


SPECIAL = np.array(
    [INF, -INF, np.nan, -np.nan, 0.0, -0.0, MAX, -MAX, 1e-45, -1e-45, 1.1754942e-38, 1.1754944e-38],
    np.float32,
)
SMALLEST_ALIVE = 2.0**-127 + 2.0**-149


@every_level_set
@every_rule
@pytest.mark.parametrize("sides", SIDES)
def test_special_values_at_every_position(levels: Levels, rule: Rule, sides: Sides) -> None:
    """Long enough for vector instructions, odd so that a scalar remainder is left."""
    x = np.tile(SPECIAL, 11)[:-1]
    models = [sized(8, rule, levels), sized(8, rule, levels).bounded(6.0)]
    if levels in WITHOUT_GAPS:
        models.append(SFN(8, rule, levels, limit=127))
    for model in models:
        for step in (0.0, 1e-45, 1e-39, SMALLEST_ALIVE, 1e-38, 1e-30, 0.3, 1e30, 3e38, MAX):
            out = assert_all_agree(model, sides, x, step, 0.3)
            assert not out[np.isnan(x)].any() and not np.signbit(out[np.isnan(x)]).any()
            assert not out[x == 0].any() and not np.signbit(out[x == 0]).any()


@every_level_set
def test_a_count_of_zero_has_no_sign(levels: Levels) -> None:
    counts = sized(8, "nearest", levels).count(np.array([-0.1, -0.0, 0.0, 0.1, np.nan]), 1.0, 1.0)
    assert counts.dtype == np.float32
    assert counts.tolist() == [0.0] * 5
    assert not np.signbit(counts).any()


@every_level_set
def test_infinities_saturate_at_the_top_of_a_branch_that_is_alive(levels: Levels) -> None:
    model = sized(3, "nearest", levels)
    both = np.array([INF, -INF], np.float32)
    assert model.step(both, 0.5, 0.25).tolist() == [model.top * 0.5, -model.top * 0.25]
    assert model.step(both, 0.5).tolist() == [model.top * 0.5, 0.0]
    assert model.step(both, 0.0, 0.25).tolist() == [0.0, -model.top * 0.25]
    assert not model.step(both).any()


@pytest.mark.parametrize(
    "dead", [0.0, 1e-45, 1e-39, float(shifted(np.float32(SMALLEST_ALIVE), -1))]
)
def test_step_whose_inverse_overflows_is_dead(dead: float) -> None:
    assert not SFN().count(SPECIAL, dead, dead).any()
    assert finite_step(dead) == 0.0


def test_smallest_step_that_is_alive() -> None:
    step = finite_step(SMALLEST_ALIVE)
    assert step == SMALLEST_ALIVE
    assert SFN().count(np.array([3 * step, -INF]), step, step).tolist() == [3.0, -263.0]


@every_level_set
@every_rule
@pytest.mark.parametrize("sides", ["both", "positive", "negative"])
def test_a_step_for_each_channel_with_dead_ones(levels: Levels, rule: Rule, sides: Sides) -> None:
    model = sized(4, rule, levels)
    positive = np.array([[0.3], [0.0], [1e-40], [2.0]], np.float32)
    negative = np.array([[0.25], [0.7], [0.0], [1e-45]], np.float32)
    row = np.concatenate([SPECIAL, quarter_steps(model, 0.3, 0.25)])
    x = np.tile(row, (4, 1))
    expected = numpy_step(model, x, *alive_steps(sides, positive, negative))
    graph = neuron_graph(model, sides, positive, negative)
    for feed in (False, True):
        feeds = {"x": x} | (dict(graph.consts) if feed else {})
        for who, run in implementations(graph, feed_steps=feed).items():
            assert_same_bits(run(feeds), expected, x, f"{who}, {sides}")
    for channel in range(4):
        one = alive_steps(sides, float(positive[channel, 0]), float(negative[channel, 0]))
        assert np.array_equal(expected[channel], numpy_step(model, row, *one))


# --- a constant factor must not move into the layer before the neuron ---------------------------


def weights_that_show_folding(step: float, factor: float) -> Array:
    """Weights w for which (w * 2/step) * factor decides otherwise than (w * factor) * 2/step."""
    inverse = np.float32(2) / np.float32(step)
    k = np.arange(1, 4000, dtype=np.float32)
    at_half_steps = k / inverse / np.float32(factor)
    w = np.concatenate([np.nextafter(at_half_steps, np.float32(end)) for end in (0, INF)])
    w = np.concatenate([at_half_steps, w]).astype(np.float32)
    honest = np.floor(w * np.float32(factor) * inverse)
    folded = np.floor(w * inverse * np.float32(factor))
    chosen: Array = w[(honest != folded) & (np.maximum(honest, folded) % 2 == 1)]
    assert chosen.size >= 32
    return chosen[:32]


def diagonal_layer(op_type: str, weights: Array) -> Op:
    attrs = {"group": weights.size} if op_type == "Conv" else {}
    return Op(("h",), ("x", "w"), Loc((op_type,)), op_type, attrs)


def layer_and_neuron(op_type: str, model: SFN, sides: Sides, step: float, w: Array) -> Graph:
    """Channel c: factor x w[c], then the neuron, then a weight of 3."""
    shape: tuple[int | str, ...] = ("N", w.size) if op_type == "MatMul" else ("N", w.size, 4, 4)
    kernel = np.diag(w) if op_type == "MatMul" else w.reshape(-1, 1, 1, 1)
    after = (kernel != 0) * np.float32(3)
    types = {v: real("float32", shape) for v in ("x", "h", "out")}
    names = tuple("step" if sides in (s, "both") else "" for s in ("positive", "negative"))
    first = diagonal_layer(op_type, w)
    neuron = Neuron(("y",), ("h", *names), LOC, model)
    last = replace(first, outputs=("out",), inputs=("y", "after"), loc=Loc(("last",)))
    return Graph(
        "g",
        ("x",),
        ("out",),
        (first, neuron, last),
        types | {"y": Type(Coding.SPIKE, "float32", shape)},
        {"w": kernel, "after": after, "step": np.array(step, np.float32)},
        Stage.SPIKING,
    )


@pytest.mark.parametrize("op_type", ["MatMul", "Conv"])
@pytest.mark.parametrize("sides", ["both", "positive", "negative"])
@pytest.mark.parametrize("bound", [INF, 1e6])
@every_level_set
def test_onnxruntime_folds_no_factor_into_a_neighbour(
    op_type: str, sides: Sides, bound: float, levels: Levels
) -> None:
    step, factor = 0.3, 3.0
    w = weights_that_show_folding(step, factor)
    model = sized(10, "nearest", levels, bound=bound)
    graph = layer_and_neuron(op_type, model, sides, step, w)
    x = np.full((2, *(d for d in graph.types["x"].shape or () if isinstance(d, int))), factor)
    x[1] = -factor
    x = x.astype(np.float32)
    h = (np.swapaxes(x, 1, -1) * w).swapaxes(1, -1)
    expected = numpy_step(model, h, *alive_steps(sides, step, step))
    assert expected.any()

    untapped = Session(graph).run({"x": x})
    assert_same_bits(untapped["out"], expected * np.float32(3) + np.float32(0), x, "untapped")

    tapped = Session(graph, taps=("h", "y")).run({"x": x})
    assert_same_bits(tapped["h"], h, x, "layer")
    assert_same_bits(tapped["y"], expected, x, "neuron, input tapped")

    assert_same_bits(Session(graph, taps=("y",)).run({"x": x})["y"], expected, x, "output tapped")


@pytest.mark.parametrize("op_type", ["MatMul", "Conv"])
@pytest.mark.parametrize("sides", ["both", "positive", "negative"])
def test_neuron_behind_a_layer_with_arbitrary_weights(op_type: str, sides: Sides) -> None:
    rng = np.random.default_rng(7)
    kernel = rng.normal(size=(16, 24) if op_type == "MatMul" else (24, 16, 3, 3))
    x = rng.normal(size=(5, 16) if op_type == "MatMul" else (2, 16, 9, 9)).astype(np.float32)
    model, step = SFN(4, "eq11", "sformer", bound=3.0), 0.17
    graph = layer_and_neuron(op_type, model, sides, step, np.ones(16, np.float32))
    first = replace(diagonal_layer(op_type, kernel), attrs={})
    shape: tuple[str | int | None, ...] = ("N", 24, *([None] * (x.ndim - 2)))
    graph = Graph(
        "g",
        ("x",),
        ("y",),
        (first, graph.neurons[0]),
        {
            "x": real("float32", ("N", *x.shape[1:])),
            "h": real("float32", shape),
            "y": Type(Coding.SPIKE, "float32", shape),
        },
        {"w": kernel.astype(np.float32), "step": np.array(step, np.float32)},
        Stage.SPIKING,
    )
    values = Session(graph, taps=("h", "y")).run({"x": x})
    expected = numpy_step(model, values["h"], *alive_steps(sides, step, step))
    assert np.unique(expected).size > 5
    assert_same_bits(values["y"], expected, values["h"], sides)


# --- numpy == exact arithmetic -------------------------------------------------------------------


def test_levels_of_equation_12() -> None:
    values = SFN(8, levels="sformer").level_values
    assert values.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 15, 23, 39, 71, 135, 263]


@every_level_set
@pytest.mark.parametrize("m", range(1, MAX_M + 1))
def test_level_sets(levels: Levels, m: int) -> None:
    model = sized(m, "nearest", levels)
    assert model.level_values.dtype == np.float32
    assert model.level_values.tolist() == exact_levels(model)
    sizes = {"dense": m - 1 + 2**m, "fitted": 4 * m}
    tops = {"linear": 2 * m, "exponential": 2 ** (2 * m - 1), "fitted": exact_levels(model)[-1]}
    assert model.level_values.size == sizes.get(levels, 2 * m)
    assert model.top == tops.get(levels, m - 1 + 2**m)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 10))
@settings(deadline=None, max_examples=100)
def test_fitted_levels_are_n_of_which_k_are_contiguous(n: int, k: int, octave: int) -> None:
    k, s = min(k, n), 2**octave
    wanted = exact_fitted(n, k, s)
    assert fitted_top(n, k, s) == wanted[-1]
    if wanted[-1] <= MAX_TOP:
        model = SFN(levels="fitted", N=n, K=k, S=s)
        assert model.level_values.tolist() == wanted


def test_sformer_levels_are_fitted_ones() -> None:
    for m in range(1, MAX_M + 1):
        fitted = SFN(levels="fitted", N=2 * m, K=m + 1, S=1)
        assert fitted.level_values.tolist() == SFN(m, levels="sformer").level_values.tolist()


@every_rule
@pytest.mark.parametrize("sizes", [(9, 1, 8), (20, 20, 8), (24, 3, 4), (33, 7, 16)], ids=str)
def test_every_half_step_of_fitted_levels(rule: Rule, sizes: tuple[int, int, int]) -> None:
    """Fewer contiguous levels than two octaves have, none but contiguous."""
    n, k, s = sizes
    model = SFN(rule=rule, levels="fitted", N=n, K=k, S=s)
    check_every_half_step(model, "both", 0.25, 0.3)


def test_fitted_levels_leave_out_the_largest_where_counts_are_limited() -> None:
    model = SFN(levels="fitted")
    assert model.top == 260 and model.at_most(260) is model
    fewer = model.at_most(127)
    assert fewer.level_values.tolist() == [y for y in model.level_values if y <= 127]
    assert model.at_most(5) == SFN(levels="fitted", N=5, K=5, S=4)


@pytest.mark.parametrize(
    ("rule", "x", "count"),
    [
        ("eq11", 0.5, 1),
        ("eq11", 10.49, 9),
        ("eq11", 10.5, 11),
        ("eq11", 134.5, 135),
        ("eq11", 262.4, 135),
        ("eq11", 262.5, 263),
        ("nearest", 0.49, 0),
        ("nearest", 0.5, 1),
        ("nearest", 9.99, 9),
        ("nearest", 10.0, 11),
        ("nearest", 103.0, 135),
        ("nearest", 198.9, 135),
        ("nearest", 199.0, 263),
        ("nearest", 1e9, 263),
    ],
)
def test_decisions_of_sformer_worked_by_hand(rule: Rule, x: float, count: int) -> None:
    model = SFN(8, rule, "sformer")
    assert model.count(np.array([x, -x, 2 * x]), 1.0, 1.0).tolist()[:2] == [count, -count]
    assert model.step(np.array([x, -x]), 1.0, 0.0).tolist() == [count, 0.0]
    assert model.step(np.array([2 * x, -x]), 2.0, 1.0).tolist() == [2 * count, -count]


@st.composite
def cases(draw: st.DrawFn, step: st.SearchStrategy[float]) -> tuple[SFN, Array, float, float]:
    levels = draw(st.sampled_from(LEVELS))
    model = sized(
        draw(st.integers(1, MAX_M)),
        draw(st.sampled_from(RULES)),
        levels,
        bound=draw(st.just(INF) | st.floats(2.0**-10, 2.0**10, width=32)),
        limit=draw(st.just(0) | st.integers(1, 300)) if levels in WITHOUT_GAPS else 0,
    )
    positive, negative = draw(step), draw(step)
    x = draw(inputs(model, positive, negative))
    return model, x[~np.isnan(x)], positive, negative


powers_of_two = st.integers(-125, 126).map(lambda e: 2.0**e)


@settings(deadline=None, max_examples=300)
@given(cases(powers_of_two))
def test_exact_where_the_step_is_a_power_of_two(case: tuple[SFN, Array, float, float]) -> None:
    model, x, positive, negative = case
    assume(x.size)
    expected = [exact_count(model, float(v), positive, negative) for v in x]
    assert model.count(x, positive, negative).tolist() == expected
    sizes = [Fraction(negative if v < 0 else positive) for v in x]
    products = [c * size for c, size in zip(expected, sizes, strict=True)]
    representable = [i for i, p in enumerate(products) if abs(p) <= Fraction(MAX)]
    out = numpy_step(model, x, positive, negative)
    assert [Fraction(float(out[i])) for i in representable] == [products[i] for i in representable]


@settings(deadline=None, max_examples=300)
@given(cases(st.floats(2.0**-100, 2.0**100, width=32)))
@example((SFN(), np.array([0.3, 0.45, -1.05], np.float32), float(np.float32(0.3)), 0.7))
def test_exact_but_within_two_ulp_of_a_threshold(case: tuple[SFN, Array, float, float]) -> None:
    model, x, positive, negative = case
    assume(x.size)
    counts = model.count(x, positive, negative).tolist()
    for v, count in zip(x.tolist(), counts, strict=True):
        expected = exact_count(model, v, positive, negative)
        clipped = min(v, model.bound)
        if count != expected:
            assert within_two_ulp(model, clipped, negative if v < 0 else positive)
            levels = [0, *exact_levels(model)]
            apart = levels.index(int(abs(count))) - levels.index(abs(expected))
            assert abs(apart) == 1 and count * expected >= 0


@settings(deadline=None, max_examples=150)
@given(cases(st.floats(2.0**-20, 2.0**20, width=32)))
def test_odd_and_monotone(case: tuple[SFN, Array, float, float]) -> None:
    model, x, positive, negative = case
    assume(x.size)
    free = replace(model, bound=INF)
    mirrored = numpy_step(free, -x, negative, positive)
    assert (-mirrored).tolist() == numpy_step(free, x, positive, negative).tolist()
    assert (np.diff(numpy_step(model, np.sort(x), positive, negative)) >= 0).all()


@every_level_set
@every_rule
def test_no_level_fires_one_ulp_below_its_threshold(levels: Levels, rule: Rule) -> None:
    model = sized(8, rule, levels)
    at = np.array([float(t) for t in exact_thresholds(model)], np.float32)
    below = np.nextafter(at, np.float32(0))
    values = model.level_values.tolist()
    assert model.count(at, 1.0).tolist() == values
    assert model.count(below, 1.0).tolist() == [0, *values[:-1]]
    assert model.count(-at, 0.0, 1.0).tolist() == [-y for y in values]


@every_rule
@pytest.mark.parametrize("levels", ["dense", "linear"])
def test_levels_above_the_limit_are_left_out(levels: Levels, rule: Rule) -> None:
    model = SFN(8, rule, levels, limit=12)
    assert model.level_values.tolist() == list(range(1, 13))
    x = np.array([11.4, 11.5, 12.5, 1e9, INF, -13.0, np.nan], np.float32)
    assert model.count(x, 1.0, 1.0).tolist() == [11, 12, 12, 12, 12, -12, 0]
    assert model.count(x, 1.0, 0.0).tolist() == [11, 12, 12, 12, 12, 0, 0]
    assert model.softmax_step(6.0) == 0.5
    beyond = model.error_bound(np.array([20.0], np.float32), 1.0)
    assert beyond.tolist() == [8.0]
    assert SFN(8, rule, levels, limit=10**6).top == SFN(8, rule, levels).top


def test_what_calibration_saw_does_not_saturate_limited_levels() -> None:
    model = SFN(limit=127)
    assert model.smallest_step(254.0) == 2.0
    assert model.steps_of(statistics(-1.0, -1.0, 1.0, 254.0), 0.1, "shared") == (2.0, 2.0)


def test_a_limited_body_has_a_name_of_its_own() -> None:
    assert SFN(limit=127).function("both")[0] == "SfnDenseNearestBothLimited"
    assert SFN(limit=127).bounded(6.0).function("positive")[0] == (
        "SfnDenseNearestPositiveCappedLimited"
    )
    assert "limit" not in SFN().parameters
    assert "@limit" not in SFN().function("both")[1]
    assert SFN(limit=127).parameters["limit"] == 127
    assert make_neuron("sfn", **SFN(limit=127).parameters) == SFN(limit=127)


def test_wider_levels_are_more_levels() -> None:
    assert SFN(limit=127).wider() is None
    assert SFN(limit=500).wider() == SFN(MAX_M, limit=500)
    assert SFN().wider() == SFN(MAX_M) and SFN(MAX_M).wider() is None


def test_inputs_above_the_bound_fire_as_it_does() -> None:
    model = SFN(8).bounded(6.0)
    x = np.array([5.9, 6.0, 6.1, 1e30, INF, -7.0, -INF], np.float32)
    assert model.count(x, 0.5, 0.5).tolist() == [12, 12, 12, 12, 12, -14, -263]
    assert model.count(np.array([np.nan]), 0.5, 0.5).tolist() == [0]


def test_bound_is_held_in_single_precision() -> None:
    assert SFN().bounded(0.1).bound == float(np.float32(0.1))
    assert SFN(3, "eq11", "linear").bounded(2.0) == SFN(3, "eq11", "linear", 2.0)


# --- error bound ---------------------------------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(
    cases(st.integers(-20, 20).map(lambda e: 2.0**e) | st.floats(2.0**-20, 2.0**20, width=32)),
    st.floats(1.0, 4.0),
)
def test_error_bound_holds(case: tuple[SFN, Array, float, float], slack: float) -> None:
    model, x, step, _ = case
    model = replace(model, bound=INF)
    x = x[np.abs(x) < 1e30]
    assume(x.size)
    exact = x.astype(np.float64)
    errors = np.abs(exact - model.step(x, step, step))
    rounding = np.abs(exact) * 2.0**-21 if np.frexp(step)[0] != 0.5 else 0.0
    for magnitude in (np.abs(exact), slack * np.abs(exact)):
        assert (errors <= model.error_bound(magnitude, step) + rounding).all()


@every_level_set
@every_rule
def test_error_bound_is_reached(levels: Levels, rule: Rule) -> None:
    """At every level the bound is the largest error up to there, but for half an ulp."""
    model = sized(4, rule, levels)
    step = 0.25
    x = np.nextafter(np.arange(0, 8 * model.top, dtype=np.float32) * np.float32(step / 4), 0)
    worst = np.maximum.accumulate(np.abs(x.astype(np.float64) - model.step(x, step)))
    levels_reached = model.level_values[1:].astype(np.float64)
    observed = worst[np.searchsorted(x, levels_reached * step)]
    bound = model.error_bound(levels_reached * step, step)
    assert bound.size >= 7
    np.testing.assert_allclose(observed, bound, rtol=1e-5)
    beyond = np.array([model.top + 1000.0])
    assert model.error_bound(beyond * step, step).tolist() == [1000 * step]


# --- thresholds ----------------------------------------------------------------------------------


def statistics(minimum: float, low: float, high: float, maximum: float) -> Statistics:
    return Statistics(1000, 0.0, minimum, maximum, 0.0, low, high)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0.0, 0.0),
        (-1.0, 0.0),
        (float("nan"), 0.0),
        (INF, 0.0),
        (1e39, 0.0),
        (1e-46, 0.0),
        (1.0, 1.0),
        (0.1, 0.10000000149011612),
        (MAX, MAX),
    ],
)
def test_finite_step(step: float, expected: float) -> None:
    assert finite_step(step) == expected


@pytest.mark.parametrize(
    ("seen", "separate", "shared"),
    [
        ((-2.0, -1.0, 4.0, 8.0), (2.0, 0.5), (2.0, 2.0)),
        ((-8.0, -4.0, 1.0, 2.0), (0.5, 2.0), (2.0, 2.0)),
        ((-2.0, 0.0, 4.0, 8.0), (2.0, 1.0), (2.0, 2.0)),
        ((-2.0, -1.0, 0.0, 8.0), (4.0, 0.5), (4.0, 4.0)),
        ((0.0, 0.0, 4.0, 8.0), (2.0, 0.0), (2.0, 0.0)),
        ((1.0, 2.0, 4.0, 8.0), (2.0, 0.0), (2.0, 0.0)),
        ((-8.0, -4.0, -2.0, -1.0), (0.0, 2.0), (0.0, 2.0)),
        ((0.0, 0.0, 0.0, 0.0), (0.0, 0.0), (0.0, 0.0)),
        ((0.0, 0.0, 1e-45, 1e-45), (0.0, 0.0), (0.0, 0.0)),
    ],
)
def test_steps_of_statistics(
    seen: tuple[float, float, float, float],
    separate: tuple[float, float],
    shared: tuple[float, float],
) -> None:
    expected: dict[Polarity, tuple[float, float]] = {"separate": separate, "shared": shared}
    for polarity, steps_expected in expected.items():
        assert SFN().steps_of(statistics(*seen), 0.5, polarity) == steps_expected


def test_steps_of_are_single_precision() -> None:
    assert SFN().steps_of(statistics(-0.5, -0.3, 0.7, 0.9), 0.16, "separate") == (
        float(np.float32(0.16 * 0.7)),
        float(np.float32(0.16 * 0.3)),
    )


@every_level_set
def test_base_steps(levels: Levels) -> None:
    model = sized(8, "nearest", levels)
    assert model.step_of(4.0, 0.25) == 1.0
    assert model.step_of(0.0, 0.25) == 0.0
    assert model.softmax_step(0.92) == 0.92 / exact_levels(model)[-1]


def test_softmax_step_of_table_7() -> None:
    assert round(SFN(8, levels="sformer").softmax_step(0.92), 4) == 0.0035


# --- parameters ----------------------------------------------------------------------------------


def test_sfn_is_a_registered_model_with_its_defaults() -> None:
    assert neuron_models()["sfn"] is SFN
    model = make_neuron("sfn")
    assert model == SFN(8, "nearest", "dense", INF)
    assert model.parameters == {"M": 8, "rule": "nearest", "levels": "dense", "bound": INF}
    assert list(model.parameters) == ["M", "rule", "levels", "bound"]
    assert make_neuron("sfn", M=3, rule="eq11", levels="linear") == SFN(3, "eq11", "linear")
    assert SFN.choices() == {"rule": RULES, "levels": LEVELS}


def test_fitted_levels_have_sizes_of_their_own() -> None:
    model = make_neuron("sfn", levels="fitted", N=20, K=6, S=2)
    assert list(model.parameters) == ["rule", "levels", "bound", "N", "K", "S"]
    assert parse_neuron(format_neuron(model)) == model
    assert make_neuron("sfn", levels="fitted") == SFN(levels="fitted", N=32, K=12, S=4)
    assert SFN(levels="fitted").wider() is None and not SFN(levels="fitted").fuses("both")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"M": 0}, "error: sfn: M must be an integer from 1 to 10, not 0"),
        ({"M": 11}, "error: sfn: M must be an integer from 1 to 10, not 11"),
        ({"M": -1}, "error: sfn: M must be an integer from 1 to 10, not -1"),
        ({"M": 2.5}, "error: sfn: M must be an integer from 1 to 10, not 2.5"),
        ({"M": True}, "error: sfn: M must be an integer from 1 to 10, not True"),
        ({"M": "8"}, "error: sfn: M must be an integer from 1 to 10, not '8'"),
        ({"bound": 0.0}, "error: sfn: bound must be positive, not 0.0"),
        ({"bound": -1.0}, "error: sfn: bound must be positive, not -1.0"),
        ({"bound": float("nan")}, "error: sfn: bound must be positive, not nan"),
        ({"limit": -1}, "error: sfn: limit must be an integer from 0 on, not -1"),
        ({"limit": 1.5}, "error: sfn: limit must be an integer from 0 on, not 1.5"),
        ({"limit": True}, "error: sfn: limit must be an integer from 0 on, not True"),
        (
            {"limit": 69, "levels": "sformer"},
            "error: sfn: sformer levels have gaps, so none of them can be left out\n"
            "  help: take dense or linear levels, or limit 0",
        ),
        (
            {"N": 32},
            "error: sfn: N, K and S are sizes of fitted levels, not of dense ones\n"
            "  help: take levels=fitted, or M",
        ),
        (
            {"levels": "fitted", "M": 4},
            "error: sfn: fitted levels have sizes N, K and S, not M\n"
            "  help: write sfn:levels=fitted:N=32:K=12:S=4, say",
        ),
        (
            {"levels": "fitted", "N": 8, "K": 9, "S": 1},
            "error: sfn: K must be an integer from 1 to 8, not 9",
        ),
        (
            {"levels": "fitted", "N": 8},
            "error: sfn: K must be an integer from 1 to 8, not 0",
        ),
        (
            {"levels": "fitted", "N": 8, "K": 2, "S": 3},
            "error: sfn: S must be a power of two, not 3",
        ),
        (
            {"levels": "fitted", "N": 99, "K": 2, "S": 1},
            "error: sfn: fitted levels of N = 99, K = 2, S = 1 reach beyond 524288, where half "
            "steps are no longer exact\n  help: take a smaller N, or a larger K or S",
        ),
        (
            {"rule": "eq12"},
            "error: unknown sfn rule 'eq12'; did you mean 'eq11'?\n  known: eq11, nearest",
        ),
        (
            {"levels": "dens"},
            "error: unknown sfn levels 'dens'; did you mean 'dense'?\n"
            "  known: dense, exponential, fitted, linear, sformer",
        ),
        (
            {"levls": "dense"},
            "error: unknown parameter of neuron sfn 'levls'; did you mean 'levels'?\n"
            "  known: K, M, N, S, bound, levels, limit, rule",
        ),
        (
            {"level_values": 1},
            "error: unknown parameter of neuron sfn 'level_values'; did you mean 'levels'?\n"
            "  known: K, M, N, S, bound, levels, limit, rule",
        ),
    ],
)
def test_wrong_parameters(parameters: dict[str, Parameter], message: str) -> None:
    with pytest.raises(CompileError) as caught:
        make_neuron("sfn", **parameters)
    assert caught.value.render() == message


def test_unknown_model() -> None:
    with pytest.raises(CompileError) as caught:
        make_neuron("snf")
    known = ", ".join(neuron_models())
    assert caught.value.render() == (
        f"error: unknown neuron model 'snf'; did you mean 'sfn'?\n  known: {known}"
    )
