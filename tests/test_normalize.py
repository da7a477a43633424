"""Normalisation: every rule leaves the function as it is and the operations as expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from snnc.frontend import load
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Array, Op
from snnc.ir.verify import verify
from snnc.passes.normalize import Normalize
from snnc.random_data import random_feeds
from snnc.runtime import Session
from tests.onnx_models import EXAMPLES, arrays, assert_same_outputs, model, op_types, run_onnx
from tests.rules import normalised, scalars


def norm_weights(seed: int, channels: int, *, negative: bool = False) -> dict[str, Array]:
    """gamma, beta, mean, variance of a batch normalisation; some of gamma below 0 if `negative`."""
    w = arrays(seed, gamma=(channels,), beta=(channels,), mean=(channels,), var=(channels,))
    gamma = np.abs(w["gamma"]) + 0.3
    if negative:
        gamma[::2] *= -1
    return {**w, "gamma": gamma, "var": np.abs(w["var"]) + 0.5}


# --- GELU ---------------------------------------------------------------------------------------

GELU = scalars(
    half=0.5,
    one=1.0,
    two=2.0,
    three=3.0,
    sqrt2=np.sqrt(2.0),
    rsqrt2=np.sqrt(0.5),
    k=0.044715,
    minus_k=-0.044715,
    s=np.sqrt(2 / np.pi),
    ks=0.044715 * np.sqrt(2 / np.pi),
)
"""Constants of both GELU formulas."""

INNER = {
    "div": "d = Div(x, sqrt2)",
    "mul": "d = Mul(x, rsqrt2)",
    "mul-left": "d = Mul(rsqrt2, x)",
}
PLUS = {"after": "f = Add(e, one)", "before": "f = Add(one, e)"}
PRODUCT = {
    "(x f) h": "g = Mul(x, f) y = Mul(g, half)",
    "(f x) h": "g = Mul(f, x) y = Mul(g, half)",
    "h (x f)": "g = Mul(x, f) y = Mul(half, g)",
    "h (f x)": "g = Mul(f, x) y = Mul(half, g)",
    "(x h) f": "g = Mul(x, half) y = Mul(g, f)",
    "(h x) f": "g = Mul(half, x) y = Mul(g, f)",
    "f (x h)": "g = Mul(x, half) y = Mul(f, g)",
    "f (h x)": "g = Mul(half, x) y = Mul(f, g)",
    "x (f h)": "g = Mul(f, half) y = Mul(x, g)",
    "x (h f)": "g = Mul(half, f) y = Mul(x, g)",
    "(f h) x": "g = Mul(f, half) y = Mul(g, x)",
    "(h f) x": "g = Mul(half, f) y = Mul(g, x)",
    "x f / 2": "g = Mul(x, f) y = Div(g, two)",
    "x / 2 f": "g = Div(x, two) y = Mul(g, f)",
    "x (f / 2)": "g = Div(f, two) y = Mul(x, g)",
}
CUBIC = {
    "s (x + k x^3)": "p = Pow(x, three) q = Mul(p, k) r = Add(x, q) d = Mul(r, s)",
    "(k x^3 + x) s": "p = Pow(x, three) q = Mul(k, p) r = Add(q, x) d = Mul(s, r)",
    "x x x": "a = Mul(x, x) p = Mul(a, x) q = Mul(p, k) r = Add(x, q) d = Mul(r, s)",
    "x (x x)": "a = Mul(x, x) p = Mul(x, a) q = Mul(k, p) r = Add(x, q) d = Mul(s, r)",
    "k x x x": "a = Mul(k, x) b = Mul(a, x) q = Mul(b, x) r = Add(q, x) d = Mul(r, s)",
    "s x (1 + k x x)": ("a = Mul(x, x) b = Mul(a, k) c = Add(b, one) t = Mul(x, s) d = Mul(t, c)"),
    "x^2 x": "a = Pow(x, two) p = Mul(a, x) q = Mul(p, k) r = Add(x, q) d = Mul(r, s)",
    "s (x - -k x^3)": "p = Pow(x, three) q = Mul(p, minus_k) r = Sub(x, q) d = Mul(r, s)",
    "s x + s k x^3": "p = Pow(x, three) q = Mul(p, ks) t = Mul(x, s) d = Add(t, q)",
}


def gelu_op(graph: Graph) -> Op:
    (node,) = graph.nodes
    assert isinstance(node, Op)
    return node


@pytest.mark.parametrize("product", PRODUCT.values(), ids=PRODUCT)
@pytest.mark.parametrize("plus", PLUS.values(), ids=PLUS)
@pytest.mark.parametrize("inner", INNER.values(), ids=INNER)
def test_gelu_by_erf_in_every_association(inner: str, plus: str, product: str) -> None:
    body = f"{inner} e = Erf(d) {plus} {product}"
    op = gelu_op(normalised(model(f"g (float[N,6] x) => (float[N,6] y) {{ {body} }}", GELU)))
    assert (op.op_type, op.inputs, dict(op.attrs)) == ("Gelu", ("x",), {})


@pytest.mark.parametrize("cubic", CUBIC.values(), ids=CUBIC)
@pytest.mark.parametrize("product", ["(x f) h", "f (h x)", "x (h f)", "x / 2 f"])
def test_gelu_by_tanh(cubic: str, product: str) -> None:
    body = f"{cubic} e = Tanh(d) f = Add(e, one) {PRODUCT[product]}"
    op = gelu_op(normalised(model(f"g (float[N,6] x) => (float[N,6] y) {{ {body} }}", GELU)))
    assert (op.op_type, op.inputs, dict(op.attrs)) == ("Gelu", ("x",), {"approximate": "tanh"})


@pytest.mark.parametrize("form", ["none", "tanh"])
def test_gelu_as_an_operation_stays(form: str) -> None:
    body = f'y = Gelu<approximate = "{form}">(x)'
    op = gelu_op(normalised(model(f"g (float[N,6] x) => (float[N,6] y) {{ {body} }}", opset=20)))
    assert op.op_type == "Gelu"


def test_gelu_of_half_precision() -> None:
    body = "d = Div(x, sqrt2) e = Erf(d) f = Add(e, one) g = Mul(x, f) y = Mul(g, half)"
    weights = {name: array.astype(np.float16) for name, array in GELU.items()}
    source = model(f"g (float16[N,6] x) => (float16[N,6] y) {{ {body} }}", weights)
    assert op_types(normalised(source, tolerance=2e-3)) == ["Gelu"]


def test_gelu_of_doubles_stays_written_out() -> None:
    """onnxruntime has no Gelu of doubles."""
    body = f"{CUBIC['s (x + k x^3)']} e = Tanh(d) f = Add(e, one) {PRODUCT['(x f) h']}"
    weights = {name: array.astype(np.float64) for name, array in GELU.items()}
    source = model(f"g (double[N,6] x) => (double[N,6] y) {{ {body} }}", weights)
    assert op_types(normalised(source)) == op_types(load(source))


ERF = "d = Div(x, sqrt2) e = Erf(d) f = Add(e, one) g = Mul(x, f) y = Mul(g, half)"
NO_GELU = {
    "0.4 for 0.5": (ERF, {"half": 0.4}),
    "0.501 for 0.5": (ERF, {"half": 0.501}),
    "x / 1.5": (ERF, {"sqrt2": 1.5}),
    "1.1 + erf": (ERF, {"one": 1.1}),
    "no half": ("d = Div(x, sqrt2) e = Erf(d) f = Add(e, one) y = Mul(x, f)", {}),
    "erf - 1": (
        "d = Div(x, sqrt2) e = Erf(d) f = Sub(e, one) g = Mul(x, f) y = Mul(g, half)",
        {},
    ),
    "x squared": (
        "d = Div(x, sqrt2) e = Erf(d) f = Add(e, one) a = Mul(x, half) b = Mul(a, x) y = Mul(b, f)",
        {},
    ),
    "erf of another": (
        "d = Div(u, sqrt2) e = Erf(d) f = Add(e, one) g = Mul(x, f) y = Mul(g, half)",
        {},
    ),
    "erf of x + 0.1": (
        "t = Add(x, k) d = Div(t, sqrt2) e = Erf(d) f = Add(e, one) g = Mul(x, f) y = Mul(g, half)",
        {},
    ),
    "another cubic": (
        "p = Pow(x, three) q = Mul(p, k) r = Add(x, q) d = Mul(r, s) e = Tanh(d) "
        "f = Add(e, one) g = Mul(x, f) y = Mul(g, half)",
        {"k": 0.05},
    ),
    "minus the cubic": (
        "p = Pow(x, three) q = Mul(p, k) r = Sub(x, q) d = Mul(r, s) e = Tanh(d) "
        "f = Add(e, one) g = Mul(x, f) y = Mul(g, half)",
        {},
    ),
    "fourth power": (
        "p = Pow(x, three) q = Mul(p, k) r = Add(x, q) d = Mul(r, s) e = Tanh(d) "
        "f = Add(e, one) g = Mul(x, f) y = Mul(g, half)",
        {"three": 4.0},
    ),
    "tanh of x / sqrt 2": (
        "d = Div(x, sqrt2) e = Tanh(d) f = Add(e, one) g = Mul(x, f) y = Mul(g, half)",
        {},
    ),
    "quick gelu": ("d = Mul(x, k) e = Sigmoid(d) y = Mul(x, e)", {"k": 1.702}),
    "gate of another": ("e = Sigmoid(u) y = Mul(x, e)", {}),
    "sigmoid squared": ("e = Sigmoid(x) y = Mul(e, e)", {}),
}


@pytest.mark.parametrize(("body", "changed"), NO_GELU.values(), ids=NO_GELU)
def test_lookalikes_of_gelu_and_silu_stay(body: str, changed: dict[str, float]) -> None:
    source = model(
        f"g (float[N,6] x, float[N,6] u) => (float[N,6] y) {{ {body} }}",
        {**GELU, **scalars(**changed)},
    )
    graph = normalised(source)
    assert op_types(graph) == op_types(load(source))


def test_gelu_with_intermediates_that_others_read() -> None:
    body = (
        "d = Div(x, sqrt2) e = Erf(d) f = Add(e, one) g = Mul(x, half) y = Mul(g, f)"
        " a = Add(f, x) b = Neg(e)"
    )
    source = model(
        f"g (float[N,6] x) => (float[N,6] y, float[N,6] a, float[N,6] b) {{ {body} }}", GELU
    )
    types = op_types(normalised(source))
    assert sorted(types) == ["Add", "Add", "Div", "Erf", "Gelu", "Neg"]


def test_gelu_whose_product_is_an_output_is_not_taken_apart() -> None:
    body = "d = Div(x, sqrt2) e = Erf(d) f = Add(e, one) g = Mul(x, f) y = Mul(g, half)"
    source = model(f"g (float[N,6] x) => (float[N,6] y, float[N,6] g) {{ {body} }}", GELU)
    assert op_types(normalised(source)) == ["Div", "Erf", "Add", "Mul", "Mul"]


def test_gelu_of_a_scaled_value() -> None:
    body = f"x = Mul(v, half2) {ERF}"
    source = model(
        f"g (float[N,6] v) => (float[N,6] y) {{ {body} }}", {**GELU, **scalars(half2=0.5)}
    )
    assert op_types(normalised(source)) == ["Mul", "Gelu"]


@pytest.mark.parametrize("name", ["half", "one", "sqrt2"])
def test_gelu_constants_that_raise_the_rank_are_no_gelu(name: str) -> None:
    weights = {**GELU, name: GELU[name].reshape(1, 1, 1)}
    source = model(f"g (float[N,6] x) => (float[1,N,6] y) {{ {ERF} }}", weights)
    assert normalised(source).types["y"].shape == (1, "N", 6)


def test_gelu_constants_of_shape_one_are_fine() -> None:
    weights = {name: array.reshape(1, 1) for name, array in GELU.items()}
    source = model(f"g (float[N,6] x) => (float[N,6] y) {{ {ERF} }}", weights)
    assert op_types(normalised(source)) == ["Gelu"]


# --- SiLU ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("product", ["Mul(x, s)", "Mul(s, x)"])
def test_silu_in_both_orders(product: str) -> None:
    source = model(f"g (float[N,6] x) => (float[N,6] y) {{ s = Sigmoid(x) y = {product} }}")
    assert op_types(normalised(source)) == ["ai.snnc.Silu"]


def test_silu_whose_sigmoid_is_read_elsewhere() -> None:
    body = "s = Sigmoid(x) y = Mul(x, s) z = Neg(s)"
    source = model(f"g (float[N,6] x) => (float[N,6] y, float[N,6] z) {{ {body} }}")
    assert sorted(op_types(normalised(source))) == ["Neg", "Sigmoid", "ai.snnc.Silu"]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [("", ["ai.snnc.Silu"]), ("<alpha = 1.0>", ["ai.snnc.Silu"])],
)
def test_swish_with_factor_one_is_silu(attributes: str, expected: list[str]) -> None:
    text = f"g (float[N,6] x) => (float[N,6] y) {{ y = Swish{attributes}(x) }}"
    assert op_types(normalised(model(text, opset=24, ir_version=10))) == expected


def test_swish_with_another_factor_stays_a_gate() -> None:
    text = "g (float[N,6] x) => (float[N,6] y) { y = Swish<alpha = 1.5>(x) }"
    graph = normalised(model(text, opset=24, ir_version=10))
    assert op_types(graph) == ["Mul", "Sigmoid", "Mul"]


# --- Batch normalisation, backward --------------------------------------------------------------

BN = "BatchNormalization(h, gamma, beta, mean, var)"
BACKWARD = {
    "conv": ("h = Conv(x, w)", (4, 3, 3, 3)),
    "conv with bias": ("h = Conv<pads = [1,1,1,1], strides = [2,2]>(x, w, b)", (4, 3, 3, 3)),
    "depthwise": ("h = Conv<group = 3>(x, w, b)", (3, 1, 3, 3)),
    "grouped": ("h = Conv<group = 3, dilations = [2,2]>(x, w)", (6, 1, 2, 2)),
    "transposed": ("h = ConvTranspose<strides = [2,2]>(x, w, b)", (3, 4, 2, 2)),
    "transposed, grouped": ("h = ConvTranspose<group = 3>(x, w)", (3, 2, 2, 2)),
}


@pytest.mark.parametrize(("layer", "shape"), BACKWARD.values(), ids=BACKWARD)
@pytest.mark.parametrize("negative", [False, True], ids=["positive", "negative"])
def test_batch_norm_folds_back_into_convolutions(
    layer: str, shape: tuple[int, ...], negative: bool
) -> None:
    group = 3 if "group = 3" in layer else 1
    channels = shape[1] * group if "Transpose" in layer else shape[0]
    weights = {**arrays(1, w=shape, b=(channels,)), **norm_weights(2, channels, negative=negative)}
    source = model(f"g (float[N,3,8,8] x) => (float[N,?,?,?] y) {{ {layer} y = {BN} }}", weights)
    graph = normalised(source)
    assert op_types(graph) == [op_types(load(source))[0]]
    assert set(graph.nodes[0].loc.names) == {n.loc.names[0] for n in load(source).nodes}


def test_batch_norm_folds_back_into_a_1d_convolution() -> None:
    weights = {**arrays(1, w=(4, 3, 3)), **norm_weights(2, 4)}
    text = f"g (float[N,3,9] x) => (float[N,4,?] y) {{ h = Conv<dilations = [2]>(x, w) y = {BN} }}"
    assert op_types(normalised(model(text, weights))) == ["Conv"]


GEMM = {
    "plain": ("h = Gemm(x, w, b)", (6, 4), (4,)),
    "no bias": ("h = Gemm(x, w)", (6, 4), (4,)),
    "transB": ("h = Gemm<transB = 1>(x, w, b)", (4, 6), (4,)),
    "alpha": ("h = Gemm<alpha = 0.5>(x, w, b)", (6, 4), (4,)),
    "row bias": ("h = Gemm(x, w, b)", (6, 4), (1, 4)),
    "scalar bias": ("h = Gemm(x, w, b)", (6, 4), (1,)),
}


@pytest.mark.parametrize(("layer", "shape", "bias"), GEMM.values(), ids=GEMM)
def test_batch_norm_folds_back_into_gemm(
    layer: str, shape: tuple[int, ...], bias: tuple[int, ...]
) -> None:
    weights = {**arrays(1, w=shape, b=bias), **norm_weights(2, 4, negative=True)}
    source = model(f"g (float[N,6] x) => (float[N,4] y) {{ {layer} y = {BN} }}", weights)
    assert op_types(normalised(source)) == ["Gemm"]


def test_batch_norm_folds_back_into_matmul() -> None:
    weights = {**arrays(1, w=(6, 4)), **norm_weights(2, 4, negative=True)}
    text = f"g (float[N,6] x) => (float[N,4] y) {{ h = MatMul(x, w) y = {BN} }}"
    assert op_types(normalised(model(text, weights))) == ["MatMul", "Add"]


NOT_BACKWARD = {
    "beta of gemm": ("float[N,6] x", "h = Gemm<beta = 0.5>(x, w, b)", (6, 4)),
    "matmul of rank 3": ("float[N,4,6] x", "h = MatMul(x, w)", (6, 4)),
    "computed bias": ("float[N,6] x, float[4] c", "h = Gemm(x, w, c)", (6, 4)),
    "computed weight": ("float[N,6] x, float[6,4] v", "h = Gemm(x, v, b)", (6, 4)),
    "weight on the left": ("float[6,4] x", "h = MatMul(w, x)", (5, 6)),
}


@pytest.mark.parametrize(("inputs", "layer", "shape"), NOT_BACKWARD.values(), ids=NOT_BACKWARD)
def test_batch_norm_that_cannot_fold_back_stays(
    inputs: str, layer: str, shape: tuple[int, ...]
) -> None:
    weights = {**arrays(1, w=shape, b=(4,)), **norm_weights(2, 4)}
    rank = 3 if "rank 3" in inputs or ("4,6" in inputs and "N,4" in inputs) else 2
    out = "float[?,?,?]" if rank == 3 else "float[?,?]"
    source = model(f"g ({inputs}) => ({out} y) {{ {layer} y = {BN} }}", weights)
    shapes = {"x": (3, 4, 6) if rank == 3 else (6, 4) if "MatMul(w" in layer else (3, 6)}
    feeds = {**arrays(5, **shapes), **arrays(6, c=(4,), v=(6, 4))}
    graph = normalised(source, {n: a for n, a in feeds.items() if n in load(source).inputs})
    assert op_types(graph) == op_types(load(source))


def test_batch_norm_behind_a_layer_with_other_readers_stays() -> None:
    weights = {**arrays(1, w=(4, 3, 3, 3)), **norm_weights(2, 4)}
    body = f"h = Conv(x, w) y = {BN} z = Neg(h)"
    text = f"g (float[N,3,8,8] x) => (float[N,4,?,?] y, float[N,4,?,?] z) {{ {body} }}"
    assert sorted(op_types(normalised(model(text, weights)))) == [
        "BatchNormalization",
        "Conv",
        "Neg",
    ]


def test_batch_norm_behind_a_layer_that_is_an_output_stays() -> None:
    weights = {**arrays(1, w=(4, 3, 3, 3)), **norm_weights(2, 4)}
    body = f"h = Conv(x, w) y = {BN}"
    text = f"g (float[N,3,8,8] x) => (float[N,4,?,?] y, float[N,4,?,?] h) {{ {body} }}"
    assert op_types(normalised(model(text, weights))) == ["Conv", "BatchNormalization"]


def test_batch_norm_folds_back_where_its_own_result_has_several_readers() -> None:
    weights = {**arrays(1, w=(4, 3, 3, 3)), **norm_weights(2, 4)}
    body = f"h = Conv(x, w) n = {BN} y = Relu(n) z = Neg(n)"
    text = f"g (float[N,3,8,8] x) => (float[N,4,?,?] y, float[N,4,?,?] z) {{ {body} }}"
    assert op_types(normalised(model(text, weights))) == ["Conv", "Relu", "Neg"]


def test_weights_that_two_layers_share_are_folded_for_one_alone() -> None:
    weights = {**arrays(1, w=(3, 3, 1, 1)), **norm_weights(2, 3)}
    body = f"h = Conv(x, w) n = {BN} r = Relu(n) y = Conv(r, w)"
    text = f"g (float[N,3,4,4] x) => (float[N,3,4,4] y) {{ {body} }}"
    assert op_types(normalised(model(text, weights))) == ["Conv", "Relu", "Conv"]


def test_batch_norm_in_training_mode_stays() -> None:
    weights = {**arrays(1, w=(4, 3, 3, 3)), **norm_weights(2, 4)}
    body = (
        "h = Conv(x, w) y, a, b = BatchNormalization<training_mode = 1>(h, gamma, beta, mean, var)"
    )
    text = f"g (float[N,3,8,8] x) => (float[N,4,?,?] y) {{ {body} }}"
    assert op_types(normalised(model(text, weights), tolerance=1e-4)) == [
        "Conv",
        "BatchNormalization",
    ]


def test_batch_norms_in_a_row_all_fold() -> None:
    weights = {**arrays(1, w=(4, 3, 3, 3)), **norm_weights(2, 4, negative=True)}
    body = f"h = Conv(x, w) n = {BN} y = BatchNormalization(n, gamma, beta, mean, var)"
    text = f"g (float[N,3,8,8] x) => (float[N,4,?,?] y) {{ {body} }}"
    assert op_types(normalised(model(text, weights))) == ["Conv"]


def test_batch_norm_of_half_precision() -> None:
    weights = {**arrays(1, w=(4, 3, 3, 3)), **norm_weights(2, 4)}
    half = {name: array.astype(np.float16) for name, array in weights.items()}
    text = f"g (float16[N,3,8,8] x) => (float16[N,4,?,?] y) {{ h = Conv(x, w) y = {BN} }}"
    assert op_types(normalised(model(text, half), tolerance=3e-2)) == ["Conv"]


# --- Batch normalisation, forward ---------------------------------------------------------------

NORM = "n = BatchNormalization(h, gamma, beta, mean, var)"
TO_CONV = {
    "conv": ("y = Conv(n, w, b)", True),
    "conv without bias": ("y = Conv(n, w)", True),
    "padded": ("y = Conv<pads = [1,1,1,1]>(n, w, b)", False),
    "strided and padded": ("y = Conv<pads = [0,1,1,0], strides = [2,2]>(n, w, b)", False),
    "pad": ("p = Pad(n, pads) y = Conv(p, w, b)", False),
    "max pool": ("p = MaxPool<kernel_shape = [2,2], strides = [2,2]>(n) y = Conv(p, w, b)", True),
    "padded max pool": (
        "p = MaxPool<kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]>(n) y = Conv(p, w, b)",
        True,
    ),
    "average pool": ("p = AveragePool<kernel_shape = [2,2]>(n) y = Conv(p, w, b)", True),
    "padded average pool": (
        "p = AveragePool<kernel_shape = [3,3], pads = [1,1,1,1]>(n) y = Conv(p, w, b)",
        True,
    ),
    "average pool that counts its padding": (
        "p = AveragePool<kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = 1>(n)"
        " y = Conv(p, w, b)",
        False,
    ),
    "max pool behind max pool": (
        "q = MaxPool<kernel_shape = [2,2]>(n) p = MaxPool<kernel_shape = [2,2]>(q)"
        " y = Conv(p, w, b)",
        True,
    ),
}


def forward_model(
    tail: str,
    weights: Mapping[str, Array],
    *,
    negative: bool = False,
    extra: str = "",
    batch: str = "N",
) -> ModelProto:
    """x -> Relu -> batch norm -> tail; the tail reads n, weights, b, pads."""
    everything = {
        **norm_weights(2, 4, negative=negative),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        **weights,
    }
    text = f"g (float[{batch},4,6,6] x) => (float y{extra}) {{ h = Relu(x) {NORM} {tail} }}"
    proto = model(text, everything)
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    return proto


@pytest.mark.parametrize(("tail", "plain"), TO_CONV.values(), ids=TO_CONV)
def test_batch_norm_folds_forward_into_conv(tail: str, plain: bool) -> None:
    """`plain`: no padding makes the bias depend on the position, so that no Add is needed."""
    source = forward_model(tail, arrays(1, w=(5, 4, 3, 3), b=(5,)))
    types = op_types(normalised(source, tolerance=1e-4))
    assert "BatchNormalization" not in types
    assert types[-1] == ("Conv" if plain else "Add")


@pytest.mark.parametrize("group", [2, 4])
def test_batch_norm_folds_forward_into_grouped_conv(group: int) -> None:
    tail = f"y = Conv<group = {group}, pads = [1,1,1,1]>(n, w, b)"
    source = forward_model(tail, arrays(1, w=(4, 4 // group, 3, 3), b=(4,)), negative=True)
    assert op_types(normalised(source, tolerance=1e-4)) == ["Relu", "Conv", "Add"]


POOLS = {
    "nothing": ("", 144),
    "max pool": ("MaxPool<kernel_shape = [2,2], strides = [2,2]>", 36),
    "average pool": ("AveragePool<kernel_shape = [2,2], strides = [2,2]>", 36),
    "average pool that counts its padding": (
        "AveragePool<kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = 1>",
        144,
    ),
    "average pool that does not": ("AveragePool<kernel_shape = [3,3], pads = [1,1,1,1]>", 144),
    "global average pool": ("GlobalAveragePool", 4),
}


@pytest.mark.parametrize(("pool", "width"), POOLS.values(), ids=POOLS)
@pytest.mark.parametrize(
    "layer", ["y = Gemm(f, w, b)", "y = Gemm<transB = 1>(f, wt)", "y = MatMul(f, w)"]
)
def test_batch_norm_folds_forward_into_dense_layers(pool: str, width: int, layer: str) -> None:
    tail = f"{f'p = {pool}(n)' if pool else 'p = Identity(n)'} f = Flatten(p) {layer}"
    w = arrays(1, w=(width, 5), b=(5,))
    source = forward_model(tail, {**w, "wt": np.ascontiguousarray(w["w"].T)})
    graph = normalised(source, tolerance=1e-4)
    assert "BatchNormalization" not in op_types(graph)


@pytest.mark.parametrize(
    "tail",
    [
        "p = Pad(n, pads) q = GlobalAveragePool(p) f = Flatten(q) y = MatMul(f, small)",
        "p = Pad(n, pads) q = AveragePool<kernel_shape = [2,2], strides = [2,2]>(p)"
        " f = Flatten(q) y = MatMul(f, large)",
    ],
    ids=["global average pool", "average pool"],
)
def test_batch_norm_before_padding_and_pooling(tail: str) -> None:
    normalised(forward_model(tail, arrays(1, small=(4, 5), large=(64, 5))), tolerance=1e-4)


KEPT_BEFORE = {
    "max pool, negative scale": (
        "p = MaxPool<kernel_shape = [2,2]>(n) y = Conv(p, w, b)",
        True,
    ),
    "pad, then max pool": (
        "p = Pad(n, pads) q = MaxPool<kernel_shape = [2,2]>(p) y = Conv(q, w, b)",
        False,
    ),
    "average pool with padding, then max pool": (
        "p = AveragePool<kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = 1>(n)"
        " q = MaxPool<kernel_shape = [2,2], strides = [2,2]>(p) y = Conv(q, w, b)",
        False,
    ),
    "pad with 1": ("p = Pad(n, pads, one) y = Conv(p, w, b)", False),
    "pad by reflection": ('p = Pad<mode = "reflect">(n, pads) y = Conv(p, w, b)', False),
    "pad of channels": ("p = Pad(n, rotate) y = Conv(p, w, b)", False),
    "nonlinear": ("p = Sigmoid(n) y = Conv(p, w, b)", False),
    "channels on another axis": (
        "t = Transpose<perm = [0,2,1,3]>(n) y = Conv(t, turned)",
        False,
    ),
    "transA": ("f = Flatten(n) y = Gemm<transA = 1>(f, wide)", False),
    "alpha": ("f = Flatten(n) y = Gemm<alpha = 0.5>(f, dense)", False),
    "second operand": ("f = Flatten(n) y = MatMul(left, f)", False),
    "mixed samples": ("f = Reshape(n, halves) y = MatMul(f, half)", False),
    "mixed samples, conv": ("f = Reshape(n, pairs) y = Conv(f, narrow)", False),
    "mixed channels, average pool": (
        "t = Transpose<perm = [0,2,1,3]>(n) p = AveragePool<kernel_shape = [2,1]>(t)"
        " f = Flatten(p) y = MatMul(f, mixed)",
        False,
    ),
    "mixed channels, flattened average pool": (
        "t = Reshape(n, rows) p = AveragePool<kernel_shape = [24], strides = [24]>(t)"
        " f = Flatten(p) y = MatMul(f, six)",
        False,
    ),
    "mixed channels, max pool": (
        "t = Reshape(n, rows) p = MaxPool<kernel_shape = [24], strides = [24]>(t)"
        " f = Flatten(p) y = MatMul(f, six)",
        False,
    ),
}


@pytest.mark.parametrize(("tail", "negative"), KEPT_BEFORE.values(), ids=KEPT_BEFORE)
def test_batch_norm_that_cannot_fold_forward_stays(tail: str, negative: bool) -> None:
    weights = {
        **arrays(
            1,
            w=(5, 4, 3, 3),
            b=(5,),
            wide=(2, 5),
            dense=(144, 5),
            left=(5, 2),
            half=(72, 5),
            narrow=(5, 2, 3, 3),
            turned=(5, 6, 3, 3),
            mixed=(6 * 3 * 6, 5),
            six=(6, 5),
        ),
        "one": np.array(1, np.float32),
        "halves": np.array([-1, 72]),
        "pairs": np.array([-1, 2, 6, 6]),
        "rows": np.array([0, 1, -1]),
        "rotate": np.array([0, 1, 0, 0, 0, -1, 0, 0]),
    }
    weights["w"] = np.abs(weights["w"])
    feeds = arrays(8, x=(2, 4, 6, 6))
    graph = normalised(forward_model(tail, weights, negative=negative), feeds, 1e-4)
    assert "BatchNormalization" in op_types(graph)


def test_batch_norm_with_several_readers_does_not_fold_forward() -> None:
    tail = "y = Conv(n, w, b) z = Neg(n)"
    source = forward_model(tail, arrays(1, w=(5, 4, 3, 3), b=(5,)), extra=", float z")
    assert "BatchNormalization" in op_types(normalised(source))


def test_batch_norm_behind_a_pool_that_is_an_output_does_not_fold_forward() -> None:
    tail = "z = MaxPool<kernel_shape = [2,2]>(n) y = Conv(z, w, b)"
    source = forward_model(tail, arrays(1, w=(5, 4, 3, 3), b=(5,)), extra=", float z")
    assert "BatchNormalization" in op_types(normalised(source))


def test_batch_norm_of_open_size_folds_forward_only_where_the_shift_is_known() -> None:
    weights = {**norm_weights(2, 4), **arrays(1, w=(5, 4, 3, 3))}
    text = f"g (float[N,4,H,W] x) => (float[N,5,?,?] y) {{ h = Relu(x) {NORM} y = Conv(n, w) }}"
    normalised(model(text, weights))


@pytest.mark.parametrize("batch", ["1", "3"])
def test_batch_norm_of_a_fixed_batch(batch: str) -> None:
    shape = np.array([int(batch), 144])
    tail = "f = Reshape(n, shape) y = Gemm(f, w, b)"
    source = forward_model(tail, {**arrays(1, w=(144, 5), b=(5,)), "shape": shape}, batch=batch)
    feeds = arrays(4, x=(int(batch), 4, 6, 6))
    assert op_types(normalised(source, feeds, 1e-4)) == ["Relu", "Reshape", "Gemm"]


def test_batch_norm_folds_forward_through_a_transpose() -> None:
    weights = {**norm_weights(2, 4, negative=True), **arrays(1, w=(4, 5))}
    text = (
        f"g (float[N,4,7] x) => (float[N,7,5] y) {{ h = Relu(x) {NORM}"
        " t = Transpose<perm = [0,2,1]>(n) y = MatMul(t, w) }"
    )
    graph = normalised(model(text, weights), tolerance=1e-4)
    assert op_types(graph) == ["Relu", "Transpose", "MatMul", "Add"]


def test_batch_norm_read_twice_by_one_layer_stays() -> None:
    weights = {**norm_weights(2, 4), **arrays(1, w=(4, 4))}
    text = f"g (float[N,4] x) => (float[N,4] y) {{ h = Relu(x) {NORM} y = Gemm(n, w, n) }}"
    assert op_types(normalised(model(text, weights))) == ["Relu", "BatchNormalization", "Gemm"]


def test_batch_norm_keeps_a_dead_channel() -> None:
    weights = {**norm_weights(2, 4), **arrays(1, w=(5, 4, 3, 3), b=(5,))}
    weights["gamma"][1] = 0
    text = f"g (float[N,4,6,6] x) => (float[N,5,?,?] y) {{ h = Relu(x) {NORM} y = Conv(n, w, b) }}"
    assert op_types(normalised(model(text, weights), tolerance=1e-4)) == ["Relu", "Conv"]


# --- Padding ------------------------------------------------------------------------------------

PADS = {
    "merged": ([0, 0, 1, 2, 0, 0, 3, 0], "", "", ["Conv"]),
    "with own padding": ([0, 0, 1, 1, 0, 0, 1, 1], "", "<pads = [1,0,0,1]>", ["Conv"]),
    "channels": ([0, 1, 0, 0, 0, 0, 0, 0], "", "", ["Pad", "Conv"]),
    "cropping": ([0, 0, -1, 0, 0, 0, 0, -1], "", "", ["Pad", "Conv"]),
    "another value": ([0, 0, 1, 1, 0, 0, 1, 1], "one", "", ["Pad", "Conv"]),
    "zero written out": ([0, 0, 1, 1, 0, 0, 1, 1], "zero", "", ["Conv"]),
    "automatic": ([0, 0, 1, 1, 0, 0, 1, 1], "", '<auto_pad = "SAME_UPPER">', ["Pad", "Conv"]),
    "nothing": ([0] * 8, "", '<auto_pad = "SAME_UPPER">', ["Conv"]),
}


@pytest.mark.parametrize(("pads", "value", "attributes", "expected"), PADS.values(), ids=PADS)
def test_padding_joins_the_convolution(
    pads: list[int], value: str, attributes: str, expected: list[str]
) -> None:
    channels = 4 if pads[1] else 3
    weights = {
        **arrays(1, w=(5, channels, 3, 3)),
        **scalars(zero=0.0, one=1.0),
        "pads": np.array(pads),
    }
    comma = f", {value}" if value else ""
    text = (
        "g (float[N,3,6,6] x) => (float[N,5,?,?] y)"
        f" {{ p = Pad(x, pads{comma}) y = Conv{attributes}(p, w) }}"
    )
    assert op_types(normalised(model(text, weights))) == expected


def test_padding_by_axes_stays() -> None:
    weights = {
        **arrays(1, w=(5, 3, 3, 3)),
        "pads": np.array([0, 0, 1, 2, 0, 0, 1, 2]),
        "axes": np.array([0, 1, 3, 2]),
    }
    text = "g (float[N,3,6,6] x) => (float[N,5,?,?] y) { p = Pad(x, pads, , axes) y = Conv(p, w) }"
    assert op_types(normalised(model(text, weights, opset=18))) == ["Pad", "Conv"]


def test_padding_that_another_reads_joins_too() -> None:
    weights = {**arrays(1, w=(5, 3, 3, 3)), "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
    text = (
        "g (float[N,3,6,6] x) => (float[N,5,?,?] y, float[N,3,?,?] z)"
        " { p = Pad(x, pads) y = Conv(p, w) z = Neg(p) }"
    )
    graph = normalised(model(text, weights))
    assert sorted(op_types(graph)) == ["Conv", "Neg", "Pad"]


# --- Identities ---------------------------------------------------------------------------------

IDENTITIES = {
    "identity": "a = Identity(h)",
    "dropout": "a = Dropout(h)",
    "dropout with a ratio": "a, m = Dropout(h, half)",
    "dropout told not to train": "a = Dropout(h, half, no)",
    "cast to the same type": "a = Cast<to = 1>(h)",
    "times one": "a = Mul(h, one)",
    "one times": "a = Mul(one, h)",
    "over one": "a = Div(h, one)",
    "times a vector of one one": "a = Mul(h, ones)",
    "pad by nothing": "a = Pad(h, none)",
    "maximum with minus infinity": "a = Max(low, h)",
    "minimum with infinity": "a = Min(h, high)",
    "maximum of one": "a = Max(h)",
    "sum of one": "a = Sum(h)",
    "concatenation of one": "a = Concat<axis = 1>(h)",
    "axes in their order": "a = Transpose<perm = [0,1]>(h)",
    "reshape to the same": "a = Reshape(h, same)",
    "reshape by its own shape": "s = Shape(h) a = Reshape(h, s)",
    "expand to the same": "s = Shape(h) a = Expand(h, s)",
    "expand to ones": "a = Expand(h, units)",
    "slice of everything": "a = Slice(h, from, to)",
    "slice of every column": "a = Slice(h, from1, to1, axis1)",
    "slice of everything, in steps of 1": "a = Slice(h, from, to, both, units)",
    "a chain": "b = Identity(h) c = Dropout(b) d = Mul(c, one) a = Cast<to = 1>(d)",
}
NO_IDENTITIES = {
    "times two": "a = Mul(h, two)",
    "one over": "a = Div(one, h)",
    "rank raised": "b = Mul(h, cube) a = Squeeze(b, zeroth)",
    "cast and back": "b = Cast<to = 10>(h) a = Cast<to = 1>(b)",
    "pad": "b = Pad(h, some) a = Pad(b, back)",
    "maximum with 2": "a = Max(two, h)",
    "maximum of two": "b = Exp(h) a = Max(b, h)",
    "minimum with minus infinity": "b = Min(h, low) a = Max(b, h)",
    "maximum with a cube": "b = Max(h, deep) a = Squeeze(b, zeroth)",
    "other axes": "b = Transpose(h) a = Transpose(b)",
    "reshape": "b = Reshape(h, rows) a = Reshape(b, same)",
    "reshape to rows of 3": "b = Reshape(h, three) c = Exp(b) a = Reshape(c, same)",
    "expand": "b = Unsqueeze(h, zeroth) c = Expand(b, more) a = ReduceMean(c, zeroth)",
    "slice from 1": "b = Slice(h, from1, minus1, axis1) a = Pad(b, some)",
    "slice backwards": "a = Slice(h, last, first, axis1, back1)",
}
IDENTITY_WEIGHTS = {
    **scalars(half=0.5, one=1.0, two=2.0),
    "no": np.array(False),
    "ones": np.ones(1, np.float32),
    "cube": np.ones((1, 1, 1), np.float32),
    "zeroth": np.array([0]),
    "none": np.zeros(4, np.int64),
    "low": np.array(-np.inf, np.float32),
    "high": np.array(np.inf, np.float32),
    "deep": np.full((1, 1, 1), -np.inf, np.float32),
    "same": np.array([-1, 6]),
    "rows": np.array([6, -1]),
    "three": np.array([-1, 3]),
    "units": np.array([1, 1]),
    "more": np.array([2, 1, 1]),
    "both": np.array([0, 1]),
    "from": np.array([0, 0]),
    "to": np.array([2**31 - 1, 2**63 - 1]),
    "from1": np.array([0]),
    "to1": np.array([6]),
    "axis1": np.array([1]),
    "minus1": np.array([-1]),
    "first": np.array([-7]),
    "last": np.array([5]),
    "back1": np.array([-1]),
    "some": np.array([0, 1, 0, 0]),
    "back": np.array([0, -1, 0, 0]),
}


def identity_model(body: str) -> ModelProto:
    text = f"g (float[N,6] x) => (float[N,6] y) {{ h = Sigmoid(x) {body} y = Tanh(a) }}"
    return model(text, IDENTITY_WEIGHTS, opset=18)


@pytest.mark.parametrize("body", IDENTITIES.values(), ids=IDENTITIES)
def test_identities_disappear(body: str) -> None:
    assert op_types(normalised(identity_model(body))) == ["Sigmoid", "Tanh"]


@pytest.mark.parametrize("body", NO_IDENTITIES.values(), ids=NO_IDENTITIES)
def test_what_changes_its_input_stays(body: str) -> None:
    source = identity_model(body)
    assert op_types(normalised(source)) == op_types(load(source))


def test_an_identity_that_is_an_output_stays() -> None:
    text = "g (float[N,6] x) => (float[N,6] y, float[N,6] z) { y = Identity(x) z = Neg(y) }"
    graph = normalised(model(text))
    assert op_types(graph) == ["Identity", "Neg"]
    assert graph.outputs == ("y", "z")


def test_dropout_whose_mask_is_read_stays() -> None:
    text = (
        "g (float[N,6] x) => (float[N,6] y) { a, m = Dropout(x) c = Cast<to = 1>(m) y = Add(a, c) }"
    )
    assert op_types(normalised(model(text))) == ["Dropout", "Cast", "Add"]


def test_dropout_whose_mask_is_an_output_stays() -> None:
    text = "g (float[N,6] x) => (float[N,6] y, bool[N,6] m) { a, m = Dropout(x) y = Neg(a) }"
    assert op_types(normalised(model(text))) == ["Dropout", "Neg"]


# --- Shapes, axes -------------------------------------------------------------------------------


@pytest.mark.parametrize("read", ["s = Shape(h)", "n = Size(h) s = Unsqueeze(n, axis)"])
@pytest.mark.parametrize(
    "function", ["h = Relu(c)", "a = Relu(c) h = Sigmoid(a)", "h = Softmax(c)", "h = Clip(c, low)"]
)
def test_shapes_are_read_before_elementwise_functions(function: str, read: str) -> None:
    weights = {"axis": np.array([0]), **scalars(low=-1.0)}
    text = (
        "g (float[N,6] x, float[1,6] r) => (float[N,6] y, int64[?] s)"
        f" {{ c = Add(x, r) {function} {read} y = Exp(h) }}"
    )
    graph = normalised(model(text, weights, opset=18))
    (shape,) = (n for n in graph.nodes if isinstance(n, Op) and n.op_type in ("Shape", "Size"))
    assert shape.inputs == ("c",)


@pytest.mark.parametrize("function", ["h = Transpose(c)", "h = Add(c, r)", "a, h = Split(c, six)"])
def test_shapes_of_other_functions_are_read_behind_them(function: str) -> None:
    text = (
        "g (float[N,6] x, float[1,6] r) => (float[?,?] y, int64[2] s)"
        f" {{ c = Exp(x) {function} s = Shape(h) y = Exp(h) }}"
    )
    source = model(text, {"six": np.array([1, 2])}, opset=13)
    graph = normalised(source, arrays(1, x=(3, 6), r=(1, 6)))
    (shape,) = (n for n in graph.nodes if isinstance(n, Op) and n.op_type == "Shape")
    assert shape.inputs == ("h",)


EINSUMS = {"ij->ji": (1, 0), "b i j -> b j i": (0, 2, 1), "cab": (1, 2, 0), "abc->cab": (2, 0, 1)}


@pytest.mark.parametrize(("equation", "order"), EINSUMS.items(), ids=EINSUMS)
def test_an_einsum_that_reorders_axes_is_a_transpose(equation: str, order: tuple[int, ...]) -> None:
    shape = (2, 3, 4)[: len(order)]
    dims = ",".join(map(str, shape))
    out = ",".join(str(shape[i]) for i in order)
    text = f'g (float[{dims}] x) => (float[{out}] y) {{ y = Einsum<equation = "{equation}">(x) }}'
    (node,) = normalised(model(text)).nodes
    assert isinstance(node, Op)
    assert (node.op_type, node.attrs["perm"]) == ("Transpose", order)


@pytest.mark.parametrize("equation", ["ij->i", "ii->i", "ij->", "ii", "...j->j..."])
def test_other_einsums_of_one_operand_stay(equation: str) -> None:
    text = f'g (float[3,3] x) => (float y) {{ y = Einsum<equation = "{equation}">(x) }}'
    source = model(text)
    source.graph.output[0].type.tensor_type.ClearField("shape")
    assert op_types(normalised(source)) == ["Einsum"]


DIMENSIONS = {
    "copied": ("s = Shape(x) y = Reshape(v, s)", ("N", "T", 6)),
    "a part of a shape": (
        "s = Shape<end = 2>(x) d = Concat<axis = 0>(s, two, three) y = Reshape(x, d)",
        ("N", "T", 2, 3),
    ),
    "one picked": (
        "s = Shape(x) n = Gather(s, zeroth) u = Unsqueeze(n, axis)"
        " d = Concat<axis = 0>(u, minus) y = Reshape(x, d)",
        ("N", None),
    ),
    "in 32 bits": (
        "s = Shape(x) c = Cast<to = 6>(s) n = Slice(c, axis, one, axis)"
        " d = Concat<axis = 0>(n, minus32, three32) e = Cast<to = 7>(d) y = Reshape(x, e)",
        ("N", None, 3),
    ),
    "the rest": ("y = Reshape(x, split)", ("N", "T", 2, 3)),
    "a product of two": ("y = Reshape(x, flat)", (None, 6)),
    "broadcast": (
        "s = Shape<end = 2>(x) d = Concat<axis = 0>(s, one) e = Expand(r, d) y = Add(x, e)",
        ("N", "T", 6),
    ),
    "scaled by 1": (
        "s = Shape<end = 2>(x) m = Mul(s, ones) d = Concat<axis = 0>(m, six) y = Reshape(v, d)",
        ("N", "T", 6),
    ),
    "scaled by 2": (
        "s = Shape<end = 2>(x) m = Mul(s, twos) d = Concat<axis = 0>(m, three) w = Concat<axis = 1>"
        "(v, v) y = Reshape(w, d)",
        (None, None, 3),
    ),
}


@pytest.mark.parametrize(("body", "expected"), DIMENSIONS.values(), ids=DIMENSIONS)
def test_dimensions_that_shape_arithmetic_copies(
    body: str, expected: tuple[int | str | None, ...]
) -> None:
    weights = {
        "axis": np.array([0]),
        "zeroth": np.array(0),
        "one": np.array([1]),
        "two": np.array([2]),
        "three": np.array([3]),
        "six": np.array([6]),
        "minus": np.array([-1]),
        "minus32": np.array([-1], np.int32),
        "three32": np.array([3], np.int32),
        "split": np.array([0, 0, 2, 3]),
        "flat": np.array([-1, 6]),
        "ones": np.array([1, 1]),
        "twos": np.array([2, 2]),
    }
    text = f"g (float[N,T,6] x, float[N,M] v, float[1,1,1] r) => (float z) {{ {body} z = Exp(y) }}"
    source = model(text, weights, opset=18)
    source.graph.output[0].type.tensor_type.ClearField("shape")
    feeds = arrays(1, x=(2, 4, 6), v=(2, 24), r=(1, 1, 1))
    shape = normalised(source, feeds).types["y"].shape
    assert shape is not None
    assert len(shape) == len(expected)
    for found, wanted in zip(shape, expected, strict=True):
        assert found == wanted or (wanted is None and found not in ("N", "T"))


def test_a_name_that_one_input_has_twice_means_nothing() -> None:
    """Exporters that write '?' for every unknown size do not say that all are equal."""
    text = (
        "g (float[Q,Q] x, float[Q,Q] r) => (float[?,?] z)"
        " { s = Shape(x) e = Expand(r, s) y = Add(x, e) z = Exp(y) }"
    )
    graph = normalised(model(text, opset=18), arrays(1, x=(3, 4), r=(3, 1)))
    assert op_types(graph) == ["Shape", "Expand", "Add", "Exp"]


# --- Constants ----------------------------------------------------------------------------------

WEIGHT_CHAINS = {
    "transpose": ("v = Transpose(w)", (4, 6)),
    "identity": ("v = Identity(w)", (6, 4)),
    "cast": ("a = Cast<to = 11>(w) v = Cast<to = 1>(a)", (6, 4)),
    "scaled": ("v = Mul(w, two)", (6, 4)),
    "reshaped and sliced": (
        "a = Reshape(w, flat) b = Slice(a, start, end) v = Reshape(b, matrix)",
        (5, 6),
    ),
    "standardised": (
        "m = ReduceMean<axes = [0]>(w) c = Sub(w, m) q = Mul(c, c) s = ReduceMean<axes = [0]>(q)"
        " r = Sqrt(s) v = Div(c, r)",
        (6, 4),
    ),
    "quantised": ("v = DequantizeLinear(wq, two)", (6, 4)),
    "quantised by channel": ("v = DequantizeLinear<axis = 1>(wq, steps, zeros)", (6, 4)),
    "half precision": ("a = Cast<to = 10>(w) v = Cast<to = 1>(a)", (6, 4)),
    "integers, cast and scaled": ("a = Cast<to = 1>(wq) v = Mul(a, steps)", (6, 4)),
    "gathered": ("v = Gather(w, order)", (6, 4)),
    "filled": ("a = ConstantOfShape(full) v = Add(a, w)", (6, 4)),
    "concatenated": ("a, b = Split<axis = 0>(w) v = Concat<axis = 0>(b, a)", (6, 4)),
}


@pytest.mark.parametrize(("chain", "shape"), WEIGHT_CHAINS.values(), ids=WEIGHT_CHAINS)
def test_computed_weights_become_constants(chain: str, shape: tuple[int, ...]) -> None:
    weights = {
        **arrays(1, w=shape),
        **scalars(two=2.0),
        "wq": np.arange(24, dtype=np.int8).reshape(6, 4),
        "steps": np.array([0.5, 1.0, 0.25, 2.0], np.float32),
        "zeros": np.array([1, 2, 3, 4], np.int8),
        "order": np.array([5, 4, 3, 2, 1, 0]),
        "full": np.array([6, 4]),
        "flat": np.array([-1]),
        "start": np.array([3]),
        "end": np.array([27]),
        "matrix": np.array([6, 4]),
    }
    text = f"g (float[N,6] x) => (float[N,4] y) {{ {chain} y = MatMul(x, v) }}"
    kept = ["DequantizeLinear"] if "Dequantize" in chain else []
    assert op_types(normalised(model(text, weights), tolerance=1e-4)) == [*kept, "MatMul"]


SHAPES = {
    "static shape": (
        "float[3,4,5] x",
        "s = Shape(x) t = Gather(s, zero) u = Mul(t, two) a = Unsqueeze(u, axis)"
        " b = Concat<axis = 0>(a, minus) y = Reshape(x, b)",
        ["Reshape"],
    ),
    "a known dimension": (
        "float[N,4,5] x",
        "s = Shape(x) t = Gather(s, one) u = Unsqueeze(t, axis)"
        " b = Concat<axis = 0>(minus, u) y = Reshape(x, b)",
        ["Reshape"],
    ),
    "known dimensions by a slice of the shape": (
        "float[N,4,5] x",
        "s = Shape<start = 1>(x) b = Concat<axis = 0>(minus, s) y = Reshape(x, b)",
        ["Reshape"],
    ),
    "counted from the end": (
        "float[N,4,5] x",
        "s = Shape<start = -1>(x) b = Concat<axis = 0>(minus, s) y = Reshape(x, b)",
        ["Reshape"],
    ),
    "an open dimension": (
        "float[N,4,5] x",
        "s = Shape(x) t = Gather(s, zero) u = Unsqueeze(t, axis)"
        " b = Concat<axis = 0>(u, minus) y = Reshape(x, b)",
        ["Shape", "Gather", "Unsqueeze", "Concat", "Reshape"],
    ),
    "several dimensions at once": (
        "float[N,4,5] x",
        "s = Shape(x) t = Gather(s, both) b = Concat<axis = 0>(minus, t) y = Reshape(x, b)",
        ["Reshape"],
    ),
}


@pytest.mark.parametrize(("inputs", "body", "expected"), SHAPES.values(), ids=SHAPES)
def test_known_shapes_become_constants(inputs: str, body: str, expected: list[str]) -> None:
    weights: dict[str, Array] = {
        "zero": np.array(0),
        "one": np.array(1),
        "two": np.array(2),
        "axis": np.array([0]),
        "minus": np.array([-1]),
        "both": np.array([1, -1]),
    }
    source = model(f"g ({inputs}) => (float y) {{ {body} }}", weights)
    source.graph.output[0].type.tensor_type.ClearField("shape")
    assert op_types(normalised(source, arrays(1, x=(3, 4, 5)))) == expected


def test_a_shape_that_is_an_output_stays() -> None:
    text = "g (float[3,4] x) => (float[3,4] y, int64[2] s) { y = Neg(x) s = Shape(x) }"
    assert op_types(normalised(model(text))) == ["Neg", "Shape"]


def test_random_numbers_are_not_folded() -> None:
    text = (
        "g (float[N,6] x) => (float[N,6] y)"
        " { r = RandomNormalLike(w) z = Mul(r, zero) y = Add(x, z) }"
    )
    source = model(text, {**arrays(1, w=(6,)), **scalars(zero=0.0)})
    assert op_types(normalised(source)) == ["RandomNormalLike", "Mul", "Add"]


def test_huge_results_are_not_folded() -> None:
    text = "g (int64[1] i) => (float[1,?] y) { big = Expand(one, shape) y = Gather(big, i) }"
    source = model(text, {**scalars(one=1.0), "shape": np.array([2**14, 2**13])})
    assert op_types(Normalize()(load(source))) == ["Expand", "Gather"]


def test_an_output_that_is_constant() -> None:
    text = "g (float[N,6] x) => (float[N,6] y, float[6] z) { y = Neg(x) z = Mul(w, w) }"
    graph = normalised(model(text, arrays(1, w=(6,))))
    assert op_types(graph) == ["Neg"]
    assert graph.outputs == ("y", "z")


# --- Everything together ------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_normalised_examples_compute_the_same(path: object) -> None:
    before = load(str(path))
    after = Normalize()(before)
    verify(after, Stage.ANN)
    feeds = random_feeds(before, 4, 8)
    assert_same_outputs(Session(after).run(feeds), Session(before).run(feeds), 1e-4)
    assert Normalize()(after) == after


BLOCKS = {
    "conv": "{o} = Conv<pads = [1,1,1,1]>({i}, {w})",
    "depthwise": "{o} = Conv<pads = [1,1,1,1], group = 4>({i}, {d})",
    "pointwise": "{o} = Conv({i}, {p}, {b})",
    "norm": "{o} = BatchNormalization({i}, {gamma}, {beta}, {mean}, {var})",
    "relu": "{o} = Relu({i})",
    "silu": "{o}s = Sigmoid({i}) {o} = Mul({i}, {o}s)",
    "gelu": (
        "{o}d = Div({i}, sqrt2) {o}e = Erf({o}d) {o}f = Add({o}e, one) {o}g = Mul({i}, {o}f)"
        " {o} = Mul({o}g, half)"
    ),
    "relu by where": "{o}c = Greater({i}, zero) {o} = Where({o}c, {i}, zero)",
    "relu6 by bounds": "{o}a = Max({i}, zero) {o} = Min({o}a, six)",
    "hard swish": (
        "{o}a = Add({i}, three) {o}c = Clip({o}a, zero, six) {o}m = Mul({i}, {o}c)"
        " {o} = Div({o}m, six)"
    ),
    "softmax": (
        "{o}m = ReduceMax<axes = [1]>({i}) {o}z = Sub({i}, {o}m) {o}e = Exp({o}z)"
        " {o}t = ReduceSum({o}e, channels) {o} = Div({o}e, {o}t)"
    ),
    "layer norm": (
        "{o}m = ReduceMean<axes = [3]>({i}) {o}c = Sub({i}, {o}m) {o}q = Mul({o}c, {o}c)"
        " {o}v = ReduceMean<axes = [3]>({o}q) {o}w = Add({o}v, one) {o}s = Sqrt({o}w)"
        " {o} = Div({o}c, {o}s)"
    ),
    "reordered": '{o} = Einsum<equation = "abcd->abdc">({i})',
    "reshaped by its shape": "{o}s = Shape({i}) {o} = Reshape({i}, {o}s)",
    "max pool": "{o} = MaxPool<kernel_shape = [3,3], pads = [1,1,1,1]>({i})",
    "average pool": (
        "{o} = AveragePool<kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = 1>({i})"
    ),
    "pad": "{o}p = Pad({i}, padded) {o} = Conv({o}p, {w}, {b})",
    "pad and crop": "{o}p = Pad({i}, padded) {o} = Slice({o}p, first, last, spatial)",
    "residual": "{o}s = Sigmoid({i}) {o} = Add({i}, {o}s)",
    "dropout": "{o} = Dropout({i})",
    "identity": "{o} = Identity({i})",
    "transpose": "{o} = Transpose<perm = [0,1,3,2]>({i})",
}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.sampled_from(sorted(BLOCKS)), min_size=2, max_size=9),
    st.integers(0, 2**16),
    st.booleans(),
)
def test_any_chain_of_blocks_computes_the_same(
    blocks: list[str], seed: int, flattened: bool
) -> None:
    weights: dict[str, Array] = {
        **scalars(half=0.5, one=1.0, sqrt2=np.sqrt(2.0), zero=0.0, three=3.0, six=6.0),
        "channels": np.array([1]),
        "padded": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "first": np.array([1, 1]),
        "last": np.array([6, 6]),
        "spatial": np.array([2, 3]),
        **arrays(seed, head=(100, 3) if flattened else (4, 3)),
    }
    lines, value = [], "x"
    for i, block in enumerate(blocks):
        own = {
            **norm_weights(seed + i, 4, negative=(seed + i) % 3 == 0),
            **arrays(seed + i, w=(4, 4, 3, 3), d=(4, 1, 3, 3), p=(4, 4, 1, 1), b=(4,)),
        }
        own["w"] /= 6
        weights |= {f"{name}{i}": array for name, array in own.items()}
        names = {name: f"{name}{i}" for name in own}
        lines.append(BLOCKS[block].format(i=value, o=f"h{i}", **names))
        value = f"h{i}"
    pool = "q = Flatten" if flattened else "g = GlobalAveragePool"
    last = "" if flattened else "q = Flatten(g)"
    body = f"{' '.join(lines)} {pool}({value}) {last} y = MatMul(q, head)"
    source = model(f"net (float[N,4,5,5] x) => (float[N,3] y) {{ {body} }}", weights)
    normalised(source, arrays(seed, x=(2, 4, 5, 5)), tolerance=1e-3)


def test_a_graph_keeps_its_names_and_types() -> None:
    source = model(
        f"net (float[N,6] x) => (float[N,6] y) {{ {ERF} }}",
        GELU,
    )
    before = load(source)
    after = Normalize()(before)
    assert (after.name, after.inputs, after.outputs) == ("net", ("x",), ("y",))
    assert after.types["y"] == before.types["y"]
    assert replace(after, nodes=()).stage == Stage.ANN


# --- Names of sizes, scaled sums, types without kernels -------------------------------------------


def test_a_slice_between_sizes_of_one_placeholder_stays() -> None:
    source = model(
        "g (float[Q,4] x) => (y) { r = Relu(x) c = Slice(r, one, end, zero) y = Neg(c) }",
        {"one": np.array([1]), "end": np.array([9]), "zero": np.array([0])},
    )
    source.graph.value_info.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, ["Q", 4]))
    feeds = arrays(0, x=(3, 4))
    found = Session(Normalize()(load(source)), optimize=False).run(feeds)
    assert_same_outputs(found, run_onnx(source, feeds))


def test_a_scaled_sum_is_no_log_softmax() -> None:
    source = model(
        """g (float[N,4] x) => (float[N,4] y) { e = Exp(x)
        s = ReduceSum<keepdims = 1>(e, axis) h = Mul(s, half) l = Log(h) d = Mul(l, two)
        y = Sub(x, d) }""",
        {"axis": np.array([-1]), "half": np.array(0.5, np.float32), "two": np.array(2, np.float32)},
    )
    feeds = arrays(0, x=(3, 4))
    found = Session(Normalize()(load(source)), optimize=False).run(feeds)
    assert_same_outputs(found, run_onnx(source, feeds))


def test_a_leaky_relu_of_doubles_stays_written_out() -> None:
    source = model(
        "g (double[N,4] x) => (double[N,4] y) { a = Mul(x, slope) y = Max(x, a) }",
        {"slope": np.array(0.1)},
    )
    feeds = {"x": arrays(0, x=(3, 4))["x"].astype(np.float64)}
    found = Session(Normalize()(load(source)), optimize=False).run(feeds)
    assert_same_outputs(found, run_onnx(source, feeds))
