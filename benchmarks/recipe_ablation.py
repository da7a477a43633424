"""Each pass of the recipe best added in turn, at one energy, on data not used for calibration.

usage: python -m benchmarks.recipe_ablation --zoo DIR [--only NAME ...] [--out FILE.md]

Every row meets the same energy budget (eq. 43, spikes) on the calibration samples, by one factor
for all steps. Passes marked with (-) are tried on top of the row before and taken back.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import snnc
from benchmarks.zoo_data import DISJOINT
from snnc.calibrated import CalibratedNetwork, with_scale
from snnc.centred import centred
from snnc.data import samples_of
from snnc.evaluation import evaluate
from snnc.fidelity import primary_output
from snnc.fitted import fitted
from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Node, Site
from snnc.ir.rate_neuron import Polarity
from snnc.neurons.sfn import SFN
from snnc.passes.centre_sites import CentreSites
from snnc.passes.channel_steps import ChannelSteps
from snnc.passes.correct_biases import CorrectBiases
from snnc.passes.place_levels import PlaceLevels
from snnc.passes.scale_outliers import ScaleOutliers
from snnc.pipeline import run_passes
from snnc.recipes.allocation import Allocator
from snnc.recipes.budget import Yardstick, metered, within_budget
from snnc.recipes.costs import Costs
from snnc.recipes.curves import Measuring, site_curves
from snnc.recipes.made import with_steps

BUDGETS = {"fmnist_vit": 0.18, "fmnist_cnn": 0.12, "paraphrase-MiniLM-L3-v2": 0.25}

SAMPLES, TEST, COARSER = 128, 1000, 4.0

HEAD = ("network", "passes", "relative error", "cosine", "agreement", "spikes", "events")

Trial = tuple[str, Graph, SFN, Polarity, float]


class Ablation:
    """One network, measured with more and more passes."""

    def __init__(self, name: str, zoo: Path) -> None:
        self._name, self._data = name, DISJOINT[name](zoo)
        model, mask = zoo / "models" / f"{name}.onnx", self._data.mask_input
        self._network = snnc.calibrate(model, calibration=self._data.calibration, mask_input=mask)
        self._samples = self._network.calibration.reservoir.samples(SAMPLES)
        self._output = primary_output(self._network.ann)
        ann, sited = self._network.ann, self._network.sited
        self._yardstick = Yardstick(ann, sited, self._samples, self._output)

    def rows(self) -> Iterator[list[str]]:
        """A row for each set of passes."""
        network = self._network
        paper, nearest = SFN(rule="eq11", levels="sformer"), SFN(levels="sformer")
        plain: tuple[tuple[str, SFN, Polarity], ...] = (
            ("the paper's recipe", paper, "separate"),
            ("+ nearest rule", nearest, "separate"),
            ("+ dense levels", SFN(), "separate"),
            ("+ one step for both signs", SFN(), "shared"),
        )
        for label, neuron, polarity in plain:
            yield self._row((label, fitted(network, neuron), neuron, polarity, 0.2))
        trial = self._allocated("+ silence at places that do not count", network)
        yield self._row(("+ steps by sensitivity", everywhere(trial[1]), *trial[2:]))
        yield self._row(trial)
        scaled = ScaleOutliers(network.samples)
        outliers = self._again(run_passes(network.sited, (scaled,)))
        yield self._row(self._allocated("(-) outlier channels scaled", outliers))
        by_channel = CentreSites(network.samples, entries=False, mask_input=self._data.mask_input)
        one = self._again(run_passes(network.sited, (by_channel,)))
        yield self._row(self._allocated("+ zero points by channel where that costs less", one))
        trial = self._allocated("+ zero points by entry, or by channel", centred(network))
        yield self._row(trial)
        _, graph, neuron, polarity, scale = self._met(trial)
        levels = PlaceLevels(neuron, 32, self._samples, scale, polarity)
        fitted_levels = "(-) 32 levels fitted to each site"
        yield self._row((fitted_levels, run_passes(graph, (levels,)), neuron, polarity, scale))
        steps = ChannelSteps(neuron, self._samples, scale, polarity)
        trial = "+ steps by channel", run_passes(graph, (steps,)), neuron, polarity, scale
        yield self._row(trial)
        _, graph, neuron, polarity, scale = self._met(trial)
        biases = CorrectBiases(
            neuron, network.samples, scale, polarity, mask_input=self._data.mask_input
        )
        yield self._row(
            ("+ corrected biases", run_passes(graph, (biases,)), neuron, polarity, scale)
        )

    def _again(self, sited: Graph) -> CalibratedNetwork:
        """The network with other sites, calibrated on the samples that were kept."""
        ann, mask = self._network.ann, self._data.mask_input
        return snnc.calibrated.calibrate_sites(ann, sited, self._network.samples, mask)

    def _allocated(self, label: str, network: CalibratedNetwork) -> Trial:
        how = Measuring(SFN(), self._output, {})
        curves = site_curves(network.sited, self._samples, how)
        spiking = with_scale(network.graph(), SFN(), 1.0, "shared")
        feeds = next(self._samples.batches(8))
        costs = Costs(spiking, feeds, self._samples.size_of(feeds), curves, "spikes")
        steps = Allocator(curves, costs).at(BUDGETS[self._name]).steps
        return label, with_steps(network.graph(), steps), SFN(), "shared", 0.8

    def _met(self, trial: Trial) -> Trial:
        """With the factor that meets the budget."""
        label, graph, neuron, polarity, start = trial
        scaled, budget = metered(graph, neuron, polarity), BUDGETS[self._name]
        found = within_budget(self._yardstick, scaled, budget, "spikes", start)
        return label, graph, neuron, polarity, found.scale

    def _row(self, trial: Trial) -> list[str]:
        label, graph, neuron, polarity, scale = self._met(trial)
        spiking = with_scale(graph, neuron, scale, polarity)
        test = {key: array[:TEST] for key, array in self._data.test.items()}
        ann = self._network.ann
        result = evaluate(ann, spiking, samples_of(test, ann), self._output)
        agreement = "-" if result.agreement is None else f"{100 * result.agreement:.1f} %"
        error = (result.relative_error or 0.0) ** 2
        energy = result.energy
        ratios = (f"{r:.4f}" for r in (energy.ratio_spikes, energy.ratio_events))
        return [self._name, label, f"{error:.4f}", f"{result.cosine:.4f}", agreement, *ratios]


def everywhere(graph: Graph) -> Graph:
    """The graph whose neurons at places that do not count are not silent, its thresholds times
    COARSER: that energy takes larger steps."""

    def rule(node: Node) -> Replacement | None:
        if not isinstance(node, Site) or node.thresholds is None:
            return None
        positive, negative = ((COARSER * float(np.max(each)),) for each in node.thresholds)
        return Replacement((replace(node, thresholds=(positive, negative), axis=0),))

    return graph.rewrite(rule)


def main() -> None:
    """Prints the table as it is measured; --out writes it as Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(BUDGETS))
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    table = []
    for name in asked.only:
        for row in Ablation(name, asked.zoo).rows():
            table.append(row)
            print(" | ".join(row), flush=True)
    if asked.out:
        lines = [HEAD, ["---"] * len(HEAD), *table]
        asked.out.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))


if __name__ == "__main__":
    main()
