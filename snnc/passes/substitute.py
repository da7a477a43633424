"""Substitute: every site becomes a layer of neurons; a ReLU before it becomes part of it.

A site behind a quantiser becomes neurons that decide as it does, whatever the model of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snnc.ir.absorbed import Absorbed, absorbed_rectifier
from snnc.ir.coding import with_spikes
from snnc.ir.graph import Graph, Replacement, Stage
from snnc.ir.node import Array, Coding, Loc, Neuron, Node, Op, Site, Step, sides_of
from snnc.ir.ops import ONNX_TYPE
from snnc.ir.quantizer import Quantizer, imported
from snnc.ir.rate_neuron import RateNeuron, Synapses
from snnc.neurons.aif import AIF


@dataclass(frozen=True)
class Substitute:
    """Sites with thresholds -> neurons of the given model; quantisers -> neurons of their own.

    timesteps: how many the network will have.
    """

    neuron: RateNeuron
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
            if isinstance(node, Site):
                return self._neuron(graph, node, absorbed[name])
            if name not in rewired:
                return None
            return Replacement((replace(node, inputs=(rewired[name], *node.inputs[1:])),))

        return replace(with_spikes(graph.rewrite(rule)), stage=Stage.SPIKING)

    def _neuron(self, graph: Graph, site: Site, rectified: Absorbed | None) -> Replacement:
        """The neuron of a site, which reads what the rectifier read if that feeds it directly."""
        found = imported(graph, site)
        x = site.inputs[0] if found is None else found.x
        if rectified is not None and rectified.reader == site.outputs[0]:
            x = rectified.rectifier.inputs[0]
        if found is not None:
            model, steps = _of_quantizer(found, rectified is not None)
        else:
            model = self._model(site)
            positive, negative = (_constant(s, site.axis) for s in site.step or (0.0, 0.0))
            steps = {"+": positive, "-": negative}
        if rectified is not None and self.timesteps == 1:
            model = model.bounded(rectified.bound)
        return neuron_at(graph, site, x, model, steps)

    def _model(self, site: Site) -> RateNeuron:
        positive, negative = (np.any(step) for step in site.step or (0.0, 0.0))
        model = site.neuron or self.neuron
        return model.at(sides_of(bool(positive), bool(negative)), self.synapses)

    def _absorbed(self, graph: Graph, site: Site) -> Absorbed | None:
        """The rectifier that the site's neuron performs; over several timesteps one without a
        bound, or with one that the neuron never passes."""
        rectified = absorbed_rectifier(graph, site)
        if rectified is None or self.timesteps == 1 or np.isinf(rectified.bound):
            return rectified
        found, (positive, _) = imported(graph, site), site.step or (0.0, 0.0)
        if found is None:
            largest = self._model(site).top * float(np.max(positive))
        else:
            largest = found.highest * float(found.step.max())
        return rectified if largest <= rectified.bound else None


def _of_quantizer(found: Quantizer, rectified: bool) -> tuple[RateNeuron, dict[str, Array]]:
    """The neuron that decides as a quantiser (spec 0.6), and its step for each sign it fires."""
    lowest, highest = 0 if rectified else found.lowest, found.highest
    model = AIF(L=max(highest, -lowest), n_min=lowest, n_max=highest, rounding="half-even")
    return model, {sign: found.step for sign, top in (("+", highest), ("-", lowest)) if top}


def neuron_at(
    graph: Graph, site: Site, x: str, model: RateNeuron, steps: Mapping[str, Array]
) -> Replacement:
    """The neuron in place of a site, between casts where values are not float32.

    steps: by sign; of 0 or absent for a branch that never fires.
    """
    out = site.outputs[0]
    names, consts = [], {}
    for sign in "+-":
        step = steps.get(sign)
        alive = step is not None and bool(step.any())
        names.append(graph.fresh(f"{out}.step{sign}") if alive else "")
        if alive and step is not None:
            consts[names[-1]] = step
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
