"""PlaceSpikeTimes: every operation in layers of neurons that fire at most once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeAlias

from snnc.errors import CompileError
from snnc.ir.flow import Flow
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Loc, Neuron, Node, Op, Site
from snnc.ir.ops import LAYOUT, SHAPE_READING
from snnc.passes.kept import is_kept, require_matches
from snnc.passes.place_sites import check_constants
from snnc.passes.spike_times import entrywise, linear, masks, norms, softmax
from snnc.passes.spike_times.forms import Form, Value
from snnc.passes.spike_times.mask_inputs import ARITHMETIC, mask_inputs
from snnc.passes.spike_times.walk import Walk
from snnc.passes.spike_times.width import in_float32, with_types_of

RULES = {**entrywise.RULES, **linear.RULES, **softmax.RULES, **norms.RULES}
"""How each type of operation becomes layers; any other stays analog."""

LOOK_UP = frozenset({"Gather", "GatherND", "GatherElements"})

Become: TypeAlias = Literal["spiking", "host", "layout", "analog"]


@dataclass(frozen=True)
class PlaceSpikeTimes:
    """A site wherever neurons fire. keep: patterns of names of operations that stay analog."""

    keep: tuple[str, ...] = ()

    name: ClassVar[str] = "place-spike-times"
    before: ClassVar[Stage] = Stage.ANN
    after: ClassVar[Stage] = Stage.SITED

    def __call__(self, graph: Graph) -> Graph:
        require_matches(graph, self.keep)
        sited, fates = placed(graph, self.keep)
        if "spiking" not in fates:
            raise CompileError(
                "there is nothing to convert: neurons could only encode and decode",
                at=graph.source or None,
                help="snnc check MODEL --neuron ttfs says what becomes of every operation",
            )
        return sited


def placed(graph: Graph, keep: tuple[str, ...]) -> tuple[Graph, tuple[Become, ...]]:
    """The graph with its sites, and what each of its nodes became."""
    trained, graph = graph, in_float32(graph)
    walk, fates = Walk(graph, mask_inputs(graph)), list[Become]()
    data = Flow(graph).data
    for name in graph.inputs:
        real = graph.types[name].is_float and name not in walk.mask_inputs
        form = Form.SOURCE if real else Form.HOST
        walk.values[name] = Value(name, form)
    for node in graph.nodes:
        if not isinstance(node, Op):
            raise graph.error("the network has sites already", node)
        check_constants(graph, node)
        fates.append(_convert(walk, node, keep, data))
        if fates[-1] in ("spiking", "analog") or walk.decoded.intersection(node.inputs):
            walk.decoded.update(v for v in node.outputs if v and walk.value(v).is_host)
    return with_types_of(_with_outputs(walk), trained), tuple(fates)


def _convert(walk: Walk, op: Op, keep: tuple[str, ...], data: frozenset[str]) -> Become:
    inputs = [walk.value(v) for v in op.inputs if v]
    real_results = any(v and walk.types[v].is_float for v in op.outputs)
    if op.op_type in SHAPE_READING:
        walk.keep(op, [v.name for v in inputs], Form.HOST)
        return "layout"
    if all(v.is_host for v in inputs) and (op.op_type in ARITHMETIC or not real_results):
        return _on_host(walk, op, data)
    if all(v.is_host for v in inputs) and not any(v in data for v in op.outputs):
        return _on_host(walk, op, data)
    rules = [] if is_kept(op, keep) else [masks.RULES.get(op.op_type), RULES.get(op.op_type)]
    if any(rule is not None and rule(walk, op) for rule in rules):
        return "layout" if op.op_type in LAYOUT else "spiking"
    return _stays_analog(walk, op)


def _on_host(walk: Walk, op: Op, data: frozenset[str]) -> Become:
    """Look-ups give numbers to encode; all else that integers decide stays numbers of the host, and
    what they decide that neurons or analog operations gave is analog."""
    names = [walk.value(v).name if v else "" for v in op.inputs]
    table = walk.consts.get(names[0]) if names else None
    depends = any(v in data for v in op.outputs)
    looks_up = op.op_type in LOOK_UP and table is not None and table.dtype.kind == "f"
    walk.keep(op, names, Form.SOURCE if looks_up and depends else Form.HOST)
    computes = any(v and walk.types[v].is_float for v in (*op.inputs, *op.outputs) if v in data)
    if computes and op.op_type not in LAYOUT and walk.decoded.intersection(op.inputs):
        return "analog"
    return "host" if depends and (looks_up or computes) else "layout"


def _stays_analog(walk: Walk, op: Op) -> Become:
    """The operation on the numbers that spikes stand for."""
    values = [walk.used(v) if v else Value("", Form.HOST) for v in op.inputs]
    ready = [v if v.form in (Form.HOST, Form.SOURCE) else walk.timed(v) for v in values]
    walk.keep(op, [v.name for v in ready], Form.SOURCE)
    for name in filter(None, op.outputs):
        if not walk.types[name].is_float:
            walk.values[name] = Value(name, Form.HOST)
    return "analog"


def _with_outputs(walk: Walk) -> Graph:
    """The new graph; neurons for each output take over its name."""
    graph, renamed, copies = walk.graph, dict[str, str](), list[Node]()
    taken = {*graph.inputs, *walk.consts}
    for name in graph.outputs:
        value = walk.scores(name)
        if value.form not in (Form.HOST, Form.SOURCE):
            value = walk.settled(walk.timed(value))
        if value.name == name and name not in renamed:
            taken.add(name)
            continue
        if name in walk.types and name not in renamed:
            renamed[name] = walk.fresh(f"{name}.potential", walk.types[name])
        if value.name in taken:
            copied = renamed.get(value.name, value.name)
            copies.append(Op((name,), (copied,), Loc((name,)), "Identity"))
        else:
            renamed[value.name] = name
            taken.add(value.name)
    nodes = (*(_renamed(node, renamed) for node in walk.nodes), *copies)
    return replace(
        graph, nodes=nodes, types=walk.types, consts=walk.consts, stage=Stage.SITED
    ).pruned()


def _renamed(node: Node, names: dict[str, str]) -> Node:
    inputs = tuple(names.get(v, v) for v in node.inputs)
    outputs = tuple(names.get(v, v) for v in node.outputs)
    assert isinstance(node, Op | Site) and not isinstance(node, Neuron)
    return replace(node, inputs=inputs, outputs=outputs)
