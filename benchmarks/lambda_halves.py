"""Lambda chosen with float weights alone, and with the integer network as well, many times over.

usage: python -m benchmarks.lambda_halves MODEL CALIBRATION.npz TEST.npz [--times N]

MODEL is a classifier, TEST.npz has labels. Each time another random half of the calibration samples
is taken. Prints means and standard errors as a Markdown table, for the rule without and with the
integer network; `calibration` and `test` are agreements with the trained network.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np

import snnc
from benchmarks.integer_synapses import markdown
from snnc.calibrated import CalibratedNetwork, with_scale
from snnc.data import Feeds
from snnc.evaluation import run
from snnc.fidelity import primary_output
from snnc.passes.quantize_synapses import QuantizeSynapses
from snnc.pipeline import run_passes
from snnc.runtime import Session
from snnc.search.grid import Reference, choose_scale

HEAD = ("rule", "lambda", "calibration", "test", "top-1 float weights", "top-1 int8", "worst int8")

FIDELITY = 0.98


def row(network: CalibratedNetwork, test: Feeds, with_integers: bool) -> list[float]:
    """What one rule finds: the columns of the table but the worst."""
    calibrated, output = network.graph(), primary_output(network.ann)
    quantize = (QuantizeSynapses(network.samples),)
    choice = choose_scale(
        network.ann,
        calibrated,
        snnc.SFN(),
        network.samples,
        output,
        FIDELITY,
        "shared",
        synapses="int8",
        finish=partial(run_passes, passes=quantize) if with_integers else None,
    )
    before = with_scale(calibrated, snnc.SFN(), choice.scale, "shared", synapses="int8")
    after = run_passes(before, quantize)
    samples = snnc.samples_of(test, network.ann)
    decided = [run(g, samples)[output].argmax(axis=1) for g in (network.ann, before, after)]
    agreement = Reference(network.ann, calibrated, network.samples, output)
    return [
        choice.scale,
        agreement.agreement(Session(after).run),
        float(np.mean(decided[2] == decided[0])),
        *(float(np.mean(d == test["labels"])) for d in decided[1:]),
    ]


def main() -> None:
    """Measures both rules and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("calibration", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--times", type=int, default=24)
    options = parser.parse_args()
    calibration, test = (dict(np.load(p).items()) for p in (options.calibration, options.test))
    count = len(next(iter(calibration.values())))
    rng = np.random.default_rng(1)
    found: dict[bool, list[list[float]]] = {False: [], True: []}
    for _ in range(options.times):
        half = np.sort(rng.permutation(count)[: count // 2])
        network = snnc.calibrate(
            options.model, calibration={k: v[half] for k, v in calibration.items()}
        )
        for rule, rows in found.items():
            rows.append(row(network, test, rule))
    print("\n".join([markdown(HEAD), "|" + "---|" * len(HEAD)]))
    for rule, rows in found.items():
        table = np.array(rows)
        errors = table.std(axis=0, ddof=1) / len(table) ** 0.5
        cells = [f"{m:.4f} ± {e:.4f}" for m, e in zip(table.mean(axis=0), errors, strict=True)]
        name = "integer network, too" if rule else "float weights"
        print(markdown([name, *cells, f"{table[:, -1].min():.4f}"]))


if __name__ == "__main__":
    main()
