"""What stands right behind a layer becomes part of it: addend, activation, neuron, mean so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from snnc.backends.lowering.drive import parts_of
from snnc.ir.composed import PARTS, Activation, Composed, composed, neuron_attributes
from snnc.ir.graph import DOMAIN, Graph, Replacement
from snnc.ir.node import Attribute, Neuron, Node, Op
from snnc.ir.time import RUNNING_MEAN

Extend = Callable[[Graph, Op | Neuron, str, Composed], "Op | None"]
"""(graph, reader, value, what computes the value) -> an operation that does the work of both."""


def fuse_behind_drives(graph: Graph) -> Graph:
    """Every drive together with the operations that alone read its result, one after another."""
    for extend in (_with_addend, _with_activation, _with_neuron):
        graph = _fused(graph, extend, _drive)
    return _with_kept_results(graph)


def fuse_over_time(graph: Graph) -> Graph:
    """Every convolution of spikes together with the neurons, or the mean so far and the Relu, that
    alone read its result."""
    for extend in (_with_membranes, _with_mean, _with_rectified_mean):
        graph = _fused(graph, extend, _float_convolution)
    return graph


def _fused(graph: Graph, extend: Extend, drive_of: Callable[[Node], Composed | None]) -> Graph:
    def rule(node: Node) -> Replacement | None:
        if not isinstance(node, (Op, Neuron)):
            return None
        for value in dict.fromkeys(node.inputs):
            drive = graph.op(value)
            made = None if drive is None else drive_of(drive)
            if drive is None or made is None or made.neuron is not None:
                continue
            if graph.only_reader(value) is not node:
                continue
            fused = extend(graph, node, value, made)
            if fused is not None:
                return Replacement((_joined(drive, node, fused),))
        return None

    return graph.rewrite(rule)


def _drive(node: Node) -> Composed | None:
    """What an operation that integers drive is made of; None for any other node."""
    made = composed(node) if isinstance(node, Op) else None
    return made if made is not None and made.drive.startswith("Spike") else None


def _joined(drive: Op, reader: Node, fused: Op) -> Op:
    """The fused operation with what both do; its inputs beyond the drive's are given already."""
    parts = drive.attrs.get(PARTS, ())
    known = parts if isinstance(parts, tuple) else ()
    attrs: dict[str, Attribute] = {**drive.attrs, **fused.attrs}
    attrs[PARTS] = (*(str(part) for part in known), *parts_of((reader,)))
    inputs = (*drive.inputs, *fused.inputs)
    return replace(fused, inputs=inputs, loc=drive.loc | reader.loc, attrs=attrs)


def _extended(node: Op, made: Composed, inputs: tuple[str, ...]) -> Op:
    """`node` as part of a drive. inputs: what it reads besides the drive's result."""
    return replace(node, inputs=inputs, op_type=f"{DOMAIN}.{made.name}")


def _with_addend(graph: Graph, node: Op | Neuron, value: str, made: Composed) -> Op | None:
    if (
        not isinstance(node, Op)
        or node.op_type != "Add"
        or made.activation
        or made.add
        or node.inputs[0] == node.inputs[1]
    ):
        return None
    addend = node.inputs[1 - node.inputs.index(value)]
    if not _same_type(graph, addend, node.outputs[0], value):
        return None
    return _extended(node, replace(made, add=True), (addend,))


def _same_type(graph: Graph, *values: str) -> bool:
    """Whether values are computed, of one type and of a shape whose sizes are all named."""
    kinds = {graph.types.get(value) for value in values}
    kind = kinds.pop()
    return not kinds and kind is not None and kind.shape is not None and None not in kind.shape


def _with_activation(graph: Graph, node: Op | Neuron, value: str, made: Composed) -> Op | None:
    if not isinstance(node, Op):
        return None
    exact = node.op_type == "Gelu" and node.attrs.get("approximate", "none") == "none"
    if made.activation or not (exact or node.op_type == "Relu"):
        return None
    name: Activation = "Gelu" if exact else "Relu"
    return replace(_extended(node, replace(made, activation=name), ()), attrs={})


def _with_neuron(graph: Graph, node: Op | Neuron, value: str, made: Composed) -> Op | None:
    fuses = isinstance(node, Op) and made.activation != "Relu"
    return _counting(node, made) if fuses and isinstance(node, Op) else None


def _counting(node: Op, made: Composed) -> Op | None:
    """A neuron as part of a drive, if kernels decide its count there."""
    own = composed(node)
    if own is None or own.drive or own.neuron is None or not own.neuron.fuses(own.sides):
        return None
    fused = replace(made, neuron=own.neuron, sides=own.sides, count=True)
    return _extended(node, fused, tuple(filter(None, node.inputs[1:])))


def _with_kept_results(graph: Graph) -> Graph:
    """Drives together with one of the neurons that read their result, where others read it, too."""
    fused, gone = dict[str, Op](), set[str]()
    for drive in graph.nodes:
        found = _neuron_beside(graph, drive)
        if isinstance(drive, Op) and found is not None:
            neuron, counting = found
            joined = _joined(drive, neuron, counting)
            outputs = (*neuron.outputs, *drive.outputs)
            fused[drive.outputs[0]] = replace(joined, outputs=outputs)
            gone.add(neuron.outputs[0])

    def rule(node: Node) -> Replacement | None:
        if node.outputs[0] in gone:
            return Replacement(())
        op = fused.get(node.outputs[0])
        return None if op is None else Replacement((op,))

    return graph.rewrite(rule)


def _neuron_beside(graph: Graph, drive: Node) -> tuple[Op, Op] | None:
    """A neuron among the readers of a drive, and what it becomes as part of one."""
    made = _drive(drive)
    if made is None or made.neuron is not None:
        return None
    for reader in graph.readers.get(drive.outputs[0], ()):
        if isinstance(reader, Op) and all(v in graph.consts for v in reader.inputs[1:] if v):
            counting = _counting(reader, replace(made, kept=True))
            if counting is not None:
                return reader, counting
    return None


def _float_convolution(node: Node) -> Composed | None:
    """What a convolution of spikes as numbers is made of; None for any other node."""
    made = composed(node) if isinstance(node, Op) else None
    return made if made is not None and made.drive == "FloatConv" else None


def _with_membranes(graph: Graph, node: Op | Neuron, value: str, made: Composed) -> Op | None:
    if not isinstance(node, Neuron) or made.mean:
        return None
    fired = replace(made, neuron=node.model, sides=node.sides, over_time=True)
    steps = tuple(filter(None, node.inputs[1:]))
    name = f"{DOMAIN}.{fired.name}"
    return Op(node.outputs, steps, node.loc, name, neuron_attributes(node))


def _with_mean(graph: Graph, node: Op | Neuron, value: str, made: Composed) -> Op | None:
    if not isinstance(node, Op) or node.op_type != RUNNING_MEAN or made.mean:
        return None
    return _extended(node, replace(made, mean=True), ())


def _with_rectified_mean(graph: Graph, node: Op | Neuron, value: str, made: Composed) -> Op | None:
    if not isinstance(node, Op) or node.op_type != "Relu" or not made.mean or made.activation:
        return None
    return _extended(node, replace(made, activation="Relu"), ())
