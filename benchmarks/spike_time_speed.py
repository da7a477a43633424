"""Time of networks of spike times in onnxruntime over that of the trained network.

usage: python -m benchmarks.spike_time_speed --model M.onnx --calibration C.npz [--batches 1 16]
           [--threads 1] [--rounds 41]

All networks in one process, in turns; medians of the ratios. `ideal` products have exact numbers
in place of the neurons between their factors; the others are exact to the tick.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import snnc
from benchmarks.memory_over_time import first
from snnc.backends.lowering import lower
from snnc.runtime import Session

VARIANTS = {
    "native, ideal products": ("ideal", True),
    "native, quarter squares": ("quarter", True),
    "bodies, ideal products": ("ideal", False),
    "bodies, quarter squares": ("quarter", False),
}


def main() -> None:
    """Prints a row for each batch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=41)
    options = parser.parse_args()
    networks = {
        products: snnc.compile_spike_times(
            options.model, neuron=f"ttfs:products={products}", calibration=options.calibration
        )
        for products in ("ideal", "quarter")
    }
    ann = networks["ideal"].ann
    sessions = {"trained": Session(ann, threads=options.threads)}
    for name, (products, kernels) in VARIANTS.items():
        graph = lower(networks[products].graph)
        sessions[name] = Session(graph, threads=options.threads, kernels=kernels)
    print(f"| batch | trained (ms) | {' | '.join(VARIANTS)} |")
    print(f"|---|---|{'---|' * len(VARIANTS)}")
    for batch in options.batches:
        data = first(options.calibration, batch)
        feeds = {name: data[name] for name in ann.inputs}
        times: dict[str, list[float]] = {name: [] for name in sessions}
        for session in sessions.values():
            session.run(feeds)
        for _ in range(options.rounds):
            for name, session in sessions.items():
                start = time.perf_counter()
                session.run(feeds)
                times[name].append(time.perf_counter() - start)
        base = times.pop("trained")
        ratios = (
            statistics.median(t / b for t, b in zip(found, base, strict=True))
            for found in times.values()
        )
        cells = " | ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"| {batch} | {1e3 * statistics.median(base):.2f} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
