"""What integer weights cost on average: many networks a hair apart, each with either weights.

usage: python -m benchmarks.rounding_draws --zoo DIR [--only NAME ...] [--draws N] [--samples N]

At one lambda, any small change of a network (another rounding, another order of a sum) decides
anew about activations near the middle of two levels, and the metric of a few hundred samples moves
by a few of them. So lambda is varied, within a tenth of the chosen one, and the differences are
averaged. Prints a Markdown table; differences with their standard error over the draws.
"""

import argparse
from pathlib import Path

import numpy as np

import snnc
from benchmarks.integer_synapses import markdown
from benchmarks.zoo_data import BUILDERS
from benchmarks.zoo_metrics import cosine
from snnc.calibrated import with_scale
from snnc.evaluation import run
from snnc.ir.node import Array
from snnc.passes.quantize_synapses import QuantizeSynapses, Rounding
from snnc.pipeline import run_passes
from snnc.prepare import fix_inputs

NETWORKS = ("digits_vit", "digits_mlp_skl", "fmnist_cnn", "fmnist_vit", "paraphrase-MiniLM-L3-v2")

SPREAD = 1.1
"""Lambda lies within this factor of the chosen one."""

HEAD = (
    *("network", "samples", "lambda", "draws", "metric", "ANN", "float weights", "nearest"),
    *("int8", "int8 - float", "one draw", "int8 like float", "float like ANN", "int8 like ANN"),
)


def row(name: str, zoo: Path, draws: int, limit: int) -> list[str]:
    """One network: means over the draws. limit: of test samples."""
    data = BUILDERS[name](zoo)
    graph = snnc.load(zoo / "models" / f"{name}.onnx")
    fixed = {key: value for key, value in data.fixed.items() if key in graph.inputs}
    network = snnc.calibrate(
        fix_inputs(graph, fixed), calibration=data.calibration, mask_input=data.mask_input
    )
    report = snnc.compile(network, synapses="int8").report
    test = {key: array[:limit] for key, array in data.test.items()}
    labels = test.get("labels")
    samples = snnc.samples_of(test, network.ann)
    trained = run(network.ann, samples)[report.output]
    calibrated = network.graph()
    roundings: tuple[Rounding, ...] = ("nearest", "sequential")
    found = []
    for scale in report.scale * np.geomspace(1 / SPREAD, SPREAD, draws):
        before = with_scale(
            calibrated, report.neuron, float(scale), report.polarity, synapses="int8"
        )
        graphs = [before] + [
            run_passes(before, (QuantizeSynapses(network.samples, how),)) for how in roundings
        ]
        floats, nearest, int8 = (run(g, samples)[report.output] for g in graphs)
        alike = (_alike(int8, floats), _alike(floats, trained), _alike(int8, trained))
        metrics = [_metric(scores, trained, labels) for scores in (floats, nearest, int8)]
        found.append((*metrics, *alike))
    table = np.array(found)
    means = table.mean(axis=0)
    lost = table[:, 2] - table[:, 0]
    one = float(lost.std(ddof=1))
    return [
        name,
        str(len(trained)),
        f"{report.scale:.4f}",
        str(draws),
        "cosine" if labels is None else "top-1",
        "-" if labels is None else f"{_metric(trained, trained, labels):.4f}",
        *(f"{mean:.4f}" for mean in means[:3]),
        f"{lost.mean():+.4f} ± {one / draws**0.5:.4f}",
        f"± {one:.4f}",
        *(f"{mean:.4f}" for mean in means[3:]),
    ]


def _metric(scores: Array, trained: Array, labels: Array | None) -> float:
    """Share of the samples with the right label; without labels the mean cosine with the ANN."""
    if labels is None:
        return cosine(trained, scores)
    return float(np.mean(scores.argmax(axis=1) == labels))


def _alike(mine: Array, theirs: Array) -> float:
    """Share of rows of scores with the same decision; the mean cosine of other outputs."""
    if mine.ndim != 2:
        return cosine(mine, theirs)
    return float(np.mean(mine.argmax(axis=1) == theirs.argmax(axis=1)))


def main() -> None:
    """Measures the chosen networks and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(BUILDERS), default=list(NETWORKS))
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--samples", type=int, default=5000, help="of test data, at most")
    options = parser.parse_args()
    print("\n".join([markdown(HEAD), "|" + "---|" * len(HEAD)]), flush=True)
    for name in options.only:
        print(markdown(row(name, options.zoo, options.draws, options.samples)), flush=True)


if __name__ == "__main__":
    main()
