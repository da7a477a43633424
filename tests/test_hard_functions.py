"""Hard swish and hard sigmoid written out by a Clip."""

from __future__ import annotations

import numpy as np
import pytest

from snnc.frontend import load
from snnc.ir.node import Op
from tests.onnx_models import model, op_types
from tests.rules import normalised, scalars

NUMBERS = {
    **scalars(zero=0.0, half=0.5, one=1.0, two=2.0, three=3.0, four=4.0, six=6.0, sixth=1 / 6),
    "cube": np.full((1, 1, 1), 6.0, np.float32),
}
X = {"x": np.linspace(-5, 5, 66, dtype=np.float32).reshape(11, 6)}

SWISH = {
    "x c / 6": "a = Add(x, three) c = Clip(a, zero, six) d = Mul(x, c) y = Div(d, six)",
    "c x sixth": "a = Add(three, x) c = Clip(a, zero, six) d = Mul(c, x) y = Mul(sixth, d)",
    "x (c / 6)": "a = Add(x, three) c = Clip(a, zero, six) d = Div(c, six) y = Mul(x, d)",
    "(x / 6) c": "a = Add(x, three) c = Clip(a, zero, six) d = Div(x, six) y = Mul(d, c)",
    "relu6 by two bounds": (
        "a = Add(x, three) b = Max(a, zero) c = Min(b, six) d = Mul(x, c) y = Div(d, six)"
    ),
    "relu and a bound": (
        "a = Add(x, three) b = Relu(a) c = Min(b, six) d = Mul(x, c) y = Mul(d, sixth)"
    ),
    "x clip(x / 6 + 1 / 2)": (
        "a = Div(x, six) b = Add(a, half) c = Clip(b, zero, one) y = Mul(x, c)"
    ),
    "hard sigmoid": "c = HardSigmoid<alpha = 0.1666667, beta = 0.5>(x) y = Mul(c, x)",
}
SIGMOID = {
    "c / 6": "a = Add(x, three) c = Clip(a, zero, six) y = Div(c, six)",
    "c sixth": "a = Add(x, three) c = Clip(a, zero, six) y = Mul(c, sixth)",
    "scaled and shifted": (
        "m = Mul(x, two) a = Sub(m, one) c = Clip(a, zero, four) d = Div(c, two) y = Mul(d, half)"
    ),
}


@pytest.mark.parametrize("body", SWISH.values(), ids=SWISH)
def test_hard_swish(body: str) -> None:
    source = model(f"g (float[N,6] x) => (float[N,6] y) {{ {body} }}", NUMBERS)
    graph = normalised(source, X, 1e-6)
    (node,) = graph.nodes
    assert isinstance(node, Op)
    assert (node.op_type, node.inputs) == ("HardSwish", ("x",))


@pytest.mark.parametrize(
    ("body", "slope", "shift"),
    [
        (SIGMOID["c / 6"], 1 / 6, 0.5),
        (SIGMOID["c sixth"], 1 / 6, 0.5),
        (SIGMOID["scaled and shifted"], 0.5, -0.25),
    ],
    ids=SIGMOID,
)
def test_hard_sigmoid(body: str, slope: float, shift: float) -> None:
    source = model(f"g (float[N,6] x) => (float[N,6] y) {{ {body} }}", NUMBERS)
    graph = normalised(source, X, 1e-6)
    (node,) = graph.nodes
    assert isinstance(node, Op)
    assert (node.op_type, node.inputs) == ("HardSigmoid", ("x",))
    assert node.attrs["alpha"] == pytest.approx(slope)
    assert node.attrs["beta"] == pytest.approx(shift)


STAY = {
    "a clip alone": "a = Add(x, three) y = Clip(a, zero, six)",
    "not divided": "a = Add(x, three) c = Clip(a, zero, six) y = Mul(x, c)",
    "divided by 4": "a = Add(x, three) c = Clip(a, zero, six) d = Mul(x, c) y = Div(d, four)",
    "shifted by 2": "a = Add(x, two) c = Clip(a, zero, six) d = Mul(x, c) y = Neg(d)",
    "clipped from 1": "a = Add(x, three) c = Clip(a, one, six) d = Mul(x, c) y = Div(d, six)",
    "no upper bound": "a = Add(x, three) c = Relu(a) d = Mul(x, c) y = Div(d, six)",
    "divides": "a = Add(x, three) c = Clip(a, zero, six) y = Div(six, c)",
    "of another": (
        "s = Sigmoid(x) a = Add(s, three) c = Clip(a, zero, six) d = Mul(x, c) y = Neg(d)"
    ),
}


@pytest.mark.parametrize("body", STAY.values(), ids=STAY)
def test_lookalikes_of_hard_functions_stay(body: str) -> None:
    source = model(f"g (float[N,6] x) => (float[N,6] y) {{ {body} }}", NUMBERS)
    assert op_types(normalised(source, X)) == op_types(load(source))


def test_another_slope_is_a_gate_by_a_hard_sigmoid() -> None:
    body = "a = Add(x, two) c = Clip(a, zero, four) d = Div(c, four) y = Mul(x, d)"
    source = model(f"g (float[N,6] x) => (float[N,6] y) {{ {body} }}", NUMBERS)
    assert op_types(normalised(source, X)) == ["HardSigmoid", "Mul"]


def test_a_gate_of_another_value() -> None:
    body = "s = Exp(x) a = Add(s, three) c = Clip(a, zero, six) d = Div(c, six) y = Mul(x, d)"
    source = model(f"g (float[N,6] x) => (float[N,6] y) {{ {body} }}", NUMBERS)
    assert op_types(normalised(source, X)) == ["Exp", "HardSigmoid", "Mul"]


def test_a_constant_that_raises_the_rank_stays() -> None:
    body = "a = Add(x, three) c = Clip(a, zero, six) d = Mul(x, c) y = Div(d, cube)"
    source = model(f"g (float[N,6] x) => (float[1,N,6] y) {{ {body} }}", NUMBERS)
    assert op_types(normalised(source, X)) == op_types(load(source))


def test_doubles_stay() -> None:
    weights = {name: array.astype(np.float64) for name, array in NUMBERS.items()}
    source = model(f"g (double[N,6] x) => (double[N,6] y) {{ {SWISH['x c / 6']} }}", weights)
    assert op_types(normalised(source)) == op_types(load(source))
