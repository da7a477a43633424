"""NeuroBench's activation sparsity and synaptic operations beside snnc's own count, term by term.

usage: PYTHON -m benchmarks.neurobench_counts MODEL.onnx --calibration C.npz --test T.npz
           [--neuron NEURON] [--timesteps T] [--synapses float|int8] [--samples K] [--batch B]
           [--unary]

PYTHON is an interpreter with `pip install 'snnc[neurobench]'`. The network is compiled, run by
NeuroBench's Benchmark on the test samples, and by onnxruntime as `snnc eval` does; outputs are
compared. Then each layer's count is followed from ours to NeuroBench's: operations of zero inputs,
of zero weights, spikes that fall differently because torch sums in another order, and what
NeuroBench's sums in float32 lose. Operations are a sample's mean.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from neurobench.benchmarks import Benchmark
from neurobench.metrics.static import ConnectionSparsity, Footprint
from neurobench.metrics.utils.layers import single_layer_MACs
from neurobench.metrics.workload import (
    ActivationSparsity,
    ClassificationAccuracy,
    SynapticOperations,
)
from torch.utils.data import DataLoader, TensorDataset

import snnc
from snnc.energy import Energy, Layer
from snnc.evaluation import measure
from snnc.fidelity import primary_output
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.neurobench import neurobench_model
from snnc.neurobench.layers import Reading
from snnc.runtime import Session, shape_name

PACKAGES = ("neurobench", "snntorch", "torch", "onnxruntime", "numpy")

METRICS = ([Footprint, ConnectionSparsity], [ActivationSparsity, SynapticOperations])


@dataclass
class Counted:
    """Operations of one layer, totals. neurobench: as its metric adds them up; exact: the same in
    float64; full: without leaving out zero weights; dense: zero inputs and weights included;
    accumulates: whether every batch was of 0, 1 and -1."""

    neurobench: float = 0.0
    exact: float = 0.0
    full: float = 0.0
    dense: float = 0.0
    accumulates: list[bool] = field(default_factory=list)


def loader(x: Array, labels: Array, batch: int) -> Any:
    """Samples as NeuroBench takes them."""
    return DataLoader(TensorDataset(torch.tensor(x), torch.tensor(labels)), batch_size=batch)


def by_neurobench(graph: Graph, x: Array, labels: Array, batch: int, spikes: Reading) -> Any:
    """What NeuroBench's Benchmark says of the network."""
    model = neurobench_model(graph, spikes=spikes, leave_out=True)
    static, workload = METRICS
    metrics = [static, [*workload, ClassificationAccuracy]]
    data = loader(x, labels, batch)
    return Benchmark(model, data, [], [lambda out: out.argmax(-1)], metrics).run(quiet=True)


@contextmanager
def counting(net: Any) -> Iterator[dict[str, Counted]]:
    """Counts the operations of each layer of a mirror while it runs, by the layer's name."""
    found: dict[str, Counted] = {}
    hooks = []
    for name, child in net.named_children():
        if hasattr(child, "synapses"):
            found[name] = Counted()

            def count(module: Any, inputs: Any, into: Counted = found[name]) -> None:
                plain = copy.deepcopy(module)
                plain._forward_pre_hooks.clear()
                _count(plain, inputs[0], into)

            hooks.append(child.synapses.register_forward_pre_hook(count))
    yield found
    for hook in hooks:
        hook.remove()


def _count(layer: Any, values: Any, into: Counted) -> None:
    operations, spiking = single_layer_MACs(values, layer)
    into.neurobench += operations
    into.accumulates.append(spiking)
    wide = layer.double()
    events = (values != 0).double()
    weight = layer.weight.data
    for name, ones in (("exact", (weight != 0).double()), ("full", torch.ones_like(weight))):
        wide.weight.data = ones
        setattr(into, name, getattr(into, name) + float(wide(events).sum()))
    into.dense += float(wide(torch.ones_like(events)).sum())


def mirrored(
    graph: Graph, x: Array, batch: int, spikes: Reading
) -> tuple[Array, dict[str, Counted]]:
    """The outputs of the mirror, and the operations of its layers."""
    model = neurobench_model(graph, spikes=spikes, leave_out=True)
    with counting(model.net) as found:
        parts = [model(torch.tensor(x[i : i + batch])) for i in range(0, len(x), batch)]
    return torch.cat(parts).numpy(), found


def agreement(graph: Graph, x: Array, mirror: Array) -> list[str]:
    """The mirror's outputs beside onnxruntime's."""
    output = primary_output(graph)
    ours = snnc.run(graph, snnc.samples_of({graph.inputs[0]: x}, graph))[output]
    away = np.abs(ours - mirror).reshape(len(x), -1).max(axis=1) / np.abs(ours).max()
    same = np.mean(ours.argmax(-1) == mirror.argmax(-1))
    return [
        f"outputs: median relative difference {np.median(away):.1e}, largest {away.max():.1e}, "
        f"above 1e-5 in {int(np.sum(away > 1e-5))} of {len(x)} samples, "
        f"same argmax {100 * same:.2f} %"
    ]


def layer_table(
    energy: Energy, found: Mapping[str, Counted], samples: int, spikes: Reading
) -> list[str]:
    """Markdown: the way of each layer's count from ours to NeuroBench's."""
    head = (
        *("layer", "driven by", "MACs", "ours", "zero inputs", "spikes that differ"),
        *("zero weights", "float32", "NeuroBench", "as"),
    )
    lines = [_row(head), "|" + "---|" * len(head)]
    for layer in energy.layers:
        counted = found.get(layer.name.replace(".", "_"))
        ours = _ours(layer, spikes)
        if counted is None:
            lines.append(_row((layer.name, layer.kind, layer.macs, ours, *[""] * 4, "none", "")))
            continue
        full, exact, theirs = (
            total / samples for total in (counted.full, counted.exact, counted.neurobench)
        )
        silent, differ = (0.0, full - ours) if layer.kind == "spiking" else (full - ours, 0.0)
        steps = silent, differ, exact - full, theirs - exact
        kind = "AC" if all(counted.accumulates) else "MAC"
        kind = "both" if any(counted.accumulates) and kind == "MAC" else kind
        lines.append(_row((layer.name, layer.kind, layer.macs, ours, *steps, theirs, kind)))
    return lines


def _ours(layer: Layer, spikes: Reading) -> float:
    if layer.kind != "spiking":
        return layer.real_macs
    return layer.spikes if spikes == "unary" else layer.events


def _row(cells: tuple[object, ...]) -> str:
    shown = (f"{cell:,.2f}" if isinstance(cell, float) else str(cell) for cell in cells)
    return "| " + " | ".join(shown) + " |"


def neurons_of(graph: Graph, x: Array) -> int:
    """Neurons of the network, times its timesteps."""
    outputs = [neuron.outputs[0] for neuron in graph.neurons]
    shapes = Session(graph, shapes_of=outputs).run({graph.inputs[0]: x[:1]})
    return sum(int(np.prod(shapes[shape_name(value)])) for value in outputs)


def report(graph: Graph, x: Array, labels: Array, batch: int, readings: list[Reading]) -> None:
    """Prints everything about one network."""
    samples = snnc.samples_of({graph.inputs[0]: x}, graph)
    energy = measure(graph, samples).energy()
    spikes, events = (sum(getattr(e, kind) for e in energy.layers) for kind in ("spikes", "events"))
    sparsity = 1 - energy.fired_events / neurons_of(graph, x)
    print(
        f"snnc, {len(x)} samples: ANN MACs {energy.ann_macs:,.2f}, analog MACs "
        f"{energy.analog_macs:,.2f}, spikes {spikes:,.2f}, events {events:,.2f}, "
        f"silent neurons {sparsity:.6f}"
    )
    for reading in readings:
        print(f"\nNeuroBench, spikes {reading}, batches of {batch}:")
        for name, value in by_neurobench(graph, x, labels, batch, reading).items():
            print(f"  {name}: {value}")
        outputs, found = mirrored(graph, x, batch, reading)
        print("\n".join(agreement(graph, x, outputs)))
        print("\n".join(layer_table(energy, found, len(x), reading)), flush=True)


def main() -> None:
    """Compiles, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--neuron", default="sfn")
    parser.add_argument("--timesteps", type=int, default=1)
    parser.add_argument("--synapses", choices=["float", "int8"], default="float")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--unary", action="store_true", help="read counts as binary spikes, too")
    options = parser.parse_args()
    network = snnc.compile(
        options.model,
        calibration=options.calibration,
        neuron=options.neuron,
        timesteps=options.timesteps,
        synapses=options.synapses,
    )
    with np.load(options.test) as arrays:
        x, labels = (
            arrays[name][: options.samples] for name in (network.graph.inputs[0], "labels")
        )
    print(", ".join(f"{package} {version(package)}" for package in PACKAGES))
    readings: list[Reading] = ["graded", "unary"] if options.unary else ["graded"]
    with torch.inference_mode():
        report(network.graph, x, labels.astype(np.int64), options.batch, readings)


if __name__ == "__main__":
    main()
