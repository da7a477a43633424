"""Substitute: every site becomes a layer of neurons; a ReLU before it becomes part of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snnc.ir.graph import Graph, Replacement, Stage
from snnc.ir.neuron import NeuronModel, Synapses
from snnc.ir.node import Array, Coding, Loc, Neuron, Node, Op, Site, Step, sides_of
from snnc.ir.ops import ONNX_TYPE, Absorbed, absorbed_rectifier


@dataclass(frozen=True)
class Substitute:
    """Sites with thresholds -> neurons of the given model.

    timesteps: how many the network will have.
    """

    neuron: NeuronModel
    synapses: Synapses = "float"
    timesteps: int = 1

    name: ClassVar[str] = "substitute"
    before: ClassVar[Stage] = Stage.THRESHOLDED
    after: ClassVar[Stage] = Stage.SPIKING

    def __call__(self, graph: Graph) -> Graph:
        absorbed = {site.outputs[0]: self._absorbed(graph, site) for site in graph.sites}
        rewired = {a.reader: a.rectifier.inputs[0] for a in absorbed.values() if a is not None}

        def rule(node: Node) -> Replacement | None:
            name = node.outputs[0]
            if name in rewired:
                node = replace(node, inputs=(rewired[name], *node.inputs[1:]))
            if isinstance(node, Site):
                found, model = absorbed[name], self._model(node)
                if found is not None and self.timesteps == 1:
                    model = model.bounded(found.bound)
                return neuron_at(graph, node, model)
            return Replacement((node,)) if name in rewired else None

        return replace(graph.rewrite(rule), stage=Stage.SPIKING)

    def _model(self, site: Site) -> NeuronModel:
        positive, negative = (np.any(step) for step in site.step or (0.0, 0.0))
        model = site.neuron or self.neuron
        return model.at(sides_of(bool(positive), bool(negative)), self.synapses)

    def _absorbed(self, graph: Graph, site: Site) -> Absorbed | None:
        """The rectifier that the site's neuron performs; over several timesteps one without a
        bound, or with one that the neuron never passes."""
        found, (positive, _) = absorbed_rectifier(graph, site), site.step or (0.0, 0.0)
        if found is None or self.timesteps == 1 or np.isinf(found.bound):
            return found
        largest = float(np.max(positive))
        return found if self._model(site).top * largest <= found.bound else None


def neuron_at(graph: Graph, site: Site, model: NeuronModel) -> Replacement:
    """The neuron in place of a site with steps, between casts where values are not float32."""
    out, x = site.outputs[0], site.inputs[0]
    names, consts = [], {}
    for sign, step in zip("+-", site.step or (0.0, 0.0), strict=True):
        names.append(graph.fresh(f"{out}.step{sign}") if np.any(step) else "")
        if names[-1]:
            consts[names[-1]] = _constant(step, site.axis)
    kind = replace(graph.types[out], coding=Coding.SPIKE)
    if kind.dtype == "float32":
        neuron = Neuron((out,), (x, names[0], names[1]), site.loc, model)
        return Replacement((neuron,), {out: kind}, consts)
    single, spikes = f"{out}.float32", f"{out}.float32.spikes"
    float32 = replace(kind, dtype="float32")
    nodes = (
        _cast(single, x, "float32", site.loc),
        Neuron((spikes,), (single, names[0], names[1]), site.loc, model),
        _cast(out, spikes, kind.dtype, site.loc),
    )
    types = {single: replace(float32, coding=Coding.REAL), spikes: float32, out: kind}
    return Replacement(nodes, types, consts)


def _constant(step: Step, axis: int) -> Array:
    """A step in a shape that broadcasts along the axis of its channels."""
    array = np.array(step, np.float32)
    return array.reshape(-1, *[1] * (-axis - 1)) if array.ndim else array


def _cast(output: str, value: str, dtype: str, loc: Loc) -> Op:
    return Op((output,), (value,), loc, "Cast", {"to": ONNX_TYPE[dtype]})
