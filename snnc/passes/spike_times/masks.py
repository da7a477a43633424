"""Attention masks: neurons of masked positions are silent, and take no part in ranges and sums."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from snnc.ir.node import Op, real
from snnc.ir.ops import ONNX_TYPE
from snnc.passes.spike_times.forms import Form, Value
from snnc.passes.spike_times.walk import BOOL, Walk

MASKED = -1e3
"""An addend from here on down masks: its exponential is 0 in every format of numbers."""


def masked_sum(walk: Walk, op: Op, values: Sequence[Value]) -> bool:
    """Scores plus a mask of the host: the potential of neurons that the mask silences."""
    addend = next((v for v in values if v.is_host), None)
    if op.op_type != "Add" or addend is None or not _masks(walk, addend.name):
        return False
    scores = next(v for v in values if not v.is_host)
    bias, gate = _parted(walk, op, addend.name)
    if scores.form not in (Form.POTENTIAL, Form.TIME, Form.POINTWISE):
        scores = walk.timed(scores)
    name = walk.add("Add", [scores.name, bias], op.loc, walk.types[op.outputs[0]])
    walk.alias(op, Value(name, Form.MASKED, gate=gate))
    return True


def _parted(walk: Walk, op: Op, mask: str) -> tuple[str, str]:
    """What a mask adds where it does not mask, and where that is (bool)."""
    kind = walk.type_of(Value(mask, Form.HOST))
    least = walk.constant(f"{op.loc.names[0]}.masked", np.array(MASKED, np.dtype(kind.dtype)))
    none = walk.constant(f"{op.loc.names[0]}.none", np.array(0, np.dtype(kind.dtype)))
    gate = walk.add("Greater", [mask, least], op.loc, real("bool", kind.shape))
    return walk.add("Where", [gate, mask, none], op.loc, kind), gate


def masked_choice(walk: Walk, op: Op) -> bool:
    """Where(condition, scores, masking number): neurons that the condition silences."""
    condition, *branches = (walk.used(v) for v in op.inputs)
    hosts = [v.is_host for v in branches]
    if not condition.is_host or hosts not in ([True, False], [False, True]):
        return False
    scores, other = branches if hosts[1] else reversed(branches)
    if not _masks(walk, other.name) or scores.form is Form.SOURCE:
        return False
    gate = condition.name
    if hosts[0]:
        gate = walk.add("Not", [gate], op.loc, walk.type_of(condition))
    if scores.form is Form.MASKED:
        gate = walk.add("And", [gate, scores.gate], op.loc, BOOL)
    walk.alias(op, Value(scores.name, Form.MASKED, gate=gate))
    return True


def _masks(walk: Walk, name: str) -> bool:
    """Whether a value of the host holds, or is made with, a number that masks."""
    found, seen = [name], set[str]()
    while found:
        value = found.pop()
        if value in seen:
            continue
        seen.add(value)
        constant = walk.consts.get(value)
        if constant is not None:
            if constant.dtype.kind == "f" and constant.size and constant.min() <= MASKED:
                return True
        elif (op := walk.graph.op(value)) is not None and walk.value(value).is_host:
            found += [v for v in op.inputs if v]
            fill = op.attrs.get("value")
            if isinstance(fill, np.ndarray) and fill.dtype.kind == "f" and fill.min() <= MASKED:
                return True
    return False


def factor(walk: Walk, gate: str, like: str, op: Op) -> str:
    """The gate as numbers, 0 where neurons are silent, in the type of `like`."""
    kind = walk.types[like]
    shape = walk.types[gate].shape if gate in walk.types else walk.consts[gate].shape
    attrs = {"to": ONNX_TYPE[kind.dtype]}
    return walk.add("Cast", [gate], op.loc, real(kind.dtype, shape), attrs)
