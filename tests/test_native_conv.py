"""SpikeConv and FloatConv of the native library against numpy and onnxruntime's Conv."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from snnc.ir.node import Array
from snnc.kernels import instruction_sets, kernel_library, using_instruction_set
from snnc.neurons.sfn import SFN

LIBRARY = kernel_library()
pytestmark = pytest.mark.skipif(
    LIBRARY is None, reason="the native kernels are not built (no C++ compiler at installation)"
)
EACH_SET = pytest.mark.parametrize("instructions", instruction_sets())
SETTINGS = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)


@dataclass(frozen=True)
class Geometry:
    """A convolution's attributes; kernel, strides and dilations of one or two axes."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    group: int = 1

    @property
    def attributes(self) -> dict[str, Any]:
        return {
            "strides": self.strides,
            "dilations": self.dilations,
            "pads": self.pads,
            "group": self.group,
        }


def plain(*kernel: int, group: int = 1, stride: int = 1, pad: int = 0) -> Geometry:
    rank = len(kernel)
    return Geometry(kernel, (stride,) * rank, (1,) * rank, (pad,) * 2 * rank, group)


@dataclass(frozen=True)
class Case:
    """A convolution of integers: counts x [B, C, ...] and weights w [O, C / group, ...]."""

    geometry: Geometry
    x: Array
    w: Array
    zero_point: int = 0


@st.composite
def cases(draw: Callable[..., Any]) -> Case:
    rank = draw(st.integers(1, 2))
    axes = st.tuples(*[st.integers(1, 3)] * rank)
    geometry = Geometry(
        draw(st.tuples(*[st.integers(1, 4)] * rank)),
        draw(axes),
        draw(st.tuples(*[st.integers(1, 2)] * rank)),
        draw(st.tuples(*[st.integers(0, 3)] * 2 * rank)),
        draw(st.sampled_from([1, 1, 2, 3])),
    )
    size = []
    for i, kernel in enumerate(geometry.kernel):
        reach = (kernel - 1) * geometry.dilations[i] + 1
        pad = geometry.pads[i] + geometry.pads[rank + i]
        size.append(draw(st.integers(max(1, reach - pad), 24)))
    channels = draw(st.sampled_from([1, 2, 3, 4, 5, 9, 33]))
    outputs = draw(st.sampled_from([1, 2, 3, 5, 8, 16, 17, 40]))
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    low, high = draw(st.sampled_from([(0, 256), (255, 256), (0, 2)]))
    weight_low = draw(st.sampled_from([-128, 127]))
    x = random.integers(low, high, (draw(st.integers(1, 2)), geometry.group * channels, *size))
    w = random.integers(weight_low, 128, (geometry.group * outputs, channels, *geometry.kernel))
    return Case(geometry, x.astype(np.uint8), w.astype(np.int8), draw(st.sampled_from([0, 128])))


def convolve(x: Array, w: Array, g: Geometry) -> Array:
    """The convolution of x, already less its zero point, in the type of x and w."""
    rank = len(g.kernel)
    padding = [(0, 0), (0, 0), *((g.pads[i], g.pads[rank + i]) for i in range(rank))]
    x = np.pad(x, padding)
    sizes = [
        (n - (k - 1) * d - 1) // s + 1
        for n, k, d, s in zip(x.shape[2:], g.kernel, g.dilations, g.strides, strict=True)
    ]
    grouped = x.reshape(x.shape[0], g.group, -1, *x.shape[2:])
    weights = w.reshape(g.group, -1, *w.shape[1:])
    y = np.zeros((x.shape[0], g.group, weights.shape[1], *sizes), x.dtype)
    for tap in np.ndindex(*g.kernel):
        window = tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, g.dilations, sizes, g.strides, strict=True)
        )
        taken = grouped[(slice(None), slice(None), slice(None), *window)]
        y += np.einsum("bgc...,goc->bgo...", taken, weights[(..., *tap)], optimize=True)
    return y.reshape(x.shape[0], w.shape[0], *sizes)


def by_channel(values: Array, y: Array) -> Array:
    return values.reshape(-1, *[1] * (y.ndim - 2))


@dataclass
class Node:
    """One operation of the library: constants are initializers unless they are named in fed."""

    op_type: str
    inputs: dict[str, Array]
    attributes: dict[str, Any]
    fed: tuple[str, ...] = ("x", "addend")
    output: int = TensorProto.FLOAT
    domain: str = "ai.snnc"
    feeds: dict[str, Array] = field(default_factory=dict)

    def session(self, threads: int = 1) -> Any:
        constants = [name for name in self.inputs if name not in self.fed]
        self.feeds = {name: self.inputs[name] for name in self.inputs if name in self.fed}
        node = helper.make_node(
            self.op_type, list(self.inputs), ["y"], "layer", domain=self.domain, **self.attributes
        )
        graph = helper.make_graph(
            [node],
            "g",
            [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), None)
                for name, x in self.feeds.items()
            ],
            [helper.make_tensor_value_info("y", self.output, None)],
            [onnx.numpy_helper.from_array(self.inputs[name], name) for name in constants],
        )
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.snnc", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        options.register_custom_ops_library(str(LIBRARY))
        return onnxruntime.InferenceSession(model.SerializeToString(), options)

    def run(self, threads: int = 1) -> Array:
        session = self.session(threads)
        return np.asarray(session.run(None, self.feeds)[0])


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
    y = sums.astype(np.float32) * by_channel(node.inputs["scale"], sums)
    return np.asarray(y + by_channel(node.inputs["bias"], sums))


def random_case(
    x_shape: tuple[int, ...], outputs: int, geometry: Geometry, zero_point: int = 0
) -> Case:
    random = np.random.default_rng(0)
    w_shape = (outputs, x_shape[1] // geometry.group, *geometry.kernel)
    x = random.integers(0, 256, x_shape).astype(np.uint8)
    return Case(geometry, x, random.integers(-128, 128, w_shape).astype(np.int8), zero_point)


@EACH_SET
@SETTINGS
@given(case=cases())
def test_counts_convolve_exactly(instructions: str, case: Case) -> None:
    node = spike_conv(case)
    with using_instruction_set(instructions):
        assert np.array_equal(node.run(), spike_drive(case, node))


# maps of one row of vectors, small maps with channels in vectors, many channels, groups
SHAPES = [
    ((1, 64, 56, 56), 64, plain(3, 3, pad=1)),
    ((1, 128, 28, 28), 128, plain(3, 3, pad=1, stride=2)),
    ((1, 512, 7, 7), 96, plain(3, 3, pad=1)),
    ((2, 256, 14, 14), 70, plain(1, 1)),
    ((1, 3, 75, 75), 20, plain(7, 7, pad=3, stride=2)),
    ((1, 36, 20, 20), 36, plain(3, 3, pad=1, group=36)),
    ((1, 40, 300), 24, plain(5, pad=2)),
    ((3, 8, 1, 1), 200, plain(1, 1)),
]


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
def test_sums_beyond_int16_do_not_saturate(instructions: str) -> None:
    x = np.full((1, 64, 9, 9), 255, np.uint8)
    for weight in (127, -128):
        case = Case(plain(3, 3, pad=1), x, np.full((17, 64, 3, 3), weight, np.int8))
        node = spike_conv(case)
        with using_instruction_set(instructions):
            assert np.array_equal(node.run(), spike_drive(case, node))


@EACH_SET
@pytest.mark.parametrize("x_shape", [(1, 16, 30, 30), (2, 16, 7, 7)])
@pytest.mark.parametrize("gelu", ["", "Gelu"])
@pytest.mark.parametrize("add", ["", "Add"])
def test_fused_counts_are_those_of_the_neuron(
    instructions: str, x_shape: tuple[int, ...], gelu: str, add: str
) -> None:
    """The membrane potential comes from the operation itself without the neuron."""
    case = random_case(x_shape, 24, plain(3, 3, pad=1), 128)
    with using_instruction_set(instructions):
        result = spike_conv(case).run()
        addend = np.random.default_rng(3).normal(size=result.shape).astype(np.float32)
        extra = {"addend": addend} if add else {}
        v = spike_conv(case, add + gelu, extra).run()
        steps = {"positive": np.float32(0.0625), "negative": np.float32(0.05)}
        for rule in ("nearest", "eq11"):
            both = extra | {k: np.asarray(s) for k, s in steps.items()}
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
    case = random_case((1, 16, 12, 12), 20, plain(3, 3))
    v = spike_conv(case).run()
    suffix = "SfnDenseNearestPositiveCappedLimitedCount"
    step = np.float32(0.01)
    extra = {"positive": np.asarray(step)}
    counts = spike_conv(case, suffix, extra, M=8, bound=3.0, limit=200).run()
    expected = np.minimum(SFN(M=8, bound=3.0).count(np.maximum(v, 0), step), 200)
    assert np.array_equal(counts, expected)


@EACH_SET
@SETTINGS
@given(case=cases(), add=st.booleans())
def test_float_conv_is_convolution_then_neuron(instructions: str, case: Case, add: bool) -> None:
    """Integers small enough make float sums exact, so that decisions must agree everywhere."""
    x = (case.x % 4).astype(np.float32) - 1
    w = (case.w % 8).astype(np.float32) / 8
    sums = convolve(x, w, case.geometry)
    bias = np.arange(w.shape[0], dtype=np.float32) / 4
    v = sums + by_channel(bias, sums)
    inputs = {"x": x, "w": w, "bias": bias}
    if add:
        inputs["addend"] = np.round(np.sin(np.arange(v.size)).reshape(v.shape) * 8).astype(
            np.float32
        )
        v = v + inputs["addend"]
    step = np.float32(0.75)
    node = Node(
        "FloatConv" + "Add" * add + "SfnSformerNearestPositive",
        inputs | {"positive": np.asarray(step)},
        {"M": 4} | case.geometry.attributes,
    )
    with using_instruction_set(instructions):
        spikes = node.run()
    expected = SFN(M=4, levels="sformer").count(np.maximum(v, 0), step) * step
    assert np.array_equal(spikes, expected)


@EACH_SET
@pytest.mark.parametrize(("x_shape", "outputs", "geometry"), SHAPES)
def test_float_sums_are_those_of_onnxruntime(
    instructions: str, x_shape: tuple[int, ...], outputs: int, geometry: Geometry
) -> None:
    """Less onnxruntime's result, what is left is the error: neurons of a tiny step measure it."""
    random = np.random.default_rng(0)
    w_shape = (outputs, x_shape[1] // geometry.group, *geometry.kernel)
    inputs = {
        "x": random.normal(size=x_shape).astype(np.float32),
        "w": random.normal(size=w_shape).astype(np.float32),
        "bias": random.normal(size=outputs).astype(np.float32),
    }
    reference = Node("Conv", inputs, geometry.attributes, domain="").run()
    scale = float(np.abs(reference).max())
    step = np.asarray(scale * 1e-8, np.float32)
    measure = {"addend": -reference, "positive": step, "negative": step}
    node = Node(
        "FloatConvAddSfnDenseNearestBoth", inputs | measure, {"M": 10} | geometry.attributes
    )
    with using_instruction_set(instructions):
        error = node.run(threads=2)
    assert np.abs(error).max() < 1e-5 * scale < step * SFN(M=10).top


@pytest.mark.parametrize("negative_shape", [(), (12, 1, 1)])
def test_steps_of_each_channel(negative_shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    x = random.integers(-3, 4, (2, 5, 9, 11)).astype(np.float32)
    w = random.integers(-3, 4, (12, 5, 3, 3)).astype(np.float32)
    positive = random.choice([0.5, 1.0, 3.0], (12, 1, 1)).astype(np.float32)
    negative = np.full(negative_shape, 2.0, np.float32)
    geometry = plain(3, 3, pad=1)
    node = Node(
        "FloatConvSfnDenseNearestBoth",
        {"x": x, "w": w, "bias": np.zeros(12, np.float32), "p": positive, "n": negative},
        {"M": 5} | geometry.attributes,
    )
    v = convolve(x, w, geometry)
    count = SFN(M=5).count(v, positive, negative)
    assert np.array_equal(node.run(), count * np.where(v < 0, negative, positive))


def test_weights_may_be_computed() -> None:
    case = random_case((1, 6, 10, 10), 9, plain(3, 3, pad=1), 128)
    node = spike_conv(case)
    constant = node.run()
    node.fed = ("x", "w")
    assert np.array_equal(node.run(), constant)


def test_empty_batch() -> None:
    case = random_case((1, 6, 10, 10), 9, plain(3, 3))
    node = spike_conv(case)
    session = node.session()
    y = session.run(None, {"x": np.zeros((0, 6, 10, 10), np.uint8)})[0]
    assert y.shape == (0, 9, 8, 8)


GOOD = random_case((1, 6, 10, 10), 9, plain(3, 3))


def changed(attributes: dict[str, Any] | None = None, **inputs: Array) -> Node:
    node = spike_conv(GOOD)
    node.inputs |= inputs
    node.attributes |= attributes or {}
    return node


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (changed(x=np.zeros((1, 5, 10, 10), np.uint8)), "x has 5 channels"),
        (changed(x=np.zeros((6, 10, 10), np.uint8)), "differ in rank"),
        (changed(x=np.zeros((1, 6, 2, 10), np.uint8)), "larger than the padded input of 2"),
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
    node = spike_conv(GOOD, "Add", {"addend": np.zeros((1, 9, 8, 7), np.float32)})
    with pytest.raises(
        Exception, match=r"SpikeConvAdd 'layer': the addend is of shape \[1,9,8,7\]"
    ):
        node.run()
