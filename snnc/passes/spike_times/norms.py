"""Normalisation in layers: mean, centre, variance, reciprocal root, product (spec 4.5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from snnc.ir.node import Op
from snnc.passes.spike_times.forms import Form, Value
from snnc.passes.spike_times.walk import Walk

Rule = Callable[[Walk, Op], bool]


def layer_norm(walk: Walk, op: Op) -> bool:
    """LayerNormalization over its last axes."""
    if any(op.outputs[1:]):
        return False
    value = walk.synaptic(walk.used(op.inputs[0]))
    axis, shape = op.integer("axis", -1), walk.type_of(value).shape
    if axis >= 0 and shape is None:
        return False
    axes = range(axis if axis < 0 else axis - len(shape or ()), 0)
    factors = [walk.used(v) for v in op.inputs[1:] if v]
    _scale(walk, op, _normalised(walk, op, value, axes), factors)
    return True


def instance_norm(walk: Walk, op: Op) -> bool:
    """InstanceNormalization over the axes behind the channels."""
    value = walk.synaptic(walk.used(op.inputs[0]))
    shape = walk.type_of(value).shape
    if shape is None or not all(v in walk.consts for v in op.inputs[1:]):
        return False
    spread = [-1] + [1] * (len(shape) - 2)
    factors = [
        Value(walk.constant(f"{v}.channels", walk.consts[v].reshape(spread)), Form.HOST)
        for v in op.inputs[1:]
    ]
    _scale(walk, op, _normalised(walk, op, value, range(2 - len(shape), 0)), factors)
    return True


def _normalised(walk: Walk, op: Op, value: Value, axes: Sequence[int]) -> str:
    """(x - mean) / sqrt(var + epsilon) over the last axes, a potential."""
    loc, along = op.loc, walk.constant(f"{op.loc.names[0]}.axes", np.array(axes, np.int64))
    full, narrow = walk.type_of(value), walk.reduced(value, axes)
    mean = walk.add("ReduceMean", [value.name, along], loc, narrow)
    mean = walk.fire(Value(mean, Form.POTENTIAL), loc=loc).name
    centre = walk.add("Sub", [value.name, mean], loc, full)
    centre = walk.fire(Value(centre, Form.POTENTIAL), loc=loc).name
    square = walk.add("Mul", [centre, centre], loc, full)
    variance = walk.add("ReduceMean", [square, along], loc, narrow)
    variance = walk.fire(Value(variance, Form.POTENTIAL), loc=loc).name
    epsilon = op.attrs.get("epsilon", 1e-5)
    assert isinstance(epsilon, float)
    least = walk.number(f"{loc.names[0]}.epsilon", epsilon)
    shifted = walk.add("Add", [variance, least], loc, narrow)
    root = walk.add("Sqrt", [shifted], loc, narrow)
    inverse = walk.add("Reciprocal", [root], loc, narrow)
    inverse = walk.fire(Value(inverse, Form.POINTWISE), loc=loc).name
    return walk.add("Mul", [centre, inverse], loc, full)


def _scale(walk: Walk, op: Op, value: str, factors: Sequence[Value]) -> None:
    """gamma x + beta as the result of `op`; beta may be absent, and both activations."""
    kind = walk.types[op.outputs[0]]
    scale, *shift = factors
    if not scale.is_host:
        scale, value = walk.timed(scale), walk.timed(Value(value, Form.POTENTIAL)).name
    if not shift:
        walk.keep(Op(op.outputs, (), op.loc, "Mul"), [value, scale.name], Form.POTENTIAL)
        return
    value = walk.add("Mul", [value, scale.name], op.loc, kind)
    ready = [value, walk.synaptic(shift[0]).name]
    walk.keep(Op(op.outputs, (), op.loc, "Add"), ready, Form.POTENTIAL)


def norm_over(power: str) -> Rule:
    """ReduceL1, ReduceL2, ReduceSumSquare: sums of a function of each entry, and its root."""

    def rule(walk: Walk, op: Op) -> bool:
        value = walk.synaptic(walk.used(op.inputs[0]))
        kind, narrow = walk.type_of(value), walk.types[op.outputs[0]]
        inputs = [value.name, value.name] if power == "Mul" else [value.name]
        each = walk.add(power, inputs, op.loc, kind)
        total = Op(op.outputs, (each, *op.inputs[1:]), op.loc, "ReduceSum", op.attrs)
        if op.op_type != "ReduceL2":
            walk.keep(total, total.inputs, Form.POTENTIAL)
            return True
        name = walk.add("ReduceSum", total.inputs, op.loc, narrow, op.attrs)
        walk.keep(Op(op.outputs, (), op.loc, "Sqrt"), [name], Form.CLIPPED)
        return True

    return rule


def log_sum(walk: Walk, op: Op) -> bool:
    """ReduceLogSum: neurons take the logarithm of what their membranes summed up."""
    value = walk.synaptic(walk.used(op.inputs[0]))
    kind = walk.types[op.outputs[0]]
    name = walk.add("ReduceSum", [value.name, *op.inputs[1:]], op.loc, kind, op.attrs)
    walk.keep(Op(op.outputs, (), op.loc, "Log"), [name], Form.CLIPPED)
    return True


RULES: dict[str, Rule] = {
    "LayerNormalization": layer_norm,
    "InstanceNormalization": instance_norm,
    "ReduceL1": norm_over("Abs"),
    "ReduceL2": norm_over("Mul"),
    "ReduceSumSquare": norm_over("Mul"),
    "ReduceLogSum": log_sum,
}
