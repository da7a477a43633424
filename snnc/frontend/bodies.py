"""If, Loop and Scan: the graphs they run become bodies that read nothing unseen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    TensorProto,
    ValueInfoProto,
    helper,
    shape_inference,
)

from snnc.export import value_info
from snnc.frontend.legal import ONNX_DOMAINS, PLACEHOLDER
from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Body, Dim, Node, Op, Type, real


@dataclass(frozen=True)
class Subgraph:
    """A graph that a node runs, and the names that it reads from around it."""

    proto: GraphProto
    captured: tuple[str, ...]


_KEY = "subgraphs"
"""Attribute of a placeholder: the name under which its subgraphs are kept."""

Subgraphs = dict[str, dict[str, Subgraph]]
"""By name of the node and of its attribute."""


def take_out_subgraphs(model: ModelProto) -> Subgraphs:
    """Nodes that run graphs become placeholders that read what those graphs capture."""
    runs_graphs = [
        node
        for node in model.graph.node
        if node.domain in ONNX_DOMAINS
        and any(a.type == AttributeProto.GRAPH for a in node.attribute)
    ]
    if runs_graphs:
        _declare(model, {name for node in runs_graphs for name in node.output})
    found: Subgraphs = {}
    for node in runs_graphs:
        graphs = {a.name: a.g for a in node.attribute if a.type == AttributeProto.GRAPH}
        captured = tuple(
            dict.fromkeys(v for graph in graphs.values() for v in captured_names(graph))
        )
        found[node.name] = {}
        for key, graph in graphs.items():
            kept = GraphProto()
            kept.CopyFrom(graph)
            found[node.name][key] = Subgraph(kept, captured)
        kept_attributes = [a for a in node.attribute if a.type != AttributeProto.GRAPH]
        del node.attribute[:]
        node.attribute.extend([*kept_attributes, helper.make_attribute(_KEY, node.name)])
        node.domain = PLACEHOLDER
        node.input.extend(captured)
    if found and all(o.domain != PLACEHOLDER for o in model.opset_import):
        model.opset_import.add(domain=PLACEHOLDER, version=1)
    return found


def _declare(model: ModelProto, values: set[str]) -> None:
    """Writes down the types of values, as far as onnx infers them."""
    known = {v.name for v in (*model.graph.value_info, *model.graph.output)}
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    model.graph.value_info.extend(
        v for v in inferred.value_info if v.name in values and v.name not in known
    )
    for old, new in zip(model.graph.output, inferred.output, strict=True):
        if old.type.WhichOneof("value") is None:
            old.CopyFrom(new)


def captured_names(graph: GraphProto) -> list[str]:
    """Names that a graph reads and does not define, in order."""
    defined = {v.name for v in (*graph.input, *graph.initializer)} | {""}
    defined.update(name for node in graph.node for name in node.output)
    read: list[str] = []
    for node in graph.node:
        read += node.input
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                read += captured_names(attribute.g)
    read += [v.name for v in graph.output]
    return [name for name in dict.fromkeys(read) if name not in defined]


def put_back_bodies(
    graph: Graph, subgraphs: Subgraphs, model: ModelProto, load: Callable[[ModelProto, str], Graph]
) -> Graph:
    """The graph with every placeholder as the operation it stands for.

    model: versions and functions that the subgraphs rely on; load: builds the graph of a model that
    is the body of the named node.
    """
    taken = set(graph.names)

    def rule(node: Node) -> Replacement | None:
        if not isinstance(node, Op) or not node.op_type.startswith(f"{PLACEHOLDER}."):
            return None
        attrs = dict(node.attrs)
        own = subgraphs[str(attrs.pop(_KEY))]
        return _with_bodies(graph, replace(node, attrs=attrs), own, model, load, taken)

    rebuilt = graph.rewrite(rule)
    domains = {name: v for name, v in rebuilt.domains.items() if name != PLACEHOLDER}
    return replace(rebuilt, domains=domains)


def _with_bodies(
    graph: Graph,
    op: Op,
    subgraphs: Mapping[str, Subgraph],
    model: ModelProto,
    load: Callable[[ModelProto, str], Graph],
    taken: set[str],
) -> Replacement:
    captured = next(iter(subgraphs.values())).captured
    explicit = op.inputs[: len(op.inputs) - len(captured)]
    around = op.inputs[len(explicit) :]
    inner: dict[str, Graph] = {}
    consts: dict[str, Array] = {}
    for key, subgraph in subgraphs.items():
        types = [_type(graph, op, value) for value in around]
        proto = _model(subgraph, op, dict(zip(captured, types, strict=True)), graph, model)
        body = _apart(load(proto, op.loc.names[0]), captured, taken)
        renamed = {}
        for name in body.consts:
            renamed[name] = _unused(f"{op.loc.names[0]}/{key}/{name}", taken)
        consts |= {renamed[name]: array for name, array in body.consts.items()}
        inner[key] = _without_constants(replace(body, name=key), renamed)
    bodies = {}
    for key, body in inner.items():
        own = tuple(v for v in body.inputs if v not in captured and v not in consts)
        types_inside = {name: real(str(a.dtype), a.shape) for name, a in consts.items()}
        bodies[key] = Body(
            replace(
                body,
                inputs=(*own, *captured, *consts),
                types={**types_inside, **body.types},
                domains={},
                source="",
            ),
            len(captured) + len(consts),
        )
    whole = replace(
        op,
        inputs=(*explicit, *around, *consts),
        op_type=op.op_type.removeprefix(f"{PLACEHOLDER}."),
        attrs={**op.attrs, **bodies},
    )
    return Replacement((whole,), consts=consts)


def _apart(body: Graph, captured: tuple[str, ...], taken: set[str]) -> Graph:
    """A body whose values and symbolic dimensions share no name with what is around it.

    Symbols that inference invents are numbered anew in every body; those of captured values mean
    the same inside.
    """
    meant = {dim for name in captured for dim in body.types[name].shape or ()}
    inputs = tuple(name for name in body.inputs if name not in captured)
    renamed = {}
    for name in (*inputs, *(v for node in body.nodes for v in node.outputs if v)):
        renamed[name] = _unused(name, taken)
    types = {
        renamed.get(name, name): replace(kind, shape=_meaningful(kind.shape, meant))
        for name, kind in body.types.items()
    }
    nodes = []
    for node in body.nodes:
        outer = tuple(renamed.get(v, v) for v in node.inputs)
        node = replace(node, inputs=outer, outputs=tuple(renamed.get(v, v) for v in node.outputs))
        nodes.append(node)
    return replace(
        body,
        inputs=tuple(renamed.get(v, v) for v in body.inputs),
        outputs=tuple(renamed.get(v, v) for v in body.outputs),
        nodes=tuple(nodes),
        types=types,
    )


def _meaningful(shape: tuple[Dim, ...] | None, meant: set[Dim]) -> tuple[Dim, ...] | None:
    return (
        None
        if shape is None
        else tuple(dim if isinstance(dim, int) or dim in meant else None for dim in shape)
    )


def _unused(base: str, taken: set[str]) -> str:
    name, n = base, 1
    while name in taken:
        name, n = f"{base}.{n}", n + 1
    taken.add(name)
    return name


def _without_constants(body: Graph, renamed: Mapping[str, str]) -> Graph:
    """A body that reads its constants as inputs, under the names they have around it."""
    nodes = tuple(
        replace(node, inputs=tuple(renamed.get(v, v) for v in node.inputs)) for node in body.nodes
    )
    outputs = tuple(renamed.get(v, v) for v in body.outputs)
    return replace(body, nodes=nodes, outputs=outputs, consts={})


def _type(graph: Graph, op: Op, name: str) -> Type:
    if name in graph.consts:
        return real(str(graph.consts[name].dtype), graph.consts[name].shape)
    if name not in graph.types:
        raise graph.error(
            f"the type of '{name}', which a subgraph reads, cannot be inferred",
            op,
            help="export the model with its shapes (onnx.shape_inference) or without control flow",
        )
    return graph.types[name]


def _model(
    subgraph: Subgraph,
    op: Op,
    captured: Mapping[str, Type],
    graph: Graph,
    model: ModelProto,
) -> ModelProto:
    """A subgraph as a model of its own, whose last inputs are what it captures."""
    explicit = op.inputs[: len(op.inputs) - len(captured)]
    proto = ModelProto(ir_version=model.ir_version)
    proto.opset_import.extend(o for o in model.opset_import if o.domain != PLACEHOLDER)
    proto.functions.extend(model.functions)
    proto.graph.CopyFrom(subgraph.proto)
    for place, (value, outer) in enumerate(zip(proto.graph.input, explicit, strict=False)):
        _complete(value, _type(graph, op, outer) if outer else None, place)
    proto.graph.input.extend(value_info(name, kind) for name, kind in captured.items())
    return proto


def _complete(value: ValueInfoProto, outer: Type | None, place: int) -> None:
    """The element type of an untyped input of a body; its shape may differ between iterations."""
    if value.type.WhichOneof("value") is not None:
        return
    if outer is not None:
        value.type.tensor_type.elem_type = value_info("", outer).type.tensor_type.elem_type
    else:  # of a Loop: the iteration, and whether to go on
        value.type.tensor_type.elem_type = TensorProto.BOOL if place else TensorProto.INT64
