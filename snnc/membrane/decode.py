"""The numbers that spikes stand for, in float64: what a simulation has to agree with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.ir.spike_times import FIRST_SPIKE, MULTIPLIED, PRODUCTS, RELAY, fires
from snnc.membrane.layer import Layer, Run, layer_of, product_of
from snnc.membrane.reference import Reference
from snnc.membrane.simulate import MOVING
from snnc.neurons.ttfs import fired, spike_ticks
from snnc.pointwise import constant, forward, is_pointwise


def decoded(graph: Graph, feeds: Mapping[str, Array]) -> Run:
    """The network as its artifact computes it, from numbers and not from spikes, but in float64."""
    perform = Reference(graph)
    values = dict(graph.consts)
    layers: dict[str, Layer] = {}
    ticks: dict[str, Array] = {}
    between: dict[str, tuple[Array, ...]] = {}
    for name in graph.inputs:
        wide = graph.types[name].is_float
        values[name] = feeds[name].astype(np.float64) if wide else feeds[name]
    for op in graph.nodes:
        assert isinstance(op, Op)
        inputs = [values[v] if v else None for v in op.inputs]
        result = op.outputs[0]
        if fires(op):
            layers[result] = layer_of(op)
            values[result] = _emitted(layers[result], inputs)
        elif op.op_type in MULTIPLIED:
            values[result], between[result] = _product(op, inputs)
        elif op.op_type == RELAY:
            assert inputs[0] is not None
            values[result] = inputs[0]
        elif _is_function(op, inputs):
            values[result] = forward(op, *(None if x is None else constant(x) for x in inputs))[0]
        else:
            values.update(zip(op.outputs, perform(op, inputs), strict=True))
        if op.op_type in MOVING | FIRST_SPIKE | {RELAY} and op.inputs[0] in layers:
            layers |= dict.fromkeys(op.outputs, layers[op.inputs[0]])
        if fires(op) or op.op_type == RELAY:
            ticks[result] = _ticks(layers[result], values[result])
    return Run(ticks, between, {name: values[name] for name in graph.outputs})


def _is_function(op: Op, inputs: Sequence[Array | None]) -> bool:
    """Whether an operation is computed here: the reference has float32 constants in some."""
    wide = any(x is not None and x.dtype == np.float64 for x in inputs)
    return wide and is_pointwise(op)


def _emitted(layer: Layer, inputs: Sequence[Array | None]) -> Array:
    potential, *alive = inputs
    assert potential is not None
    numbers = _fired(layer, potential.astype(np.float64))
    return np.where(np.asarray(alive[0]), numbers, layer.range.low) if alive else numbers


def _fired(layer: Layer, potential: Array) -> Array:
    return fired(potential, layer.range.low, layer.range.high, layer.ticks, layer.early)


def _ticks(layer: Layer, numbers: Array) -> Array:
    return spike_ticks(numbers, layer.range.low, layer.range.high, layer.ticks)


def _product(op: Op, inputs: Sequence[Array | None]) -> tuple[Array, tuple[Array, ...]]:
    """The result and the ticks of the neurons inside."""
    x, y = inputs
    assert x is not None and y is not None
    product = product_of(op)
    a, b = product.expanded(x, y)
    if product.kind == PRODUCTS["ideal"]:
        return product.summed(a * b), ()
    if product.kind == PRODUCTS["quarter"]:
        scaled = a * product.balance, b / product.balance
        potentials = [scaled[0] + scaled[1], scaled[0] - scaled[1]]
    else:
        c, e = product.shifts
        with np.errstate(all="ignore"):
            potentials = [np.log(a + c) + np.log(b + e)]
    layers = product.inside
    inside = [_fired(layer, v) for layer, v in zip(layers, potentials, strict=True)]
    ticks = tuple(_ticks(layer, v) for layer, v in zip(layers, inside, strict=True))
    if product.kind == PRODUCTS["quarter"]:
        return product.summed((inside[0] ** 2 - inside[1] ** 2) / 4), ticks
    return product.summed(np.exp(inside[0]) - a * e - b * c - c * e), ticks
