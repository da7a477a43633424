"""Normalize: bring every exporter's spelling of a network to one form, by structure alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from snnc.ir.graph import Graph, Stage
from snnc.passes.normalize.batch_norm import fold_batch_norm_backward
from snnc.passes.normalize.batch_norm_forward import fold_batch_norm_forward
from snnc.passes.normalize.branches import take_branches
from snnc.passes.normalize.constants import fold_constants
from snnc.passes.normalize.dimensions import know_dimensions
from snnc.passes.normalize.einsum import einsum_to_transpose
from snnc.passes.normalize.equivalence import Equivalence
from snnc.passes.normalize.fused import spell_out_fused
from snnc.passes.normalize.gelu import recognise_gelu
from snnc.passes.normalize.hard import recognise_hard_functions
from snnc.passes.normalize.identity import drop_identities
from snnc.passes.normalize.layer_norm import recognise_layer_norm
from snnc.passes.normalize.padding import merge_padding
from snnc.passes.normalize.quantizers import join_quantizers
from snnc.passes.normalize.rectifier import recognise_rectifiers
from snnc.passes.normalize.shape_reads import read_shapes_early
from snnc.passes.normalize.silu import recognise_silu
from snnc.passes.normalize.softmax import recognise_softmax
from snnc.shapes import infer_types

RULES: tuple[Callable[[Graph], Graph], ...] = (
    spell_out_fused,
    join_quantizers,
    fold_constants,
    take_branches,
    infer_types,
    know_dimensions,
    drop_identities,
    read_shapes_early,
    einsum_to_transpose,
    recognise_rectifiers,
    recognise_gelu,
    recognise_silu,
    recognise_hard_functions,
    recognise_softmax,
    recognise_layer_norm,
    merge_padding,
    fold_batch_norm_backward,
    fold_batch_norm_forward,
)
"""The rules in the order they are tried; each leaves the network's function unchanged."""


@dataclass(frozen=True)
class Normalize:
    """Applies every rule until none changes the graph.

    verify: after each change, run the graph on random data and compare its outputs.
    """

    verify: bool = False

    name: ClassVar[str] = "normalize"
    before: ClassVar[Stage] = Stage.ANN
    after: ClassVar[Stage] = Stage.ANN

    def __call__(self, graph: Graph) -> Graph:
        equivalence = Equivalence(graph) if self.verify else None
        while True:
            before = graph
            for rule in RULES:
                last, graph = graph, rule(graph)
                if equivalence is not None and graph.nodes != last.nodes:
                    equivalence.check(graph, rule.__name__.replace("_", "-"))
            if graph.nodes == before.nodes:
                return graph
