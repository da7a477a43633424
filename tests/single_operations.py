"""Operations of the kernel library without function bodies, one a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from snnc.ir.node import Array
from snnc.kernels import kernel_library

LIBRARY = kernel_library()
needs_library = pytest.mark.skipif(
    LIBRARY is None, reason="the native kernels are not built (no C++ compiler at installation)"
)


def neuron_model(
    steps: tuple[Any, ...] = (0.5, 0.25),
    op_type: str = "SfnDenseNearestBoth",
    output: int = TensorProto.FLOAT,
    shape: tuple[Any, ...] | None = None,
    **attributes: Any,
) -> bytes:
    """One operation without a function body: only the library can run it."""
    names = [f"step{i}" for i in range(len(steps))]
    weights = [
        onnx.numpy_helper.from_array(np.asarray(step, np.float32), name)
        for name, step in zip(names, steps, strict=True)
    ]
    node = helper.make_node(
        op_type, ["x", *names], ["y"], domain="ai.snnc", name="layer", **({"M": 8} | attributes)
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", output, None)],
        weights,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.snnc", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return bytes(model.SerializeToString())


def open_model(model: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 4
    options.register_custom_ops_library(str(LIBRARY))
    return onnxruntime.InferenceSession(model, options)


def fire(model: bytes, x: Array) -> Array:
    return np.asarray(open_model(model).run(None, {"x": x})[0])


def refusal(model: bytes, x: Array | None = None) -> str:
    with pytest.raises(Exception, match=r"ai\.snnc") as caught:
        session = open_model(model)
        session.run(None, {"x": np.zeros((2, 3), np.float32) if x is None else x})
    return str(caught.value)
