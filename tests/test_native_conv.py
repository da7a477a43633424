"""SpikeConv of the native library, channels-last, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from onnx import TensorProto

from snnc.ir.node import Array
from snnc.kernels import using_instruction_set
from snnc.neurons.sfn import SFN
from tests.conv_cases import (
    EACH_SET,
    NEEDS_LIBRARY,
    SETTINGS,
    SHAPES,
    Case,
    Geometry,
    Node,
    cases,
    convolve,
    plain,
    random_case,
)

pytestmark = NEEDS_LIBRARY


def spike_conv(
    case: Case, suffix: str = "", extra: dict[str, Array] | None = None, **attributes: Any
) -> Node:
    random = np.random.default_rng(1)
    outputs = case.w.shape[0]
    inputs = {
        "x": case.x,
        "w": case.w,
        "scale": random.uniform(1e-4, 1e-3, outputs).astype(np.float32),
        "bias": random.normal(size=outputs).astype(np.float32),
    }
    return Node(
        "SpikeConv" + suffix,
        inputs | (extra or {}),
        {"zero_point": case.zero_point} | case.geometry.attributes | attributes,
        output=TensorProto.UINT8 if suffix.endswith("Count") else TensorProto.FLOAT,
    )


def spike_drive(case: Case, node: Node) -> Array:
    """float(sums) * scale + bias, each operation rounded to float32."""
    sums = convolve(
        case.x.astype(np.int64) - case.zero_point, case.w.astype(np.int64), case.geometry
    )
    assert np.abs(sums).max(initial=0) < 2**31
    y = sums.astype(np.float32) * node.inputs["scale"]
    return np.asarray(y + node.inputs["bias"])


@EACH_SET
@SETTINGS
@given(case=cases())
def test_counts_convolve_exactly(instructions: str, case: Case) -> None:
    node = spike_conv(case)
    with using_instruction_set(instructions):
        assert np.array_equal(node.run(), spike_drive(case, node))


@EACH_SET
@pytest.mark.parametrize(("x_shape", "outputs", "geometry"), SHAPES)
@pytest.mark.parametrize("zero_point", [0, 128])
def test_layers_of_networks(
    instructions: str, x_shape: tuple[int, ...], outputs: int, geometry: Geometry, zero_point: int
) -> None:
    case = random_case(x_shape, outputs, geometry, zero_point)
    node = spike_conv(case)
    with using_instruction_set(instructions):
        assert np.array_equal(node.run(threads=2), spike_drive(case, node))


@EACH_SET
@pytest.mark.parametrize("group", [1, 64])
def test_sums_beyond_int16_do_not_saturate(instructions: str, group: int) -> None:
    x = np.full((1, 9, 9, 64), 255, np.uint8)
    for weight in (127, -128):
        w = np.full((64, 64 // group, 3, 3), weight, np.int8)
        case = Case(plain(3, 3, pad=1, group=group), x, w)
        node = spike_conv(case)
        with using_instruction_set(instructions):
            assert np.array_equal(node.run(), spike_drive(case, node))


@EACH_SET
@pytest.mark.parametrize(
    ("x_shape", "outputs", "group"),
    [((1, 30, 30, 16), 24, 1), ((2, 7, 7, 16), 24, 2), ((1, 15, 15, 24), 24, 24)],
)
@pytest.mark.parametrize("gelu", ["", "Gelu"])
@pytest.mark.parametrize("add", ["", "Add"])
def test_fused_counts_are_those_of_the_neuron(
    instructions: str, x_shape: tuple[int, ...], outputs: int, group: int, gelu: str, add: str
) -> None:
    """The membrane potential comes from the operation itself without the neuron."""
    case = random_case(x_shape, outputs, plain(3, 3, pad=1, group=group), 128)
    with using_instruction_set(instructions):
        result = spike_conv(case).run()
        addend = np.sin(np.arange(result.size, dtype=np.float32)).reshape(result.shape)
        extra = {"addend": addend} if add else {}
        v = spike_conv(case, add + gelu, extra).run()
        steps = {"positive": 0.0625, "negative": 0.05}
        for rule in ("nearest", "eq11"):
            both = extra | {k: np.asarray(s, np.float32) for k, s in steps.items()}
            model = SFN(M=6, rule=rule)
            suffix = f"{add}{gelu}SfnDense{rule.capitalize()}BothCount"
            counts = spike_conv(case, suffix, both, M=6).run()
            assert counts.dtype == np.uint8
            expected = model.count(v, steps["positive"], steps["negative"])
            assert np.array_equal(counts.astype(np.float32) - 128, expected)
    if not gelu:
        assert np.array_equal(v, result + addend if add else result)
    assert len(np.unique(counts)) > 20


def test_fused_positive_counts_with_bound_and_limit() -> None:
    case = random_case((1, 12, 12, 16), 20, plain(3, 3))
    v = spike_conv(case).run()
    suffix = "SfnDenseNearestPositiveCappedLimitedCount"
    step = 0.01
    extra = {"positive": np.asarray(step, np.float32)}
    counts = spike_conv(case, suffix, extra, M=8, bound=3.0, limit=200).run()
    expected = np.minimum(SFN(M=8, bound=3.0).count(np.maximum(v, 0), step), 200)
    assert np.array_equal(counts, expected)


@pytest.mark.parametrize("group", [1, 2, 6])
def test_weights_may_be_computed(group: int) -> None:
    case = random_case((1, 10, 10, 6), 6, plain(3, 3, pad=1, group=group), 128)
    node = spike_conv(case)
    constant = node.run()
    node.fed = ("x", "w")
    assert np.array_equal(node.run(), constant)


def test_one_scale_for_all_channels() -> None:
    case = random_case((1, 10, 10, 6), 9, plain(3, 3))
    node = spike_conv(case)
    node.inputs["scale"] = np.asarray(0.001, np.float32)
    assert np.array_equal(node.run(), spike_drive(case, node))


@pytest.mark.parametrize("suffix", ["", "SfnDenseNearestPositiveCount"])
def test_shapes_are_inferred(suffix: str) -> None:
    case = random_case((2, 10, 11, 6), 9, plain(3, 3, stride=2))
    extra = {"positive": np.asarray(0.1, np.float32)} if suffix else {}
    node = spike_conv(case, suffix, extra, M=6)
    node.sized = True
    assert node.session().get_outputs()[0].shape == [2, 4, 5, 9]


def test_empty_batch() -> None:
    case = random_case((1, 10, 10, 6), 9, plain(3, 3))
    node = spike_conv(case)
    session = node.session()
    y = session.run(None, {"x": np.zeros((0, 10, 10, 6), np.uint8)})[0]
    assert y.shape == (0, 8, 8, 9)


GOOD = random_case((1, 10, 10, 6), 9, plain(3, 3))


def changed(attributes: dict[str, Any] | None = None, **inputs: Array) -> Node:
    node = spike_conv(GOOD)
    node.inputs |= inputs
    node.attributes |= attributes or {}
    return node


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (changed(x=np.zeros((1, 10, 10, 5), np.uint8)), "x has 5 channels"),
        (changed(x=np.zeros((10, 10, 6), np.uint8)), "differ in rank"),
        (changed(x=np.zeros((1, 2, 10, 6), np.uint8)), "larger than the padded input of 2"),
        (changed(w=np.zeros((9, 0, 3, 3), np.int8)), "are empty"),
        (changed(w=np.zeros((9, 6), np.int8)), "rank 3 or 4"),
        (changed(scale=np.ones(4, np.float32)), "scale must have one entry for each of 9"),
        (changed(bias=np.ones(4, np.float32)), "bias must have one entry for each of 9"),
        (changed({"group": 0}), "group must be at least 1"),
        (changed({"group": 2}), "do not part into 2 groups"),
        (changed({"strides": [0, 1]}), "strides must be at least 1"),
        (changed({"strides": [1]}), "strides must have 2 entries"),
        (changed({"pads": [0, -1, 0, 0]}), "pads must be at least 0"),
        (changed({"dilations": [1, 0]}), "dilations must be at least 1"),
        (changed({"zero_point": 3}), "zero_point must be 0 or 128"),
    ],
)
def test_bad_nodes_are_refused(node: Node, message: str) -> None:
    with pytest.raises(Exception, match=message):
        node.run()


def test_an_addend_of_another_shape_is_refused() -> None:
    node = spike_conv(GOOD, "Add", {"addend": np.zeros((1, 8, 7, 9), np.float32)})
    with pytest.raises(
        Exception, match=r"SpikeConvAdd 'layer': the addend is of shape \[1,8,7,9\]"
    ):
        node.run()
