"""Neurons as nodes of NIR: thresholds of their levels, membranes over several timesteps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from snnc.backends.schedule.export.branches import Branch, branches
from snnc.backends.schedule.export.nir_layers import InexpressibleError, Shape, entrywise
from snnc.backends.schedule.export.nir_pooled import Nodes, Pooled
from snnc.backends.schedule.export.packages import package
from snnc.ir.node import Array, Neuron
from snnc.ir.rate_neuron import RateNeuron
from snnc.neurons.integrate_fire import IF


class Layer(NamedTuple):
    """Neurons to write. name: of the node that emits step x count; step: of positive, of negative
    spikes, in the shape of one sample, 0 where dead; most: branches of one sign; drive: what they
    read."""

    neuron: Neuron
    name: str
    shape: Shape
    steps: tuple[Array, Array]
    most: int
    drive: Pooled

    @property
    def model(self) -> RateNeuron:
        return self.neuron.model


def write_neurons(net: Nodes, layer: Layer) -> str:
    """The nodes of a layer of neurons; the name of the one that emits step x count.

    Raises InexpressibleError for a model whose membrane NIR has no words for.
    """
    if layer.neuron.timesteps == 1:
        return _levels(net, layer, layer.drive)
    model, sources = layer.model, layer.drive.sources
    if model.dual:
        raise InexpressibleError(
            f"'{model.name}' has a membrane for each sign of its input, and NIR no rectifier",
            "take a neuron with one membrane (aif, sfn), or one timestep",
        )
    if isinstance(model, IF) and model.reset == "hard":
        return _hard(net, layer, model, sources)
    return _soft(net, layer, sources)


def _levels(net: Nodes, layer: Layer, drive: Pooled) -> str:
    """A threshold for each level, its spikes weighed by the gap to the level below, summed."""
    positive = _branches(layer, 1)
    negative = [] if drive.rectified else _branches(layer, -1)
    if positive and not negative:
        return _branch(net, layer, layer.name, 1, positive, drive)
    if not negative:
        raise _silent()
    if drive.windows:
        raise InexpressibleError("negative spikes of neurons behind a MaxPool without a Relu")
    below = net.add(f"{layer.name}_negated", _scale(-1.0, drive.given), drive.sources)
    negated = replace(drive, sources=(below,))
    ends = [_branch(net, layer, f"{layer.name}_negative", -1, negative, negated)]
    if positive:
        ends.append(_branch(net, layer, f"{layer.name}_positive", 1, positive, drive))
    return net.add(layer.name, _scale(1.0, layer.shape), tuple(ends))


def _branches(layer: Layer, sign: int) -> list[Branch]:
    step = layer.steps[0 if sign > 0 else 1]
    found = branches(layer.model, step, sign, layer.most)
    if found is None:
        raise InexpressibleError(
            f"more than {layer.most} levels, each a node as large as the layer",
            f"compile with fewer levels (sfn: --levels linear --m 4; mtn: N=8; aif: L=8), or "
            f"allow more than {layer.most} (--most-levels)",
        )
    return found


def _branch(
    net: Nodes, layer: Layer, name: str, sign: int, found: list[Branch], drive: Pooled
) -> str:
    nir = package("nir")
    fired = []
    for number, branch in enumerate(found, 1):
        node = drive.reached(net, f"{name}_level_{number}", branch.below)
        if branch.gap != 1:
            gap = _scale(float(branch.gap), layer.shape)
            node = net.add(f"{name}_gap_{number}", gap, (node,))
        fired.append(node)
    step = layer.steps[0 if sign > 0 else 1]
    return net.add(name, nir.Scale(scale=np.float32(sign) * step), tuple(fired))


def _soft(net: Nodes, layer: Layer, sources: tuple[str, ...]) -> str:
    """An integrator whose spikes are taken off it one timestep later."""
    nir = package("nir")
    ones = np.ones(layer.shape, np.float32)
    carried = f"{layer.name}_carried"
    membrane = net.add(f"{layer.name}_membrane", nir.I(r=ones), (carried, *sources))
    emitted = _levels(net, layer, Pooled((membrane,), layer.shape))
    later = net.add(f"{layer.name}_later", nir.Delay(delay=ones.copy()), (emitted,))
    net.add(carried, _scale(-1.0, layer.shape), (later,))
    return emitted


def _hard(net: Nodes, layer: Layer, model: IF, sources: tuple[str, ...]) -> str:
    nir = package("nir")
    if model.potential:
        raise InexpressibleError(
            f"a membrane that starts at {model.potential} thresholds and is reset to 0: NIR's IF "
            f"starts where it is reset to",
            "take if:reset=soft, or if:reset=hard:potential=0",
        )
    found = _branches(layer, 1)
    if not found:
        raise _silent()
    zeros = np.zeros(layer.shape, np.float32)
    node = nir.IF(r=zeros + 1, v_threshold=found[0].below, v_reset=zeros)
    fired = net.add(f"{layer.name}_fired", node, sources)
    return net.add(layer.name, nir.Scale(scale=layer.steps[0]), (fired,))


def _silent() -> InexpressibleError:
    return InexpressibleError("neurons that never fire", "calibrate with more samples")


def _scale(factor: float, shape: Shape) -> Any:
    return package("nir").Scale(scale=entrywise(np.array(factor, np.float32), shape))
