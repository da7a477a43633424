"""Models of onnxruntime's fused operators, and what a test wants to know of them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from onnx import ModelProto

from snnc.frontend import load
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Array
from snnc.ir.verify import verify
from snnc.passes.normalize import Normalize
from tests.onnx_models import assert_computes, model, op_types

MICROSOFT = {"com.microsoft": 1}


def fused(
    body: str, inputs: str, outputs: str, weights: Mapping[str, Array] | None = None
) -> ModelProto:
    """A model with the operators of `body`, each in domain com.microsoft and named after itself."""
    source = model(
        f"g ({inputs}) => ({outputs}) {{ {body} }}", weights, domains=MICROSOFT, opset=17
    )
    for node in source.graph.node:
        node.name = f"the {node.op_type}"
    return source


def spelled(source: ModelProto, feeds: Mapping[str, Array], tolerance: float = 1e-5) -> Graph:
    """The normalised graph, once it is known to be free of fused operators and to compute the same.

    Every operation remembers the operator it came from.
    """
    graph = Normalize()(load(source))
    verify(graph, Stage.ANN)
    assert_computes(graph, source, feeds, tolerance)
    assert not [kind for kind in op_types(graph) if kind.startswith("com.microsoft")]
    names = {node.name for node in source.graph.node}
    assert {name for node in graph.nodes for name in node.loc.names} <= names
    assert Normalize()(graph) == graph
    return graph


def left_alone(source: ModelProto, op_type: str) -> None:
    assert f"com.microsoft.{op_type}" in op_types(Normalize()(load(source)))


def feeds_of(inputs: str, seed: int = 19, **sizes: int) -> dict[str, Array]:
    """Random numbers for inputs written as ONNX text, symbols replaced by sizes."""
    feeds: dict[str, Array] = {}
    rng = np.random.default_rng(seed)
    for kind, dims, name in re.findall(r"(float|int32|int64)\[([^]]*)\] (\w+)", inputs):
        shape = [sizes[d] if d in sizes else int(d) for d in dims.split(",")]
        normal = rng.standard_normal(shape).astype(np.float32)
        feeds[name] = normal if kind == "float" else rng.integers(0, 3, shape).astype(kind)
    return feeds
