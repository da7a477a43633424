"""The numbers that spikes stand for, in float64: what a simulation has to agree with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.ir.spike_times import FIRST_SPIKE, MULTIPLIED, RELAY, fires
from snnc.membrane.layer import Layer, Run, layer_of
from snnc.membrane.product import multiply_numbers, product_of
from snnc.membrane.reference import Reference, operations
from snnc.membrane.simulate import MOVING, RANKING
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
    for op in operations(graph):
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
        if op.op_type in MOVING | FIRST_SPIKE | RANKING | {RELAY} and op.inputs[0] in layers:
            layers |= dict.fromkeys(op.outputs, layers[op.inputs[0]])
        if fires(op) or op.op_type == RELAY:
            ticks[result] = layers[result].ticks_of(values[result])
    return Run(ticks, between, {name: values[name] for name in graph.outputs})


def _is_function(op: Op, inputs: Sequence[Array | None]) -> bool:
    """Whether an operation is computed here: the reference has float32 constants in some."""
    wide = any(x is not None and x.dtype == np.float64 for x in inputs)
    return wide and is_pointwise(op)


def _emitted(layer: Layer, inputs: Sequence[Array | None]) -> Array:
    potential, *alive = inputs
    assert potential is not None
    numbers = layer.emitted(potential)
    return np.where(np.asarray(alive[0]), numbers, layer.range.low) if alive else numbers


def _product(op: Op, inputs: Sequence[Array | None]) -> tuple[Array, tuple[Array, ...]]:
    """The result and the ticks of the neurons inside."""
    x, y = inputs
    assert x is not None and y is not None
    product = product_of(op)
    pairs, inside = multiply_numbers(product, x, y)
    layers = zip(product.inside, inside, strict=True)
    return product.summed(pairs), tuple(layer.ticks_of(v) for layer, v in layers)
