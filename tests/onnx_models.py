"""Small ONNX models for the tests, written as ONNX text, with seeded random weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import ModelProto, numpy_helper, parser

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.runtime import Session
from tests.conftest import DATA, model_path

EXAMPLES = [model_path(name) for name in DATA]
"""The repository's own trained networks."""


def arrays(seed: int, **shapes: tuple[int, ...]) -> dict[str, Array]:
    """Seeded normal float32 arrays of the given shapes, by name."""
    rng = np.random.default_rng(seed)
    return {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}


def model(
    graph: str,
    weights: Mapping[str, Array] | None = None,
    *,
    opset: int = 17,
    ir_version: int = 8,
    domains: Mapping[str, int] | None = None,
    functions: str = "",
) -> ModelProto:
    """The model `g (inputs) => (outputs) {nodes}`; weights become initializers.

    domains: versions of further operator domains; functions: model-local functions as text.
    """
    versions = {"": opset, **(domains or {})}
    imports = ", ".join(f'"{name}" : {version}' for name, version in versions.items())
    text = f"<ir_version: {ir_version}, opset_import: [{imports}]>\n{graph}\n{functions}"
    proto = parser.parse_model(text)
    for name, array in (weights or {}).items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


def run_onnx(source: ModelProto | Path, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Every output of the original model by name, as onnxruntime computes it unoptimised."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = source.SerializeToString() if isinstance(source, ModelProto) else str(source)
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, dict(feeds))
    return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}


def assert_same_outputs(
    found: Mapping[str, Array], wanted: Mapping[str, Array], tolerance: float = 1e-5
) -> None:
    """Same outputs in the same order, of the same type and shape, equal to float rounding."""
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].shape == array.shape, name
        if array.dtype.kind == "f":
            np.testing.assert_allclose(
                found[name], array, rtol=tolerance, atol=tolerance, err_msg=name
            )
        else:
            np.testing.assert_array_equal(found[name], array, err_msg=name)


def assert_computes(
    graph: Graph,
    source: ModelProto | Path,
    feeds: Mapping[str, Array],
    tolerance: float = 1e-5,
) -> None:
    """`graph` computes what the original model computes, on `feeds`."""
    found = Session(graph, optimize=False).run(feeds)
    assert_same_outputs(found, run_onnx(source, feeds), tolerance)


def op_types(graph: Graph) -> list[str]:
    """The operations of a graph in order; sites and neurons by their kind."""
    return [n.op_type if isinstance(n, Op) else type(n).__name__ for n in graph.nodes]
