"""A network with the weights that a chip holds: integers of its width, a scale a channel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from snnc.backends.lowering.integer import to_integers
from snnc.errors import CompileError
from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Coding, Node, Op, real
from snnc.ir.ops import SYNAPTIC, multiplied
from snnc.ir.rounding import rounded, scales_of
from snnc.ir.weights import is_weight, quantized, weight
from snnc.targets import Target

_BYTES = 8
"""Bits up to which weights are stored as int8."""


@dataclass(frozen=True)
class Synapses:
    """Constant weights of one operation. place: among its inputs; summed: axes over which one
    output is added up; groups: of a transposed convolution, whose first axis they divide."""

    op: Op
    place: int
    summed: tuple[int, ...]
    groups: int = 1

    @property
    def value(self) -> str:
        return self.op.inputs[self.place]


def with_target_weights(graph: Graph, target: Target) -> Graph:
    """The graph with constant weights rounded to the nearest integers of the target's width times
    one scale an output channel; biases stay as they are.

    Weights of at most 8 bits on spikes become int8, as `snnc compile --synapses int8` makes them,
    where every spike count fits the 8 bits that such layers run on; otherwise, and of other layers,
    they are the rounded numbers as floats. Integers of no more bits stay as they are.
    """
    bits = target.weight_bits
    if bits is None:
        return graph
    wide = [each for each in synapses_of(graph) if _bits(graph, each) > bits]
    if bits <= _BYTES and graph.timesteps == 1:
        made = graph.rewrite(_Rounding(graph, wide, bits, frozenset(map(_name, wide))))
        if _runs(made):
            return made
    stored = {_name(each) for each in wide if quantized(graph, each.value) is not None}
    return graph.rewrite(_Rounding(graph, wide, bits, frozenset(stored)))


def rounded_again(graph: Graph, target: Target) -> tuple[str, ...]:
    """The layers whose weights are integers already, of more bits than the target has."""
    if target.weight_bits is None:
        return ()
    return tuple(
        each.op.loc.names[0] if each.op.loc.names else _name(each)
        for each in synapses_of(graph)
        if quantized(graph, each.value) is not None and _bits(graph, each) > target.weight_bits
    )


def integers(graph: Graph, op: Op, bits: int) -> tuple[Array, Array] | None:
    """Integers of at most `bits` bits in the shape of an operation's weights, and scales that
    broadcast against them; None where it has no constant weights.

    Of a graph that `with_target_weights` made they are the integers that it rounded to, and the
    scales to the last bit of a float32.
    """
    found = _synapses(graph, op)
    if found is None:
        return None
    kept = quantized(graph, found.value)
    if kept is None or _bits(graph, found) > bits:
        return _integers(graph, found, bits)
    scale = kept.scale
    if scale.ndim:
        along = [1] * kept.values.ndim
        along[kept.axis] = -1
        scale = scale.reshape(along)
    return kept.values.astype(np.int32), scale


def synapse_arrays(graph: Graph, target: Target) -> dict[str, Array]:
    """The weights of a graph that `with_target_weights` made, as a target stores them: for each
    operation, by its first result, `NAME.integers` and `NAME.scale`; none for float weights."""
    bits, arrays = target.weight_bits, dict[str, Array]()
    for each in synapses_of(graph) if bits is not None else ():
        found = integers(graph, each.op, bits or 0)
        if found is not None:
            kind = np.min_scalar_type(-(2 ** ((bits or 0) - 1)))
            arrays[f"{_name(each)}.integers"] = found[0].astype(kind)
            arrays[f"{_name(each)}.scale"] = found[1]
    return arrays


def synapses_of(graph: Graph) -> Iterator[Synapses]:
    """The operations with constant weights, and where."""
    for node in graph.nodes:
        found = _synapses(graph, node) if isinstance(node, Op) else None
        if found is not None:
            yield found


def _synapses(graph: Graph, op: Op) -> Synapses | None:
    operands = multiplied(op) if op.op_type in SYNAPTIC else ()
    places = [op.inputs.index(v) for v in operands if is_weight(graph, v)]
    if len(places) != 1:
        return None
    array = weight(graph, op.inputs[places[0]])
    if array is None or array.dtype.kind != "f" or not array.size:
        return None
    summed, groups = _summed(op, places[0], array.ndim)
    return Synapses(op, places[0], summed, groups)


def _summed(op: Op, place: int, rank: int) -> tuple[tuple[int, ...], int]:
    """The axes of weights that are added up to one output, and groups to divide the first into."""
    if op.op_type == "Conv":
        return (tuple(range(1, rank)) if place == 1 else tuple(range(rank))), 1
    if op.op_type == "ConvTranspose" and place == 1:
        return (0, *range(2, rank)), op.integer("group", 1)
    if op.op_type in ("MatMul", "Gemm"):
        turned = op.integer("transA" if place == 0 else "transB", 0)
        last = bool(turned) != (place == 0)
        return ((rank - 1 if last or rank == 1 else rank - 2),), 1
    return tuple(range(rank)), 1


Key: TypeAlias = tuple[str, tuple[int, ...], int, bool]


class _Rounding:
    """Every operation in `wide` with rounded weights, in int8 those of `stored` that spikes drive.
    Operations that share weights share the rounded ones."""

    def __init__(
        self, graph: Graph, wide: list[Synapses], bits: int, stored: frozenset[str]
    ) -> None:
        self._graph, self._bits, self._stored = graph, bits, stored
        self._wide = {_name(each): each for each in wide}
        self._made: dict[Key, str] = {}

    def __call__(self, node: Node) -> Replacement | None:
        found = self._wide.get(node.outputs[0])
        if found is None:
            return None
        stored = node.outputs[0] in self._stored and _stores(self._graph, found)
        key = found.value, found.summed, found.groups, stored
        new = key not in self._made
        form = "int" if stored else "float"
        name = self._made.setdefault(
            key,
            self._graph.fresh(f"{found.value}.{form}{self._bits}", set(self._made.values())),
        )
        inputs = list(found.op.inputs)
        inputs[found.place] = name
        layer = replace(found.op, inputs=tuple(inputs))
        if not new:
            return Replacement((layer,))
        whole, scale = _integers(self._graph, found, self._bits)
        if not stored:
            kind = weight(self._graph, found.value)
            assert kind is not None
            return Replacement((layer,), {}, {name: (whole * scale).astype(kind.dtype)})
        axis = next(a for a in range(whole.ndim) if a not in found.summed)
        names = self._graph.fresh(f"{name}.integers"), self._graph.fresh(f"{name}.scale")
        consts = {names[0]: whole.astype(np.int8), names[1]: scale.reshape(-1)}
        dequantized = Op((name,), names, node.loc, "DequantizeLinear", {"axis": axis})
        types = {name: real("float32", whole.shape)}
        return Replacement((dequantized, layer), types, consts)


def _stores(graph: Graph, synapses: Synapses) -> bool:
    """Whether integer layers exist of this form: spikes times a float32 matrix or kernel."""
    op, array = synapses.op, weight(graph, synapses.value)
    data = op.inputs[1 - synapses.place]
    kind = graph.types.get(data)
    plain = op.op_type == "Conv" or (array is not None and array.ndim == 2)
    return (
        op.op_type in ("MatMul", "Gemm", "Conv")
        and synapses.place == 1
        and plain
        and kind is not None
        and kind.coding is Coding.SPIKE
        and array is not None
        and array.dtype == np.float32
        and not op.integer("transA", 0)
    )


def _runs(graph: Graph) -> bool:
    """Whether the spike counts of a graph fit the integers that its int8 layers run on."""
    try:
        to_integers(graph)
    except CompileError:
        return False
    return True


def _integers(graph: Graph, synapses: Synapses, bits: int) -> tuple[Array, Array]:
    """The nearest integers, int32, and scales, float32, that broadcast against them."""
    array = weight(graph, synapses.value)
    assert array is not None
    if not np.isfinite(array).all():
        raise graph.error(
            "its weights are not finite, no integers stand for them",
            synapses.op,
            help="train the network again, or take the target generic",
        )
    groups, summed, most = synapses.groups, synapses.summed, 2 ** (bits - 1) - 1
    shape = array.shape
    if groups > 1:  # [groups, in, out, kernel]
        array = array.reshape(groups, shape[0] // groups, *shape[1:])
        summed = tuple(axis + 1 for axis in summed)
    scale = scales_of(np.abs(array).max(axis=summed, keepdims=True, initial=0.0), most)
    whole = rounded(array, scale, most).astype(np.int32).reshape(shape)
    if groups > 1:
        scale = np.repeat(scale, shape[0] // groups, axis=1).reshape(shape[:2] + scale.shape[3:])
    return whole, scale


def _bits(graph: Graph, synapses: Synapses) -> int:
    """Bits, with sign, of integer weights as they are stored; more than any chip has for floats."""
    found = quantized(graph, synapses.value)
    if found is None:
        return 64
    return int(np.abs(found.values.astype(np.int32)).max(initial=0)).bit_length() + 1


def _name(synapses: Synapses) -> str:
    return synapses.op.outputs[0]
