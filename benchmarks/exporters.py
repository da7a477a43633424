"""Two exporters' files of one network, compiled: do they give the same spiking network?

usage: python -m benchmarks.exporters A.onnx B.onnx CALIBRATION.npz TEST.npz
"""

import argparse
from pathlib import Path

import numpy as np

import snnc
from snnc.data import samples_of
from snnc.ir.node import Array
from snnc.runtime import Session
from snnc.streams import spike_counts


def counts_and_outputs(graph: snnc.Graph, data: Path) -> tuple[list[Array], list[Array]]:
    """Spike counts of every layer, and the outputs, over all samples."""
    session = Session(graph, taps=[n.outputs[0] for n in graph.neurons])
    counts: list[list[Array]] = [[] for _ in graph.neurons]
    outputs: list[list[Array]] = [[] for _ in graph.outputs]
    for feeds in samples_of(data, graph).batches(16):
        values = session.run(feeds)
        for collected, neuron in zip(counts, graph.neurons, strict=True):
            out = values[neuron.outputs[0]]
            collected.append((np.sign(out) * spike_counts(graph, neuron, out)).ravel())
        for collected, name in zip(outputs, graph.outputs, strict=True):
            collected.append(values[name])
    return [np.concatenate(c) for c in counts], [np.concatenate(o) for o in outputs]


def main() -> None:
    """Compiles both files and compares lambda, steps, spike counts and outputs."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("a", "b", "calibration", "test"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    networks = [snnc.compile(f, calibration=options.calibration) for f in (options.a, options.b)]
    print("lambda", [n.report.scale for n in networks], "sites", [n.report.sites for n in networks])
    found = [counts_and_outputs(n.graph, options.test) for n in networks]
    pairs = list(zip(*(counts for counts, _ in found), strict=True))
    differing = sum(int(np.count_nonzero(a != b)) for a, b in pairs)
    total = sum(a.size for a, _ in pairs)
    largest = max(float(np.abs(a - b).max()) for a, b in zip(*(o for _, o in found), strict=True))
    print(
        f"{differing} of {total} spike counts differ; largest difference of an output {largest:.3g}"
    )


if __name__ == "__main__":
    main()
