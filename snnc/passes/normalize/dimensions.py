"""Dimensions that follow from shape arithmetic, where ONNX's own inference only makes up names."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from snnc.ir.graph import Graph
from snnc.ir.node import Dim, Op
from snnc.ir.ops import ELEMENTWISE

Dims: TypeAlias = tuple[Dim, ...]

_BROADCASTING = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Sum", "Mean", "Where", "And", "Or"),
    *("Xor", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"),
)

_PLACEHOLDERS = frozenset({"?", "*", "-1", "None", "none", "unknown", "dynamic", "unk"})
"""What exporters write for every size they do not know."""

_LONGEST = 16
"""Vectors of more numbers than this hold no shape."""


def know_dimensions(graph: Graph) -> Graph:
    """The graph with every dimension that shape arithmetic copies from elsewhere named alike."""
    known = _Known(graph)
    for node in graph.nodes:
        if isinstance(node, Op):
            known.add(node)
    return graph if known.types == dict(graph.types) else replace(graph, types=known.types)


class _Known:
    """Types so far, and the numbers in the vectors that hold shapes."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._numbers: dict[str, Dims] = {}
        repeated = (
            symbol
            for name in (*graph.inputs, *graph.outputs)
            if name in graph.types
            for symbol, times in Counter(graph.types[name].shape or ()).items()
            if times > 1
        )
        # a symbol that one input or output has twice stands for "unknown", not for a size
        self._meaningless = _PLACEHOLDERS.union(s for s in repeated if isinstance(s, str))
        boundary = {*graph.inputs, *graph.outputs}
        self.types = {
            name: kind if name in boundary else replace(kind, shape=self._named(kind.shape))
            for name, kind in graph.types.items()
        }

    def shape(self, value: str) -> Dims | None:
        """Dimensions of a value or constant."""
        if value in self._graph.consts:
            return tuple(self._graph.consts[value].shape)
        return self._named(self.types[value].shape) if value in self.types else None

    def _named(self, shape: Dims | None) -> Dims | None:
        return shape and tuple(None if dim in self._meaningless else dim for dim in shape)

    def numbers(self, value: str) -> Dims | None:
        """What a vector (or a number) of integers holds, as far as it is known."""
        array = self._graph.consts.get(value)
        if array is None:
            return self._numbers.get(value)
        small = array.ndim < 2 and array.size <= _LONGEST and array.dtype.kind == "i"
        return tuple(int(n) for n in array.reshape(-1)) if small else None

    def add(self, op: Op) -> None:
        """Notes what is known of the first result of an operation."""
        out = op.outputs[0]
        old, hold, follow = self.types.get(out), _NUMBERS.get(op.op_type), _SHAPES.get(op.op_type)
        if old is None:
            return
        new = follow(self, op) if follow is not None else None
        if new is not None and out not in self._graph.outputs:
            self.types[out] = old = replace(old, shape=_merged(old.shape, new))
        held = hold(self, op) if hold is not None and not old.is_float else None
        if held is not None and old.shape is not None and len(old.shape) < 2:
            self._numbers[out] = held[:_LONGEST]


def _merged(old: Dims | None, new: Dims) -> Dims:
    """The new name of a dimension rather than the old one, a size rather than a name."""
    if old is None or len(old) != len(new):
        return new if old is None else old
    return tuple(a if isinstance(a, int) or b is None else b for a, b in zip(old, new, strict=True))


def _broadcast(shapes: Sequence[Dims | None]) -> Dims | None:
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes):
        return None
    rank = max(map(len, known))
    padded = [(1,) * (rank - len(shape)) + shape for shape in known]
    return tuple(_wider(dims) for dims in zip(*padded, strict=True))


def _wider(dims: Sequence[Dim]) -> Dim:
    wide = {dim for dim in dims if dim != 1}
    if len(wide) < 2:
        return wide.pop() if wide else 1
    sizes = [dim for dim in wide if isinstance(dim, int)]
    return sizes[0] if len(sizes) == 1 else None


# --- What vectors hold --------------------------------------------------------------------------


def _shape(known: _Known, op: Op) -> Dims | None:
    shape = known.shape(op.inputs[0])
    if shape is None:
        return None
    return shape[op.integer("start", 0) : op.integer("end", len(shape))]


def _same_numbers(known: _Known, op: Op) -> Dims | None:
    return known.numbers(op.inputs[0])


def _joined(known: _Known, op: Op) -> Dims | None:
    parts = [known.numbers(v) for v in op.inputs]
    return None if None in parts else tuple(n for part in parts for n in part or ())


def _gathered(known: _Known, op: Op) -> Dims | None:
    numbers, index = known.numbers(op.inputs[0]), known.numbers(op.inputs[1])
    if numbers is None or index is None:
        return None
    places = [i for i in index if isinstance(i, int) and -len(numbers) <= i < len(numbers)]
    return tuple(numbers[i] for i in places) if len(places) == len(index) else None


def _sliced(known: _Known, op: Op) -> Dims | None:
    numbers, *limits = (known.numbers(v) for v in (*op.inputs[:3], *op.inputs[4:5]))
    ints = [n[0] for n in limits if n is not None and len(n) == 1 and isinstance(n[0], int)]
    if numbers is None or len(ints) < len(limits):
        return None
    return numbers[slice(*ints)]


def _product(known: _Known, op: Op) -> Dims | None:
    """Of numbers, or of a number and 1."""
    a, b = (known.numbers(v) for v in op.inputs)
    if a is None or b is None or len(a) != len(b):
        return None
    return tuple(
        x * y
        if isinstance(x, int) and isinstance(y, int)
        else y
        if x == 1
        else x
        if y == 1
        else None
        for x, y in zip(a, b, strict=True)
    )


# --- Shapes -------------------------------------------------------------------------------------


def _as_first(known: _Known, op: Op) -> Dims | None:
    return known.shape(op.inputs[0])


def _as_widest(known: _Known, op: Op) -> Dims | None:
    return _broadcast([known.shape(v) for v in op.inputs])


def _expanded(known: _Known, op: Op) -> Dims | None:
    return _broadcast([known.shape(op.inputs[0]), known.numbers(op.inputs[1])])


def _reshaped(known: _Known, op: Op) -> Dims | None:
    """One dimension that is not told follows from the number of entries."""
    before, wanted = known.shape(op.inputs[0]), known.numbers(op.inputs[1])
    if before is None or wanted is None:
        return None
    copied = not op.attrs.get("allowzero", 0)
    after: list[Dim] = [
        before[i] if n == 0 and copied and i < len(before) else n for i, n in enumerate(wanted)
    ]
    open_ = [i for i, n in enumerate(after) if n is None or n == -1]
    for i in open_:
        after[i] = None
    if len(open_) == 1:
        after[open_[0]] = _quotient(before, [n for n in after if n is not None])
    return tuple(after)


def _quotient(numerator: Sequence[Dim], denominator: Sequence[Dim]) -> Dim:
    """The product of the one over that of the other, where it is a size or a single name."""
    if None in numerator:
        return None
    above, below = (
        math.prod(d for d in dims if isinstance(d, int)) for dims in (numerator, denominator)
    )
    names, others = (
        Counter(d for d in dims if isinstance(d, str)) for dims in (numerator, denominator)
    )
    rest = list((names - others).elements())
    if others - names or not below or above % below or not above:
        return None
    if not rest:
        return above // below
    return rest[0] if len(rest) == 1 and above == below else None


def _transposed(known: _Known, op: Op) -> Dims | None:
    shape = known.shape(op.inputs[0])
    if shape is None:
        return None
    return tuple(shape[i] for i in op.ints("perm", tuple(range(len(shape)))[::-1]))


def _reduced(known: _Known, op: Op) -> Dims | None:
    shape = known.shape(op.inputs[0])
    axes = known.numbers(op.inputs[1]) if len(op.inputs) > 1 else None
    if shape is None or not axes or not all(isinstance(axis, int) for axis in axes):
        return None
    places = {axis % len(shape) for axis in axes if isinstance(axis, int)}
    kept = op.attrs.get("keepdims", 1)
    return tuple(
        1 if i in places else dim for i, dim in enumerate(shape) if kept or i not in places
    )


def _unsqueezed(known: _Known, op: Op) -> Dims | None:
    shape, axes = known.shape(op.inputs[0]), known.numbers(op.inputs[1])
    if shape is None or axes is None or not all(isinstance(axis, int) for axis in axes):
        return None
    rank = len(shape) + len(axes)
    places, rest = {axis % rank for axis in axes if isinstance(axis, int)}, iter(shape)
    return tuple(1 if i in places else next(rest) for i in range(rank))


def _multiplied(known: _Known, op: Op) -> Dims | None:
    a, b = (known.shape(v) for v in op.inputs)
    if a is None or b is None or len(a) < 2 or len(b) < 2:
        return None
    batch = _broadcast([a[:-2], b[:-2]])
    return None if batch is None else (*batch, a[-2], b[-1])


_Follow: TypeAlias = Callable[[_Known, Op], Dims | None]

_NUMBERS: dict[str, _Follow] = {
    "Shape": _shape,
    "Cast": _same_numbers,
    "Identity": _same_numbers,
    "Squeeze": _same_numbers,
    "Unsqueeze": _same_numbers,
    "Reshape": _same_numbers,
    "Concat": _joined,
    "Gather": _gathered,
    "Slice": _sliced,
    "Mul": _product,
}
"""By type of operation: the numbers in its result, a vector or a single one."""

_SHAPES: dict[str, _Follow] = {
    **dict.fromkeys(ELEMENTWISE, _as_first),
    **dict.fromkeys(_BROADCASTING, _as_widest),
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"), _reduced),
    "Expand": _expanded,
    "Reshape": _reshaped,
    "Transpose": _transposed,
    "Unsqueeze": _unsqueezed,
    "MatMul": _multiplied,
}
"""By type of operation: the shape of its first result."""
