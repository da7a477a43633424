"""Integrate-and-fire over T timesteps against the multi-threshold neuron of N = T levels at one.

usage: python -m benchmarks.figure3b --model M.onnx --calibration C.npz --data D.npz
           [--neurons if mtn:N=T@1] [--timesteps 1 2 4 ... 64] [--samples N] [--metered N]
           [--plot OUT.svg]

Figure 3b of arXiv 2510.23383: one table and one picture of accuracy and energy, and how far the
accuracies lie apart. lambda is 1 at every T, as Theorem 1 has it. All samples are run, energy is
counted on the first --metered of them.

Both neurons see the same samples, so that differences are paired: their standard error is that of
McNemar's test, sqrt(b + c - (b - c)^2 / n) / n for b and c samples that only one of the two has
right.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import snnc
from snnc.cli.studies import study_table
from snnc.curves import TIMESTEPS
from snnc.data import LABELS
from snnc.fidelity import Agreement, primary_output
from snnc.ir.neuron_spec import spec_at
from snnc.ir.node import Array
from snnc.report import table


def first(arrays: dict[str, Array], samples: int | None) -> dict[str, Array]:
    """The first samples; all without a number."""
    return {name: array[:samples] for name, array in arrays.items()}


def measured(
    network: snnc.CalibratedNetwork,
    data: dict[str, Array],
    wanted: Array,
    metered: int,
    neuron: str,
    t: int,
) -> tuple[snnc.Point, Array]:
    """One spiking network beside the ANN's logits [samples, classes], and its own."""
    spec, output = spec_at(neuron, t), primary_output(network.ann)
    spiking = snnc.compile(network, neuron=spec.neuron, timesteps=spec.timesteps, scale=1.0)
    found, score = spiking.run(data)[output], Agreement()
    score.update(found, wanted)
    result = snnc.Evaluation(
        len(found),
        output,
        float(hits(wanted, data[LABELS]).mean()),
        float(hits(found, data[LABELS]).mean()),
        score.argmax,
        score.cosine,
        spiking.energy(first(data, metered)),
    )
    point = snnc.Point(spec.neuron, 1.0, 1.0, result, None, spec.timesteps, neuron, t)
    return point, found


def hits(logits: Array, decisions: Array) -> Array:
    """Which samples are decided like that."""
    return np.asarray(logits.argmax(1) == decisions)


def paired(mine: Array, theirs: Array) -> str:
    """The difference of two shares of the same samples and its standard error, in points."""
    difference = mine.astype(float) - theirs
    error = difference.std() / np.sqrt(len(difference))
    return f"{100 * difference.mean():+.2f} ± {100 * error:.2f}"


def main() -> None:
    """Measures every neuron at every T, prints the tables and draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="with labels")
    parser.add_argument("--neurons", nargs="+", default=["if", "mtn:N=T@1"])
    parser.add_argument("--timesteps", nargs="+", type=int, default=list(TIMESTEPS))
    parser.add_argument("--samples", type=int)
    parser.add_argument("--metered", type=int, default=200)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    network = snnc.calibrate(options.model, calibration=options.calibration)
    with np.load(options.data) as loaded:
        data = first(dict(loaded), options.samples)
    wanted = snnc.run(network.ann, snnc.samples_of(data, network.ann))[primary_output(network.ann)]
    labels, decided = data[LABELS], wanted.argmax(1)
    series: dict[str, list[snnc.Point]] = {neuron: [] for neuron in options.neurons}
    differences = []
    for t in options.timesteps:
        logits = []
        for neuron, points in series.items():
            point, found = measured(network, data, wanted, options.metered, neuron, t)
            points.append(point)
            logits.append(found)
            print(f"{neuron}, T = {t}: {point.result.snn_top1:.2%}", file=sys.stderr, flush=True)
        for neuron, found in zip(series, logits, strict=True):
            differences.append(
                [
                    t,
                    neuron,
                    paired(hits(found, labels), hits(wanted, labels)),
                    paired(hits(found, labels), hits(logits[0], labels)),
                    paired(hits(found, decided), hits(logits[0], decided)),
                ]
            )
    study = snnc.Study("timesteps", tuple(point for each in series.values() for point in each))
    print(study_table(study))
    base = options.neurons[0]
    columns = ["T", "neuron", "top-1 less the ANN's", f"top-1 less {base}'s"]
    print(table([*columns, f"agreement less {base}'s"], differences))
    if options.plot is not None:
        snnc.plot(study, options.plot)


if __name__ == "__main__":
    main()
