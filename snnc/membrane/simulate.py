"""A spiking network of spike times, event by event in float64, from the kernels alone (spec 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import cast

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.ir.ops import SHAPE_ONLY, SHAPE_READING, multiplied
from snnc.ir.spike_times import FIRST_SPIKE, MULTIPLIED, RELAY, fires
from snnc.membrane.layer import NEAR, Differing, Layer, Run, layer_of
from snnc.membrane.product import multiply, product_of
from snnc.membrane.reference import Reference, operations
from snnc.membrane.synapse import Synapse, applied, moved
from snnc.membrane.values import Known, Potential, Spikes, Value
from snnc.pointwise import is_pointwise
from snnc.spike_time_kernels import LINKS

RANKING = frozenset({"ArgMax", "TopK"})
"""Which neurons fire first."""

MOVING = SHAPE_ONLY | {"Dropout"}
"""Operations on the entries of their first input: spikes stay the same spikes."""

JOINING = frozenset({"Concat", "Pad", "Where", "Trilu", "ScatterND", "ScatterElements", "CastLike"})
"""Operations whose entries are those of their inputs, or constant numbers."""

SUMMING = frozenset(
    {
        *("Add", "Sub", "Sum", "Mean", "Neg", "ReduceMean", "ReduceSum", "AveragePool"),
        *("GlobalAveragePool", "CumSum", "Resize", "Identity", "Cast"),
    }
)
"""Operations that are linear in all that membranes get."""


def simulate(
    graph: Graph, feeds: Mapping[str, Array], spikes: Mapping[str, Array] | None = None
) -> Run:
    """What each neuron does.

    spikes: ticks of layers (-1: none), by name of their results, that the layers behind them get
    in place of those simulated: a run elsewhere, checked layer by layer on its own spikes.

    A spike adds to the membranes of its targets the integral of its kernel over the rest of the
    window that it arrives in; linear operations spread these charges, constant drives hold what
    silent neurons stand for. A neuron fires at the first tick at which its potential, driven by
    psi, has reached the threshold. Nothing here computes a function that a kernel stands for.
    """
    return _Simulation(graph, feeds, spikes or {}).run


class _Simulation:
    def __init__(
        self, graph: Graph, feeds: Mapping[str, Array], spikes: Mapping[str, Array]
    ) -> None:
        self._graph, self._given = graph, spikes
        self._differing: dict[str, Differing] = {}
        self._perform = Reference(graph)
        self._ticks: dict[str, Array] = {}
        self._between: dict[str, tuple[Array, ...]] = {}
        self._analog: list[str] = []
        self._values: dict[str, Value] = {v: Known(array) for v, array in graph.consts.items()}
        for name in graph.inputs:
            wide = graph.types[name].is_float
            self._values[name] = Known(feeds[name].astype(np.float64) if wide else feeds[name])
        for op in operations(graph):
            inputs = [self._values[v] if v else None for v in op.inputs]
            results = self._results(op, inputs)
            self._values.update(zip(op.outputs, results, strict=True))
        outputs = {name: numbers(self._values[name]) for name in graph.outputs}
        self.run = Run(self._ticks, self._between, outputs, tuple(self._analog), self._differing)

    def _results(self, op: Op, inputs: list[Value | None]) -> Sequence[Value]:
        """What becomes of an operation: the first reading that it allows."""
        at = self._window(op, inputs)
        known = [x for x in inputs if isinstance(x, Known)]
        if fires(op):
            return [self._fire(op, inputs, at)]
        if op.op_type in MULTIPLIED:
            return [self._multiply(op, inputs)]
        if len(known) == sum(x is not None for x in inputs):
            return self._known(op, inputs, at)
        if op.op_type in SHAPE_READING:
            return self._known(op, inputs, None)
        first, others = inputs[0], inputs[1:]
        alone = all(x is None or isinstance(x, Known) for x in others)
        if isinstance(first, Spikes) and alone:
            if op.op_type == RELAY:
                return [self._relay(op, first)]
            if op.op_type in FIRST_SPIKE | MOVING:
                return self._select(op, first, others)
            if op.op_type in RANKING:
                return self._rank(op, first, others)
        return self._charge(op, inputs, at)

    def _window(self, op: Op, inputs: Sequence[Value | None]) -> int | None:
        """The window in which all spikes arrive that an operation reads."""
        found = {x.at for x in inputs if x is not None} - {None}
        if len(found) > 1:
            raise self._graph.error(f"spikes of windows {sorted(cast(set[int], found))} meet", op)
        return next(iter(found), None)

    def _known(self, op: Op, inputs: Sequence[Value | None], at: int | None) -> list[Value]:
        arrays = [None if x is None else numbers(x) for x in inputs]
        return [Known(array, at) for array in self._perform(op, arrays)]

    def _fire(self, op: Op, inputs: Sequence[Value | None], at: int | None) -> Spikes:
        layer, window = layer_of(op), op.integer("window", 0)
        if at is not None and window != at + 1:
            raise self._graph.error(f"neurons of window {window} read spikes of window {at}", op)
        potential = self._potential(inputs[0])
        alive = inputs[1] if len(inputs) > 1 else None
        if alive is not None and not isinstance(alive, Known):
            raise self._graph.error("spikes cannot tell which neurons are alive", op)

        def fired(layer: Layer) -> Array:
            left = potential.fired(layer)
            return left if alive is None else np.where(alive.array, left, np.int32(0))

        found = self._recorded(op, Spikes(fired(layer), layer, window))
        given = self._given.get(op.outputs[0])
        if given is None:
            return found
        left = np.where(given >= 0, layer.ticks - given, 0).astype(np.int32)
        later, earlier = (fired(layer.shifted(side * NEAR)) for side in (-1, 1))
        near = (later <= left) & (left <= earlier)
        differs = left != found.left
        self._differing[op.outputs[0]] = Differing(
            left.size, int(differs.sum()), int((differs & ~near).sum())
        )
        return Spikes(left, layer, window)

    def _recorded(self, op: Op, spikes: Spikes) -> Spikes:
        self._ticks[op.outputs[0]] = spikes.ticks
        return spikes

    def _relay(self, op: Op, spikes: Spikes) -> Spikes:
        window = op.integer("window", 0)
        if spikes.at + op.integer("windows", 0) != window:
            raise self._graph.error(f"spikes of window {spikes.at} are relayed to {window}", op)
        return self._recorded(op, Spikes(spikes.left, spikes.layer, window))

    def _select(self, op: Op, spikes: Spikes, others: Sequence[Value | None]) -> list[Value]:
        """The same spikes elsewhere, or the earliest of several: the one with most ticks left."""
        if op.op_type in FIRST_SPIKE and any(op.outputs[1:]):
            raise self._graph.error("which spike of a window was first is not simulated", op)
        found = self._on_ticks(op, spikes, others)
        return [Spikes(np.rint(x).astype(np.int32), spikes.layer, spikes.at) for x in found]

    def _rank(self, op: Op, spikes: Spikes, others: Sequence[Value | None]) -> list[Value]:
        """ArgMax: the neuron that fires first; TopK: the first ones' spikes, too."""
        *times, places = self._on_ticks(op, spikes, others)
        first = [Spikes(np.rint(x).astype(np.int32), spikes.layer, spikes.at) for x in times]
        return [*first, Known(places)]

    def _on_ticks(self, op: Op, spikes: Spikes, others: Sequence[Value | None]) -> list[Array]:
        rest = [None if x is None else numbers(x) for x in others]
        return self._perform(op, [spikes.left.astype(np.float64), *rest])

    def _potential(self, value: Value | None) -> Potential:
        """What a value does to membranes; a number is simply there."""
        assert value is not None
        if isinstance(value, Known):
            array = value.array.astype(np.float64)
            return Potential(lambda: array, value.at)
        return value.potential if isinstance(value, Spikes) else value

    def _charge(self, op: Op, inputs: Sequence[Value | None], at: int | None) -> Sequence[Value]:
        """Functions on synapses, sums in membranes, and what neurons do as they fire."""
        active = {
            i: self._potential(x)
            for i, x in enumerate(inputs)
            if x is not None and not isinstance(x, Known)
        }
        first = active.get(0)
        linked = any(x.is_linked for x in active.values())
        if linked and first is not None and len(active) == 1 and op.op_type in MOVING:
            plain = self._spread(op, inputs, active, at)
            bounds = first.link, first.least, first.most
            return [Potential(x.make, at, None, None, *bounds) for x in plain]
        if not linked and (is_linear(op, {*active}) or _is_function(op, active)):
            return self._spread(op, inputs, active, at)
        if len(active) == 1 and first is not None:
            held = self._linked(op, first, inputs[1:])
            if held is not None:
                return [held]
        if all(isinstance(inputs[i], Spikes) for i in active):
            self._analog.append(op.outputs[0])
            return self._known(op, inputs, at)
        raise self._graph.error("no synapse and no neuron performs this operation", op)

    def _spread(
        self,
        op: Op,
        inputs: Sequence[Value | None],
        active: Mapping[int, Potential],
        at: int | None,
    ) -> list[Potential]:
        """The charges of a linear operation, and the functions of spikes where it keeps them."""
        fixed = [x.array if isinstance(x, Known) else None for x in inputs]
        linear, function = is_linear(op, {*active}), _is_function(op, active)

        @cache
        def charges() -> list[Array]:
            if not linear:
                return [x.charges() for x in synapses()]
            arrays = [active[i].charges if i in active else x for i, x in enumerate(fixed)]
            return self._perform(op, arrays)

        @cache
        def synapses() -> list[Synapse]:
            parts = [active[i].synapse if i in active else x for i, x in enumerate(fixed)]
            return [applied(op, parts)] if function else moved(self._perform, op, parts)

        def result(place: int) -> Potential:
            if not function and (op.op_type not in MOVING | JOINING or not _followed(active)):
                return Potential(lambda: charges()[place], at)
            root = next(iter(active.values())).root if function else object()
            return Potential(lambda: charges()[place], at, lambda: synapses()[place], root)

        return [result(place) for place in range(len(op.outputs))]

    def _linked(self, op: Op, value: Potential, others: Sequence[Value | None]) -> Potential | None:
        """What neurons can do to their potential as they fire: see LINKS; Relu, Clip: bounds."""
        if op.op_type in LINKS and not value.is_linked:
            return Potential(value.make, value.at, None, None, op.op_type)
        if op.op_type == "Relu":
            return value.clipped(0.0, np.inf)
        if op.op_type == "Clip":
            least, most = (numbers(x).item() if x else None for x in [*others, None, None][:2])
            return value.clipped(
                -np.inf if least is None else least, np.inf if most is None else most
            )
        return None

    def _multiply(self, op: Op, inputs: Sequence[Value | None]) -> Potential:
        a, b = inputs
        if not isinstance(a, Spikes) or not isinstance(b, Spikes):
            raise self._graph.error("a product reads the spikes of two layers", op)
        window = op.integer("window", 0)
        if window != a.at + 1:
            raise self._graph.error(f"neurons of window {window} read spikes of window {a.at}", op)
        product = product_of(op)
        pairs, fired = multiply(product, a, b)
        layers = zip(fired, product.inside, strict=True)
        self._between[op.outputs[0]] = tuple(Spikes(x, layer, window).ticks for x, layer in layers)
        return Potential(lambda: product.summed(pairs), window)


def _followed(active: Mapping[int, Potential]) -> bool:
    """Whether all inputs are functions of single spikes."""
    return all(x.follow is not None for x in active.values())


def _is_function(op: Op, active: Mapping[int, Potential]) -> bool:
    """Whether an operation is a function of single spikes, of the same ones in all inputs."""
    pointwise = is_pointwise(op) or op.op_type == "BatchNormalization"
    return pointwise and _followed(active) and len({id(x.root) for x in active.values()}) == 1


def is_linear(op: Op, active: set[int]) -> bool:
    """Whether an operation is linear in its `active` inputs, the others being constant."""
    if op.op_type == "Cast":
        return is_pointwise(op)
    if op.op_type in SUMMING | MOVING | JOINING - {"Where"}:
        return True
    if op.op_type == "Where":
        return 0 not in active
    if op.op_type in ("Div", "BatchNormalization"):
        return active == {0}
    if op.op_type in ("Mul", "Einsum"):
        return len(active) == 1
    driven = {i for i, v in enumerate(op.inputs) if v in multiplied(op)}
    return op.op_type in ("MatMul", "Gemm", "Conv", "ConvTranspose") and len(active & driven) < 2


def numbers(value: Value) -> Array:
    """What a value stands for."""
    return value.array if isinstance(value, Known) else value.numbers
