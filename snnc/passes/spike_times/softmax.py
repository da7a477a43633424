"""Softmax in three layers behind the scores: difference from the largest, log-sum-exp, exponential
(TTFSFormer; spec 4.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from snnc.ir.node import Loc, Op
from snnc.passes.spike_times.forms import Form, Value
from snnc.passes.spike_times.masks import factor
from snnc.passes.spike_times.walk import Walk

Rule = Callable[[Walk, Op], bool]


def softmax(walk: Walk, op: Op) -> bool:
    """exp(z - ln sum exp z) with z = x - max x; a masked score is silent and takes no part."""
    shifted, logarithm, gate = _normalised(walk, op)
    kind = walk.types[op.outputs[0]]
    exponent = walk.add("Sub", [shifted.name, logarithm.name], op.loc, kind)
    share = walk.add("Exp", [exponent], op.loc, kind)
    walk.alias(op, walk.fire(Value(share, Form.POTENTIAL, gate=gate), "softmax", op.loc))
    return True


def log_softmax(walk: Walk, op: Op) -> bool:
    """z - ln sum exp z, a potential."""
    shifted, logarithm, gate = _normalised(walk, op)
    if gate:
        return False
    walk.keep(Op(op.outputs, (), op.loc, "Sub"), [shifted.name, logarithm.name], Form.POTENTIAL)
    return True


def _normalised(walk: Walk, op: Op) -> tuple[Value, Value, str]:
    """Spikes for z, spikes for ln sum exp z, and where scores are alive ('' for everywhere)."""
    value = walk.used(op.inputs[0])
    gate = value.gate
    scores, axes = walk.timed(value), [op.integer("axis", -1)]
    return (*log_sum_exp(walk, scores, axes, gate, op.loc), gate)


def log_sum_exp(
    walk: Walk, scores: Value, axes: Sequence[int], gate: str, loc: Loc
) -> tuple[Value, Value]:
    """Spikes for z = x - max x and for ln sum exp z over `axes`."""
    along = walk.constant(f"{loc.names[0]}.axes", np.array(axes, np.int64))
    full, narrow = walk.type_of(scores), walk.reduced(scores, axes)
    largest = walk.add("ReduceMax", [scores.name, along], loc, narrow)
    potential = walk.add("Sub", [scores.name, largest], loc, full)
    shifted = walk.fire(Value(potential, Form.POTENTIAL, gate=gate), loc=loc)
    terms = walk.add("Exp", [shifted.name], loc, full)
    if gate:
        terms = walk.add("Mul", [terms, factor(walk, gate, terms, _bare(loc))], loc, full)
    total = walk.add("ReduceSum", [terms, along], loc, narrow)
    logarithm = walk.add("Log", [total], loc, narrow)
    return shifted, walk.fire(Value(logarithm, Form.POTENTIAL), loc=loc)


def _bare(loc: Loc) -> Op:
    return Op((), (), loc, "Softmax")


RULES: dict[str, Rule] = {"Softmax": softmax, "LogSoftmax": log_softmax}
