"""Graph -> ONNX ModelProto, at any stage of the pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, ValueInfoProto, helper, numpy_helper, parser

from snnc.ir.composed import Composed, neuron_attributes
from snnc.ir.functions import Function, function_of
from snnc.ir.graph import DOMAIN, OPSET, Graph
from snnc.ir.node import Array, Attribute, Body, Neuron, Node, Op, Site, Type

IR_VERSION = 10
"""Newest ONNX IR version that onnxruntime 1.20 loads."""

LOC_KEY = "ai.snnc.loc"
"""Key of a node's metadata that holds the names of its original nodes, one a line."""

EXTERNAL_BYTES = 4096
"""Constants of at least this many bytes can stay outside the protobuf message."""


_ELEMENT_TYPES = {
    str(helper.tensor_dtype_to_np_dtype(number)): number
    for number in TensorProto.DataType.values()
    if number not in (TensorProto.UNDEFINED, TensorProto.STRING)
}


@dataclass
class Exported:
    """A model whose larger constants lie beside it, named as external data."""

    model: onnx.ModelProto
    weights: Mapping[str, Array] = field(default_factory=dict)


def export(
    graph: Graph,
    *,
    extra_outputs: Iterable[str] = (),
    shapes_of: Iterable[str] = (),
    free: Iterable[str] = (),
    external: bool = False,
) -> Exported:
    """The graph as ONNX; sites are identities, neurons functions with bodies in ai.snnc.

    extra_outputs: values to output after the graph's own; shapes_of: values whose shapes to
    output after those (see shape_name); free: constants that become inputs; external: leave
    large constants out of the message, as onnxruntime's external initializers.
    """
    free = frozenset(free)
    nodes = [_node(node) for node in graph.nodes]
    _make_names_unique(nodes)
    inputs = [value_info(name, graph.types[name]) for name in graph.inputs]
    inputs += [
        helper.make_tensor_value_info(n, _elem(str(graph.consts[n].dtype)), graph.consts[n].shape)
        for n in sorted(free)
    ]
    outputs = [_output_info(graph, name) for name in graph.outputs]
    outputs += [ValueInfoProto(name=name) for name in extra_outputs if name not in graph.outputs]
    for name in shapes_of:
        nodes.append(helper.make_node("Shape", [name], [shape_name(name)]))
        outputs.append(ValueInfoProto(name=shape_name(name)))
    initializers, weights = [], {}
    for name, array in graph.consts.items():
        if name in free:
            continue
        if external and array.nbytes >= EXTERNAL_BYTES and array.dtype.isbuiltin == 1:
            initializers.append(_external(name, array))
            weights[name] = array
        else:
            initializers.append(numpy_helper.from_array(array, name))
    functions = list(_functions(graph))
    opsets = [helper.make_opsetid("", OPSET)]
    opsets += [helper.make_opsetid(d, v) for d, v in graph.domains.items() if d != DOMAIN]
    if functions:
        opsets.append(helper.make_opsetid(DOMAIN, 1))
    proto = helper.make_graph(nodes, graph.name or "graph", inputs, outputs, initializers)
    if not (extra_outputs or shapes_of):
        boundary = {*graph.inputs, *graph.outputs}
        proto.value_info.extend(
            value_info(n, t) for n, t in graph.types.items() if n not in boundary
        )
    model = helper.make_model(
        proto,
        opset_imports=opsets,
        functions=functions,
        producer_name="snnc",
        ir_version=IR_VERSION,
    )
    return Exported(model, weights)


def shape_name(value: str) -> str:
    """Name of the output that holds the run-time shape of a value."""
    return f"ai.snnc.shape({value})"


def _external(name: str, array: Array) -> TensorProto:
    tensor = TensorProto(name=name, data_type=_elem(str(array.dtype)), dims=array.shape)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights")
    return tensor


def _elem(dtype: str) -> int:
    return int(TensorProto.STRING) if dtype in ("str", "object") else _ELEMENT_TYPES[dtype]


def value_info(name: str, type: Type) -> ValueInfoProto:
    """The ONNX declaration of a value."""
    return helper.make_tensor_value_info(name, _elem(type.dtype), type.shape)


def _output_info(graph: Graph, name: str) -> ValueInfoProto:
    if name in graph.types:
        return value_info(name, graph.types[name])
    if name not in graph.consts:  # of a type that only onnxruntime can tell
        return ValueInfoProto(name=name)
    array = graph.consts[name]
    return helper.make_tensor_value_info(name, _elem(str(array.dtype)), array.shape)


def _attribute(key: str, value: Attribute, captured: Sequence[str]) -> AttributeProto:
    """captured: the values that bodies read from around them, last inputs of their operation."""
    if isinstance(value, Body):
        return helper.make_attribute(key, _body(value, captured))
    if isinstance(value, np.ndarray):
        return helper.make_attribute(key, numpy_helper.from_array(value))
    if value == ():
        return helper.make_attribute(key, [], attr_type=AttributeProto.INTS)
    return helper.make_attribute(key, value)


def _operation(node: Node) -> tuple[str, str, Mapping[str, Attribute]]:
    """Domain, type and attributes of a node in the file."""
    if isinstance(node, Op):
        domain, _, op_type = node.op_type.rpartition(".")
        return domain, op_type, node.attrs
    if isinstance(node, Neuron):
        over_time = node.timesteps > 1
        made = Composed(neuron=node.model, sides=node.sides, over_time=over_time)
        return DOMAIN, made.name, neuron_attributes(node)
    return "", "Identity", {}


def _node(node: Node) -> onnx.NodeProto:
    domain, op_type, attrs = _operation(node)
    inputs = list(node.inputs[:1] if isinstance(node, Site) else node.inputs)
    bodies = list(node.bodies.values()) if isinstance(node, Op) else []
    explicit = len(inputs) - (bodies[0].captures if bodies else 0)
    inputs, captured = inputs[:explicit], inputs[explicit:]
    while domain != DOMAIN and inputs and not inputs[-1]:
        inputs.pop()
    proto = helper.make_node(op_type, inputs, node.outputs, name=node.loc.names[0], domain=domain)
    proto.attribute.extend(_attribute(k, v, captured) for k, v in attrs.items())
    proto.metadata_props.add(key=LOC_KEY, value="\n".join(node.loc.names))
    return proto


def _body(body: Body, captured: Sequence[str]) -> onnx.GraphProto:
    """A body under the names that its captured values have around it."""
    graph = body.graph
    own = len(graph.inputs) - body.captures
    outer = dict(zip(graph.inputs[own:], captured, strict=True))
    nodes = [
        _node(replace(node, inputs=tuple(outer.get(v, v) for v in node.inputs)))
        for node in graph.nodes
    ]
    _make_names_unique(nodes)
    outputs = []
    for place, name in enumerate(graph.outputs):
        info = _output_info(graph, name)
        if name in graph.inputs:  # handed through: an output is computed inside
            info.name = f"{name}.{place}"
            nodes.append(helper.make_node("Identity", [outer.get(name, name)], [info.name]))
        outputs.append(info)
    inputs = [value_info(name, graph.types[name]) for name in graph.inputs[:own]]
    return helper.make_graph(nodes, graph.name, inputs, outputs)


def _make_names_unique(nodes: Iterable[onnx.NodeProto]) -> None:
    seen: set[str] = set()
    for node in nodes:
        if node.name in seen:
            node.name = f"{node.name}/{node.output[0]}"
        seen.add(node.name)


def _functions(graph: Graph) -> Iterable[onnx.FunctionProto]:
    """The bodies of every ai.snnc operation in use, each once and after those that it calls."""
    found: dict[str, Function] = {}
    attributes: dict[str, dict[str, None]] = {}

    def add(function: Function, used: Iterable[str]) -> None:
        for inner in function.calls:
            add(inner, inner.references)
        found.setdefault(function.name, function)
        attributes.setdefault(function.name, {}).update(dict.fromkeys(used))

    for node in graph.nodes:
        function = function_of(node)
        if function is not None:
            add(function, _operation(node)[2])
    for name, function in found.items():
        yield function_proto(function, tuple(attributes[name]))


def function_proto(function: Function, attributes: tuple[str, ...] = ()) -> onnx.FunctionProto:
    """A function of domain ai.snnc from the text of its body."""
    declared = f"<{', '.join(attributes)}>" if attributes else ""
    proto = parser.parse_function(
        f'<opset_import: ["" : {OPSET}, "{DOMAIN}" : 1], domain: "{DOMAIN}">\n'
        f"{function.name} {declared} ({', '.join(function.inputs)}) => "
        f"({', '.join(function.outputs)}) {{\n{function.body}\n}}"
    )
    arity = {called.name: len(called.inputs) for called in function.calls}
    for node in proto.node:
        if node.domain == DOMAIN:  # the parser drops absent inputs at the end
            node.input.extend([""] * (arity[node.op_type] - len(node.input)))
    return proto
