"""Speed of the event-driven simulator, in synaptic operations a second.

usage: python -m benchmarks.simulator --model OUT.onnx --data D.npz [--samples N] [--batch B]

OUT.onnx: a compiled network. Prints JSON: synops a sample, median seconds and synops a second of
five rounds, of the whole simulation (neurons and real operations included).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import snnc
from benchmarks.memory_over_time import first
from snnc.simulator import Simulator

ROUNDS = 5


def main() -> None:
    """Prints the speed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--batch", type=int, default=50)
    options = parser.parse_args()
    graph = snnc.load(options.model)
    data = first(options.data, options.samples)
    batches = [
        {name: data[name][i : i + options.batch] for name in graph.inputs}
        for i in range(0, options.samples, options.batch)
    ]
    simulator = Simulator(graph)
    seconds, synops = [], 0.0
    for _ in range(ROUNDS):
        start = time.perf_counter()
        runs = [simulator.run(feeds) for feeds in batches]
        seconds.append(time.perf_counter() - start)
        synops = sum(sum(run.synops.values()) for run in runs)
    median = statistics.median(seconds)
    found = {
        "samples": options.samples,
        "synops_a_sample": synops / options.samples,
        "seconds": median,
        "synops_a_second": synops / median,
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
