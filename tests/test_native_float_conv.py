"""FloatConv of the native library against numpy and onnxruntime's Conv."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from snnc.ir.node import Array
from snnc.kernels import using_instruction_set
from snnc.neurons.sfn import SFN
from tests.conv_cases import (
    EACH_SET,
    LIBRARY,
    NEEDS_LIBRARY,
    SETTINGS,
    SHAPES,
    Case,
    Geometry,
    Node,
    by_channel,
    cases,
    convolve,
    plain,
)

pytestmark = NEEDS_LIBRARY


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
    inputs: dict[str, Array] = {"x": x, "w": w, "bias": bias}
    if add:
        inputs["addend"] = np.round(np.sin(np.arange(v.size)).reshape(v.shape) * 8).astype(
            np.float32
        )
        v = v + inputs["addend"]
    step = 0.75
    node = Node(
        "FloatConv" + "Add" * add + "SfnSformerNearestPositive",
        inputs | {"positive": np.asarray(step, np.float32)},
        {"M": 4} | case.geometry.attributes,
    )
    with using_instruction_set(instructions):
        spikes = node.run()
    expected = SFN(M=4, levels="sformer").count(np.maximum(v, 0), step) * np.float32(step)
    assert np.array_equal(spikes, expected)


@EACH_SET
@pytest.mark.parametrize(("x_shape", "outputs", "geometry"), SHAPES)
def test_float_sums_are_those_of_onnxruntime(
    instructions: str, x_shape: tuple[int, ...], outputs: int, geometry: Geometry
) -> None:
    random = np.random.default_rng(0)
    w_shape = (outputs, x_shape[1] // geometry.group, *geometry.kernel)
    inputs: dict[str, Array] = {
        "x": random.normal(size=x_shape).astype(np.float32),
        "w": random.normal(size=w_shape).astype(np.float32),
        "bias": random.normal(size=outputs).astype(np.float32),
    }
    reference = Node("Conv", inputs, geometry.attributes, domain="").run()
    with using_instruction_set(instructions):
        y = Node("FloatConv", inputs, geometry.attributes).run(threads=2)
        added = inputs | {"addend": -y}
        rest = Node("FloatConvAdd", added, geometry.attributes).run(threads=2)
    assert np.abs(y - reference).max() < 1e-5 * np.abs(reference).max()
    assert np.array_equal(rest, np.zeros_like(y))


@EACH_SET
@pytest.mark.parametrize("x_shape", [(2, 7, 13, 13), (1, 16, 7, 7)])
@pytest.mark.parametrize("neuron", ["SformerEq11Both", "ExponentialNearestBoth", "LinearEq11Both"])
def test_neurons_fire_at_their_own_potential(
    instructions: str, x_shape: tuple[int, ...], neuron: str
) -> None:
    geometry = plain(3, 3, pad=1)
    random = np.random.default_rng(0)
    inputs: dict[str, Array] = {
        "x": random.normal(size=x_shape).astype(np.float32),
        "w": random.normal(size=(35, x_shape[1], 3, 3)).astype(np.float32),
        "bias": random.normal(size=35).astype(np.float32),
    }
    steps = {name: np.asarray(s, np.float32) for name, s in (("p", 0.3), ("n", 0.2))}
    with using_instruction_set(instructions):
        v = Node("FloatConvGelu", inputs, geometry.attributes).run()
        attributes = {"M": 4} | geometry.attributes
        spikes = Node(f"FloatConvGeluSfn{neuron}", inputs | steps, attributes).run()
    levels = {"S": "sformer", "E": "exponential", "L": "linear"}[neuron[0]]
    rule = "eq11" if "Eq11" in neuron else "nearest"
    count = SFN(M=4, levels=levels, rule=rule).count(v, steps["p"], steps["n"])  # type: ignore[arg-type]
    assert np.array_equal(spikes, count * np.where(v < 0, steps["n"], steps["p"]))


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


def test_a_residual_that_others_read_stays_as_it_is() -> None:
    """The result may take the memory of the addend, but not where it is read once more."""
    random = np.random.default_rng(0)
    x = random.integers(-3, 4, (1, 8, 9, 9)).astype(np.float32)
    w = random.integers(-3, 4, (8, 8, 1, 1)).astype(np.float32)
    initializers = {"w": w, "bias": np.zeros(8, np.float32), "step": np.asarray(0.5, np.float32)}
    nodes = [
        helper.make_node("Neg", ["x"], ["residual"]),
        helper.make_node(
            "FloatConvAddSfnDenseNearestPositive",
            ["x", "w", "bias", "residual", "step"],
            ["spikes"],
            domain="ai.snnc",
            M=8,
        ),
        helper.make_node("Abs", ["residual"], ["y"]),
    ]
    for last, reread in ((nodes[:2], False), (nodes, True)):
        names = ["spikes", "y"] if reread else ["spikes"]
        graph = helper.make_graph(
            last,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 9, 9])],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 8, 9, 9]) for n in names],
            [onnx.numpy_helper.from_array(v, k) for k, v in initializers.items()],
        )
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.snnc", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        options = onnxruntime.SessionOptions()
        options.register_custom_ops_library(str(LIBRARY))
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        results = session.run(None, {"x": x})
        v = convolve(x, w, plain(1, 1)) - x
        assert np.array_equal(results[0], SFN().count(np.maximum(v, 0), 0.5) * np.float32(0.5))
        assert not reread or np.array_equal(results[1], np.abs(x))
