"""Neurons that fire once, and products through them: kernels equal bodies and numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from snnc.export import export
from snnc.ir.graph import DOMAIN, Graph
from snnc.ir.node import Array, Loc, Op, real
from snnc.ir.spike_times import BODIES, balance
from snnc.kernels import instruction_sets, using_instruction_set
from snnc.neurons.ttfs import MOST_TICKS, TTFS, fired
from snnc.runtime import Session
from tests import onnx_models
from tests.single_operations import needs_library, open_model

pytestmark = needs_library

NEURONS = {"low": -1.0, "high": 1.0, "ticks": 16, "early": 1 / 64, "window": 3}
RANGES = {"a_low": -1.0, "a_high": 1.5, "b_low": -0.25, "b_high": 2.0}
PRODUCT = {**RANGES, "balance": 1.0, "ticks": 16, "early": 1 / 64, "window": 3}
ELEMENT = {"bool": TensorProto.BOOL, "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
EARLY = [0.0, TTFS().early, TTFS(rule="nearest").early]
EXTREMES = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38]

Attributes = Mapping[str, Any]


@dataclass
class Case:
    """One operation with its inputs in order, and what it should give."""

    kind: str
    feeds: dict[str, Array]
    attributes: Attributes
    wanted: Array
    near: Array | float = 0.0

    def check(self, result: Array, where: str) -> None:
        assert result.dtype == np.float32, where
        assert result.shape == self.wanted.shape, where
        if np.any(self.near):
            assert (np.abs(result - self.wanted) <= self.near).all(), where
        else:
            np.testing.assert_array_equal(result, self.wanted, err_msg=where)


def check(cases: list[Case], *, body: bool = True) -> None:
    """Kernels of every instruction set, and function bodies; many at once, as opening a session
    with the library takes long."""
    assert cases
    feeds = {f"{name}{i}": v for i, case in enumerate(cases) for name, v in case.feeds.items()}
    ops = tuple(
        Op((f"y{i}",), tuple(f"{name}{i}" for name in case.feeds), Loc((f"n{i}",)),
           f"{DOMAIN}.{case.kind}", dict(case.attributes))
        for i, case in enumerate(cases)
    )  # fmt: skip
    results = tuple(op.outputs[0] for op in ops)
    types = {name: real(v.dtype.name, (None,) * v.ndim) for name, v in feeds.items()}
    types |= {name: real("float32", None) for name in results}
    graph = Graph("g", tuple(feeds), results, ops, types, {})
    model = without_functions(export(graph).model)
    found = {"body": Session(graph, kernels=False).run(feeds)} if body else {}
    for name in instruction_sets():
        with using_instruction_set(name):
            session = open_model(model)
        found[name] = dict(zip(results, session.run(None, feeds), strict=True))
    assert len(found) > body
    for where, values in found.items():
        for case, name in zip(cases, results, strict=True):
            case.check(values[name], f"{case.kind} {name} by {where}")


def without_functions(model: onnx.ModelProto) -> bytes:
    """Only the library can run it."""
    del model.functions[:]
    return bytes(model.SerializeToString())


def single(kind: str, feeds: Mapping[str, Array], attributes: Attributes, **shapes: Any) -> Any:
    """A session of one operation without a function body."""
    inputs = [
        helper.make_tensor_value_info(
            name, ELEMENT[value.dtype.name], shapes.get(name, [None] * value.ndim)
        )
        for name, value in feeds.items()
    ]
    node = helper.make_node(kind, list(feeds), ["y"], "layer", domain=DOMAIN, **attributes)
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    graph = helper.make_graph([node], "g", inputs, [output])
    return open_model(
        helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    )


def emitted(x: Array, neurons: Attributes) -> Array:
    return fired(x, *(neurons[key] for key in ("low", "high", "ticks", "early")))


def around_ticks(low: float, high: float, ticks: int, early: float) -> Array:
    """Potentials at which a neuron's tick changes, as near as float32 comes, and extremes."""
    count = np.unique(np.linspace(-1, ticks + 1, 40).astype(np.int64))
    exact = low + (count - np.float64(early)) * (np.float64(high) - low) / ticks
    with np.errstate(over="ignore"):
        at = np.concatenate([exact, low + (exact - low) * 0.999, [low, high]]).astype(np.float32)
        beside = [np.nextafter(at, np.float32(end)) for end in (-np.inf, np.inf)]
    return np.concatenate([at, *beside, np.asarray(EXTREMES, np.float32)])


number = st.floats(-1e3, 1e3, width=32)


@st.composite
def ranges(draw: st.DrawFn) -> tuple[float, float]:
    low = draw(st.one_of(number, st.just(0.0)))
    width = draw(st.floats(2**-10, 1e3, width=32))
    return low, float(np.float32(low) + np.float32(width))


def zeros(*shape: int) -> Array:
    return np.zeros(shape, np.float32)


# --- neurons ----------------------------------------------------------------------------------


def layer(x: Array, neurons: Attributes) -> Case:
    return Case("TimeToFirstSpike", {"x": x}, neurons, emitted(x, neurons))


def gated(x: Array, alive: Array, neurons: Attributes) -> Case:
    wanted = np.where(alive, emitted(x, neurons), np.float32(neurons["low"]))
    return Case("GatedTimeToFirstSpike", {"x": x, "alive": alive}, neurons, wanted)


times = st.tuples(
    st.one_of(st.integers(1, MOST_TICKS), st.sampled_from([1, 2, 1024, MOST_TICKS])),
    st.one_of(st.sampled_from(EARLY), st.floats(0, 1, width=32, exclude_max=True)),
)


@settings(max_examples=8, deadline=None)
@given(drawn=st.lists(st.tuples(ranges(), times), min_size=1, max_size=20))
def test_decisions_are_those_of_numpy(drawn: list[Any]) -> None:
    cases = []
    for (low, high), (count, early) in drawn:
        neurons = {"low": low, "high": high, "ticks": count, "early": early, "window": 1}
        x = around_ticks(low, high, count, early)
        cases += [layer(x, neurons), gated(x, np.arange(len(x)) % 3 > 0, neurons)]
    check(cases)


def test_ranges_of_any_size() -> None:
    ends = [(0.0, 1.0), (-1.0, 0.0), (1e-42, 3e-42), (-1.5e38, 1.5e38), (1e7, 1e7 + 1)]
    cases = []
    for low, high in (map(float, np.asarray(pair, np.float32)) for pair in ends):
        for count in (1, 3, 1024, MOST_TICKS):
            neurons = {**NEURONS, "low": low, "high": high, "ticks": count}
            cases.append(layer(around_ticks(low, high, count, 1 / 64), neurons))
    check(cases)


def test_neurons_are_those_of_the_model() -> None:
    cases = []
    for model in (TTFS(p=100), TTFS(p=100, rule="nearest")):
        neurons = {"low": -0.5, "high": 2.0, "ticks": model.p, "early": model.early, "window": 1}
        x = around_ticks(-0.5, 2.0, model.p, model.early)
        wanted = model.emit(x, -0.5, 2.0)
        cases.append(Case("TimeToFirstSpike", {"x": x}, neurons, wanted))
    assert not np.array_equal(cases[0].wanted, cases[1].wanted)
    check(cases)


def test_every_operation_is_rounded() -> None:
    """Potentials for which one rounding of the product and the sum would decide otherwise."""
    neurons = {"low": -0.7, "high": 2.9, "ticks": 1000, "early": 0.3, "window": 1}
    low, early = np.float32(-0.7), np.float32(0.3)
    rate = np.float32(1000) / (np.float32(2.9) - low)
    crossings = low + (np.arange(1, 1000) - np.float64(early)) / np.float64(rate)
    x = np.asarray(crossings, np.float32)
    x = np.concatenate([x, np.nextafter(x, np.float32(9)), np.nextafter(x, np.float32(-9))])
    above = x - low
    once = np.asarray(above.astype(np.float64) * rate + early, np.float32)
    x = x[np.floor(once) != np.floor(above * rate + early)]
    assert len(x) > 10
    check([layer(x, neurons)])


SHAPES: list[tuple[int, ...]]
SHAPES = [(), (0,), (3, 0, 2), (0, 4), (1,), (7,), (2, 3, 4, 5, 6), (100003,)]

BROADCAST: list[tuple[tuple[int, ...], tuple[int, ...]]]
BROADCAST = [
    ((2, 3, 5, 20), (2, 1, 1, 20)),
    ((2, 3, 5, 20), (5, 1)),
    ((2, 3, 1, 20), (2, 1, 5, 1)),
    ((20,), (4, 1)),
    ((4, 1), (20,)),
    ((), (3, 19)),
    ((3, 19), ()),
    ((1, 1), (1,)),
    ((2, 0, 3), (1, 3)),
    ((3, 1, 2), (0, 2)),
    ((2, 1, 3, 1, 17), (2, 5, 1, 4, 1)),
    ((300, 1), (1, 400)),
]


def test_inputs_of_any_shape() -> None:
    rng = np.random.default_rng(2)
    cases = [layer(np.asarray(rng.normal(size=s), np.float32), NEURONS) for s in SHAPES]
    for x, alive in [*BROADCAST, *zip(SHAPES, SHAPES, strict=True)]:
        gate = np.asarray(rng.random(alive) < 0.6)
        cases.append(gated(np.asarray(rng.normal(size=x), np.float32), gate, NEURONS))
    check(cases)


# --- products ---------------------------------------------------------------------------------


def quarter_squares(a: Array, b: Array, attributes: Attributes) -> tuple[Array, Array]:
    """a b entry by entry; (s^2 + d^2) / 4, which bounds how sums are rounded."""
    a_low, a_high, b_low, b_high = (np.float32(attributes[key]) for key in RANGES)
    time = attributes["ticks"], attributes["early"]
    with np.errstate(all="ignore"):
        c = np.float32(attributes["balance"])
        a, a_low, a_high, b, b_low, b_high = (
            a * c,
            a_low * c,
            a_high * c,
            b / c,
            b_low / c,
            b_high / c,
        )
        s = fired(a + b, float(a_low + b_low), float(a_high + b_high), *time)
        d = fired(a - b, float(a_low - b_high), float(a_high - b_low), *time)
        return (s * s - d * d) * np.float32(0.25), (s * s + d * d) / 4


def entrywise(a: Array, b: Array, attributes: Attributes) -> Case:
    wanted = quarter_squares(a, b, attributes)[0]
    return Case("QuarterSquareMul", {"a": a, "b": b}, attributes, wanted)


def matrices(a: Array, b: Array, attributes: Attributes) -> Case:
    """Near: within what rounding of sums does, far less than a tick of one neuron in between;
    exact where there is nothing to sum."""
    k = a.shape[-1]
    each, size = quarter_squares(a[..., None], b[..., None, :, :], attributes)
    if k <= 1:
        return Case("QuarterSquareMatMul", {"a": a, "b": b}, attributes, each.sum(-2))
    near = (k + 8) * 2.0**-23 * size.sum(-2, dtype=np.float64)
    wanted = each.sum(-2, dtype=np.float64)
    return Case("QuarterSquareMatMul", {"a": a, "b": b}, attributes, wanted, near)


def factors(
    rng: np.random.Generator, *shapes: tuple[int, ...], attributes: Attributes, beyond: bool
) -> tuple[Array, Array]:
    """Numbers of spikes, whose sums fall upon ticks; some beside them, or `beyond` their range."""
    made = []
    for shape, key in zip(shapes, "ab", strict=True):
        low, high = attributes[f"{key}_low"], attributes[f"{key}_high"]
        x = rng.uniform(low - beyond * 0.5, high + beyond * 0.5, shape)
        on_ticks = fired(np.asarray(x, np.float32), low, high, attributes["ticks"], 0.0)
        x = np.where(rng.random(shape) < 0.7, on_ticks, np.asarray(x, np.float32))
        if beyond:
            odd = rng.choice(np.asarray(EXTREMES, np.float32), shape)
            x = np.where(rng.random(shape) < 0.1, odd, x)
        made.append(x)
    return made[0], made[1]


@settings(max_examples=8, deadline=None)
@given(
    drawn=st.lists(
        st.tuples(ranges(), ranges(), times, st.booleans(), st.integers(0, 99)),
        min_size=1,
        max_size=12,
    )
)
def test_products_are_those_of_numpy(drawn: list[Any]) -> None:
    cases = []
    for a, b, (count, early), beyond, seed in drawn:
        time = {"balance": 2.0 ** (seed % 7 - 3), "ticks": count, "early": early, "window": 1}
        attributes = {**dict(zip(RANGES, (*a, *b), strict=True)), **time}
        rng = np.random.default_rng(seed)
        x, y = factors(rng, (500,), (500,), attributes=attributes, beyond=beyond)
        cases.append(entrywise(x, y, attributes))
        cases.append(matrices(x[:20, None], y[None, :33], attributes))
    check(cases)


def test_products_are_those_of_the_model() -> None:
    model = TTFS(p=50)
    attributes = {
        **RANGES,
        "balance": balance((-1.0, 1.5), (-0.25, 2.0)),
        "ticks": 50,
        "early": model.early,
        "window": 1,
    }
    rng = np.random.default_rng(0)
    a, b = factors(rng, (40, 1), (1, 40), attributes=attributes, beyond=False)
    wanted = model.product(a, b, (-1.0, 1.5), (-0.25, 2.0))
    check([Case("QuarterSquareMul", {"a": a, "b": b}, attributes, wanted)])


def test_factors_broadcast() -> None:
    rng = np.random.default_rng(3)
    made = [factors(rng, *shapes, attributes=PRODUCT, beyond=True) for shapes in BROADCAST]
    check([entrywise(a, b, PRODUCT) for a, b in made])


@settings(max_examples=8, deadline=None)
@given(
    drawn=st.lists(
        st.tuples(
            st.tuples(st.integers(1, 70), st.integers(2, 40), st.integers(1, 150)),
            st.sampled_from([1, 7, 16, 100]),
            st.sampled_from(EARLY),
            st.booleans(),
            st.integers(0, 99),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_sums_of_products(drawn: list[Any]) -> None:
    cases = []
    for (rows, k, columns), count, early, beyond, seed in drawn:
        attributes = {**PRODUCT, "ticks": count, "early": early}
        rng = np.random.default_rng(seed)
        a, b = factors(rng, (rows, k), (k, columns), attributes=attributes, beyond=beyond)
        cases.append(matrices(a, b, attributes))
    check(cases)


@pytest.mark.parametrize("beyond", [False, True])
def test_batches_of_matrices(beyond: bool) -> None:
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((3, 5, 7), (3, 7, 20)),
        ((2, 3, 5, 7), (7, 20)),
        ((5, 7), (2, 3, 7, 20)),
        ((2, 1, 5, 7), (3, 7, 20)),
        ((1, 9), (4, 9, 3)),
        ((6, 1, 9), (9, 65)),
        ((2, 130, 33), (2, 33, 130)),
        ((1, 1, 3000), (3000, 2)),
        ((4, 3, 1), (4, 1, 70)),
    ]
    rng = np.random.default_rng(4)
    made = [factors(rng, *both, attributes=PRODUCT, beyond=beyond) for both in shapes]
    check([matrices(a, b, PRODUCT) for a, b in made])


def test_one_number_beyond_its_range() -> None:
    """Where a row is within its range, its neurons need not be limited to their window."""
    cases = []
    for odd in [*EXTREMES, -1.01, 1.51, 2.01]:
        for at, place in [(0, (0, 0)), (0, (4, 39)), (1, (20, 3)), (1, (39, 6))]:
            rng = np.random.default_rng(5)
            operands = factors(rng, (5, 40), (40, 7), attributes=PRODUCT, beyond=False)
            operands[at][place] = odd
            cases.append(matrices(*operands, PRODUCT))
    check(cases)


def adds_up_nothing() -> bool:
    """Whether onnxruntime's own sum over an axis counted from the end, which bodies take, is right
    where there are no entries: that of 1.20 leaves the axis."""
    text = """g (float[M,N] x) => (float[K] y) {
      axis = Constant <value_ints = [-2]> () y = ReduceSum <keepdims = 0> (x, axis) }"""
    found = onnx_models.run_onnx(onnx_models.model(text), {"x": zeros(4, 0)})["y"]
    return bool(found.shape == (0,))


def test_empty_matrices() -> None:
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((0, 5), (5, 3)),
        ((4, 5), (5, 0)),
        ((4, 0), (0, 3)),
        ((0, 4, 5), (0, 5, 3)),
        ((2, 0, 4, 5), (1, 5, 3)),
        ((2, 3, 4, 0), (0, 3)),
    ]
    cases = [matrices(zeros(*a), zeros(*b), PRODUCT) for a, b in shapes]
    check(cases, body=adds_up_nothing())


# --- refusals ---------------------------------------------------------------------------------


def refusal(kind: str, feeds: Mapping[str, Array], attributes: Attributes) -> str:
    with pytest.raises(Exception, match="layer") as caught:
        single(kind, feeds, attributes).run(None, dict(feeds))
    return str(caught.value)


X = np.zeros((2, 3), np.float32)
KINDS: dict[str, tuple[dict[str, Array], Attributes]] = {
    "TimeToFirstSpike": ({"x": X}, NEURONS),
    "GatedTimeToFirstSpike": ({"x": X, "alive": X > 0}, NEURONS),
    "QuarterSquareMul": ({"a": X, "b": X}, PRODUCT),
    "QuarterSquareMatMul": ({"a": X, "b": X.T}, PRODUCT),
}
ENDS = [(kind, *ends) for kind in list(KINDS)[:2] for ends in [("low", "high")]] + [
    (kind, *ends) for kind in list(KINDS)[2:] for ends in [("a_low", "a_high"), ("b_low", "b_high")]
]


def test_operations_with_kernels() -> None:
    """The others run by their bodies, which consist of operations of onnxruntime's own."""
    bodies_only = {"Relay", "LogExpMul", "LogExpMatMul", "IdealMul", "IdealMatMul"}
    assert set(KINDS) == set(BODIES) - bodies_only


@pytest.mark.parametrize("kind", KINDS)
def test_times_out_of_range_are_refused(kind: str) -> None:
    feeds, attributes = KINDS[kind]
    for ticks in (0, -1, MOST_TICKS + 1):
        message = refusal(kind, feeds, {**attributes, "ticks": ticks})
        assert f"ai.snnc.{kind} 'layer': ticks must be from 1 to 65536, not {ticks}" in message
    for early in (-0.25, 1.0, np.nan):
        message = refusal(kind, feeds, {**attributes, "early": early})
        assert f"ai.snnc.{kind} 'layer': early must be from 0 to below 1, not" in message


@pytest.mark.parametrize(("kind", "low", "high"), ENDS)
def test_ranges_that_are_none_are_refused(kind: str, low: str, high: str) -> None:
    feeds, attributes = KINDS[kind]
    for ends in [(1.0, 1.0), (2.0, 1.0), (np.nan, 1.0), (0.0, np.inf), (-np.inf, 0.0)]:
        message = refusal(kind, feeds, {**attributes, low: ends[0], high: ends[1]})
        assert f"'layer': {low} and {high} must be finite and the first the smaller" in message
    wide = refusal(kind, feeds, {**attributes, low: -3e38, high: 3e38})
    assert "'layer': the range of its neurons is too wide for float32" in wide


@pytest.mark.parametrize("kind", KINDS)
def test_attributes_that_are_missing_are_named(kind: str) -> None:
    feeds, attributes = KINDS[kind]
    for key in attributes.keys() - {"window"}:  # of which only the energy model knows
        rest = {name: value for name, value in attributes.items() if name != key}
        assert f"'{key}' is missing" in refusal(kind, feeds, rest)


@pytest.mark.parametrize(
    ("kind", "shapes", "reason"),
    [
        ("GatedTimeToFirstSpike", ((2, 3), (4,)), "shapes [2,3] and [4] do not broadcast"),
        ("QuarterSquareMul", ((2, 3), (3, 2)), "shapes [2,3] and [3,2] do not broadcast"),
        ("QuarterSquareMul", ((0,), (3,)), "shapes [0] and [3] do not broadcast"),
        ("QuarterSquareMatMul", ((2, 3), (2, 3)), "[2,3] and [2,3] do not multiply"),
        ("QuarterSquareMatMul", ((3,), (3, 2)), "must be matrices, not of shapes [3] and [3,2]"),
        ("QuarterSquareMatMul", ((3, 2), (2,)), "must be matrices"),
        ("QuarterSquareMatMul", ((2, 3, 2), (3, 2, 2)), "batches of shapes [2,3,2] and [3,2,2]"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    kind: str, shapes: tuple[tuple[int, ...], tuple[int, ...]], reason: str
) -> None:
    feeds, attributes = KINDS[kind]
    names = list(feeds)
    given = dict(zip(names, (zeros(*shape) for shape in shapes), strict=True))
    if "alive" in given:
        given["alive"] = given["alive"] > 0
    message = refusal(kind, given, attributes)
    assert f"ai.snnc.{kind} 'layer': " in message and reason in message


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_of_another_type_are_refused(kind: str) -> None:
    feeds, attributes = KINDS[kind]
    for name in feeds:
        wrong = {**feeds, name: feeds[name].astype(np.float64)}
        assert "Type 'tensor(double)' of input parameter" in refusal(kind, wrong, attributes)


# --- what is known before a run ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "shapes", "wanted"),
    [
        ("TimeToFirstSpike", [["n", 3]], ["n", 3]),
        ("GatedTimeToFirstSpike", [["n", 3, 4], ["n", 1, 4]], ["n", 3, 4]),
        ("GatedTimeToFirstSpike", [["n", 1], [5]], ["n", 5]),
        ("GatedTimeToFirstSpike", [["n", 3], ["m", 3]], []),
        ("QuarterSquareMul", [[4, "t", 8], [4, "t", 1]], [4, "t", 8]),
        ("QuarterSquareMul", [["n", 8], [4, "n", 8]], [4, "n", 8]),
        ("QuarterSquareMul", [["n", 8], None], []),
        ("QuarterSquareMatMul", [["n", 2, "t", 8], ["n", 2, 8, "t"]], ["n", 2, "t", "t"]),
        ("QuarterSquareMatMul", [["n", 2, 4, 8], [8, 6]], ["n", 2, 4, 6]),
        ("QuarterSquareMatMul", [["n", 4, 8], ["m", 8, 6]], []),
    ],
)
def test_shapes_are_inferred_where_they_are_certain(
    kind: str, shapes: list[Any], wanted: list[Any]
) -> None:
    feeds, attributes = KINDS[kind]
    session = single(kind, feeds, attributes, **dict(zip(feeds, shapes, strict=True)))
    assert session.get_outputs()[0].shape == wanted
