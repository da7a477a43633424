"""Softmax and log-softmax are recognised in every way of writing them, and in no other formula."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from snnc.frontend import load
from snnc.ir.node import Op
from snnc.passes.normalize import Normalize
from snnc.passes.place_sites import PlaceSites
from snnc.pipeline import run_passes
from tests.onnx_models import arrays, model, op_types
from tests.rules import normalised, scalars

WEIGHTS = {
    **scalars(one=1.0, two=2.0, lowest=-np.inf, small=1e-6),
    "last": np.array([-1]),
    "first": np.array([1]),
    "columns": np.array([1]),
}

SUMS = {
    "kept": "t = ReduceSum(e, AXIS)",
    "unsqueezed": "ts = ReduceSum<keepdims = 0>(e, AXIS) t = Unsqueeze(ts, AXIS)",
    "expanded fully": "ts = ReduceSum(e, AXIS) d = Shape(e) t = Expand(ts, d)",
}
QUOTIENTS = {
    "over": "y = Div(e, t)",
    "times the reciprocal": "r = Reciprocal(t) y = Mul(e, r)",
    "reciprocal times": "r = Reciprocal(t) y = Mul(r, e)",
}
MAXIMA = {
    "without the maximum": "e = Exp(x)",
    "less the maximum": "m = ReduceMax(x, AXIS) z = Sub(x, m) e = Exp(z)",
    "less the bounded maximum": (
        "ms = ReduceMax(x, AXIS) m = Max(lowest, ms) z = Sub(x, m) e = Exp(z)"
    ),
    "less the unsqueezed maximum": (
        "ms = ReduceMax<keepdims = 0>(x, AXIS) m = Unsqueeze(ms, AXIS) z = Sub(x, m) e = Exp(z)"
    ),
    "less the expanded maximum": (
        "ms = ReduceMax(x, AXIS) d0 = Shape(ms) m = Expand(ms, d0) z = Sub(x, m) e = Exp(z)"
    ),
}


def softmax_model(body: str, axis: str = "last", inputs: str = "float[N,T,6] x") -> ModelProto:
    return model(
        f"g ({inputs}) => (float[N,T,6] y) {{ {body.replace('AXIS', axis)} }}", WEIGHTS, opset=18
    )


def only_op(body: str, axis: str = "last") -> Op:
    graph = normalised(softmax_model(body, axis), arrays(1, x=(2, 3, 6)), 1e-5)
    (node,) = graph.nodes
    assert isinstance(node, Op)
    return node


@pytest.mark.parametrize("axis", ["last", "first"])
@pytest.mark.parametrize("quotient", QUOTIENTS.values(), ids=QUOTIENTS)
@pytest.mark.parametrize("total", SUMS.values(), ids=SUMS)
@pytest.mark.parametrize("maximum", MAXIMA.values(), ids=MAXIMA)
def test_softmax(maximum: str, total: str, quotient: str, axis: str) -> None:
    node = only_op(f"{maximum} {total} {quotient}", axis)
    assert (node.op_type, node.inputs, node.attrs["axis"]) == (
        "Softmax",
        ("x",),
        2 if axis == "last" else 1,
    )


LOGS = {
    "log of the sum": "t = ReduceSum(e, AXIS) l = Log(t)",
    "log of the sum, then unsqueezed": (
        "ts = ReduceSum<keepdims = 0>(e, AXIS) ls = Log(ts) l = Unsqueeze(ls, AXIS)"
    ),
    "log of the unsqueezed sum": (
        "ts = ReduceSum<keepdims = 0>(e, AXIS) t = Unsqueeze(ts, AXIS) l = Log(t)"
    ),
}


@pytest.mark.parametrize("axis", ["last", "first"])
@pytest.mark.parametrize("log", LOGS.values(), ids=LOGS)
@pytest.mark.parametrize("maximum", MAXIMA.values(), ids=MAXIMA)
def test_log_softmax(maximum: str, log: str, axis: str) -> None:
    shifted = "z" if "z = " in maximum else "x"
    node = only_op(f"{maximum} {log} y = Sub({shifted}, l)", axis)
    assert (node.op_type, node.inputs) == ("LogSoftmax", ("x",))


def test_softmax_as_an_operation_of_what_is_shifted() -> None:
    node = only_op("m = ReduceMax(x, last) z = Sub(x, m) y = Softmax<axis = -1>(z)")
    assert (node.op_type, node.inputs) == ("Softmax", ("x",))


def test_a_sum_that_is_put_back_by_shape_arithmetic() -> None:
    """As JAX writes it: both axes but the summed one are read from the shape of an input."""
    body = (
        "d = Shape<end = 2>(x) s = Concat<axis = 0>(d, columns)"
        " m0 = ReduceMax<keepdims = 0>(x, last) m1 = Max(lowest, m0) m2 = Reshape(m1, s)"
        " m = Expand(m2, s) z = Sub(x, m) e = Exp(z) t0 = ReduceSum<keepdims = 0>(e, last)"
        " t1 = Reshape(t0, s) t = Expand(t1, s) y = Div(e, t)"
    )
    assert only_op(body).op_type == "Softmax"


def test_an_expansion_that_might_enlarge_stays_behind_the_softmax() -> None:
    body = (
        "shape = Concat<axis = 0>(size, columns, columns) e = Exp(x) ts = ReduceSum(e, last)"
        " t = Expand(ts, shape) y = Div(e, t)"
    )
    source = softmax_model(body, inputs="float[N,T,6] x, int64[1] size")
    feeds = {**arrays(1, x=(1, 3, 6)), "size": np.array([4])}
    assert op_types(normalised(source, feeds)) == ["Concat", "Softmax", "Expand"]


def test_attention_probabilities_written_out_have_their_role() -> None:
    body = (
        "h = Tanh(x) k = Transpose<perm = [0,2,1]>(h) s = MatMul(h, k) m = ReduceMax(s, last)"
        " z = Sub(s, m) e = Exp(z) t = ReduceSum(e, last) p = Div(e, t) y = MatMul(p, h)"
    )
    graph = run_passes(load(softmax_model(body)), (Normalize(), PlaceSites()))
    assert sorted(site.role for site in graph.sites) == ["product", "product", "softmax"]


LOOKALIKES = {
    "sum of another": "e = Exp(x) n = Neg(x) f = Exp(n) t = ReduceSum(f, last) y = Div(e, t)",
    "mean": "e = Exp(x) t = ReduceMean(e, last) y = Div(e, t)",
    "maximum": "e = Exp(x) t = ReduceMax(e, last) y = Div(e, t)",
    "two axes": "e = Exp(x) t = ReduceSum(e, both) y = Div(e, t)",
    "a bit more than the sum": "e = Exp(x) s = ReduceSum(e, last) t = Add(s, small) y = Div(e, t)",
    "twice the sum": "e = Exp(x) s = ReduceSum(e, last) t = Mul(s, two) y = Div(e, t)",
    "of the other side": "e = Exp(x) t = ReduceSum(e, last) y = Div(t, e)",
    "times the sum": "e = Exp(x) t = ReduceSum(e, last) y = Mul(e, t)",
    "no exponential": "e = Sigmoid(x) t = ReduceSum(e, last) y = Div(e, t)",
    "squared": "a = Exp(x) e = Mul(a, a) t = ReduceSum(a, last) y = Div(e, t)",
}  # fmt: skip


@pytest.mark.parametrize("body", LOOKALIKES.values(), ids=LOOKALIKES)
def test_lookalikes_of_softmax_stay(body: str) -> None:
    weights = {**WEIGHTS, "both": np.array([1, 2])}
    source = model(f"g (float[N,T,6] x) => (float[N,T,6] y) {{ {body} }}", weights, opset=18)
    kinds = op_types(normalised(source, arrays(1, x=(2, 3, 6))))
    assert "Softmax" not in kinds
    assert kinds == op_types(load(source))


SHIFTS = {
    "minimum": "m = ReduceMin(x, last)",
    "maximum of another axis": "m = ReduceMax(x, first)",
    "maximum of another": "n = Neg(x) m = ReduceMax(n, last)",
    "half the maximum": "n = ReduceMax(x, last) m = Mul(n, half)",
    "mean": "m = ReduceMean(x, last)",
}


@pytest.mark.parametrize("shift", SHIFTS.values(), ids=SHIFTS)
def test_other_shifts_stay(shift: str) -> None:
    body = f"{shift} z = Sub(x, m) y = Softmax<axis = -1>(z)"
    source = model(
        f"g (float[N,T,6] x) => (float[N,T,6] y) {{ {body} }}",
        {**WEIGHTS, **scalars(half=0.5)},
        opset=18,
    )
    assert op_types(normalised(source, arrays(1, x=(2, 3, 6)))) == op_types(load(source))


def test_an_axis_put_back_elsewhere_is_no_softmax() -> None:
    """[6, 6]: the sums of the rows stand beside the columns."""
    body = "e = Exp(x) s = ReduceSum<keepdims = 0>(e, first) t = Unsqueeze(s, zeroth) y = Div(e, t)"
    weights = {**WEIGHTS, "zeroth": np.array([0])}
    source = model(f"g (float[6,6] x) => (float[6,6] y) {{ {body} }}", weights, opset=18)
    kinds = op_types(normalised(source, arrays(1, x=(6, 6))))
    assert kinds == ["Exp", "ReduceSum", "Unsqueeze", "Div"]


def test_a_sum_that_loses_its_axis_is_no_softmax() -> None:
    body = "e = Exp(x) t = ReduceSum<keepdims = 0>(e, first) y = Div(e, t)"
    source = model(f"g (float[6,6] x) => (float[6,6] y) {{ {body} }}", WEIGHTS, opset=18)
    assert op_types(normalised(source, arrays(1, x=(6, 6)))) == ["Exp", "ReduceSum", "Div"]
