"""The rival: the trained network with weights and activations of b bits, without training.

Post-training quantisation where the spiking network would spike; what stays analog stays float.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from snnc.calibrated import CalibratedNetwork
from snnc.drives import classify
from snnc.errors import CompileError
from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Node
from snnc.ir.ops import multiplied
from snnc.ir.rounding import nearest
from snnc.neurons.aif import AIF
from snnc.passes.assign_thresholds import AssignThresholds
from snnc.passes.quantize_sites import QuantizeSites
from snnc.passes.quantize_synapses import QuantizeSynapses
from snnc.passes.substitute import Substitute
from snnc.pipeline import run_passes

BITS = range(2, 9)
"""Bits of weights and activations that there are networks for."""


def silent(done: int, total: int) -> None:
    """No progress display."""


def require_bits(bits: int) -> None:
    """Raises CompileError for integers that no network is made of."""
    if type(bits) is not int or bits not in BITS:
        raise CompileError(
            f"bits of integers out of range: {bits!r}", help=f"choose {BITS[0]} to {BITS[-1]}"
        )


def quantized_ann(
    network: CalibratedNetwork, bits: int, progress: Callable[[int, int], None] = silent
) -> Graph:
    """The network with activations and weights of `bits` bits wherever the spiking network spikes.

    Activations: one scale and zero point a tensor, limits of least squared error over what
    calibration saw. Weights: one scale an output channel, rounded one after the other for the
    output of their layer (arXiv 2210.17323) on the calibration samples; where a layer has no form
    as a matrix, to the nearest, one scale a tensor. The graph is of stage spiking: a quantiser of
    activations is a neuron that decides as QuantizeLinear does (spec 0.6). progress: told how many
    weights are done, of how many. CompileError for a network that is quantised already.
    """
    require_bits(bits)
    if len(network.sited.open_sites) < len(network.sited.sites):
        raise CompileError(
            "the network is quantised already: its integers are its own",
            at=network.ann.source or None,
            help="take the network from before it was quantised",
        )
    passes = (
        QuantizeSites(bits, network.calibration),
        AssignThresholds(AIF(), 1.0),
        Substitute(AIF()),
        QuantizeSynapses(network.samples, progress=progress, bits=bits),
    )
    return _with_rounded(run_passes(network.graph(), passes), bits)


def _with_rounded(graph: Graph, bits: int) -> Graph:
    """The graph with the constants that are still real numbers beside quantised activations
    rounded."""
    of_layer = {
        op.outputs[0]: tuple(v for v in multiplied(op) if v in graph.consts)
        for op, kind in classify(graph)
        if kind == "spiking"
    }

    def rule(node: Node) -> Replacement | None:
        weights = of_layer.get(node.outputs[0], ())
        made = {v: graph.fresh(f"{v}.int{bits}") for v in weights}
        if not made:
            return None
        inputs = tuple(made.get(v, v) for v in node.inputs)
        consts = {new: _rounded(graph.consts[old], bits) for old, new in made.items()}
        return Replacement((replace(node, inputs=inputs),), {}, consts)

    return graph.rewrite(rule).pruned()


def _rounded(weights: Array, bits: int) -> Array:
    """Weights of one scale, as the numbers that their integers stand for."""
    integers, scale = nearest(weights.reshape(1, -1).astype(np.float32), bits)
    return np.asarray(integers * scale[0]).reshape(weights.shape).astype(weights.dtype)
