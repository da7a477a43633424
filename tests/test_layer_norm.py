"""Layer normalisation is recognised in every way of writing it, and in no other formula."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pytest
from onnx import ModelProto

from snnc.frontend import load
from snnc.ir.node import Array, Op
from tests.onnx_models import arrays, model, op_types
from tests.rules import normalised, scalars

MEAN = "m = ReduceMean<axes = [-1]>(x) c = Sub(x, m)"
VARIANCE = {
    "pow": "q = Pow(c, two) v = ReduceMean<axes = [-1]>(q)",
    "mul": "q = Mul(c, c) v = ReduceMean<axes = [-1]>(q)",
    "twice": (
        "m2 = ReduceMean<axes = [2]>(x) c2 = Sub(x, m2) q = Pow(c2, two)"
        " v = ReduceMean<axes = [2]>(q)"
    ),
}
SPREAD = {"after": "w = Add(v, eps) r = Sqrt(w)", "before": "w = Add(eps, v) r = Sqrt(w)"}
DIVIDE = {
    "div": "n = Div(c, r)",
    "reciprocal": "i = Reciprocal(r) n = Mul(c, i)",
    "reciprocal-left": "i = Reciprocal(r) n = Mul(i, c)",
}
SCALE = {
    "none": ("y = Sigmoid(n)", ["LayerNormalization", "Sigmoid"]),
    "negated": ("y = Neg(n)", ["LayerNormalization"]),
    "gamma": ("y = Mul(n, gamma)", ["LayerNormalization"]),
    "gamma-left": ("y = Mul(gamma, n)", ["LayerNormalization"]),
    "gamma-beta": ("a = Mul(n, gamma) y = Add(a, beta)", ["LayerNormalization"]),
    "beta-gamma-left": ("a = Mul(gamma, n) y = Add(beta, a)", ["LayerNormalization"]),
    "beta": ("y = Add(n, beta)", ["LayerNormalization"]),
    "beta, then gamma": ("a = Add(n, beta) y = Mul(a, gamma)", ["LayerNormalization"]),
    "scalar": ("y = Mul(n, two)", ["LayerNormalization"]),
}
LAYER_NORM = {**scalars(two=2.0, eps=1e-5), **arrays(3, gamma=(6,), beta=(6,))}


def layer_norm_model(body: str, weights: Mapping[str, Array] | None = None) -> ModelProto:
    text = f"g (float[N,T,6] x) => (float[N,T,6] y) {{ {body} }}"
    return model(text, {**LAYER_NORM, **(weights or {})})


@pytest.mark.parametrize("variance", VARIANCE.values(), ids=VARIANCE)
@pytest.mark.parametrize("spread", SPREAD.values(), ids=SPREAD)
@pytest.mark.parametrize("divide", DIVIDE.values(), ids=DIVIDE)
def test_layer_norm_written_out(variance: str, spread: str, divide: str) -> None:
    scale = SCALE["gamma-beta"][0]
    graph = normalised(layer_norm_model(f"{MEAN} {variance} {spread} {divide} {scale}"))
    (node,) = graph.nodes
    assert isinstance(node, Op)
    assert node.op_type == "LayerNormalization"
    np.testing.assert_array_equal(graph.consts[node.inputs[1]], LAYER_NORM["gamma"])
    np.testing.assert_array_equal(graph.consts[node.inputs[2]], LAYER_NORM["beta"])
    assert node.attrs["epsilon"] == np.float32(1e-5)


@pytest.mark.parametrize(("scale", "expected"), SCALE.values(), ids=SCALE)
def test_layer_norm_scale_and_shift(scale: str, expected: list[str]) -> None:
    body = f"{MEAN} {VARIANCE['pow']} {SPREAD['after']} {DIVIDE['div']} {scale}"
    assert op_types(normalised(layer_norm_model(body))) == expected


READ_ELSEWHERE = {
    "m": ["ReduceMean", "LayerNormalization", "Neg"],
    "c": ["ReduceMean", "Sub", "LayerNormalization", "Neg"],
    "v": ["ReduceMean", "Sub", "Pow", "ReduceMean", "LayerNormalization", "Neg"],
    "n": ["LayerNormalization", "Mul", "Add", "Neg"],
}


@pytest.mark.parametrize(("read", "expected"), READ_ELSEWHERE.items(), ids=READ_ELSEWHERE)
def test_layer_norm_with_an_intermediate_that_another_reads(read: str, expected: list[str]) -> None:
    body = f"{MEAN} {VARIANCE['pow']} {SPREAD['after']} {DIVIDE['div']} {SCALE['gamma-beta'][0]}"
    text = f"g (float[N,T,6] x) => (float[N,T,6] y, float[N,T,?] z) {{ {body} z = Neg({read}) }}"
    assert op_types(normalised(model(text, LAYER_NORM))) == expected


NO_LAYER_NORM = {
    "another axis": (
        "m = ReduceMean<axes = [1]>(x) c = Sub(x, m) q = Pow(c, two)"
        " v = ReduceMean<axes = [1]>(q) w = Add(v, eps) r = Sqrt(w) y = Div(c, r)"
    ),
    "two axes": (
        "m = ReduceMean<axes = [1, 2]>(x) c = Sub(x, m) q = Pow(c, two)"
        " v = ReduceMean<axes = [1, 2]>(q) w = Add(v, eps) r = Sqrt(w) y = Div(c, r)"
    ),
    "cubed": f"{MEAN} q = Pow(c, three) v = ReduceMean<axes = [-1]>(q) {SPREAD['after']}"
    " y = Div(c, r)",
    "not centred": f"{MEAN} {VARIANCE['pow']} {SPREAD['after']} y = Div(x, r)",
    "variance of another": (
        f"{MEAN} t = Neg(x) m2 = ReduceMean<axes = [-1]>(t) c2 = Sub(t, m2) q = Pow(c2, two)"
        f" v = ReduceMean<axes = [-1]>(q) {SPREAD['after']} y = Div(c, r)"
    ),
    "mean of another": (
        "t = Neg(x) m = ReduceMean<axes = [-1]>(t) c = Sub(x, m)"
        f" {VARIANCE['pow']} {SPREAD['after']} y = Div(c, r)"
    ),
    "no root": f"{MEAN} {VARIANCE['pow']} w = Add(v, eps) y = Div(c, w)",
    "the other way round": f"{MEAN} {VARIANCE['pow']} {SPREAD['after']} y = Div(r, c)",
    "product with the spread": f"{MEAN} {VARIANCE['pow']} {SPREAD['after']} y = Mul(c, r)",
    "sum of squares": f"{MEAN} q = Mul(c, c) v = ReduceMax<axes = [-1]>(q) {SPREAD['after']}"
    " y = Div(c, r)",
}


@pytest.mark.parametrize("body", NO_LAYER_NORM.values(), ids=NO_LAYER_NORM)
def test_lookalikes_of_layer_norm_stay(body: str) -> None:
    feeds = {"x": np.abs(arrays(1, x=(2, 3, 6))["x"]) + np.linspace(0, 2, 6, dtype=np.float32)}
    source = layer_norm_model(body, scalars(three=3.0))
    assert op_types(normalised(source, feeds, 1e-4)) == op_types(load(source))


@pytest.mark.parametrize("name", ["gamma", "beta", "eps"])
def test_layer_norm_constants_that_raise_the_rank_stay(name: str) -> None:
    body = f"{MEAN} {VARIANCE['pow']} {SPREAD['after']} {DIVIDE['div']} {SCALE['gamma-beta'][0]}"
    weights = {**LAYER_NORM, name: LAYER_NORM[name].reshape(1, 1, 1, -1)}
    source = model(f"g (float[N,T,6] x) => (float[1,N,T,6] y) {{ {body} }}", weights)
    assert normalised(source).types["y"].shape == (1, "N", "T", 6)


def test_layer_norm_of_an_unknown_width_stays() -> None:
    body = f"{MEAN} {VARIANCE['pow']} {SPREAD['after']} y = Div(c, r)"
    source = model(f"g (float[N,T,D] x) => (float[N,T,D] y) {{ {body} }}", LAYER_NORM)
    assert op_types(normalised(source)) == op_types(load(source))


def test_layer_norm_operations_take_a_following_scale_and_shift() -> None:
    body = "n = LayerNormalization(x, g2) a = Mul(n, gamma) y = Add(a, beta)"
    graph = normalised(layer_norm_model(body, arrays(4, g2=(6,))))
    assert op_types(graph) == ["LayerNormalization"]


def test_layer_norm_with_computed_scale_is_left_alone() -> None:
    text = (
        "g (float[N,6] x, float[6] s) => (float[N,6] y)"
        " { n = LayerNormalization(x, s) y = Mul(n, gamma) }"
    )
    feeds = arrays(2, x=(3, 6), s=(6,))
    graph = normalised(model(text, LAYER_NORM), feeds)
    assert op_types(graph) == ["LayerNormalization", "Mul"]


def test_layer_norm_of_doubles() -> None:
    body = f"{MEAN} {VARIANCE['pow']} {SPREAD['after']} {DIVIDE['div']} {SCALE['gamma-beta'][0]}"
    weights = {name: array.astype(np.float64) for name, array in LAYER_NORM.items()}
    source = model(f"g (double[N,T,6] x) => (double[N,T,6] y) {{ {body} }}", weights)
    assert op_types(normalised(source, tolerance=1e-6)) == ["LayerNormalization"]


# --- Other ways of writing it -------------------------------------------------------------------

WAYS = {
    **LAYER_NORM,
    **scalars(one=1.0, sixth=1 / 6, six=6.0, half=0.5, minus_half=-0.5, zero=0.0),
    "last": np.array([-1]),
    "lead": np.array([2]),
    "columns": np.array([1]),
}

MEANS = {
    "mean": "{m} = ReduceMean<keepdims = 1>({x}, last)",
    "sum, times": "{m}s = ReduceSum({x}, last) {m} = Mul({m}s, sixth)",
    "sum, over": "{m}s = ReduceSum({x}, last) {m} = Div({m}s, six)",
    "unsqueezed": "{m}s = ReduceMean<keepdims = 0>({x}, last) {m} = Unsqueeze({m}s, last)",
    "unsqueezed sum": (
        "{m}s = ReduceSum<keepdims = 0>({x}, last) {m}t = Mul(sixth, {m}s)"
        " {m} = Unsqueeze({m}t, lead)"
    ),
    "reshaped": (
        "{m}s = ReduceMean<keepdims = 0>({x}, last) {m}d = Shape<end = 2>(x)"
        " {m}e = Concat<axis = 0>({m}d, columns) {m} = Reshape({m}s, {m}e)"
    ),
    "expanded": (
        "{m}s = ReduceMean<keepdims = 0>({x}, last) {m}d = Shape<end = 2>(x)"
        " {m}e = Concat<axis = 0>({m}d, columns) {m}r = Reshape({m}s, {m}e)"
        " {m} = Expand({m}r, {m}e)"
    ),
    "expanded fully": ("{m}s = ReduceMean({x}, last) {m}d = Shape(x) {m} = Expand({m}s, {m}d)"),
}
VARIANCES = {
    "of the centred": "c = Sub(x, m) q = Mul(c, c) MEAN(v, q)",
    "centred the other way": "c = Sub(m, x) q = Pow(c, two) MEAN(v, q)",
    "square less square": "q = Mul(x, x) MEAN(w, q) o = Pow(m, two) v = Sub(w, o)",
    "bounded by 0": "q = Mul(x, x) MEAN(w, q) o = Mul(m, m) d = Sub(w, o) v = Max(zero, d)",
}
INVERSES = {
    "reciprocal root": "a = Add(v, eps) s = Sqrt(a) r = Reciprocal(s)",
    "one over the root": "a = Add(eps, v) s = Sqrt(a) r = Div(one, s)",
    "power": "a = Add(v, eps) r = Pow(a, minus_half)",
    "reciprocal power": "a = Add(v, eps) s = Pow(a, half) r = Reciprocal(s)",
}
FORMULAS = {
    "(x - m) r gamma + beta": "e = Sub(x, m) f = Mul(e, r) g = Mul(f, gamma) y = Add(g, beta)",
    "(x - m) (r gamma) + beta": "e = Sub(x, m) f = Mul(r, gamma) g = Mul(e, f) y = Add(g, beta)",
    "x (gamma r) + (beta - m gamma r)": (
        "f = Mul(r, gamma) g = Mul(x, f) h = Mul(m, f) i = Sub(beta, h) y = Add(g, i)"
    ),
    "x gamma r - m gamma r + beta": (
        "f = Mul(gamma, r) g = Mul(x, f) h = Mul(m, f) i = Sub(g, h) y = Add(beta, i)"
    ),
    "(x r - m r) gamma + beta": (
        "f = Mul(x, r) g = Mul(m, r) h = Sub(f, g) i = Mul(h, gamma) y = Add(i, beta)"
    ),
    "beta - (m - x) r gamma": ("e = Sub(m, x) f = Mul(e, r) g = Mul(f, gamma) y = Sub(beta, g)"),
    "beta + -(m - x) gamma r": (
        "e = Sub(m, x) n = Neg(e) f = Mul(n, gamma) g = Mul(f, r) y = Add(beta, g)"
    ),
}


def spelled_out(mean: str, variance: str, inverse: str, formula: str) -> str:
    """The body of a model; MEAN(v, q) stands for the mean of q in the same way of writing it."""
    body = " ".join((mean.format(m="m", x="x"), variance, inverse, formula))
    return re.sub(r"MEAN\((\w), (\w)\)", lambda f: mean.format(m=f[1], x=f[2]), body)


def assert_is_layer_norm(body: str) -> None:
    text = f"g (float[N,T,6] x) => (float[N,T,6] y) {{ {body} }}"
    graph = normalised(model(text, WAYS, opset=18), arrays(5, x=(2, 3, 6)), 1e-4)
    (node,) = graph.nodes
    assert isinstance(node, Op)
    assert (node.op_type, node.inputs[0]) == ("LayerNormalization", "x")
    np.testing.assert_allclose(graph.consts[node.inputs[1]], WAYS["gamma"], rtol=1e-6)
    np.testing.assert_allclose(graph.consts[node.inputs[2]], WAYS["beta"], rtol=1e-6)


@pytest.mark.parametrize("variance", VARIANCES.values(), ids=VARIANCES)
@pytest.mark.parametrize("mean", MEANS.values(), ids=MEANS)
def test_every_way_to_the_moments(mean: str, variance: str) -> None:
    formula = FORMULAS["(x - m) r gamma + beta"]
    assert_is_layer_norm(spelled_out(mean, variance, INVERSES["reciprocal root"], formula))


@pytest.mark.parametrize("inverse", INVERSES.values(), ids=INVERSES)
@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_every_association(formula: str, inverse: str) -> None:
    mean, variance = MEANS["mean"], VARIANCES["of the centred"]
    assert_is_layer_norm(spelled_out(mean, variance, inverse, formula))


def test_moments_put_back_after_the_root() -> None:
    body = (
        "m = ReduceMean(x, last) q = Mul(x, x) w = ReduceMean<keepdims = 0>(q, last)"
        " ms = ReduceMean<keepdims = 0>(x, last) o = Mul(ms, ms) v = Sub(w, o) a = Add(v, eps)"
        " s = Sqrt(a) i = Reciprocal(s) r = Unsqueeze(i, last)"
    )
    assert_is_layer_norm(f"{body} {FORMULAS['(x - m) r gamma + beta']}")


def test_an_expansion_that_might_enlarge_stays_behind_the_norm() -> None:
    body = (
        "shape = Concat<axis = 0>(size, columns, columns) ms = ReduceMean(x, last)"
        " m = Expand(ms, shape) c = Sub(x, m) q = Mul(c, c) v = ReduceMean(q, last)"
        " a = Add(v, eps) s = Sqrt(a) y = Div(c, s)"
    )
    text = f"g (float[N,T,6] x, int64[1] size) => (float[M,T,6] y) {{ {body} }}"
    feeds = {**arrays(5, x=(1, 3, 6)), "size": np.array([4])}
    graph = normalised(model(text, WAYS, opset=18), feeds, 1e-4)
    assert op_types(graph) == ["Concat", "LayerNormalization", "Expand"]


USUAL = spelled_out(
    MEANS["mean"],
    VARIANCES["of the centred"],
    INVERSES["reciprocal root"],
    FORMULAS["x (gamma r) + (beta - m gamma r)"],
)
CHANGES = {
    "epsilon behind the root": ("a = Add(v, eps) s = Sqrt(a)", "a = Sqrt(v) s = Add(a, eps)"),
    "at least epsilon": ("a = Add(v, eps)", "a = Max(v, eps)"),
    "unbiased": (
        "v = ReduceMean<keepdims = 1>(q, last)",
        "vs = ReduceSum(q, last) v = Div(vs, fifth)",
    ),
    "another scale for the mean": ("h = Mul(m, f)", "k = Mul(r, beta) h = Mul(m, k)"),
    "mean added": ("i = Sub(beta, h)", "i = Add(beta, h)"),
    "mean forgotten": ("i = Sub(beta, h) y = Add(g, i)", "y = Add(g, beta)"),
    "divided twice": ("f = Mul(r, gamma)", "e = Mul(r, gamma) f = Mul(e, r)"),
    "two epsilons": (
        "h = Mul(m, f)",
        "t = Add(v, two) u = Sqrt(t) w = Reciprocal(u) k = Mul(w, gamma) h = Mul(m, k)",
    ),
    "mean over the positions": (
        "m = ReduceMean<keepdims = 1>(x, last)",
        "m = ReduceMean<keepdims = 1>(x, columns)",
    ),
    "normalised positions": ("last)", "columns)"),
    "square of another": ("q = Mul(c, c)", "q = Mul(c, x)"),
    "third power": ("q = Mul(c, c)", "qs = Mul(c, c) q = Mul(qs, c)"),
    "clipped above": ("a = Add(v, eps)", "b = Clip(v, zero, one) a = Add(b, eps)"),
    "scaled mean": (
        "m = ReduceMean<keepdims = 1>(x, last)",
        "ms = ReduceMean<keepdims = 1>(x, last) m = Mul(ms, half)",
    ),
}


def test_the_usual_spelling() -> None:
    assert_is_layer_norm(USUAL)


@pytest.mark.parametrize(("part", "changed"), CHANGES.values(), ids=CHANGES)
def test_what_is_nearly_a_layer_norm_stays(part: str, changed: str) -> None:
    body = USUAL.replace(part, changed)
    assert body != USUAL
    text = f"g (float[N,T,6] x) => (float[N,T,6] y) {{ {body} }}"
    feeds = {"x": np.abs(arrays(5, x=(2, 3, 6))["x"]) * np.arange(1, 7, dtype=np.float32)}
    source = model(text, {**WAYS, **scalars(fifth=5.0)}, opset=18)
    assert "LayerNormalization" not in op_types(normalised(source, feeds, 1e-3))


def test_a_normalised_value_that_another_reads_is_computed_once() -> None:
    body = spelled_out(
        MEANS["mean"], VARIANCES["of the centred"], INVERSES["reciprocal root"],
        FORMULAS["(x - m) r gamma + beta"],
    )  # fmt: skip
    text = f"g (float[N,T,6] x) => (float[N,T,6] y, float[N,T,6] z) {{ {body} z = Exp(f) }}"
    graph = normalised(model(text, WAYS, opset=18), arrays(5, x=(2, 3, 6)), 1e-4)
    assert op_types(graph) == ["LayerNormalization", "Mul", "Add", "Exp"]
