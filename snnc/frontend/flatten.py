"""One flat graph of opset 21: functions inlined, new operations expanded, shapes inferred."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import (
    AttributeProto,
    ModelProto,
    NodeProto,
    defs,
    helper,
    inliner,
    numpy_helper,
    shape_inference,
    version_converter,
)

import snnc.neurons  # noqa: F401  (registers the neuron models that an artifact may name)
from snnc.errors import CompileError
from snnc.export import LOC_KEY
from snnc.frontend.read import to_array
from snnc.ir.functions import DOMAIN
from snnc.ir.graph import OPSET
from snnc.ir.node import Array


def refuse(model: ModelProto, source: str) -> None:
    """Raise for what the intermediate representation cannot hold."""
    of = f" of {source}" if source else ""
    for index, node in enumerate(model.graph.node):
        if any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute):
            raise CompileError(
                f"{node.op_type} runs a subgraph, which snnc does not convert",
                at=f"node {index} '{node.name}' ({node.op_type}){of}",
                help="export the model without control flow (fixed options, torch.export)",
            )
    for value in (*model.graph.input, *model.graph.output):
        if value.type.WhichOneof("value") not in ("tensor_type", None):
            raise CompileError(
                f"'{value.name}' is not a tensor but a {value.type.WhichOneof('value')}",
                at=source or None,
                help="export plain tensors (skl2onnx: options={'zipmap': False})",
            )
    if model.graph.sparse_initializer:
        raise CompileError(
            "the model stores sparse weights", help="store them as dense initializers"
        )


def name_nodes(model: ModelProto) -> None:
    """Every node gets a name of its own: unnamed ones 'OpType#index'."""
    seen: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.name or node.op_type}#{index}"
        seen.add(node.name)


def stored_locs(model: ModelProto) -> dict[str, tuple[str, ...]]:
    """Original node names that an artifact of snnc carries, by node name."""
    return {
        node.name: tuple(prop.value.split("\n"))
        for node in model.graph.node
        for prop in node.metadata_props
        if prop.key == LOC_KEY
    }


def flatten(model: ModelProto, source: str) -> ModelProto:
    """Functions inlined, operations newer than opset 21 expanded, version 21, shapes inferred."""
    own = [(f.domain, f.name) for f in model.functions if f.domain == DOMAIN]
    try:
        if len(own) < len(model.functions):
            model = inliner.inline_selected_functions(model, own, exclude=True)
        model = _expand_new_operations(model, source)
        if _version(model) != OPSET:
            model = version_converter.convert_version(_hoist_constants(model), OPSET)
        model = _hoist_constants(model)
        return shape_inference.infer_shapes(model, data_prop=True)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise CompileError(
            f"onnx cannot bring the model to opset {OPSET}: {' '.join(str(error).split())}",
            at=source or None,
            help="check the file with onnx.checker, or export it with another opset",
        ) from None


def _version(model: ModelProto) -> int:
    return int(next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), OPSET))


def _expand_new_operations(model: ModelProto, source: str) -> ModelProto:
    """Operations that opset 21 lacks (Attention, Swish ...) by ONNX's own function bodies."""
    version = _version(model)
    while version > OPSET:
        new = {n.op_type for n in model.graph.node if n.domain == "" and _is_new(n.op_type)}
        if not new:
            break
        for op_type in new:
            schema = defs.get_schema(op_type, version)
            if not (schema.has_function or schema.has_context_dependent_function):  # type: ignore[attr-defined]
                node = next(n for n in model.graph.node if n.op_type == op_type)
                raise CompileError(
                    f"{op_type} exists only from opset {schema.since_version} on",
                    at=f"node '{node.name}' ({op_type}) of {source}",
                    help=f"export the model with opset {OPSET} or lower",
                )
        model = shape_inference.infer_shapes(model, data_prop=True)
        model = inliner.inline_selected_functions(
            model, [("", op_type) for op_type in new], inline_schema_functions=True
        )
        name_nodes(model)
    return model


def _is_new(op_type: str) -> bool:
    try:
        defs.get_schema(op_type, OPSET)
    except defs.SchemaError:
        return defs.has(op_type)
    return False


def _hoist_constants(model: ModelProto) -> ModelProto:
    """Constant nodes become initializers."""
    kept: list[NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "Constant" and node.domain == "":
            model.graph.initializer.append(numpy_helper.from_array(_constant(node), node.output[0]))
        else:
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def _constant(node: NodeProto) -> Array:
    attribute = node.attribute[0]
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return to_array(value)
    if attribute.name in ("value_float", "value_floats"):
        return np.array(value, np.float32)
    if attribute.name in ("value_int", "value_ints"):
        return np.array(value, np.int64)
    return np.array(value, object)
