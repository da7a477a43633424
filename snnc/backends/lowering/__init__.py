"""Lowering: a spiking graph in the operations that kernels exist for (domain ai.snnc).

Reading an artifact raises them again (snnc.frontend.raising).
"""

from __future__ import annotations

from collections.abc import Callable

from snnc.backends.lowering.batches import name_batches
from snnc.backends.lowering.float_layers import skip_silent_inputs
from snnc.backends.lowering.fuse import fuse_behind_drives, fuse_over_time
from snnc.backends.lowering.hoist import hoist_neurons
from snnc.backends.lowering.imported_weights import hide_weights
from snnc.backends.lowering.integer import float_weights, to_integers
from snnc.backends.lowering.rectifiers import share_rectifiers
from snnc.backends.lowering.repeated import repeat_in_neurons
from snnc.ir.graph import Graph, Stage
from snnc.ir.verify import verify

RULES: tuple[Callable[[Graph], Graph], ...] = (
    share_rectifiers,
    hoist_neurons,
    to_integers,
    float_weights,
    name_batches,
    fuse_behind_drives,
    skip_silent_inputs,
    hide_weights,
)
"""In this order; each computes the same as what it was given, to float rounding."""

OVER_TIME = (skip_silent_inputs, fuse_over_time, repeat_in_neurons, hide_weights)
"""Those for graphs of several timesteps."""


def lower(graph: Graph) -> Graph:
    """The spiking graph as the artifact holds it; a graph of another stage as it is.

    Raises CompileError where integer layers read spikes whose counts do not fit 8 bits.
    """
    if graph.stage is not Stage.SPIKING:
        return graph
    for rule in RULES if graph.timesteps == 1 else OVER_TIME:
        graph = rule(graph)
        verify(graph, Stage.SPIKING)
    return graph
