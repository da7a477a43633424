"""Entry by entry: functions on the synapse, sums in the membrane, products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from snnc.ir.node import Op, Type
from snnc.ir.ops import POINTWISE
from snnc.passes.spike_times.forms import Form, Value
from snnc.passes.spike_times.walk import Walk

Rule = Callable[[Walk, Op], bool]
"""Converts one operation; False where it has to stay analog."""

JUMPING = frozenset({"Floor", "Ceil", "Round", "Sign", "ThresholdedRelu"})
"""Functions without a derivative, which no kernel of a synapse integrates to."""

FUNCTIONS = POINTWISE - JUMPING - {"Relu", "Clip", "Identity", "Cast", "Neg"} | frozenset(
    {"Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh", "Asinh", "PRelu", "Pow", "HardSwish"}
)
"""Functions of one number that have a derivative but for kinks."""


FIRED = frozenset({"Log", "Sqrt"})
"""Increasing functions that neurons perform on their potential as they fire (spec 4.3): ticks of
their window tell small numbers apart that ticks of the potential itself would not."""


def function(walk: Walk, op: Op) -> bool:
    """A function of the spikes of one layer, entry by entry (the others are known to the host): of
    the first input, or the exponent."""
    values = [walk.used(v) for v in op.inputs]
    active = [v for v in values if not v.is_host]
    if len(active) != 1 or (values[0].is_host and op.op_type != "Pow"):
        return False
    if op.op_type in FIRED and active[0].form is Form.POTENTIAL:
        walk.keep(op, [active[0].name], Form.CLIPPED)
        return True
    return _on_synapse(walk, op, values)


def _on_synapse(walk: Walk, op: Op, values: Sequence[Value]) -> bool:
    ready = [walk.synaptic(v) for v in values]
    walk.keep(op, [v.name for v in ready], Form.POINTWISE, _origin(walk, op, ready))
    return True


def _origin(walk: Walk, op: Op, values: Sequence[Value]) -> str:
    """The one origin of all values that are not the host's; '' for several, or a new shape."""
    active = [v for v in values if not v.is_host]
    shape = walk.types[op.outputs[0]].shape
    same = {v.origin for v in active}
    if len(same) != 1 or shape is None:
        return ""
    return active[0].origin if all(walk.type_of(v).shape == shape for v in active) else ""


def _same_spikes(walk: Walk, op: Op, values: Sequence[Value]) -> bool:
    """Whether several activations are functions of the same spikes, entry by entry."""
    active = [v for v in values if not v.is_host]
    synaptic = all(v.is_synaptic for v in active)
    return len(active) > 1 and synaptic and bool(_origin(walk, op, values))


def affine(walk: Walk, op: Op) -> bool:
    """Neg, or BatchNormalization: an affine function of one activation with constants."""
    value, *others = (walk.used(v) for v in op.inputs)
    if value.is_host or not all(v.is_host for v in others):
        return False
    return _scaled(walk, op, [value, *others])


def _scaled(walk: Walk, op: Op, values: Sequence[Value]) -> bool:
    """One activation, with numbers of the host only: what it was, but spikes become a function."""
    active = next(v for v in values if not v.is_host)
    if active.form is not Form.POTENTIAL:
        return _on_synapse(walk, op, values)
    walk.keep(op, [v.name for v in values], Form.POTENTIAL)
    return True


def scaler(walk: Walk, op: Op) -> bool:
    """Scaler of ONNX-ML: (x - offset) scale, in two operations."""
    kind = walk.types[op.outputs[0]]
    parts = [
        np.atleast_1d(np.asarray(op.attrs.get(k, ()), np.float32)) for k in ("offset", "scale")
    ]
    if not all(part.size for part in parts) or walk.value(op.inputs[0]).is_host:
        return False
    offset, scale = (walk.constant(f"{op.loc.names[0]}.scaler", part) for part in parts)
    value = walk.synaptic(walk.used(op.inputs[0])).name
    centred = walk.add("Sub", [value, offset], op.loc, kind)
    walk.keep(Op(op.outputs, (), op.loc, "Mul"), [centred, scale], Form.POINTWISE)
    return True


def _of_one_layer(walk: Walk, op: Op, values: Sequence[Value]) -> bool:
    """Converts a sum or product that reads one activation, or functions of the same spikes."""
    if sum(not v.is_host for v in values) == 1:
        return _scaled(walk, op, values)
    return _same_spikes(walk, op, values) and _on_synapse(walk, op, values)


def total(walk: Walk, op: Op) -> bool:
    """Add, Sub, Sum, Mean: membranes add up what they get."""
    values = [walk.used(v) for v in op.inputs]
    if _of_one_layer(walk, op, values):
        return True
    ready = [v if v.form is Form.POTENTIAL else walk.synaptic(v) for v in values]
    walk.keep(op, [v.name for v in ready], Form.POTENTIAL)
    return True


def product(walk: Walk, op: Op) -> bool:
    """Mul: by numbers of the host, of functions of the same spikes, or of two activations."""
    values = [walk.used(v) for v in op.inputs]
    if _of_one_layer(walk, op, values):
        return True
    walk.keep(op, [walk.timed(v).name for v in values], Form.POTENTIAL)
    return True


def quotient(walk: Walk, op: Op) -> bool:
    """Div: a product with the reciprocal, where that is no function of the same spikes."""
    above, below = (walk.used(v) for v in op.inputs)
    if below.is_host:
        return _scaled(walk, op, [above, below])
    if above.is_host or _same_spikes(walk, op, [above, below]):
        return _on_synapse(walk, op, [above, below])
    below = walk.synaptic(below)
    name = walk.add("Reciprocal", [below.name], op.loc, walk.type_of(below))
    inverse = walk.timed(Value(name, Form.POINTWISE, below.origin))
    product = Op(op.outputs, (), op.loc, "Mul")
    walk.keep(product, [walk.timed(above).name, inverse.name], Form.POTENTIAL)
    return True


def clipped(walk: Walk, op: Op) -> bool:
    """Relu or Clip: the range of the neurons behind it, where those have no other reader."""
    value = walk.used(op.inputs[0])
    if value.is_host or not all(walk.value(v).is_host for v in op.inputs[1:]):
        return False
    if value.form not in (Form.POTENTIAL, Form.CLIPPED):
        return function(walk, op)
    walk.keep(op, [value.name, *op.inputs[1:]], Form.CLIPPED)
    return True


def extremum(walk: Walk, op: Op) -> bool:
    """Max and Min of several activations: a + relu(b - a), a - relu(a - b), from left to right."""
    values = [walk.used(v) for v in op.inputs]
    if sum(not v.is_host for v in values) == 1 or _same_spikes(walk, op, values):
        return _on_synapse(walk, op, values)
    values.sort(key=lambda v: v.is_host)
    result = walk.types[op.outputs[0]]

    def larger(a: Value, b: Value) -> Value:
        a, b = walk.synaptic(a), walk.synaptic(b)
        first, second = (b, a) if op.op_type == "Max" else (a, b)
        kind = _broadcast(walk, result, a, b)
        name = walk.add("Sub", [first.name, second.name], op.loc, kind)
        gap = walk.timed(Value(name, Form.POTENTIAL))
        excess = walk.add("Relu", [gap.name], op.loc, kind)
        outer = "Add" if op.op_type == "Max" else "Sub"
        return Value(walk.add(outer, [a.name, excess], op.loc, kind), Form.POTENTIAL)

    walk.alias(op, reduce(larger, values))
    return True


def _broadcast(walk: Walk, result: Type, *values: Value) -> Type:
    """The type of an operation on some of the values whose types give `result` together."""
    shapes = [walk.type_of(v).shape for v in values]
    fixed = [s for s in shapes if s is not None and all(isinstance(d, int) for d in s)]
    if len(fixed) == len(shapes):
        return replace(result, shape=np.broadcast_shapes(*fixed))  # type: ignore[arg-type]
    return result if result.shape in shapes else replace(result, shape=None)


RULES: dict[str, Rule] = {
    **dict.fromkeys(FUNCTIONS, function),
    **dict.fromkeys(("Relu", "Clip"), clipped),
    **dict.fromkeys(("Neg", "BatchNormalization"), affine),
    **dict.fromkeys(("Add", "Sub", "Sum", "Mean"), total),
    **dict.fromkeys(("Max", "Min"), extremum),
    "ai.onnx.ml.Scaler": scaler,
    "Mul": product,
    "Div": quotient,
}
