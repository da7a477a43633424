"""Drives with two results: a sum, and the counts of a neuron that reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from snnc.ir.node import Array
from snnc.kernels import kernel_library, using_instruction_set
from snnc.neurons.sfn import SFN
from tests.conv_cases import EACH_SET, NEEDS_LIBRARY, plain

pytestmark = NEEDS_LIBRARY

ELEMENT = {np.dtype(np.uint8): TensorProto.UINT8, np.dtype(np.float32): TensorProto.FLOAT}


@dataclass
class Drive:
    """A drive's name, what it is fed at run time, its constants and attributes."""

    name: str
    fed: dict[str, Array]
    constants: dict[str, Array]
    attributes: dict[str, Any] = field(default_factory=dict)

    def session(
        self,
        suffix: str,
        outputs: Sequence[str],
        extra: Mapping[str, Array],
        attributes: Mapping[str, Any],
        threads: int = 1,
    ) -> onnxruntime.InferenceSession:
        """The drive with `suffix` behind it; its addend is computed from an input, so that its
        memory can be taken."""
        add = "addend" in extra
        constants = self.constants | {k: v for k, v in extra.items() if k != "addend"}
        order = [*self.fed, *self.constants, *extra]
        nodes = [helper.make_node("Neg", ["negated"], ["addend"])] if add else []
        nodes.append(
            helper.make_node(
                self.name + suffix,
                order,
                outputs,
                name="layer",
                domain="ai.snnc",
                **self.attributes,
                **attributes,
            )
        )
        fed = self.fed | ({"negated": extra["addend"]} if add else {})
        inputs = [
            helper.make_tensor_value_info(name, ELEMENT[value.dtype], value.shape)
            for name, value in fed.items()
        ]
        counts = TensorProto.UINT8 if suffix.endswith("Count") else TensorProto.FLOAT
        results = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT if i else counts, None)
            for i, name in enumerate(outputs)
        ]
        initializers = [numpy_helper.from_array(v, name) for name, v in constants.items()]
        graph = helper.make_graph(nodes, "g", inputs, results, initializers)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.snnc", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        options.register_custom_ops_library(str(kernel_library()))
        return onnxruntime.InferenceSession(model.SerializeToString(), options)

    def run(
        self,
        suffix: str,
        outputs: Sequence[str] = ("y",),
        extra: Mapping[str, Array] | None = None,
        **attributes: Any,
    ) -> list[Array]:
        extra = extra or {}
        feeds = dict(self.fed)
        if "addend" in extra:
            feeds["negated"] = -extra["addend"]
        session = self.session(suffix, outputs, extra, attributes)
        return [np.asarray(result) for result in session.run(None, feeds)]


def single(value: float) -> Array:
    return np.asarray(value, np.float32)


def drives() -> list[Drive]:
    rng = np.random.default_rng(11)

    def made(
        name: str, x: tuple[int, ...], w: tuple[int, ...], columns: int, **attrs: Any
    ) -> Drive:
        constants: dict[str, Array] = {
            "w": rng.integers(-128, 128, w).astype(np.int8),
            "scale": rng.uniform(1e-4, 4e-4, columns).astype(np.float32),
            "bias": rng.normal(size=columns).astype(np.float32),
        }
        counts = rng.integers(0, 256, x).astype(np.uint8)
        return Drive(name, {"x": counts}, constants, {"zero_point": 128, **attrs})

    found = [
        made("SpikeLinear", (3, 23, 37), (37, 75), 75),
        made("SpikeLinear", (2, 203), (203, 90), 90),
    ]
    found[-1].fed["x"][:, 20:] = 128  # few events
    for channels, outputs, group in ((12, 40, 1), (12, 38, 2), (70, 70, 70)):
        geometry = plain(3, 3, pad=1, group=group).attributes
        shape = (outputs, channels // group, 3, 3)
        found.append(made("SpikeConv", (1, 9, 11, channels), shape, outputs, **geometry))
    a, b = (rng.integers(0, 256, s).astype(np.uint8) for s in ((2, 13, 20), (2, 20, 33)))
    points = {"a_zero_point": 128, "b_zero_point": 128, "trans_b": 0}
    found.append(Drive("SpikeMatMul", {"a": a, "b": b}, {"scale": single(5e-5)}, points))
    return found


NEURONS: list[tuple[str, SFN, dict[str, Any], dict[str, float]]] = [
    ("SfnDenseNearestBothLimited", SFN(M=8, limit=127), {"M": 8, "limit": 127}, {"negative": 0.02}),
    (
        "SfnDenseNearestPositiveCappedLimited",
        SFN(M=8, limit=250, bound=1.5),
        {"M": 8, "limit": 250, "bound": 1.5},
        {},
    ),
]


@EACH_SET
@pytest.mark.parametrize("neuron", NEURONS, ids=lambda neuron: neuron[0])
@pytest.mark.parametrize("drive", range(6))
@pytest.mark.parametrize("before", ["", "Relu", "Add", "AddRelu", "AddGelu"])
def test_the_sum_and_its_counts(instructions: str, drive: int, before: str, neuron: Any) -> None:
    """The sum is that of the operation without a neuron, the counts are what the neuron makes of
    it."""
    name, model, attributes, negative = neuron
    layer = drives()[drive]
    with using_instruction_set(instructions):
        shape = layer.run("")[0].shape
        rng = np.random.default_rng(3)
        extra = (
            {"addend": np.asarray(rng.normal(size=shape), np.float32)} if "Add" in before else {}
        )
        wanted = layer.run(before, extra=extra)[0]
        steps = {"positive": single(0.02)} | {k: single(v) for k, v in negative.items()}
        counts, kept = layer.run(
            f"{before}Kept{name}Count", ("y", "kept"), extra | steps, **attributes
        )
    assert kept.dtype == np.float32 and counts.dtype == np.uint8
    np.testing.assert_array_equal(kept, wanted)
    expected = model.count(wanted, 0.02, negative.get("negative", 0.0))
    np.testing.assert_array_equal(counts, expected + (128 if negative else 0))
    assert len(np.unique(counts)) > 10


def test_shapes_of_both_results_are_inferred() -> None:
    layer = drives()[2]
    steps = {"positive": single(0.02), "negative": single(0.02)}
    suffix = "KeptSfnDenseNearestBothLimitedCount"
    session = layer.session(suffix, ("y", "kept"), steps, {"M": 8, "limit": 127})
    assert [output.shape for output in session.get_outputs()] == [[1, 9, 11, 40]] * 2


def test_work_in_two_threads() -> None:
    rng = np.random.default_rng(8)
    layer = drives()[0]
    layer.fed["x"] = rng.integers(0, 256, (5, 211, 37)).astype(np.uint8)
    extra = {"addend": rng.normal(size=(5, 211, 75)).astype(np.float32)}
    steps = {"positive": single(0.02)}
    feeds = layer.fed | {"negated": -extra["addend"]}
    suffix = "AddReluKeptSfnDenseNearestPositiveLimitedCount"
    one, two = (
        layer.session(suffix, ("y", "kept"), extra | steps, {"M": 8, "limit": 255}, threads).run(
            None, feeds
        )
        for threads in (1, 2)
    )
    for single_thread, both in zip(one, two, strict=True):
        np.testing.assert_array_equal(single_thread, both)


def test_a_neuron_behind_a_relu_has_no_kernel_unless_the_sum_is_kept() -> None:
    """Neurons rectify: lowering never writes such an operation."""
    layer = drives()[0]
    with pytest.raises(Exception, match="SpikeLinearReluSfnDenseNearestPositiveLimitedCount"):
        layer.run("ReluSfnDenseNearestPositiveLimitedCount", ("y",), {"positive": single(0.1)}, M=6)
