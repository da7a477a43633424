"""What membranes and single spikes do besides sums: weights, pooling, layout, readout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from snnc.ir.node import Op, real
from snnc.ir.ops import SHAPE_ONLY, activations
from snnc.passes.spike_times.forms import Form, Value
from snnc.passes.spike_times.walk import Walk

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
    """Largest of several numbers: the first spike of neurons that have one range (masked ones are
    silent, so that they are never the largest)."""
    if op.integer("select_last_index", 0) or len([v for v in op.outputs if v]) != 1:
        return False
    spikes = walk.timed(walk.scores(op.inputs[0]))
    walk.keep(op, [spikes.name, *op.inputs[1:]], Form.TIME)
    return True


def latest(walk: Walk, op: Op) -> bool:
    """ReduceMin: the first spike of neurons for the opposite numbers."""
    fired, kind = _opposite(walk, op), walk.types[op.outputs[0]]
    largest = walk.add("ReduceMax", [fired.name, *op.inputs[1:]], op.loc, kind, op.attrs)
    walk.keep(Op(op.outputs, (), op.loc, "Neg"), [largest], Form.POINTWISE)
    return True


def last(walk: Walk, op: Op) -> bool:
    """ArgMin: which of the neurons for the opposite numbers fires first."""
    if op.integer("select_last_index", 0):
        return False
    walk.keep(replace(op, op_type="ArgMax"), [_opposite(walk, op).name], Form.HOST)
    return True


def _opposite(walk: Walk, op: Op) -> Value:
    spikes = walk.timed(walk.used(op.inputs[0]))
    opposite = walk.add("Neg", [spikes.name], op.loc, walk.type_of(spikes))
    return walk.timed(Value(opposite, Form.POINTWISE))


def readout(walk: Walk, op: Op) -> bool:
    """ArgMax: which neuron fires first; the lowest of those that fire together."""
    if op.integer("select_last_index", 0):
        return False
    walk.keep(op, [walk.timed(walk.scores(op.inputs[0])).name, *op.inputs[1:]], Form.HOST)
    return True


def ranking(walk: Walk, op: Op) -> bool:
    """TopK: the first spikes and the neurons that they come from."""
    if not op.integer("largest", 1):
        return False
    spikes = walk.timed(walk.scores(op.inputs[0]))
    walk.keep(op, [spikes.name, *op.inputs[1:]], Form.TIME)
    walk.values[op.outputs[1]] = Value(op.outputs[1], Form.HOST)
    return True


def moved(walk: Walk, op: Op) -> bool:
    """Layout that only moves entries: what they are does not change."""
    value, *others = (walk.used(v) if v else Value("", Form.HOST) for v in op.inputs)
    if value.is_host or not all(v.is_host for v in others):
        return False
    walk.keep(op, [value.name, *(v.name for v in others)], value.form)
    return True


def joined(walk: Walk, op: Op) -> bool:
    """Concat, Pad, Where and the like: entries of several values, or numbers between entries."""
    values = [walk.used(v) if v else Value("", Form.HOST) for v in op.inputs]
    if any(not v.is_host and not walk.type_of(v).is_float for v in values):
        return False
    reduction = op.attrs.get("reduction", "none")
    if reduction not in ("none", "add"):
        return False
    if op.op_type == "Where" and _never(walk, op):
        walk.alias(op, values[2])
        return True
    forms = {v.form for v in values} - {Form.HOST}
    if forms == {Form.SOURCE}:
        walk.keep(op, [v.name for v in values], Form.SOURCE)
        return True
    ready = [v if v.form is Form.POTENTIAL else walk.synaptic(v) for v in values]
    sums = Form.POTENTIAL in forms or reduction == "add"
    walk.keep(op, [v.name for v in ready], Form.POTENTIAL if sums else Form.POINTWISE)
    return True


def never_nan(walk: Walk, op: Op) -> bool:
    """IsNaN of what neurons compute: spikes always stand for numbers."""
    value = walk.value(op.inputs[0])
    if value.form is Form.SOURCE:
        return False
    no = walk.constant(f"{op.loc.names[0]}.no", np.array(False))
    shape = walk.add("Shape", [value.name], op.loc, real("int64", (None,)))
    walk.keep(Op(op.outputs, (), op.loc, "Expand"), [no, shape], Form.HOST)
    return True


def _never(walk: Walk, op: Op) -> bool:
    """Whether a Where asks for NaN among what neurons compute, and gives those numbers else."""
    asked = walk.graph.op(op.inputs[0], "IsNaN")
    if asked is None or walk.value(asked.inputs[0]).form is Form.SOURCE:
        return False
    shape = walk.types[op.outputs[0]].shape
    return shape is not None and shape == walk.type_of(walk.value(op.inputs[2])).shape


def retyped(walk: Walk, op: Op) -> bool:
    """Cast between formats of real numbers; to integers it is analog."""
    return walk.types[op.outputs[0]].is_float and moved(walk, op)


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
    "ArgMin": last,
    "TopK": ranking,
    "IsNaN": never_nan,
}
