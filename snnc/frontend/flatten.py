"""One flat graph of opset 21: functions inlined, new operations expanded, shapes inferred."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np
import onnx
from onnx import (
    AttributeProto,
    ModelProto,
    NodeProto,
    ValueInfoProto,
    defs,
    helper,
    inliner,
    numpy_helper,
    shape_inference,
    version_converter,
)

from snnc.errors import CompileError
from snnc.export import LOC_KEY
from snnc.frontend.bodies import Subgraphs, take_out_subgraphs
from snnc.frontend.legal import ONNX_DOMAINS, opset_of, refusal
from snnc.frontend.read import to_array
from snnc.ir.functions import DOMAIN
from snnc.ir.graph import OPSET
from snnc.ir.node import Array

Locs: TypeAlias = dict[str, tuple[str, ...]]
"""Names of original nodes by the name of a node."""


def name_nodes(model: ModelProto, within: str = "") -> None:
    """Every node gets a name of its own: unnamed ones 'OpType#index'.

    within: name of the node whose body this is; those of an artifact hold it already.
    """
    seen: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.name or node.op_type}#{index}"
        if within and all(prop.key != LOC_KEY for prop in node.metadata_props):
            node.name = f"{within}/{node.name}"
        seen.add(node.name)


def stored_locs(model: ModelProto, source: str) -> dict[str, tuple[str, ...]]:
    """Original node names that an artifact of snnc carries, by node name."""
    try:
        return {
            node.name: tuple(prop.value.split("\n"))
            for node in model.graph.node
            for prop in node.metadata_props
            if prop.key == LOC_KEY
        }
    except UnicodeDecodeError:
        raise CompileError(
            "the names of original nodes are damaged", at=source or None, help="compile again"
        ) from None


def inline_functions(model: ModelProto, source: str, locs: Locs) -> ModelProto:
    """Calls of model-local functions replaced by their bodies; snnc's own operations stay."""
    own = [(f.domain, f.name) for f in model.functions if f.domain == DOMAIN]
    if len(own) == len(model.functions):
        return model
    local = {(f.domain, f.name) for f in model.functions} - set(own)
    calls = [n for n in model.graph.node if (n.domain, n.op_type) in local]
    with refusals_of_onnx(source):
        inlined = inliner.inline_selected_functions(model, own, exclude=True)
    _name_bodies(model, inlined, calls, locs)
    return inlined


def _name_bodies(
    before: ModelProto, after: ModelProto, calls: Sequence[NodeProto], locs: Locs
) -> None:
    """Nodes that came out of a call are named 'call/node', and remember the call."""
    called = {id(call) for call in calls}
    kept = {n.output[0] for n in before.graph.node if id(n) not in called and n.output}
    results = {value for call in calls for value in call.output}
    producer = {value: node for node in after.graph.node for value in node.output if value}
    taken = {node.name for node in after.graph.node if node.output and node.output[0] in kept}
    named: set[str] = set()
    for call in calls:
        waiting = [value for value in call.output if value]
        while waiting:
            node = producer.get(waiting.pop())
            if node is None or node.output[0] in kept | named:
                continue
            named.add(node.output[0])
            label = f"{call.name}/{node.name or node.op_type}"
            node.name = label if label not in taken else f"{label}#{len(taken)}"
            taken.add(node.name)
            locs[node.name] = (node.name, call.name)
            waiting += [value for value in node.input if value not in results]


def flatten(model: ModelProto, source: str, locs: Locs, subgraphs: Subgraphs) -> ModelProto:
    """Everything in operations of opset 21, shapes inferred; subgraphs of new ones are added."""
    with refusals_of_onnx(source):
        model = _expand_operations(model, source, locs)
        subgraphs |= take_out_subgraphs(model)
        if opset_of(model) != OPSET:
            model = version_converter.convert_version(_hoist_constants(model), OPSET)
            name_nodes(model)
        model = _hoist_constants(model)
        return shape_inference.infer_shapes(model, data_prop=True)


@contextmanager
def refusals_of_onnx(source: str) -> Iterator[None]:
    """What onnx's tools raise, as a CompileError."""
    try:
        yield
    except (
        RuntimeError,
        ValueError,
        UnicodeDecodeError,
        onnx.checker.ValidationError,
        shape_inference.InferenceError,
        version_converter.ConvertError,
    ) as error:
        raise CompileError(
            f"onnx cannot bring the model to opset {OPSET}: {' '.join(str(error).split())}",
            at=source or None,
            help="check the file with onnx.checker, or export it with another opset",
        ) from None


def _expand_operations(model: ModelProto, source: str, locs: Locs) -> ModelProto:
    """Operations that opset 21 lacks (Attention, Swish ...) by ONNX's own function bodies."""
    version = opset_of(model)
    while found := [n for n in model.graph.node if _is_foreign(n, version)]:
        for node in found:
            schema = defs.get_schema(node.op_type, version)
            if not (schema.has_function or schema.has_context_dependent_function):  # type: ignore[attr-defined]
                raise refusal(
                    f"{node.op_type} exists only from opset {schema.since_version} on",
                    node,
                    source,
                    help=f"export the model with opset {OPSET} or lower",
                )
            _write_defaults(node, schema)
        inlined = _inline_bodies(model, {n.op_type for n in found})
        _name_bodies(model, inlined, found, locs)
        name_nodes(inlined)
        model = inlined
    return model


def _is_foreign(node: NodeProto, version: int) -> bool:
    """Whether opset 21 has no operation of this kind, or one that means something else."""
    if node.domain not in ONNX_DOMAINS:
        return False
    if node.op_type == "GroupNormalization":  # one scale a group, not a channel; no converter knows
        return version < OPSET
    return version > OPSET and _is_new(node.op_type)


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
