"""What is legal at each stage; run between passes, so that a broken pass is caught at once."""

from __future__ import annotations

import math
from collections.abc import Container
from typing import get_args

import numpy as np

from snnc.errors import CompileError
from snnc.ir.coding import SPIKE_KEEPING
from snnc.ir.composed import composed
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Array, Body, Coding, Neuron, Node, Op, Role, Site
from snnc.ir.quantizer import imported
from snnc.ir.spike_times import time_ranges
from snnc.ir.time import forms


def verify(graph: Graph, stage: Stage) -> None:
    """Raise a CompileError naming the node if `graph` is not a legal graph of `stage`."""
    if graph.stage != stage:
        raise CompileError(f"graph is at stage {graph.stage.name}, expected {stage.name}")
    for name, array in graph.consts.items():
        if array.flags.writeable:
            raise CompileError(f"constant %{name} can be written to")
    _verify_order(graph)
    timed = time_ranges(graph)
    for node in graph.nodes:
        _verify_node(graph, node, stage, timed)
    if graph.timesteps != 1:
        forms(graph)


def _verify_order(graph: Graph) -> None:
    """Single assignment, topological order, every value typed."""
    defined = set(graph.inputs) | set(graph.consts)
    for name in graph.inputs:
        if name not in graph.types:
            raise CompileError(f"input %{name} has no type")
    for node in graph.nodes:
        for name in node.inputs:
            if name and name not in defined:
                raise graph.error(f"%{name} is read before it is computed", node)
        for name in node.outputs:
            if name in defined:
                raise graph.error(f"%{name} is assigned twice", node)
            if name and name not in graph.types:
                raise graph.error(f"%{name} has no type", node)
            if name:
                defined.add(name)
    for name in graph.outputs:
        if name not in defined:
            raise CompileError(f"output %{name} is never computed")


def _verify_node(graph: Graph, node: Node, stage: Stage, timed: Container[str]) -> None:
    if not node.loc.names:
        raise graph.error("the node names no original ONNX node", node)
    if isinstance(node, Op):
        _verify_coding(graph, node, timed)
        for body in node.bodies.values():
            _verify_body(graph, node, body)
    elif isinstance(node, Site):
        _verify_site(graph, node, stage)
    else:
        _verify_neuron(graph, node, stage)


def _verify_coding(graph: Graph, op: Op, timed: Container[str]) -> None:
    spiking_input = (
        bool(op.inputs)
        and op.inputs[0] in graph.types
        and (graph.types[op.inputs[0]].coding is Coding.SPIKE)
    )
    for name in op.outputs:
        spikes = bool(name) and graph.types[name].coding is Coding.SPIKE
        if spikes and not (op.op_type in SPIKE_KEEPING and spiking_input) and not _fires(op):
            raise graph.error(f"%{name} is typed as spikes but comes from no neuron", op)
        if name and graph.types[name].coding is Coding.TIME and name not in timed:
            raise graph.error(f"%{name} is typed as spike times but comes from no neuron", op)


def _fires(op: Op) -> bool:
    """Whether neurons are part of an operation that a network was lowered to."""
    made = composed(op)
    return made is not None and made.neuron is not None


def _verify_body(graph: Graph, op: Op, body: Body) -> None:
    inner = body.graph
    if inner.consts or not all(isinstance(node, Op) for node in inner.nodes):
        raise graph.error("a body holds operations only", op)
    if not 0 <= body.captures <= min(len(inner.inputs), len(op.inputs)):
        raise graph.error(f"a body cannot capture {body.captures} values", op)
    verify(inner, Stage.ANN)


def _verify_site(graph: Graph, site: Site, stage: Stage) -> None:
    gated = site.role in ("spike time", "softmax")
    if len(site.inputs) not in (1, 1 + gated) or len(site.outputs) != 1 or not all(site.inputs):
        raise graph.error(f"a site has one input{' and a gate' * gated} and one result", site)
    if site.role not in get_args(Role):
        raise graph.error(f"a site has no role '{site.role}'", site)
    if stage in (Stage.ANN, Stage.SPIKING):
        raise graph.error(f"a site has no place at stage {stage.name}", site)
    chosen = site.role != "quantizer"
    if not chosen and imported(graph, site) is None:
        raise graph.error("the site stands behind no quantiser", site)
    if (site.statistics is not None) != (chosen and stage >= Stage.CALIBRATED):
        raise graph.error(f"statistics do not belong to stage {stage.name}", site)
    if (site.step is not None) != (chosen and stage >= Stage.THRESHOLDED):
        raise graph.error(f"thresholds do not belong to stage {stage.name}", site)
    if site.thresholds is not None and stage < Stage.CALIBRATED:
        raise graph.error(f"a rule's thresholds do not belong to stage {stage.name}", site)
    for step in np.concatenate([np.ravel(s) for s in (*(site.step or ()), *_thetas(site), 0.0)]):
        if not (math.isfinite(step) and step >= 0):
            raise graph.error(f"threshold {step} is not a finite number >= 0", site)
    if graph.types[site.outputs[0]] != graph.types.get(site.inputs[0]):
        raise graph.error("a site keeps the type of its input", site)


def _thetas(site: Site) -> tuple[tuple[float, ...], ...]:
    return site.thresholds or ()


def _verify_neuron(graph: Graph, neuron: Neuron, stage: Stage) -> None:
    if len(neuron.inputs) != 3 or len(neuron.outputs) != 1 or not neuron.inputs[0]:
        raise graph.error("a neuron has an input, two steps and one result", neuron)
    if stage != Stage.SPIKING:
        raise graph.error(f"a neuron has no place at stage {stage.name}", neuron)
    if neuron.timesteps != graph.timesteps:
        raise graph.error(f"a neuron of {neuron.timesteps} timesteps in {graph.timesteps}", neuron)
    result = graph.types[neuron.outputs[0]]
    if result.coding is not Coding.SPIKE or result.dtype != "float32":
        raise graph.error("a neuron emits float32 spikes", neuron)
    for name in filter(None, neuron.inputs[1:]):
        step = graph.consts.get(name)
        if step is None or not _is_threshold(step):
            raise graph.error(f"threshold %{name} is not a constant > 0 and finite", neuron)


def _is_threshold(step: Array) -> bool:
    return step.dtype == np.float32 and bool(np.all(np.isfinite(step) & (step >= 0)) and step.any())
