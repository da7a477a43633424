"""What tests of spike times share: small models on the way there, and what every result obeys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnx import ModelProto

from snnc.calibrated import calibrate_sites
from snnc.data import samples_of
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Coding, Op
from snnc.ir.ops import SHAPE_READING
from snnc.ir.parse import parse_graph
from snnc.ir.spike_times import MULTIPLIED, RELAY, fires, time_ranges
from snnc.ir.text import format_graph
from snnc.neurons.ttfs import TTFS
from snnc.passes.calibrate import Calibrate
from snnc.passes.spike_times.emit import EmitSpikes
from snnc.passes.spike_times.windows import AlignWindows
from snnc.pipeline import run_passes
from snnc.prepare import Prepared, prepare_spike_times

FINE = TTFS(p=65536, rule="nearest", products="ideal")


def sited(source: ModelProto | Path | Graph, keep: tuple[str, ...] = ()) -> Prepared:
    return prepare_spike_times(source, keep=keep)


def spiking(
    prepared: Prepared, feeds: Mapping[str, Array], neuron: TTFS = FINE, **options: Any
) -> Graph:
    """The network of spike times, calibrated on `feeds`; windows checked."""
    network = calibrate_sites(prepared.ann, prepared.sited, samples_of(dict(feeds), prepared.ann))
    passes = (
        Calibrate(network.calibration),
        EmitSpikes(neuron, **options),
        AlignWindows(),
    )
    graph = run_passes(prepared.sited, passes)
    check_windows(graph)
    assert parse_graph(format_graph(graph), graph.consts) == graph
    return graph


def check_windows(graph: Graph) -> None:
    """Neurons read spikes of the window before theirs only, relays those that they say."""
    window: dict[str, set[int]] = {}
    timed = time_ranges(graph)
    for node in graph.nodes:
        assert isinstance(node, Op)
        read = set[int]().union(*(window.get(v, set()) for v in node.inputs))
        own = node.integer("window", -1)
        if fires(node) or node.op_type in MULTIPLIED:
            assert read <= {own - 1}, node.outputs
            assert read or own == 0, node.outputs
            read = {own}
        elif node.op_type == RELAY:
            assert read == {own - node.integer("windows", 0)} and node.integer("windows", 0) > 0
            read = {own}
        elif node.op_type in SHAPE_READING:
            read = set()  # shapes are known before any spike
        else:
            assert len(read) <= 1, node.outputs
        for name in node.outputs:
            if name:
                window[name] = read
                assert (graph.types[name].coding is Coding.TIME) == (name in timed)
