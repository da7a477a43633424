"""ONNX -> Graph: any exporter's file becomes one flat graph of opset 21 with typed values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import ModelProto

import snnc.neurons  # noqa: F401  (registers the neuron models that an artifact may name)
from snnc.errors import CompileError
from snnc.frontend.bodies import put_back_bodies, take_out_subgraphs
from snnc.frontend.inline import expand_operations, inline_functions
from snnc.frontend.legal import refuse, refuse_damaged, refuse_sequences, sort_nodes
from snnc.frontend.naming import name_nodes, stored_locs
from snnc.frontend.onnx_errors import refusals_of_onnx
from snnc.frontend.opset import to_opset
from snnc.frontend.pooling import split_average_pools
from snnc.frontend.qonnx import write_out_quantizers
from snnc.frontend.raising import raise_operations, show_weights
from snnc.frontend.read import read, without_weights
from snnc.frontend.sequences import take_sequences_apart
from snnc.ir.coding import with_spikes
from snnc.ir.composed import composed
from snnc.ir.functions import FUNCTIONS
from snnc.ir.graph import DOMAIN, Graph, Stage
from snnc.ir.node import Array, Attribute, Loc, Node, Op
from snnc.ir.over_time import BODIES
from snnc.ir.parse import make_node
from snnc.ir.spike_times import fires, with_times
from snnc.ir.verify import verify
from snnc.runtime import output_types
from snnc.shapes import to_type, typed_values


def load(model: str | Path | ModelProto) -> Graph:
    """The network of an ONNX file (or message): a trained one, or one that snnc wrote.

    Raises CompileError for a file that is no ONNX model, is damaged, lacks its external data, or
    holds something snnc cannot represent, naming the node.
    """
    proto, source = (model, "") if isinstance(model, ModelProto) else read(Path(model))
    refuse_damaged(proto, source)
    graph = _graph(proto, source)
    verify(graph, graph.stage)
    return graph


def _graph(proto: ModelProto, source: str, within: str = "") -> Graph:
    """within: name of the node whose body the model is."""
    skeleton, weights = without_weights(proto)
    name_nodes(skeleton, within)
    locs = stored_locs(skeleton, source)
    skeleton = inline_functions(skeleton, source, locs)
    take_sequences_apart(skeleton)
    write_out_quantizers(skeleton, weights, source, locs)
    with refusals_of_onnx(source):
        subgraphs = take_out_subgraphs(skeleton)
    refuse(skeleton, source)
    sort_nodes(skeleton, source)
    skeleton = expand_operations(skeleton, source, locs)
    with refusals_of_onnx(source):
        subgraphs |= take_out_subgraphs(skeleton)
    split_average_pools(skeleton, locs)
    skeleton = to_opset(skeleton, source)
    refuse_sequences(skeleton, source)
    graph = _build(skeleton, weights, locs, source)

    def load_body(model: ModelProto, name: str) -> Graph:
        return _graph(model, source, name)

    return _typed(put_back_bodies(graph, subgraphs, proto, load_body))


def _build(
    model: ModelProto,
    weights: dict[str, Array],
    locs: dict[str, tuple[str, ...]],
    source: str,
) -> Graph:
    log = gs.logger.G_LOGGER
    with log.suppress(log.CRITICAL):  # it writes to stdout
        surgeon = gs.import_onnx(model)
        consts = {
            name: np.array(tensor.values)
            for name, tensor in surgeon.tensors().items()
            if isinstance(tensor, gs.Constant)
        } | weights
    types = {v.name: to_type(v.type) for v in typed_values(model) if v.name not in consts}
    nodes = tuple(_node(node, locs) for node in surgeon.nodes)
    graph = Graph(
        name=model.graph.name,
        inputs=tuple(i.name for i in model.graph.input if i.name not in weights),
        outputs=tuple(o.name for o in model.graph.output),
        nodes=nodes,
        types=types,
        consts=consts,
        domains={
            o.domain: o.version
            for o in model.opset_import
            if o.domain not in ("", "ai.onnx", DOMAIN)
        },
        source=source,
    ).pruned()
    return _coded(show_weights(raise_operations(graph)))


def _coded(graph: Graph) -> Graph:
    """The graph with its stage, and types that say which values are spikes."""
    spiking = graph.neurons or any(map(fires, graph.nodes))
    stage = Stage.SPIKING if spiking else Stage.ANN
    timesteps = max((neuron.timesteps for neuron in graph.neurons), default=1)
    return replace(with_times(with_spikes(graph)), stage=stage, timesteps=timesteps)


def _typed(graph: Graph) -> Graph:
    """The graph with the types that only onnxruntime can tell."""
    missing = [n for node in graph.nodes for n in node.outputs if n and n not in graph.types]
    if not missing:
        return graph
    return replace(graph, types={**graph.types, **output_types(graph, missing)})


def _node(node: gs.Node, locs: dict[str, tuple[str, ...]]) -> Node:
    outputs = tuple(t.name for t in node.outputs)
    inputs = tuple(t.name for t in node.inputs)
    try:
        attrs = {str(key): _attribute(value) for key, value in node.attrs.items()}
    except (TypeError, ValueError):
        raise CompileError(
            f"an attribute of node '{node.name}' ({node.op}) is damaged",
            help="export the model again",
        ) from None
    loc = Loc(locs.get(node.name, (node.name,)))
    if node.domain == DOMAIN and node.op in BODIES:
        _require_timesteps(node, attrs)
    if node.domain == DOMAIN and node.op not in FUNCTIONS:
        op = Op(outputs, inputs, loc, f"{DOMAIN}.{node.op}", attrs)
        made = composed(op)
        if made is None or len(inputs) < 2:
            raise CompileError(
                f"node '{node.name}' ({node.op}) is no operation that this version of snnc knows",
                help="compile the network again",
            )
        if made.over_time or made.mean:
            _require_timesteps(node, attrs)
        if made.drive or made.count or made.repeated:
            return op
        return make_node(str(attrs.pop("model")), outputs, inputs, loc, attrs)
    while inputs and not inputs[-1]:
        inputs = inputs[:-1]
    op_type = node.op if not node.domain or node.domain == "ai.onnx" else f"{node.domain}.{node.op}"
    return Op(outputs, inputs, loc, op_type, attrs)


def _require_timesteps(node: gs.Node, attrs: Mapping[str, Attribute]) -> None:
    timesteps = attrs.get("timesteps")
    if not isinstance(timesteps, int) or timesteps < 1:
        raise CompileError(
            f"attribute 'timesteps' of node '{node.name}' ({node.op}) is no positive integer",
            help="compile the network again",
        )


def _attribute(value: Any) -> Attribute:
    if isinstance(value, (list, tuple)):
        return tuple(_attribute(v) for v in value)  # type: ignore[return-value]
    if isinstance(value, gs.Constant):
        return np.array(value.values)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (np.ndarray, str)):
        return value
    if isinstance(value, bool) or not isinstance(value, float):
        return int(value)
    return float(np.float32(value))
