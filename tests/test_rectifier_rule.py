"""Rectifiers are recognised in every way of writing them, and so become part of neurons."""

from __future__ import annotations

import numpy as np
import pytest

from snnc.coverage import coverage_of
from snnc.frontend import load
from snnc.ir.node import Array, Op
from snnc.passes.normalize import Normalize
from snnc.passes.place_sites import PlaceSites
from snnc.pipeline import run_passes
from tests.onnx_models import arrays, model, op_types
from tests.rules import normalised, scalars

NUMBERS = {
    **scalars(zero=0.0, one=1.0, six=6.0, minus=-1.0, tenth=0.1, ten=10.0, nan=np.nan),
    **scalars(huge=3.4028235e38, lowest=-3.4028235e38, infinite=np.inf),
    "zeros": np.zeros(6, np.float32),
    "zero_row": np.zeros(1, np.float32),
    "slopes": np.array([0.1, 0.2, 0.1, 0.1, 0.1, 0.1], np.float32),
    "cube": np.zeros((1, 1, 1), np.float32),
}
X = {"x": np.linspace(-9, 9, 60, dtype=np.float32).reshape(10, 6)}


def rectifier(body: str) -> Op | list[str]:
    """The one operation that a body becomes, or the list of those it stays."""
    source = model(f"g (float[N,6] x) => (float[N,6] y) {{ {body} }}", NUMBERS, opset=18)
    graph = normalised(source, X)
    node = graph.nodes[0]
    if len(graph.nodes) > 1:
        assert op_types(graph) == op_types(load(source))
        return op_types(graph)
    assert isinstance(node, Op)
    assert node.inputs[0] == "x"
    return node


RELU = {
    "max": "y = Max(x, zero)",
    "max, the other way": "y = Max(zero, x)",
    "max with a row": "y = Max(x, zero_row)",
    "clip": "y = Clip(x, zero)",
    "clip to the largest number": "y = Clip(x, zero, huge)",
    "clip to infinity": "y = Clip(x, zero, infinite)",
    "max of a relu": "a = Relu(x) y = Max(a, minus)",
    "relu of a relu": "a = Relu(x) y = Relu(a)",
    "relu, at most infinity": "a = Relu(x) y = Min(a, infinite)",
    "where above 0": "c = Greater(x, zero) y = Where(c, x, zero)",
    "where from 0": "c = GreaterOrEqual(x, zero) y = Where(c, x, zero)",
    "where 0 is below": "c = Less(zero, x) y = Where(c, x, zero)",
    "where 0 is not above": "c = LessOrEqual(zero, x) y = Where(c, x, zero)",
    "where below 0": "c = Less(x, zero) y = Where(c, zero, x)",
    "where not below 0": "c = Less(x, zero) d = Not(c) y = Where(d, x, zero)",
    "where not above 0": "c = LessOrEqual(x, zero) y = Where(c, zero, x)",
    "where 0 is above": "c = Greater(zero, x) y = Where(c, zero, x)",
    "prelu": "y = PRelu(x, zero)",
    "prelu of zeros": "y = PRelu(x, zeros)",
    "leaky relu": "y = LeakyRelu<alpha = 0.0>(x)",
    "thresholded relu": "y = ThresholdedRelu<alpha = 0.0>(x)",
}


@pytest.mark.parametrize("body", RELU.values(), ids=RELU)
def test_relu(body: str) -> None:
    found = rectifier(body)
    assert isinstance(found, Op)
    assert found.op_type == "Relu"


RELU6 = {
    "min of max": "a = Max(x, zero) y = Min(a, six)",
    "max of min": "a = Min(six, x) y = Max(zero, a)",
    "min of relu": "a = Relu(x) y = Min(a, six)",
    "relu of min": "a = Min(x, six) y = Relu(a)",
    "clip of relu": "a = Relu(x) y = Clip(a, minus, six)",
    "clip from the lowest of relu": "a = Relu(x) y = Clip(a, lowest, six)",
    "relu of clip": "a = Clip(x, minus, six) y = Relu(a)",
    "clip of clip": "a = Clip(x, zero, ten) y = Clip(a, minus, six)",
}


@pytest.mark.parametrize("body", RELU6.values(), ids=RELU6)
def test_relu6(body: str) -> None:
    source = model(f"g (float[N,6] x) => (float[N,6] y) {{ {body} }}", NUMBERS, opset=18)
    graph = normalised(source, X)
    (node,) = graph.nodes
    assert isinstance(node, Op)
    assert (node.op_type, node.inputs[0]) == ("Clip", "x")
    assert [float(graph.consts[v]) for v in node.inputs[1:]] == [0.0, 6.0]


LEAKY = {
    "max": "a = Mul(x, tenth) y = Max(x, a)",
    "max, the other way": "a = Div(x, ten) y = Max(a, x)",
    "where": "c = Greater(x, zero) a = Mul(tenth, x) y = Where(c, x, a)",
    "where below": "c = Less(x, zero) a = Mul(x, tenth) y = Where(c, a, x)",
    "prelu": "y = PRelu(x, tenth)",
}


@pytest.mark.parametrize("body", LEAKY.values(), ids=LEAKY)
def test_leaky_relu(body: str) -> None:
    found = rectifier(body)
    assert isinstance(found, Op)
    assert found.op_type == "LeakyRelu"
    assert found.attrs["alpha"] == pytest.approx(0.1)


STAY = {
    "max with 1": "y = Max(x, one)",
    "max of three": "a = Neg(x) y = Max(x, a, zero)",
    "min with 0": "y = Min(x, zero)",
    "clip from 1": "y = Clip(x, one, six)",
    "clip of both sides": "y = Clip(x, minus, one)",
    "clip from not a number": "a = Neg(x) y = Clip(a, nan, six)",
    "at most 0": "a = Relu(x) y = Min(a, minus)",
    "max with another": "a = Neg(x) y = Max(x, a)",
    "max with ten times": "a = Mul(x, ten) y = Max(x, a)",
    "max with minus a tenth": "a = Mul(x, tenth) b = Neg(a) y = Max(x, b)",
    "where above 1": "c = Greater(x, one) y = Where(c, x, zero)",
    "where the other is positive": "n = Neg(x) c = Greater(n, zero) y = Where(c, x, zero)",
    "where below 0, x": "c = Less(x, zero) y = Where(c, x, zero)",
    "where else 1": "c = Greater(x, zero) y = Where(c, x, one)",
    "where else another": "n = Sigmoid(x) c = Greater(x, zero) y = Where(c, x, n)",
    "slopes that differ": "a = Neg(x) y = PRelu(a, slopes)",
}


@pytest.mark.parametrize("body", STAY.values(), ids=STAY)
def test_lookalikes_of_rectifiers_stay(body: str) -> None:
    source = model(f"g (float[N,6] x) => (float[N,6] y) {{ {body} }}", NUMBERS, opset=18)
    assert op_types(normalised(source, X)) == op_types(load(source))


@pytest.mark.parametrize("body", ["y = Max(x, cube)", "c = Greater(x, cube) y = Where(c, x, cube)"])
def test_bounds_that_raise_the_rank_stay(body: str) -> None:
    source = model(f"g (float[N,6] x) => (float[1,N,6] y) {{ {body} }}", NUMBERS, opset=18)
    assert op_types(normalised(source, X)) == op_types(load(source))


def test_integers_stay() -> None:
    weights: dict[str, Array] = {"zero": np.array(0)}
    source = model("g (int64[N] x) => (int64[N] y) { y = Max(x, zero) }", weights, opset=18)
    assert op_types(normalised(source, {"x": np.arange(-3, 3)})) == ["Max"]


def test_a_bound_that_another_reads_is_not_merged() -> None:
    text = (
        "g (float[N,6] x) => (float[N,6] y, float[N,6] z)"
        " { a = Max(x, zero) y = Min(a, six) z = Exp(a) }"
    )
    assert sorted(op_types(normalised(model(text, NUMBERS, opset=18), X))) == ["Exp", "Min", "Relu"]


@pytest.mark.parametrize(
    "body",
    [
        RELU["max"],
        RELU["where above 0"],
        RELU["prelu"],
        RELU6["min of max"],
        "y = Relu(x) s = Shape(y) z = Reshape(x, s) unused = Neg(z)",
    ],
)
def test_they_become_part_of_the_neuron(body: str) -> None:
    text = f"g (float[N,6] i) => (float[N,6] o) {{ x = MatMul(i, w) {body} o = MatMul(y, v) }}"
    source = model(text, {**NUMBERS, **arrays(1, w=(6, 6), v=(6, 6))}, opset=18)
    graph = run_passes(load(source), (Normalize(), PlaceSites()))
    assert coverage_of(graph).analog == []


def test_a_relu_whose_shape_is_read_becomes_part_of_the_neuron() -> None:
    text = (
        "g (float[N,6] i) => (float[M,3] o) { x = MatMul(i, w) r = Relu(x) s = Shape(r)"
        " n = Gather(s, first) m = Unsqueeze(n, first) d = Concat<axis = 0>(m, rest)"
        " f = Reshape(r, d) o = MatMul(f, v) }"
    )
    weights = {
        **arrays(1, w=(6, 6), v=(6, 3)),
        "first": np.array(0),
        "rest": np.array([6]),
    }
    source = model(text.replace("Unsqueeze(n, first)", "Unsqueeze(n, axis)"),
                   {**weights, "axis": np.array([0])}, opset=18)  # fmt: skip
    graph = run_passes(load(source), (Normalize(), PlaceSites()))
    assert coverage_of(graph).analog == []
