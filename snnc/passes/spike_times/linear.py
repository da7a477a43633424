"""What membranes and single spikes do besides sums: weights, pooling, layout, readout."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from snnc.ir.node import Op, real
from snnc.ir.ops import SHAPE_ONLY, activations
from snnc.passes.spike_times.forms import Form, Value
from snnc.passes.spike_times.masks import masked_choice
from snnc.passes.spike_times.walk import BOOL, Walk

Rule = Callable[[Walk, Op], bool]


def weighted(walk: Walk, op: Op) -> bool:
    """Weights of the host on one activation, or a product of two."""
    values = [walk.used(v) if v else Value("", Form.HOST) for v in op.inputs]
    read = {*activations(walk.graph, op)}
    driving = [v for v, name in zip(values, op.inputs, strict=True) if name in read]
    if all(v.is_host for v in driving):  # one-hot rows of integers, say
        named = zip(op.inputs, values, strict=True)
        values = [_encoded(walk, v) if name in read else v for name, v in named]
        driving = [v for v in values if not v.is_host]
    if sum(not v.is_host for v in driving) == 1:
        ready = [walk.synaptic(v) for v in values]
    elif op.op_type == "MatMul":
        ready = [walk.timed(v) for v in values]
    else:
        return False
    walk.keep(op, [v.name for v in ready], Form.POTENTIAL)
    return True


def _encoded(walk: Walk, value: Value) -> Value:
    kind = walk.type_of(value)
    constant = value.name in walk.consts
    return walk.timed(value) if kind.is_float and not constant else value


def averaged(walk: Walk, op: Op) -> bool:
    """Pooling, sums and interpolation with weights that the operation itself knows."""
    value, *others = (walk.used(v) if v else Value("", Form.HOST) for v in op.inputs)
    if value.is_host or not all(v.is_host for v in others) or len(op.outputs) != 1:
        return False
    walk.keep(op, [walk.synaptic(value).name, *(v.name for v in others)], Form.POTENTIAL)
    return True


def earliest(walk: Walk, op: Op) -> bool:
    """Largest of several numbers: the first spike of neurons that have one range."""
    if op.integer("select_last_index", 0) or len([v for v in op.outputs if v]) != 1:
        return False
    spikes = walk.timed(walk.used(op.inputs[0]))
    walk.keep(op, [spikes.name, *op.inputs[1:]], Form.TIME)
    return True


def latest(walk: Walk, op: Op) -> bool:
    """ReduceMin: the first spike of neurons for the opposite numbers."""
    spikes = walk.timed(walk.used(op.inputs[0]))
    opposite = walk.add("Neg", [spikes.name], op.loc, walk.type_of(spikes))
    fired = walk.timed(Value(opposite, Form.POINTWISE))
    kind = walk.types[op.outputs[0]]
    largest = walk.add("ReduceMax", [fired.name, *op.inputs[1:]], op.loc, kind, op.attrs)
    walk.keep(Op(op.outputs, (), op.loc, "Neg"), [largest], Form.POINTWISE)
    return True


def readout(walk: Walk, op: Op) -> bool:
    """ArgMax: which neuron fires first; the lowest of those that fire together."""
    if op.integer("select_last_index", 0):
        return False
    walk.keep(op, [walk.timed(walk.used(op.inputs[0])).name, *op.inputs[1:]], Form.HOST)
    return True


def ranking(walk: Walk, op: Op) -> bool:
    """TopK: the first spikes and the neurons that they come from."""
    if not op.integer("largest", 1):
        return False
    spikes = walk.timed(walk.used(op.inputs[0]))
    walk.keep(op, [spikes.name, *op.inputs[1:]], Form.TIME)
    walk.values[op.outputs[1]] = Value(op.outputs[1], Form.HOST)
    return True


def moved(walk: Walk, op: Op) -> bool:
    """Layout that only moves entries: what they are does not change."""
    value, *others = (walk.used(v) if v else Value("", Form.HOST) for v in op.inputs)
    if value.is_host or not all(v.is_host for v in others):
        return False
    inputs = [value.name, *(v.name for v in others)]
    if value.form is Form.MASKED:
        return _moved_mask(walk, op, value, inputs)
    walk.keep(op, inputs, value.form)
    return True


def _moved_mask(walk: Walk, op: Op, value: Value, inputs: list[str]) -> bool:
    """The gate moves along, in the full shape of what it silences."""
    if len(op.outputs) != 1:
        return False
    shape = walk.add("Shape", [value.name], op.loc, _INT64)
    gate = walk.add("Expand", [value.gate, shape], op.loc, BOOL)
    kind = walk.types[op.outputs[0]]
    gate = walk.add(op.op_type, [gate, *inputs[1:]], op.loc, BOOL, op.attrs)
    name = walk.add(op.op_type, inputs, op.loc, kind, op.attrs)
    walk.alias(op, Value(name, Form.MASKED, gate=gate))
    return True


def joined(walk: Walk, op: Op) -> bool:
    """Concat, Pad, Where and the like: entries of several values, or numbers between entries."""
    values = [walk.used(v) if v else Value("", Form.HOST) for v in op.inputs]
    if any(not v.is_host and not walk.type_of(v).is_float for v in values):
        return False
    settled = walk.consts.get(values[0].name) if op.op_type == "Where" else None
    if settled is not None and settled.size == 1 and not settled.shape:
        walk.alias(op, values[1] if settled else values[2])
        return True
    if op.op_type == "Where" and masked_choice(walk, op):
        return True
    forms = {v.form for v in values} - {Form.HOST}
    if forms == {Form.SOURCE}:
        walk.keep(op, [v.name for v in values], Form.SOURCE)
        return True
    ready = [v if v.form is Form.POTENTIAL else walk.synaptic(v) for v in values]
    form = Form.POTENTIAL if Form.POTENTIAL in forms else Form.POINTWISE
    walk.keep(op, [v.name for v in ready], form)
    return True


def never_nan(walk: Walk, op: Op) -> bool:
    """IsNaN of what neurons compute: spikes always stand for numbers."""
    if walk.value(op.inputs[0]).form is Form.SOURCE:
        return False
    no = walk.constant(f"{op.loc.names[0]}.no", np.array(False))
    walk.alias(op, Value(no, Form.HOST))
    return True


def retyped(walk: Walk, op: Op) -> bool:
    """Cast between formats of real numbers; to integers it is analog."""
    return walk.types[op.outputs[0]].is_float and moved(walk, op)


_INT64 = real("int64", (None,))

RULES: dict[str, Rule] = {
    **dict.fromkeys(("MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum"), weighted),
    **dict.fromkeys(
        ("ReduceMean", "ReduceSum", "AveragePool", "GlobalAveragePool", "Resize", "CumSum"),
        averaged,
    ),
    **dict.fromkeys(("MaxPool", "GlobalMaxPool", "ReduceMax"), earliest),
    **dict.fromkeys(("Concat", "Pad", "Where", "Trilu", "ScatterND", "ScatterElements"), joined),
    **dict.fromkeys(SHAPE_ONLY | {"Dropout"}, moved),
    **dict.fromkeys(("Cast", "CastLike"), retyped),
    "ReduceMin": latest,
    "ArgMax": readout,
    "TopK": ranking,
    "IsNaN": never_nan,
}
