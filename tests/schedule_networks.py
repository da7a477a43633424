"""What tests of schedules share: small networks in cells, and targets with few of everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from snnc.backends.schedule.cells import chip_layers
from snnc.backends.schedule.layers import Network
from snnc.coverage import shapes_at
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Array, Coding, Loc, Neuron, Node, Op, Type
from snnc.membrane.reference import Reference
from snnc.neurons.sfn import SFN
from snnc.random_data import random_feeds
from snnc.targets import Target, load_target

Shape = tuple[int, ...]


def small_target(**limits: Any) -> Target:
    """A chip that takes everything, with the given limits."""
    usual: dict[str, Any] = {
        "name": "small",
        "cores": 16,
        "chips": 64,
        "columns": 4,
        "cells_per_core": None,
        "synapse_bits_per_core": None,
        "weight_bits": 8,
        "axons_per_core": None,
        "shares_convolutions": True,
        "picojoules": {
            "synop": 1.0,
            "neuron_update": 2.0,
            "packet": 3.0,
            "packet_hop": 4.0,
            "real_operation": 5.0,
        },
        "nanoseconds": {
            "synop": 1.0,
            "neuron_update": 2.0,
            "packet_hop": 3.0,
            "real_operation": 4.0,
            "barrier": 10.0,
        },
        "idle_watts": 0.5,
        "tick_nanoseconds": 100.0,
    }
    return replace(load_target("generic"), **{**usual, **limits})


def operation(op_type: str, operands: tuple[str, ...], **attrs: Any) -> Op:
    return Op(("y",), operands, Loc(("node",)), op_type, attrs)


def spiking(
    op: Op, operands: Mapping[str, Shape], weights: Mapping[str, Array], *, spikes: bool = True
) -> Network:
    """Inputs, neurons that send the operands (itself an input if not `spikes`), and the operation,
    whose result neurons read; operands: shapes of the computed ones."""
    nodes: list[Node] = []
    types: dict[str, Type] = {}
    consts = {**weights, "step": np.array(0.5, np.float32)}
    inputs = []
    for name, shape in operands.items():
        source = f"{name}.input" if spikes else name
        inputs.append(source)
        types[source] = Type(Coding.REAL, "float32", shape)
        if spikes:
            nodes.append(
                Neuron((name,), (source, "step", "step"), Loc((f"{name}.neurons",)), SFN())
            )
            types[name] = Type(Coding.SPIKE, "float32", shape)
    feeds = [np.zeros(operands[v], np.float32) if v in operands else consts[v] for v in op.inputs]
    types["y"] = Type(Coding.REAL, "float32", None)
    alone = Graph("g", tuple(operands), ("y",), (op,), types, consts, Stage.SPIKING)
    shape = Reference(alone)(op, feeds)[0].shape
    types["y"] = Type(Coding.REAL, "float32", shape)
    types["z"] = Type(Coding.SPIKE, "float32", shape)
    nodes += [op, Neuron(("z",), ("y", "step", "step"), Loc(("behind",)), SFN())]
    graph = Graph("g", tuple(inputs), ("z",), tuple(nodes), types, consts, Stage.SPIKING)
    return chip_layers(graph, {name: kind.shape for name, kind in types.items()})  # type: ignore[misc]


def performed(network: Network, op: Op, operands: Mapping[str, Array]) -> Array:
    """The result of an operation with ones for weights, float64."""
    consts = network.graph.consts
    given = [
        operands[v]
        if v in operands
        else (np.ones(consts[v].shape) if consts[v].dtype.kind == "f" else consts[v])
        for v in op.inputs
    ]
    return np.asarray(Reference(network.graph)(op, given)[0], np.float64)


def network_of(graph: Graph) -> Network:
    shapes, _ = shapes_at(graph, list(graph.types), random_feeds(graph, 1, 16))
    return chip_layers(graph, shapes)
