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
    shifted, logarithm = _normalised(walk, op)
    kind = walk.types[op.outputs[0]]
    exponent = walk.add("Sub", [shifted.name, logarithm.name], op.loc, kind)
    share = walk.add("Exp", [exponent], op.loc, kind)
    none = walk.number(f"{op.loc.names[0]}.none", 0.0) if shifted.gate else ""
    masked = Value(share, Form.POTENTIAL, gate=shifted.gate, filled=none)
    spikes = walk.fire(masked, "softmax", op.loc)
    walk.alias(op, Value(spikes.name, Form.TIME, spikes.origin))
    return True


def log_softmax(walk: Walk, op: Op) -> bool:
    """z - ln sum exp z, a potential."""
    shifted, logarithm = _normalised(walk, op)
    inputs, kind = [shifted.name, logarithm.name], walk.types[op.outputs[0]]
    name = walk.add("Sub", inputs, op.loc, kind)
    walk.alias(op, Value(name, Form.POTENTIAL, gate=shifted.gate, filled=shifted.filled))
    return True


def _normalised(walk: Walk, op: Op) -> tuple[Value, Value]:
    """Spikes for z and for ln sum exp z."""
    scores = walk.timed(walk.scores(op.inputs[0]))
    return log_sum_exp(walk, scores, [op.integer("axis", -1)], op.loc)


def log_sum_exp(walk: Walk, scores: Value, axes: Sequence[int], loc: Loc) -> tuple[Value, Value]:
    """Spikes for z = x - max x and for ln sum exp z over `axes`; for 0 where all are masked."""
    along = walk.constant(f"{loc.names[0]}.axes", np.array(axes, np.int64))
    full, narrow = walk.type_of(scores), walk.reduced(scores, axes)
    largest = walk.add("ReduceMax", [scores.name, along], loc, narrow)
    potential = walk.add("Sub", [scores.name, largest], loc, full)
    gate, filled = scores.gate, scores.filled
    shifted = walk.fire(Value(potential, Form.POTENTIAL, gate=gate, filled=filled), loc=loc)
    terms = walk.add("Exp", [shifted.name], loc, full)
    if gate:
        terms = walk.add("Mul", [terms, factor(walk, gate, terms, _bare(loc))], loc, full)
    total = walk.add("ReduceSum", [terms, along], loc, narrow)
    logarithm = walk.add("Log", [total], loc, narrow)
    if gate:
        logarithm = walk.add("Relu", [logarithm], loc, narrow)
    return shifted, walk.fire(Value(logarithm, Form.POTENTIAL), loc=loc)


def _bare(loc: Loc) -> Op:
    return Op((), (), loc, "Softmax")


RULES: dict[str, Rule] = {"Softmax": softmax, "LogSoftmax": log_softmax}
