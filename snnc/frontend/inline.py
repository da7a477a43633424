"""Calls replaced by bodies: of model-local functions, of operations that opset 21 lacks."""

from __future__ import annotations

from onnx import (
    AttributeProto,
    ModelProto,
    NodeProto,
    ValueInfoProto,
    defs,
    helper,
    inliner,
    shape_inference,
)

from snnc.errors import RefusedNode
from snnc.frontend.legal import ONNX_DOMAINS, opset_of, refusals
from snnc.frontend.naming import Locs, name_bodies, name_nodes
from snnc.frontend.onnx_errors import refusals_of_onnx
from snnc.ir.graph import DOMAIN, OPSET


def inline_functions(model: ModelProto, source: str, locs: Locs) -> ModelProto:
    """Calls of model-local functions replaced by their bodies; snnc's own operations stay."""
    own = [(f.domain, f.name) for f in model.functions if f.domain == DOMAIN]
    if len(own) == len(model.functions):
        return model
    local = {(f.domain, f.name) for f in model.functions} - set(own)
    calls = [n for n in model.graph.node if (n.domain, n.op_type) in local]
    with refusals_of_onnx(source):
        inlined = inliner.inline_selected_functions(model, own, exclude=True)
    name_bodies(model, inlined, calls, locs)
    return inlined


def expand_operations(model: ModelProto, source: str, locs: Locs) -> ModelProto:
    """Operations that opset 21 lacks (Attention, Swish ...) by ONNX's own function bodies."""
    version = opset_of(model)
    while found := [n for n in model.graph.node if _is_foreign(n, version)]:
        schemas = {n.op_type: defs.get_schema(n.op_type, version) for n in found}
        without_body = [
            RefusedNode(
                n.name,
                n.op_type,
                f"{n.op_type} exists only from opset {schemas[n.op_type].since_version} on",
                f"export the model with opset {OPSET} or lower",
            )
            for n in found
            if not _has_body(schemas[n.op_type])
        ]
        if without_body:
            raise refusals(without_body, source)
        for node in found:
            _write_defaults(node, schemas[node.op_type])
        with refusals_of_onnx(source):
            inlined = _inline_bodies(model, set(schemas))
        name_bodies(model, inlined, found, locs)
        name_nodes(inlined)
        model = inlined
    return model


def _has_body(schema: defs.OpSchema) -> bool:
    return bool(schema.has_function or schema.has_context_dependent_function)  # type: ignore[attr-defined]


def _is_foreign(node: NodeProto, version: int) -> bool:
    """Whether opset 21 has no operation of this kind, or one that means something else."""
    if node.domain not in ONNX_DOMAINS:
        return False
    if node.op_type == "GroupNormalization":  # one scale a group, not a channel; no converter knows
        return version < OPSET
    return version > OPSET and is_new(node.op_type)


def is_new(op_type: str) -> bool:
    """Whether an operation of ONNX came after opset 21."""
    try:
        defs.get_schema(op_type, OPSET)
    except defs.SchemaError:
        return defs.has(op_type)
    return False


def _write_defaults(node: NodeProto, schema: defs.OpSchema) -> None:
    """Attributes that were left out, by their default: bodies that use them are not told it."""
    given = {attribute.name for attribute in node.attribute}
    for name, attribute in schema.attributes.items():
        if name not in given and attribute.default_value.type != AttributeProto.UNDEFINED:
            node.attribute.append(attribute.default_value)


def _inline_bodies(model: ModelProto, op_types: set[str]) -> ModelProto:
    """Inlined bodies of ONNX; the inliner asks for types of weights and of the absent input ''."""
    model = shape_inference.infer_shapes(model, data_prop=True)
    weights = [
        helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in model.graph.initializer
    ]
    model.graph.value_info.extend([*weights, ValueInfoProto(name="")])
    model = inliner.inline_selected_functions(
        model, [("", op_type) for op_type in op_types], inline_schema_functions=True
    )
    added = {w.name for w in weights} | {""}
    kept = [value for value in model.graph.value_info if value.name not in added]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)
    return model
