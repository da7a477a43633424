"""The artifact of a network of spike times against its simulation, spike by spike.

usage: python -m benchmarks.spike_time_simulator --model M.onnx --calibration C.npz --data D.npz
           [--samples N] [--neuron ttfs:p=1024]

Compiles, saves and loads the network; exits with 1 if a spike of the artifact, computed in float64,
is not that of the simulation.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import snnc
from benchmarks.memory_over_time import first
from snnc.ir.node import Array
from snnc.membrane import decoded, simulate
from snnc.runtime import Session
from snnc.spike_recording import timings


def main() -> int:
    """Prints how many spikes differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--neuron", default="ttfs")
    options = parser.parse_args()
    network = snnc.compile_spike_times(
        options.model, neuron=options.neuron, calibration=options.calibration
    )
    with tempfile.TemporaryDirectory() as directory:
        network.save(Path(directory) / "out.onnx")
        graph = snnc.load(Path(directory) / "out.onnx")
    data = first(options.data, options.samples)
    feeds = {name: data[name] for name in graph.inputs}
    start = time.perf_counter()
    simulated = simulate(graph, feeds)
    seconds = time.perf_counter() - start
    exact = decoded(graph, feeds)
    layers = timings(graph)
    values = Session(graph, taps=[layer.name for layer in layers]).run(feeds)
    single = {layer.name: layer.times(values[layer.name]) for layer in layers}
    own = simulate(graph, feeds, single).differing.values()
    wide = _differing(simulated.ticks, exact.ticks)
    inside = sum(
        int((a != b).sum())
        for k, p in exact.between.items()
        for a, b in zip(p, simulated.between[k], strict=True)
    )
    within = sum(a.size for p in exact.between.values() for a in p)
    rows = [
        ("simulation of", f"{options.samples} samples: {seconds:.1f} s"),
        ("artifact in float64, free", f"{wide} of {sum(a.size for a in exact.ticks.values())}"),
        ("  neurons inside products", f"{inside} of {within}"),
        (
            "onnxruntime (float32), free",
            f"{_differing(simulated.ticks, single)} of {_size(single)}",
        ),
        ("  on its own spikes", f"{sum(x.ticks for x in own)} of {_size(single)}"),
        ("  of them not near a tick", f"{sum(x.far for x in own)}"),
    ]
    for what, found in rows:
        print(f"{what:32}{found}")
    return 1 if wide or inside else 0


def _differing(a: Mapping[str, Array], b: Mapping[str, Array]) -> int:
    return sum(int((a[name] != ticks).sum()) for name, ticks in b.items())


def _size(arrays: Mapping[str, Array]) -> int:
    return sum(array.size for array in arrays.values())


if __name__ == "__main__":
    sys.exit(main())
