"""Attention masks: neurons of masked positions are silent, and take no part in ranges and sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from snnc.ir.node import Array, Op, real
from snnc.ir.ops import ONNX_TYPE, SHAPE_ONLY
from snnc.passes.spike_times.forms import Form, Value
from snnc.passes.spike_times.mask_inputs import MASKED, is_far, leads_to_softmax
from snnc.passes.spike_times.walk import BOOL, Walk

Rule = Callable[[Walk, Op], bool]

LEAST = -1e30
"""A lower bound from here on down bounds nothing but what masks have made."""

_KEEPING = SHAPE_ONLY | {"Cast"}


def masked_sum(walk: Walk, op: Op) -> bool:
    """Scores of a softmax plus a mask of the host: neurons that the mask silences."""
    values = [walk.scores(v) for v in op.inputs]
    if len(values) != 2 or not leads_to_softmax(walk.graph, op.outputs[0]):
        return False
    masked = [v for v in values if v.gate]
    mask = next((v for v in values if v.is_host), None)
    if mask is None:
        return op.op_type == "Add" and len(masked) == 1 and _on_masked(walk, op, values)
    if op.op_type == "Sub" and values[0].is_host:
        return False
    if not _masks(walk, mask.name, -1 if op.op_type == "Sub" else 1):
        return len(masked) == 1 and _on_masked(walk, op, values)
    scores = next(v for v in values if not v.is_host)
    kind, addend = walk.types[op.outputs[0]], mask.name
    if op.op_type == "Sub":
        addend = walk.add("Neg", [addend], op.loc, walk.type_of(mask))
    bias, gate = _parted(walk, op, addend)
    if scores.gate:
        gate = walk.add("And", [gate, scores.gate], op.loc, BOOL)
        addend = walk.add("Add", [addend, scores.filled], op.loc, kind)
    name = walk.add("Add", [_driving(walk, scores).name, bias], op.loc, kind)
    walk.alias(op, Value(name, Form.POTENTIAL, gate=gate, filled=addend))
    return True


def _driving(walk: Walk, value: Value) -> Value:
    return value if value.form is Form.POTENTIAL else walk.synaptic(value)


def _parted(walk: Walk, op: Op, mask: str) -> tuple[str, str]:
    """What a mask adds where it does not mask, and where that is (bool)."""
    kind = walk.type_of(Value(mask, Form.HOST))
    least = walk.constant(f"{op.loc.names[0]}.masked", np.array(MASKED, np.dtype(kind.dtype)))
    none = walk.constant(f"{op.loc.names[0]}.none", np.array(0, np.dtype(kind.dtype)))
    gate = walk.add("Greater", [mask, least], op.loc, real("bool", kind.shape))
    return walk.add("Where", [gate, mask, none], op.loc, kind), gate


def masked_affine(walk: Walk, op: Op) -> bool:
    """Mul or Div of masked scores by positive numbers of the host: they stay masked."""
    values = [walk.scores(v) for v in op.inputs]
    if not values[0].gate and not (op.op_type == "Mul" and values[1].gate):
        return False
    factor = next((v for v in values if v.is_host), None)
    negative = factor is not None and (walk.consts.get(factor.name, np.array(1.0)) <= 0).any()
    if factor is None or negative or not leads_to_softmax(walk.graph, op.outputs[0]):
        return False
    return _on_masked(walk, op, values)


def _on_masked(walk: Walk, op: Op, values: Sequence[Value]) -> bool:
    """An affine function of masked scores: of their numbers, and of what masked entries hold
    (where another activation makes no difference)."""
    masked = next(v for v in values if v.gate)
    ready = {v: _driving(walk, v) for v in values}
    kind = walk.types[op.outputs[0]]
    name = walk.add(op.op_type, [ready[v].name for v in values], op.loc, kind)
    filled = masked.filled
    if all(v.gate or v.is_host for v in values):
        fillings = [v.filled or v.name for v in values]
        filled = walk.add(op.op_type, fillings, op.loc, kind)
    walk.alias(op, Value(name, Form.POTENTIAL, gate=masked.gate, filled=filled))
    return True


def masked_bound(walk: Walk, op: Op) -> bool:
    """Max or Clip of masked scores with the least number that there is: the scores."""
    value, *others = (walk.scores(v) if v else Value("", Form.HOST) for v in op.inputs)
    if not value.gate and op.op_type == "Max" and len(others) == 1:
        value, others = others[0], [value]
    bounds = [v.name for v in others if v.name]
    if not value.gate or len(bounds) != 1 or (op.op_type == "Clip" and not op.inputs[1]):
        return False
    least = walk.consts.get(bounds[0])
    wider = walk.types[op.outputs[0]].shape != walk.type_of(value).shape
    if least is None or least.size != 1 or least.item() > LEAST or wider:
        return False
    walk.alias(op, value)
    return True


def masked_choice(walk: Walk, op: Op) -> bool:
    """Where(condition, scores, masking number): neurons that the condition silences."""
    condition, *branches = (walk.scores(v) for v in op.inputs)
    hosts = [v.is_host for v in branches]
    if not condition.is_host or hosts not in ([True, False], [False, True]):
        return False
    scores, other = branches if hosts[1] else reversed(branches)
    if not _only_masks(walk, other.name):
        return False
    kind, active = walk.types[op.outputs[0]], _driving(walk, scores)
    gate, filled, name = condition.name, other.name, active.name
    if hosts[0]:
        gate = walk.add("Not", [gate], op.loc, walk.type_of(condition))
    if scores.gate:
        filled = walk.add("Where", [gate, scores.filled, filled], op.loc, kind)
        gate = walk.add("And", [gate, scores.gate], op.loc, BOOL)
    if kind.shape is None or walk.type_of(active).shape != kind.shape:  # the condition is wider
        none = walk.constant(f"{op.loc.names[0]}.none", np.array(0, np.dtype(kind.dtype)))
        name = walk.add("Where", [gate, name, none], op.loc, kind)
    form = Form.POTENTIAL if active.form is Form.POTENTIAL else Form.POINTWISE
    walk.alias(op, Value(name, form, gate=gate, filled=filled))
    return True


def masked_layout(walk: Walk, op: Op) -> bool:
    """Layout of masked scores: the gate moves along, in the full shape of what it silences."""
    value = walk.scores(op.inputs[0])
    others = [walk.scores(v) if v else Value("", Form.HOST) for v in op.inputs[1:]]
    kind, rest = walk.types[op.outputs[0]], [v.name for v in others]
    fits = value.gate and kind.is_float and len(op.outputs) == 1
    if not fits or not all(v.is_host for v in others):
        return False
    if op.op_type == "Cast":
        name, filled = (
            walk.add("Cast", [v], op.loc, kind, op.attrs) for v in (value.name, value.filled)
        )
        walk.alias(op, Value(name, value.form, gate=value.gate, filled=filled))
        return True
    shape = walk.add("Shape", [value.name], op.loc, _INT64)

    def moved(v: str, expanded: bool) -> str:
        type = BOOL if v == value.gate else kind
        v = walk.add("Expand", [v, shape], op.loc, type) if expanded else v
        return walk.add(op.op_type, [v, *rest], op.loc, type, op.attrs)

    gate, filled, name = (moved(v, v != value.name) for v in (value.gate, value.filled, value.name))
    walk.alias(op, Value(name, value.form, gate=gate, filled=filled))
    return True


def _masks(walk: Walk, name: str, sign: int) -> bool:
    """Whether `sign` times a value of the host holds, or is made with, a number that masks, and is
    no constant of masks alone (which a softmax does not notice)."""
    constant = walk.consts.get(name)
    if constant is not None:
        ends = (sign * constant.min(), sign * constant.max()) if constant.size else (0.0,)
        return bool(min(ends) <= MASKED < max(ends))
    found, seen = [name], set[str]()
    while found:
        value = found.pop()
        if value in seen:
            continue
        seen.add(value)
        constant, op = walk.consts.get(value), walk.graph.op(value)
        if constant is None and op is not None and walk.value(value).is_host:
            found += [v for v in op.inputs if v]
            constant = _filling(op)
        if value in walk.mask_inputs or is_far(constant):
            return True
    return False


def _filling(op: Op) -> Array | None:
    """The number that a ConstantOfShape fills its result with."""
    fill = op.attrs.get("value") if op.op_type == "ConstantOfShape" else None
    return fill if isinstance(fill, np.ndarray) else None


def _only_masks(walk: Walk, name: str) -> bool:
    """Whether all entries of a value of the host mask."""
    while (op := walk.graph.op(name, *_KEEPING)) is not None:
        name = op.inputs[0]
    constant = walk.consts.get(name)
    filled = walk.graph.op(name, "ConstantOfShape")
    if constant is None and filled is not None:
        constant = _filling(filled)
    if constant is None or not constant.size or constant.dtype.kind != "f":
        return False
    return bool(constant.max() <= MASKED)


def factor(walk: Walk, gate: str, like: str, op: Op) -> str:
    """The gate as numbers, 0 where neurons are silent, in the type of `like`."""
    kind = walk.types[like]
    shape = walk.types[gate].shape if gate in walk.types else walk.consts[gate].shape
    attrs = {"to": ONNX_TYPE[kind.dtype]}
    return walk.add("Cast", [gate], op.loc, real(kind.dtype, shape), attrs)


_INT64 = real("int64", (None,))

RULES: dict[str, Rule] = {
    **dict.fromkeys(("Add", "Sub"), masked_sum),
    **dict.fromkeys(("Mul", "Div"), masked_affine),
    **dict.fromkeys(("Max", "Clip"), masked_bound),
    **dict.fromkeys(_KEEPING, masked_layout),
    "Where": masked_choice,
}
"""What keeps scores masked; any other operation reads the numbers that masks stand for."""
