"""Types and shapes of values, by ONNX's own shape inference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from onnx import ModelProto, TypeProto, ValueInfoProto, helper, shape_inference

from snnc.export import export
from snnc.ir.graph import Graph
from snnc.ir.node import Dim, Type, real


def infer_types(graph: Graph) -> Graph:
    """The graph with every shape that follows from its constants and inputs filled in."""
    model = shape_inference.infer_shapes(export(graph, external=True).model, data_prop=True)
    inferred = {v.name: to_type(v.type) for v in typed_values(model)}
    types = {
        name: replace(old, shape=inferred[name].shape)
        if name in inferred and inferred[name].shape is not None
        else old
        for name, old in graph.types.items()
    }
    return graph if types == dict(graph.types) else replace(graph, types=types)


def typed_values(model: ModelProto) -> Iterable[ValueInfoProto]:
    """Every value of a model whose element type is known."""
    for values in (model.graph.value_info, model.graph.input, model.graph.output):
        for value in values:
            if value.type.tensor_type.elem_type:
                yield value


def to_type(proto: TypeProto) -> Type:
    """An ONNX tensor type; dimensions of 0 or below, as some exporters write them, are unknown."""
    tensor = proto.tensor_type
    dtype = str(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    dtype = "str" if dtype == "object" else dtype
    if not tensor.HasField("shape"):
        return real(dtype, None)
    return real(dtype, tuple(_dim(d) for d in tensor.shape.dim))


def _dim(dim: Any) -> Dim:
    if dim.HasField("dim_param") and dim.dim_param:
        return str(dim.dim_param)
    return int(dim.dim_value) if dim.dim_value > 0 else None
