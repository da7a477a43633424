"""Synapse counts against onnxruntime: with ones for weights, the sum of a result is a count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from snnc.ir.node import Array, Attribute, Loc, Op
from snnc.ir.ops import MULTIPLYING
from snnc.synapses import Shape, fan_out, macs, product_count

Attributes = Mapping[str, Any]


def operation(op_type: str, attrs: Attributes, operands: int = 2) -> Op:
    held: dict[str, Attribute] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in attrs.items()
    }
    return Op(("y",), ("a", "b", "c")[:operands], Loc(("node",)), op_type, held)


def session(op: Op, ranks: list[int]) -> Any:
    attrs: dict[str, Any] = {k: list(v) if isinstance(v, tuple) else v for k, v in op.attrs.items()}
    node = helper.make_node(op.op_type, list(op.inputs), list(op.outputs), **attrs)
    inputs = [
        helper.make_tensor_value_info(name, 1, [None] * rank)
        for name, rank in zip(op.inputs, ranks, strict=True)
    ]
    outputs = [helper.make_tensor_value_info("y", 1, None)]
    model = helper.make_model(
        helper.make_graph([node], "g", inputs, outputs),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def total(values: Array) -> float:
    return float(values.sum(dtype=np.float64))


def counts(shape: Shape, seed: int) -> Array:
    return np.random.default_rng(seed).integers(0, 8, shape).astype(np.float32)


def check_counts(op: Op, *shapes: Shape) -> float:
    """All three counts of one operation against what it computes; returns its MACs."""
    run = session(op, [len(shape) for shape in shapes])

    def result(*operands: Array) -> Array:
        return np.asarray(run.run(None, dict(zip(op.inputs, operands, strict=True)))[0])

    ones = [np.ones(shape, np.float32) for shape in shapes]
    out = result(*ones)
    known = dict(zip(op.inputs, shapes, strict=True)) | {"y": out.shape}
    assert macs(op, known) == total(out)
    drawn = [counts(shape, seed) for seed, shape in enumerate(shapes)]
    for i, value in enumerate(op.inputs):
        alone = total(result(*(drawn[j] if j == i else ones[j] for j in range(len(shapes)))))
        assert weighted(drawn[i], fan_out(op, value, known)) == pytest.approx(alone, rel=1e-12)
    assert product_count(op, drawn, out.shape) == total(result(*drawn))
    assert product_count(op, ones, out.shape) == total(out)
    return macs(op, known)


def weighted(drawn: Array, fan: Array | float) -> float:
    if isinstance(fan, float):
        return total(drawn) * fan
    assert fan.shape == drawn.shape[2:]
    return total(drawn * fan)


# --- convolutions -------------------------------------------------------------------------------


@st.composite
def given_outputs(
    draw: st.DrawFn, size: list[int], kernel: list[int], attrs: Attributes
) -> dict[str, list[int]]:
    """Attributes that only a ConvTranspose has."""
    strides = attrs["strides"]
    found = {}
    if draw(st.booleans()):
        found["output_padding"] = [draw(st.integers(0, s - 1)) for s in strides]
    if draw(st.booleans()):
        spare = found.get("output_padding", [0] * len(size))
        axes = zip(size, kernel, strides, attrs["dilations"], spare, strict=True)
        full = [(n - 1) * s + o + (k - 1) * d + 1 for n, k, s, d, o in axes]
        found["output_shape"] = [
            n - draw(st.integers(0, s)) for n, s in zip(full, strides, strict=True)
        ]
    return found


@st.composite
def convolutions(draw: st.DrawFn, op_type: str) -> tuple[Op, Shape, Shape]:
    rank, group = draw(st.integers(1, 2)), draw(st.sampled_from((1, 2, 3)))
    inputs, outputs = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 4)) for _ in range(rank)]
    size = [draw(st.integers(8, 11)) for _ in range(rank)]
    strides = [draw(st.integers(1, 3)) for _ in range(rank)]
    dilations = [draw(st.integers(1, 2)) for _ in range(rank)]
    attrs: dict[str, Any] = {"strides": strides, "dilations": dilations, "group": group}
    auto_pad = draw(st.sampled_from(("pads", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")))
    if auto_pad == "pads":
        reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
        attrs["pads"] = [draw(st.integers(0, min(r, 3))) for r in reach * 2]
    else:
        attrs["auto_pad"] = auto_pad
    if auto_pad.startswith("SAME"):
        attrs["dilations"] = [1] * rank
    channels = (
        (group * inputs, outputs) if op_type == "ConvTranspose" else (group * outputs, inputs)
    )
    op = operation(op_type, attrs)
    return op, (2, group * inputs, *size), (*channels, *kernel)


@settings(deadline=None, max_examples=150)
@given(convolutions("Conv"))
def test_conv(case: tuple[Op, Shape, Shape]) -> None:
    check_counts(*case)


@settings(deadline=None, max_examples=150)
@given(convolutions("ConvTranspose"))
def test_conv_transpose(case: tuple[Op, Shape, Shape]) -> None:
    check_counts(*case)


@pytest.mark.parametrize(
    ("attrs", "data", "weight", "expected"),
    [
        ({}, (1, 1, 5), (1, 1, 3), 9),
        ({"pads": [1, 1]}, (1, 1, 5), (1, 1, 3), 13),
        ({"pads": [1, 1]}, (4, 2, 5), (3, 2, 3), 4 * 2 * 3 * 13),
        ({"group": 2}, (1, 2, 5), (2, 1, 3), 2 * 9),
        ({"strides": [2]}, (1, 1, 5), (1, 1, 3), 6),
        ({"dilations": [2]}, (1, 1, 5), (1, 1, 3), 3),
        ({"pads": [1, 1, 1, 1]}, (1, 1, 5, 5), (1, 1, 3, 3), 169),
        ({}, (1, 1, 3, 4, 5), (1, 1, 2, 2, 2), 2 * 3 * 4 * 8),
        ({"auto_pad": "SAME_UPPER"}, (1, 1, 4), (1, 1, 2), 7),
    ],
)
def test_conv_counted_by_hand(attrs: Attributes, data: Shape, weight: Shape, expected: int) -> None:
    assert check_counts(operation("Conv", attrs), data, weight) == expected


def test_fan_out_of_a_padded_convolution_by_position() -> None:
    op = operation("Conv", {"pads": [1, 1], "strides": [2]})
    fan = fan_out(op, "a", {"a": (1, 1, 6), "b": (5, 1, 3), "y": (1, 5, 3)})
    assert isinstance(fan, np.ndarray)
    assert fan.tolist() == [5, 10, 5, 10, 5, 5]


@pytest.mark.parametrize(
    ("attrs", "data", "weight"),
    [
        ({"output_padding": [1], "strides": [2]}, (2, 2, 5), (2, 3, 3)),
        ({"output_padding": [1], "strides": [2], "pads": [1, 1]}, (2, 2, 5), (2, 3, 3)),
        ({"output_shape": [10], "strides": [2]}, (2, 2, 5), (2, 3, 3)),
        ({"output_shape": [9], "strides": [2]}, (2, 2, 5), (2, 3, 3)),
        ({"output_shape": [10], "strides": [2]}, (2, 2, 5), (2, 3, 4)),
        (
            {"output_shape": [10], "strides": [2], "auto_pad": "SAME_UPPER"},
            (2, 2, 5),
            (2, 3, 3),
        ),
        (
            {"output_shape": [10], "strides": [2], "auto_pad": "SAME_LOWER"},
            (2, 2, 5),
            (2, 3, 3),
        ),
        (
            {"output_shape": [10], "strides": [2], "output_padding": [1]},
            (2, 2, 5),
            (2, 3, 4),
        ),
        ({"output_shape": [12], "strides": [2]}, (2, 2, 5), (2, 3, 3)),
        ({"output_shape": [10, 9], "strides": [2, 2], "group": 2}, (2, 4, 5, 5), (4, 1, 3, 4)),
        ({}, (1, 2, 3, 3, 3), (2, 2, 2, 2, 2)),
    ],
)
def test_conv_transpose_with_a_given_output(attrs: Attributes, data: Shape, weight: Shape) -> None:
    assert check_counts(operation("ConvTranspose", attrs), data, weight) > 0


# --- matrix products ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((3, 4), (4, 5), 60),
        ((2, 3, 4), (4, 5), 120),
        ((2, 3, 4), (2, 4, 5), 120),
        ((1, 3, 4), (6, 4, 5), 360),
        ((6, 3, 4), (1, 4, 5), 360),
        ((3, 4), (6, 4, 5), 360),
        ((2, 1, 3, 4), (7, 4, 5), 840),
        ((2, 7, 3, 4), (2, 7, 4, 5), 840),
        ((4,), (4, 5), 20),
        ((3, 4), (4,), 12),
        ((4,), (4,), 4),
        ((2, 3, 4), (4,), 24),
        ((4,), (2, 4, 5), 40),
        ((1, 1), (1, 1), 1),
    ],
)
def test_matmul(a: Shape, b: Shape, expected: int) -> None:
    assert check_counts(operation("MatMul", {}), a, b) == expected


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
def test_gemm(trans_a: int, trans_b: int) -> None:
    a = (4, 3) if trans_a else (3, 4)
    b = (5, 4) if trans_b else (4, 5)
    assert check_counts(operation("Gemm", {"transA": trans_a, "transB": trans_b}), a, b) == 60


@pytest.mark.parametrize(
    ("equation", "shapes", "expected"),
    [
        ("ij,jk->ik", [(3, 4), (4, 5)], 60),
        ("ij,jk", [(3, 4), (4, 5)], 60),
        ("ij, kj -> ik", [(3, 4), (5, 4)], 60),
        ("bhid,bhjd->bhij", [(2, 3, 4, 5), (2, 3, 6, 5)], 720),
        ("bij,kj->bik", [(2, 3, 4), (5, 4)], 120),
        ("i,j->ij", [(3,), (4,)], 12),
        ("ij,ij->", [(3, 4), (3, 4)], 12),
        ("ij,ij->ij", [(3, 4), (3, 4)], 12),
        ("ij,k->j", [(3, 4), (5,)], 60),
        ("...ij,...jk->...ik", [(2, 7, 3, 4), (2, 7, 4, 5)], 840),
        ("...ij,jk->...ik", [(2, 7, 3, 4), (4, 5)], 840),
        ("ij,...jk->...ik", [(3, 4), (7, 4, 5)], 420),
        ("...ij,...jk->...ik", [(2, 1, 3, 4), (2, 7, 4, 5)], 840),
        ("...ij,...jk->...ik", [(2, 7, 3, 4), (1, 1, 4, 5)], 840),
        ("...ij,...jk->...ik", [(3, 4), (4, 5)], 60),
        ("i...,i...->...", [(3, 2, 4), (3, 2, 4)], 24),
        ("ij,ij->ij", [(3, 1), (3, 4)], 12),
        ("ij,jk->ik", [(3, 1), (4, 5)], 60),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)], 120),
    ],
)
def test_einsum(equation: str, shapes: list[Shape], expected: int) -> None:
    op = operation("Einsum", {"equation": equation}, len(shapes))
    assert check_counts(op, *shapes) == expected


def test_einsum_ellipses_of_different_ranks() -> None:
    """ONNX allows what onnxruntime refuses: broadcast dimensions align at the right."""
    op = operation("Einsum", {"equation": "...ij,...jk->...ik"})
    shapes = {"a": (7, 3, 4), "b": (2, 7, 4, 5), "y": (2, 7, 3, 5)}
    a, b = counts(shapes["a"], 1), counts(shapes["b"], 2)
    assert macs(op, shapes) == 840
    assert product_count(op, [a, b], shapes["y"]) == total(a @ b)


def test_operand_without_entries_has_no_synapses() -> None:
    op = operation("MatMul", {})
    shapes = {"a": (0, 4), "b": (4, 5), "y": (0, 5)}
    assert macs(op, shapes) == fan_out(op, "a", shapes) == fan_out(op, "b", shapes) == 0.0


# --- operations that only ever stay analog ------------------------------------------------------


def test_recurrent_layers_multiply_by_both_weights_at_every_step() -> None:
    op = Op(("y",), ("x", "w", "r"), Loc(("lstm",)), "LSTM")
    shapes = {"x": (7, 2, 3), "w": (1, 4 * 5, 3), "r": (1, 4 * 5, 5), "y": (7, 1, 2, 5)}
    assert macs(op, shapes) == 7 * 2 * (4 * 5 * 3 + 4 * 5 * 5)


def test_quantised_layers_count_like_the_layers_they_stand_for() -> None:
    product = Op(("y",), ("a", "b"), Loc(("q",)), "MatMulInteger")
    assert macs(product, {"a": (3, 4), "b": (4, 5), "y": (3, 5)}) == 60
    inputs = ("a", "a.s", "a.z", "b", "b.s", "b.z", "y.s", "y.z")
    linear = Op(("y",), inputs, Loc(("q",)), "QLinearMatMul")
    assert macs(linear, {"a": (3, 4), "b": (4, 5), "y": (3, 5)}) == 60
    shapes = {"a": (1, 2, 5), "b": (3, 2, 3), "y": (1, 3, 5)}
    for op_type in ("ConvInteger", "QLinearConv"):
        names = inputs if op_type == "QLinearConv" else ("a", "b")
        conv = Op(("y",), names, Loc(("q",)), op_type, {"pads": (1, 1)})
        assert macs(conv, shapes) == 2 * 3 * 13


def test_fused_attention_counts_its_projections_and_products() -> None:
    op = Op(("y",), ("x", "w"), Loc(("attention",)), "com.microsoft.Attention")
    shapes = {"x": (2, 7, 6), "w": (6, 8 + 8 + 4), "y": (2, 7, 4)}
    assert macs(op, shapes) == 2 * 7 * 6 * 20 + 2 * 7 * 7 * 8 + 2 * 7 * 7 * 4


def test_every_multiplying_operation_is_counted_here() -> None:
    assert set(MULTIPLYING.values()) == {
        "MatMul",
        "Gemm",
        "Conv",
        "ConvTranspose",
        "Einsum",
        "recurrent",
        "attention",
    }
