"""Sequences that are taken apart where they are made: plain tensors in their place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from snnc.frontend.bodies import captured_names
from snnc.frontend.legal import ONNX_DOMAINS, opset_of
from snnc.frontend.read import to_array
from snnc.ir.node import Array

_WHOLE = np.iinfo(np.int64).max


def take_sequences_apart(model: ModelProto) -> None:
    """Rewrites elements of split tensors, and concatenations of listed ones, in place.

    torch writes unbind, split and chunk as SplitToSequence and SequenceAt, stack as
    SequenceConstruct and ConcatFromSequence. What depends on a run-time position is left.
    """
    makers = {
        node.output[0]: node
        for node in model.graph.node
        if node.domain in ONNX_DOMAINS and node.op_type in ("SplitToSequence", "SequenceConstruct")
    }
    if not makers:
        return
    constants = _Constants(model)
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        maker = makers.get(node.input[0]) if node.input else None
        new = list(_rewritten(node, maker, constants)) if maker is not None else []
        for i, part in enumerate(new):
            part.name = node.name if part is new[-1] else f"{node.name}/{i}"
            part.metadata_props.extend(node.metadata_props)
        nodes += new or [node]
    read = {name for node in nodes for name in node.input} | {v.name for v in model.graph.output}
    read.update(
        v for node in nodes for a in node.attribute if a.HasField("g") for v in captured_names(a.g)
    )
    del model.graph.node[:]
    model.graph.node.extend(n for n in nodes if n.output[0] not in makers or n.output[0] in read)
    model.graph.initializer.extend(constants.added)


class _Constants:
    """The small constants of a model, and those that the rewriting adds."""

    def __init__(self, model: ModelProto) -> None:
        self.opset = opset_of(model)
        self.added: list[TensorProto] = []
        self._tensors = {t.name: t for t in model.graph.initializer}
        self._tensors |= {
            n.output[0]: a.t
            for n in model.graph.node
            if n.op_type == "Constant"
            for a in n.attribute
            if a.name == "value"
        }
        self._integers = {
            n.output[0]: list(a.ints) or a.i
            for n in model.graph.node
            if n.op_type == "Constant"
            for a in n.attribute
            if a.name in ("value_int", "value_ints")
        }

    def get(self, name: str) -> Array | None:
        if name in self._integers:
            return np.array(self._integers[name], np.int64)
        tensor = self._tensors.get(name)
        return None if tensor is None else to_array(tensor, name)

    def add(self, base: str, value: Iterable[int]) -> str:
        """The name of a new constant."""
        name = f"{base}/sequence.{len(self.added)}"
        self.added.append(numpy_helper.from_array(np.array(value, np.int64), name))
        return name


def _rewritten(node: NodeProto, maker: NodeProto, constants: _Constants) -> Iterator[NodeProto]:
    """The nodes that compute what `node` takes from the sequence; none if that is not known."""
    if node.op_type == "ConcatFromSequence" and maker.op_type == "SequenceConstruct":
        yield from _concatenated(node, maker, constants)
    if node.op_type != "SequenceAt":
        return
    position = constants.get(node.input[1])
    if position is None or position.size != 1:
        return
    index = int(position.reshape(()))
    if maker.op_type == "SequenceConstruct":
        if -len(maker.input) <= index < len(maker.input):
            yield helper.make_node("Identity", [maker.input[index]], [node.output[0]])
        return
    yield from _piece(node.output[0], maker, index, constants)


def _concatenated(node: NodeProto, maker: NodeProto, constants: _Constants) -> Iterator[NodeProto]:
    axis, new_axis = _integer(node, "axis", 0), _integer(node, "new_axis", 0)
    parts = list(maker.input)
    if new_axis:
        for place, part in enumerate(maker.input):
            parts[place] = f"{node.output[0]}/{place}"
            if constants.opset < 13:
                yield helper.make_node("Unsqueeze", [part], [parts[place]], axes=[axis])
            else:
                axes = constants.add(node.output[0], [axis])
                yield helper.make_node("Unsqueeze", [part, axes], [parts[place]])
    yield helper.make_node("Concat", parts, [node.output[0]], axis=axis)


def _piece(result: str, maker: NodeProto, index: int, constants: _Constants) -> Iterator[NodeProto]:
    """Piece `index` of a tensor that SplitToSequence cuts."""
    axis = _integer(maker, "axis", 0)
    source, *split = [name for name in maker.input if name]
    if not split and not _integer(maker, "keepdims", 1):
        place = f"{result}/sequence.{len(constants.added)}"
        constants.added.append(numpy_helper.from_array(np.array(index, np.int64), place))
        yield helper.make_node("Gather", [source, place], [result], axis=axis)
        return
    if not split:
        start, end = index, index + 1 if index != -1 else _WHOLE
    else:
        sizes = constants.get(split[0])
        if sizes is None or (sizes.ndim == 0 and index < 0):
            return
        if sizes.ndim == 0:
            start, end = index * int(sizes), (index + 1) * int(sizes)
        elif -sizes.size <= index < sizes.size:
            start = int(sizes[: index % sizes.size].sum())
            end = start + int(sizes[index])
        else:
            return
    bounds = [constants.add(result, [value]) for value in (start, end, axis)]
    yield helper.make_node("Slice", [source, *bounds], [result])


def _integer(node: NodeProto, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)
