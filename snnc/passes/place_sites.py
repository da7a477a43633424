"""PlaceSites: a site behind every quantiser, and on what else enters a multiplication."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import ClassVar

import numpy as np

from snnc.errors import CompileError, unknown_name
from snnc.ir.coding import SPIKE_KEEPING, carriers
from snnc.ir.flow import Flow
from snnc.ir.graph import Graph, Replacement, Stage
from snnc.ir.node import Loc, Node, Op, Role, Site
from snnc.ir.ops import QUANTISED, SHAPE_ONLY, activations, has_uncounted_macs, operands, why_analog
from snnc.ir.quantizer import Quantizer, quantizer
from snnc.passes.kept import is_kept, matches

_HAND_ON = SHAPE_ONLY | {"Cast", "Dropout", "QuantizeLinear", "DequantizeLinear"}


@dataclass(frozen=True)
class PlaceSites:
    """One site a tensor serves all the multiplying readers of it; other readers keep the tensor.

    A site behind a quantiser of the network serves all of its readers but those that are kept.
    keep: patterns of original node names whose operations stay analog. encode_input: also encode
    the raw input of direct-coded layers (spec 2.5).
    """

    keep: tuple[str, ...] = ()
    encode_input: bool = False

    name: ClassVar[str] = "place-sites"
    before: ClassVar[Stage] = Stage.ANN
    after: ClassVar[Stage] = Stage.SITED

    def __call__(self, graph: Graph) -> Graph:
        self._check_patterns(graph)
        flow = Flow(graph)
        quantizers = self._quantizers(graph, flow)
        sited = self._sited_operands(graph, flow, quantizers)
        site_of = {value: graph.fresh(f"{value}.spikes") for value in sited}
        plain = {value: graph.fresh(f"{value}.dequantized") for value in quantizers}
        placed: set[str] = set()

        def rule(node: Node) -> Replacement | None:
            if node.outputs[0] in quantizers and isinstance(node, Op):
                return _behind(graph, node, plain[node.outputs[0]], quantizers[node.outputs[0]])
            if isinstance(node, Op) and operands(node) and is_kept(node, self.keep):
                inputs = tuple(plain.get(v, v) for v in node.inputs)
                return Replacement((replace(node, inputs=inputs),))
            mine = (
                [v for v in operands(node) if node in sited.get(v, [])]
                if (isinstance(node, Op))
                else []
            )
            if not mine:
                return None
            new = [v for v in dict.fromkeys(mine) if v not in placed]
            placed.update(new)
            sites = tuple(
                Site((site_of[v],), (v,), _origin(graph, v), _role(graph, flow, v, sited[v]))
                for v in new
            )
            inputs = tuple(site_of[v] if v in mine else v for v in node.inputs)
            return Replacement(
                (*sites, replace(node, inputs=inputs)), {site_of[v]: graph.types[v] for v in new}
            )

        return replace(graph.rewrite(rule), stage=Stage.SITED)

    def _sited_operands(
        self, graph: Graph, flow: Flow, quantizers: Mapping[str, Quantizer]
    ) -> dict[str, list[Op]]:
        """Every value that needs a neuron, with the multiplying readers that neuron serves."""
        found: dict[str, list[Op]] = {}
        spikes = carriers(graph, {value: not q.step.ndim for value, q in quantizers.items()})
        for node in graph.nodes:
            if not isinstance(node, Op):
                continue
            check_constants(graph, node)
            if is_kept(node, self.keep):
                continue
            direct = flow.is_direct(node) and not self.encode_input
            if not direct and not flow.is_constant(node):
                values = (v for v in activations(graph, node) if v in flow.data)
                for value in dict.fromkeys(values):
                    if graph.types[value].is_float and value not in spikes:
                        found.setdefault(value, []).append(node)
        return found

    def _quantizers(self, graph: Graph, flow: Flow) -> dict[str, Quantizer]:
        """The quantisers of activations, by their results; without those whose spikes a kept layer
        would read behind layout."""
        every = {value: quantizer(graph, value) for value in graph.producer}
        found = {v: q for v, q in every.items() if q is not None and q.x in flow.data}
        for node in graph.nodes:
            if isinstance(node, Op) and is_kept(node, self.keep):
                for value in operands(node):
                    found.pop(_behind_layout(graph, value), None)
        return found

    def _check_patterns(self, graph: Graph) -> None:
        """A pattern that keeps nothing is a mistake: a typing error, or a node without weights."""
        everything = {name for node in graph.nodes for name in node.loc.names}
        multiplying = {
            name
            for node in graph.nodes
            if isinstance(node, Op) and operands(node)
            for name in node.loc.names
        }
        for pattern in self.keep:
            if any(matches(name, pattern) for name in multiplying):
                continue
            if any(matches(name, pattern) for name in everything):
                raise CompileError(
                    f"--keep '{pattern}' matches no operation that multiplies",
                    help="name the layers that read the activation: snnc check MODEL lists them",
                )
            message = unknown_name("node in --keep", pattern, everything).message
            raise CompileError(message, help="node names: snnc inspect MODEL")


def _behind_layout(graph: Graph, value: str) -> str:
    """What is moved or selected to become `value`; '' for a value that is computed."""
    source = ""
    while (op := graph.op(value, *SPIKE_KEEPING - {"DequantizeLinear"})) is not None:
        source = value = op.inputs[0]
    return source


def _behind(graph: Graph, last: Op, plain: str, found: Quantizer) -> Replacement:
    """A quantiser, its result under the name `plain`, and the site that takes the name over."""
    loc = reduce(or_, (op.loc for op in found.nodes))
    site = Site(last.outputs, (plain,), loc, "quantizer")
    kind = graph.types[last.outputs[0]]
    return Replacement((replace(last, outputs=(plain,)), site), {plain: kind})


def nothing_to_convert(graph: Graph, keep: tuple[str, ...]) -> CompileError | None:
    """The error for a network in which no site was placed; None if there is one."""
    if graph.sites:
        return None
    ops = [node for node in graph.nodes if isinstance(node, Op)]
    branching = next((op for op in ops if op.bodies and has_uncounted_macs(graph, op)), None)
    if branching is not None:
        help = (
            f"layers lie inside {branching.op_type} '{branching.loc.names[0]}': if it depends on "
            "an input that is always the same, fix that: snnc fix MODEL NAME=NUMBER -o OUT.onnx"
        )
    elif quantised := sorted({op.op_type for op in ops if why_analog(op.op_type) == QUANTISED}):
        help = (
            f"layers of {', '.join(quantised)} stay as they are: export the network as QDQ "
            "(onnxruntime: quant_format=QuantFormat.QDQ), or as it was before it was quantised"
        )
    elif any(activations(graph, op) for op in ops) and not keep:
        help = "layers that read the raw input are direct-coded; --encode-input encodes it"
    else:
        help = "snnc converts MatMul, Gemm, Conv, ConvTranspose and Einsum that are not kept"
    return CompileError(
        "there is nothing to convert: no layer with weights computes on an activation",
        at=graph.source or None,
        help=help,
        pass_name=PlaceSites.name,
    )


def check_constants(graph: Graph, op: Op) -> None:
    """NaN has no place in a network; infinities have in masks, not in weights (spec 0.3)."""
    for value in op.inputs:
        constant = graph.consts.get(value)
        if constant is None or constant.dtype.kind != "f":
            continue
        infinite = value in operands(op) and bool(np.isinf(constant).any())
        if infinite or np.isnan(constant).any():
            what = "an infinity" if infinite else "NaN"
            raise graph.error(f"%{value} holds {what}", op, help="export the model again")


def _origin(graph: Graph, value: str) -> Loc:
    producer = graph.producer.get(value)
    return producer.loc if producer is not None else Loc((value,))


def _role(graph: Graph, flow: Flow, value: str, readers: list[Op]) -> Role:
    product = any(sum(v in flow.data for v in activations(graph, reader)) > 1 for reader in readers)
    if product and comes_from_softmax(graph, value):
        return "softmax"
    return "product" if product else "activation"


def comes_from_softmax(graph: Graph, value: str) -> bool:
    """Whether `value` is a softmax, possibly moved, rounded, or set to 0 by Where or a mask."""
    while (op := graph.op(value)) is not None:
        if op.op_type == "Softmax":
            return True
        if op.op_type == "Where":
            rest = [v for v in op.inputs[1:] if not _is_zero(graph, v)]
        elif op.op_type == "Mul":
            rest = [v for v in op.inputs if not _is_mask(graph, v)]
        else:
            rest = list(op.inputs[:1]) if op.op_type in _HAND_ON else []
        if len(rest) != 1:
            return False
        value = rest[0]
    return False


def _is_zero(graph: Graph, value: str) -> bool:
    """Whether every entry is 0: a constant, or one that is expanded."""
    while (op := graph.op(value, "Expand", "Cast")) is not None:
        value = op.inputs[0]
    constant = graph.consts.get(value)
    return constant is not None and not constant.any()


def _is_mask(graph: Graph, value: str) -> bool:
    """Whether every entry is 0 or 1: made of truth values."""
    op = graph.op(value, "Cast")
    return (
        op is not None
        and op.inputs[0] in graph.types
        and (graph.types[op.inputs[0]].dtype == "bool")
    )
