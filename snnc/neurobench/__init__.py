"""A compiled network as a model of NeuroBench (the extra snnc[neurobench]); the door of torch.

torch and neurobench are imported when a model is asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from snnc.errors import CompileError
from snnc.fidelity import primary_output
from snnc.frontend import load
from snnc.ir.graph import Graph
from snnc.neurobench.layers import Reading, layers_of

if TYPE_CHECKING:
    from neurobench.models import NeuroBenchModel

PACKAGES = frozenset({"neurobench", "snntorch", "torch"})


def neurobench_model(
    network: Graph | str | Path,
    *,
    spikes: Reading = "graded",
    leave_out: bool = False,
    output: str | None = None,
) -> NeuroBenchModel:
    """The network that snnc compiled, for NeuroBench's Benchmark to run and to count.

    spikes: layers read counts ('graded': one operation a synapse and event), or in turn the binary
    spikes that counts are made of ('unary': one a synapse and spike). leave_out: run operations
    with synapses for which NeuroBench has no layer uncounted; else they are a CompileError that
    names them. output: what the model returns, by default the one that `snnc eval` compares.
    """
    graph = network if isinstance(network, Graph) else load(network)
    layers, left_out = layers_of(graph, spikes)
    if left_out and not leave_out:
        raise CompileError(
            f"NeuroBench has no layer for {len(left_out)} operations with synapses",
            at=graph.source or None,
            help="leave_out=True runs them without counting their synaptic operations",
            refused=left_out,
        )
    output = primary_output(graph, output)
    try:
        from snnc.neurobench.mirror import CompiledModel
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in PACKAGES:
            raise
        raise CompileError(
            f"NeuroBench needs the package {error.name}, which is not installed",
            help="pip install 'snnc[neurobench]'",
        ) from None
    return CompiledModel(graph, layers, output, spikes)
