"""A spiking network of spike counts, layer by layer, from events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Coding, Neuron, Op
from snnc.ir.ops import SYNAPTIC, multiplied
from snnc.ir.weights import is_weight, quantized, weight
from snnc.simulator.exact import exact_layers
from snnc.simulator.layer import Differing, Firing
from snnc.simulator.real import Real
from snnc.simulator.synapses import scale_of, through
from snnc.simulator.values import Spikes, Value, numbers, spikes_of
from snnc.synapses import product_count


@dataclass(frozen=True)
class Run:
    """What a batch did. spikes: of each layer of neurons, by its result; synops: additions of each
    operation that spikes drive, by its first result: one an event and synapse, of a product of two
    activations one for each pair of events that meet; outputs: of the graph; differing: of layers
    whose spikes were given."""

    spikes: Mapping[str, Spikes]
    synops: Mapping[str, float]
    outputs: Mapping[str, Array]
    differing: Mapping[str, Differing]


class Simulator:
    """Executes one network, batch after batch.

    Every spike adds its count times the weight of a synapse to the potential behind it; sums are
    taken in float64 and rounded to float32 once, as are the operations that stay real.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph, self.real, self.exact = graph, Real(graph), exact_layers(graph)

    def run(self, feeds: Mapping[str, Array], spikes: Mapping[str, Array] | None = None) -> Run:
        """What each neuron emits for a batch.

        spikes: outputs (step x count) of layers of neurons, by name, that the layers behind them
        get in place of those simulated: a run elsewhere, checked layer by layer on its own spikes.
        """
        with np.errstate(all="ignore"):  # as onnxruntime, which overflows in silence
            return _Simulation(self, feeds, spikes or {}).run


def simulate(
    graph: Graph, feeds: Mapping[str, Array], spikes: Mapping[str, Array] | None = None
) -> Run:
    """One batch of a network; as Simulator.run."""
    return Simulator(graph).run(feeds, spikes)


class _Simulation:
    def __init__(
        self, simulator: Simulator, feeds: Mapping[str, Array], given: Mapping[str, Array]
    ) -> None:
        self._graph, self._given = simulator.graph, given
        self._real, self._exact = simulator.real, simulator.exact
        graph = self._graph
        self._spikes: dict[str, Spikes] = {}
        self._synops: dict[str, float] = {}
        self._differing: dict[str, Differing] = {}
        self._values: dict[str, Value] = {**graph.consts, **feeds}
        left = {v: len(readers) for v, readers in graph.readers.items()}
        for node in graph.nodes:
            if isinstance(node, Neuron):
                results: Sequence[Value] = [self._fire(node)]
            elif isinstance(node, Op):
                results = self._results(node)
            else:
                raise graph.error("a simulation needs neurons, not sites", node)
            self._values.update(zip(node.outputs, results, strict=True))
            for name in set(node.inputs):
                left[name] = left.get(name, 0) - 1
                if left[name] == 0 and name not in graph.outputs and name not in graph.consts:
                    del self._values[name]
        outputs = {name: numbers(self._values[name]) for name in graph.outputs}
        self.run = Run(self._spikes, self._synops, outputs, self._differing)

    def _fire(self, neuron: Neuron) -> Spikes:
        name = neuron.outputs[0]
        potentials = np.asarray(numbers(self._values[neuron.inputs[0]]), np.float32)
        firing = Firing(self._graph, neuron)
        given = self._given.get(name)
        if given is None:
            emitted = firing.emitted(potentials)
        else:
            if given.shape != potentials.shape:
                raise self._graph.error(
                    f"spikes of shape {list(given.shape)} were given for neurons of shape "
                    f"{list(potentials.shape)}",
                    neuron,
                )
            emitted = given
            self._differing[name] = firing.compared(potentials, given, name in self._exact)
        self._spikes[name] = spikes_of(self._graph, neuron, emitted)
        return self._spikes[name]

    def _results(self, op: Op) -> Sequence[Value]:
        inputs = [self._values[v] if v else None for v in op.inputs]
        first = inputs[0] if inputs else None
        if op.op_type in SYNAPTIC:
            found = self._synaptic(op, inputs)
            if found is not None:
                return [found]
        moved = self._graph.types[op.outputs[0]].coding is Coding.SPIKE
        plain = [None if x is None else numbers(x) for x in inputs]
        results = self._real(op, plain)
        if moved and isinstance(first, Spikes):
            counts = self._real(op, [first.counts, *plain[1:]])
            return [
                Spikes(c.astype(np.int32), n, first.step)
                for c, n in zip(counts, results, strict=True)
            ]
        return results

    def _synaptic(self, op: Op, inputs: Sequence[Value | None]) -> Array | None:
        """The result of an operation with synapses; None for forms that have none of their own."""
        computed = [v for v in multiplied(op) if not is_weight(self._graph, v)]
        if len(computed) > 1:
            return self._product(op, inputs)
        place = op.inputs.index(computed[0]) if computed else 0
        value, spare = inputs[place], op.inputs[1 - place]
        weights = weight(self._graph, spare)
        if not computed or value is None or weights is None:
            return None
        held, factor = quantized(self._graph, spare), np.float32(op.number("alpha", 1.0))
        step = value.step if isinstance(value, Spikes) else None
        if isinstance(value, Spikes) and step is not None and held is not None:
            sums = through(op, place, value.counts, held.values)
            scale = scale_of(op, held, np.float32(factor * step))
        else:
            sums, scale = through(op, place, numbers(value), weights), np.asarray(factor)
        if sums is None:
            return None
        if isinstance(value, Spikes):
            self._synops[op.outputs[0]] = sums.synops
        integers = step is not None and held is not None
        return self._biased(op, inputs, sums.sums, scale, integers)

    def _biased(
        self,
        op: Op,
        inputs: Sequence[Value | None],
        sums: Array,
        scale: Array,
        integers: bool,
    ) -> Array:
        """Sums of integers are rounded to float32 before they are scaled, and after it, as integer
        kernels do; other ones once."""
        bias = numbers(inputs[2]) if len(inputs) > 2 and inputs[2] is not None else None
        if bias is not None and op.op_type == "Gemm":
            bias = np.float32(op.number("beta", 1.0)) * bias
        elif bias is not None:
            bias = bias.reshape(-1, *[1] * (sums.ndim - 2))
        if integers:
            scaled = sums.astype(np.float32) * scale
            return scaled if bias is None else scaled + bias
        scaled = sums * scale
        return np.asarray(scaled if bias is None else scaled + bias, np.float32)

    def _product(self, op: Op, inputs: Sequence[Value | None]) -> Array | None:
        """A product of two activations: one is the event stream, the other one is held."""
        one, other = (inputs[op.inputs.index(v)] for v in multiplied(op))
        if op.op_type != "MatMul" or one is None or other is None:
            return None
        if min(numbers(one).ndim, numbers(other).ndim) < 2:
            return None
        if isinstance(one, Spikes) or isinstance(other, Spikes):
            self._synops[op.outputs[0]] = _meetings(op, one, other)
        if isinstance(one, Spikes) and isinstance(other, Spikes) and one.step and other.step:
            sums = _product(one.counts, other.counts)
            return np.asarray(sums.astype(np.float32) * (one.step * other.step))
        return np.asarray(_product(numbers(one), numbers(other)), np.float32)


def _product(one: Array, other: Array) -> Array:
    return np.asarray(np.matmul(one.astype(np.float64), other.astype(np.float64)))


def _meetings(op: Op, one: Value, other: Value) -> float:
    """Pairs of events that meet; every number that is no spike counts as one."""
    met: list[Array] = [
        x.counts != 0 if isinstance(x, Spikes) else np.ones(x.shape, bool) for x in (one, other)
    ]
    rows = np.broadcast_shapes(*(x.shape[:-2] for x in met))
    return product_count(op, met, (*rows, met[0].shape[-2], met[1].shape[-1]))
