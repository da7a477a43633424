"""Several timesteps: which values are inputs of a timestep and which are means so far (spec 2.7).

A value that depends on spikes is, folded as [T * N, ...], either what one timestep brings (an
instant) or the mean of all timesteps up to it. Linear operations compute on either. A nonlinear f,
and a product of two activations, is right on means only: f(mean) is the mean so far of the
compensated t f(mean_t) - (t-1) f(mean_(t-1)). Neurons read and emit instants.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from snnc.ir.composed import FLOAT_DRIVES, composed
from snnc.ir.graph import DOMAIN, Graph
from snnc.ir.node import Node, Op, Site
from snnc.ir.ops import AFFINE, SHAPE_ONLY, SHAPE_READING, SYNAPTIC

RUNNING_MEAN = f"{DOMAIN}.RunningMean"
"""Instants -> means so far."""

TELESCOPE = f"{DOMAIN}.Telescope"
"""Means so far -> instants."""

REPEAT = f"{DOMAIN}.Repeat"
"""What does not depend on time -> the same at every timestep."""

LAST = f"{DOMAIN}.LastTimestep"
"""Rows of all timesteps -> those of the last."""


class Form(enum.Enum):
    """What the rows of a value that depends on time hold."""

    INSTANT = "instant"
    MEAN = "mean"


_SUMS = {"Add", "Sub", "Sum", "Mean", "Neg", "ReduceMean", "ReduceSum", "CumSum"}
_POOLS = {"AveragePool", "GlobalAveragePool"}
_PLACING = {"Concat", "Dropout", "Pad", "Trilu", "CenterCropPad"}
_JOINTLY = SHAPE_ONLY | _SUMS | _POOLS | _PLACING
"""Operations that are linear in all numbers they read at once."""

_IN_ONE = SYNAPTIC | AFFINE | {"Resize", "Upsample"} | {f"{DOMAIN}.{name}" for name in FLOAT_DRIVES}
"""Operations that are affine in one input where the others do not depend on time."""

_FIRST_ONLY = frozenset({"Div", "BatchNormalization", "Resize", "Upsample", "Pad", "CumSum"})


def is_timeless(op: Op) -> bool:
    """Whether what an operation gives is the same at every timestep, whatever it reads."""
    return op.op_type in SHAPE_READING


def is_affine(graph: Graph, op: Op, varying: frozenset[str]) -> bool:
    """Whether an operation is affine in those of its inputs that depend on time."""
    places = [place for place, name in enumerate(op.inputs) if name in varying]
    kind = op.op_type
    if kind == "Where":
        return 0 not in places
    if kind == "Cast":
        return all(graph.types[v].is_float for v in (op.inputs[0], op.outputs[0]))
    if kind in SHAPE_ONLY | _FIRST_ONLY and places != [0]:
        return False
    if kind in ("Pad", "Resize", "Upsample") and op.attrs.get("mode", "") == "cubic":
        return False
    return kind in _JOINTLY or (kind in _IN_ONE and len(places) == 1)


def forms(graph: Graph) -> Mapping[str, Form]:
    """Every value that depends on time, with its form; CompileError for an operation that mixes
    them or computes a nonlinear function of instants."""
    found: dict[str, Form] = {}
    for node in graph.nodes:
        form = _form(graph, node, found)
        if form is not None:
            found.update((name, form) for name in node.outputs if name)
    return found


def repeated(graph: Graph) -> frozenset[str]:
    """The values that hold rows of every timestep."""
    found: set[str] = set()
    for node in graph.nodes:
        starts = isinstance(node, Op) and (node.op_type == REPEAT or _repeats(node))
        ends = isinstance(node, Op) and node.op_type == LAST
        if not ends and (starts or any(name in found for name in node.inputs)):
            found.update(filter(None, node.outputs))
    return frozenset(found)


def _repeats(op: Op) -> bool:
    made = composed(op)
    return made is not None and made.repeated


def _form(graph: Graph, node: Node, found: Mapping[str, Form]) -> Form | None:
    read = {found[name] for name in node.inputs if name in found}
    if isinstance(node, Op) and _repeats(node):
        return Form.INSTANT
    if isinstance(node, Site) or (isinstance(node, Op) and (not read or is_timeless(node))):
        return None
    made = composed(node) if isinstance(node, Op) else None
    if not isinstance(node, Op) or (made is not None and made.over_time):
        _require(graph, node, read, Form.INSTANT, "neurons read")
        return Form.INSTANT
    if node.op_type == RUNNING_MEAN or (made is not None and made.mean):
        _require(graph, node, read, Form.INSTANT, "a running mean reads")
        return Form.MEAN
    if node.op_type == TELESCOPE:
        _require(graph, node, read, Form.MEAN, "a telescope reads")
        return Form.INSTANT
    if not is_affine(graph, node, frozenset(found)):
        _require(graph, node, read, Form.MEAN, "a nonlinear operation reads")
    if len(read) > 1:
        raise graph.error("instants and means so far do not mix", node)
    return next(iter(read))


def _require(graph: Graph, node: Node, read: set[Form], form: Form, who: str) -> None:
    if not read <= {form}:
        raise graph.error(f"over {graph.timesteps} timesteps {who} {form.value}s only", node)
