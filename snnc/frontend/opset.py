"""Everything in operations of opset 21, shapes inferred."""

from __future__ import annotations

import numpy as np
from onnx import (
    ModelProto,
    NodeProto,
    defs,
    helper,
    numpy_helper,
    shape_inference,
    version_converter,
)

from snnc.frontend.inline import is_new
from snnc.frontend.legal import ONNX_DOMAINS, RUNTIME_OPERATIONS, opset_of
from snnc.frontend.naming import name_nodes
from snnc.frontend.onnx_errors import refusals_of_onnx
from snnc.frontend.read import to_array
from snnc.ir.graph import OPSET
from snnc.ir.node import Array


def to_opset(model: ModelProto, source: str) -> ModelProto:
    """The model in opset 21, whose operations all have a form there."""
    with refusals_of_onnx(source):
        if opset_of(model) != OPSET:
            hidden = _hide_unchanged(model)
            model = version_converter.convert_version(_hoist_constants(model), OPSET)
            _show(model, hidden)
            name_nodes(model)
        model = _hoist_constants(model)
        return shape_inference.infer_shapes(model, data_prop=True)


_UNCHANGED = "ai.snnc.unchanged"
"""Domain under which the version converter passes over a node."""


def _hide_unchanged(model: ModelProto) -> bool:
    """Hides nodes that mean the same in opset 21 from the version converter.

    It refuses some of newer opsets for want of an adapter, and what onnxruntime's optimiser wrote
    into opsets that do not have it. Whether any was found.
    """
    version = opset_of(model)
    found = [n for n in model.graph.node if _is_unchanged(n, version)]
    for node in found:
        node.domain = _UNCHANGED
    if found:
        model.opset_import.add(domain=_UNCHANGED, version=1)
    return bool(found)


def _is_unchanged(node: NodeProto, version: int) -> bool:
    """Whether the definition of an operation differs from opset 21's in its types at most."""
    if node.domain not in ONNX_DOMAINS:
        return False
    if not defs.has(node.op_type, version):
        return node.op_type in RUNTIME_OPERATIONS
    if version < OPSET or is_new(node.op_type):
        return False
    mine, other = (defs.get_schema(node.op_type, v) for v in (version, OPSET))
    if mine.since_version == other.since_version:
        return False
    same_names = all(
        [value.name for value in a] == [value.name for value in b]
        for a, b in ((mine.inputs, other.inputs), (mine.outputs, other.outputs))
    )
    same_attributes = {k: str(a.default_value) for k, a in mine.attributes.items()} == {
        k: str(a.default_value) for k, a in other.attributes.items()
    }
    return same_names and same_attributes and (mine.doc or "").split() == (other.doc or "").split()


def _show(model: ModelProto, hidden: bool) -> None:
    if not hidden:
        return
    for node in model.graph.node:
        node.domain = "" if node.domain == _UNCHANGED else node.domain
    kept = [o for o in model.opset_import if o.domain != _UNCHANGED]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _hoist_constants(model: ModelProto) -> ModelProto:
    """Constant nodes become initializers."""
    kept: list[NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "Constant" and node.domain in ONNX_DOMAINS:
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
        return to_array(value, node.output[0])
    if attribute.name in ("value_float", "value_floats"):
        return np.array(value, np.float32)
    if attribute.name in ("value_int", "value_ints"):
        return np.array(value, np.int64)
    return np.array(value, object)
