"""Where an integrate-and-fire network equals its multi-threshold one, for several T.

usage: python -m benchmarks.equivalence --model M.onnx --calibration C.npz
           [--neurons if dual-if] [--timesteps 4 16 64] [--samples N]

Prints a Markdown row a layer of `snnc verify-equivalence`, at lambda 1.
"""

import argparse
from pathlib import Path

import snnc
from benchmarks.memory_over_time import first

HEAD = [
    *("neuron", "layer", "verdict", "exact", "beyond", "worst x/theta"),
    *("error/theta", "mean error", "bound/theta", "holds"),
]


def main() -> None:
    """Checks the network for every neuron and T, on one calibration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--neurons", nargs="+", default=["if", "dual-if"])
    parser.add_argument("--timesteps", nargs="+", type=int, default=[4, 16, 64])
    parser.add_argument("--samples", type=int)
    options = parser.parse_args()
    network = snnc.calibrate(options.model, calibration=options.calibration)
    data = first(options.calibration, options.samples)
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    for neuron in options.neurons:
        for steps in options.timesteps:
            found = snnc.verify_equivalence(
                network, data, timesteps=steps, neuron=neuron, scale=1.0
            )
            for layer in found.layers:
                cells = [
                    *(f"{neuron}@{steps}", layer.name, layer.verdict),
                    *(f"{100 * layer.exact:.2f} %", f"{100 * layer.beyond:.2f} %"),
                    *(f"{layer.worst:.2f}", f"{layer.error:.4f}"),
                    *(f"{layer.mean_error:.5f}", f"{layer.bound:.4f}"),
                    "yes" if layer.holds else "NO",
                ]
                print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
