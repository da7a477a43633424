"""The recipe `best`: steps by measured sensitivities, guarded by held-back samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from snnc.calibrated import CalibratedNetwork, Progress
from snnc.centred import centred
from snnc.data import Samples
from snnc.errors import CompileError
from snnc.fitted import fitted
from snnc.ir.graph import Graph
from snnc.ir.rate_neuron import Polarity
from snnc.neurons.sfn import SFN
from snnc.passes.base import Pass
from snnc.passes.centre_sites import CentreSites
from snnc.passes.channel_steps import ChannelSteps
from snnc.passes.correct_biases import CorrectBiases
from snnc.passes.refit_weights import RefitWeights
from snnc.pipeline import run_passes
from snnc.recipes.allocation import Allocation, Allocator
from snnc.recipes.budget import (
    Measured,
    UnmetBudgetError,
    Yardstick,
    metered,
    within_budget,
)
from snnc.recipes.costs import Costs
from snnc.recipes.curves import Measuring, SiteCurve, site_curves
from snnc.recipes.made import COARSEST, HELD, Goal, Made, affordable, with_steps
from snnc.recipes.record import CurveRecord
from snnc.recipes.report import RecipeReport, site_choices
from snnc.search.grid import GRID
from snnc.search.scaled import Scaled

HELD_SHARE = 0.25
"""Of the calibration samples, at most."""

ALLOCATION = "allocate-steps"
"""What the choice of steps is called among the passes of a recipe."""

SEPARATE: Polarity = "separate"
SHARED: Polarity = "shared"
"""One step for both signs: what a sign with few and small activations spares in error by a finer
step it costs many times in spikes."""


def best(
    network: CalibratedNetwork,
    goal: Goal,
    output: str,
    record: Path | None = None,
    progress: Progress = lambda phase, done, total: None,
) -> Made:
    """The network of least output error within an energy budget, or of least energy that keeps an
    agreement. record: file of measured curves, which an interrupted run continues.

    Labels are never read. CompileError where no steps meet the budget.
    """
    return _Best(network, goal, output, record, progress).made()


class _Best:
    def __init__(
        self,
        network: CalibratedNetwork,
        goal: Goal,
        output: str,
        record: Path | None,
        progress: Progress,
    ) -> None:
        self._goal, self._output, self._progress = goal, output, progress
        self._plain, self._neuron = network, SFN()
        kept = len(network.calibration.reservoir)
        if not kept:
            raise CompileError(
                "the recipe best measures the network on calibration samples, and none were kept",
                help="pass --calibration with samples",
            )
        held = min(HELD, int(kept * HELD_SHARE))
        reservoir = network.calibration.reservoir
        known, apart = reservoir.parted(held)
        self._fit = known.samples(min(affordable(network), kept - held))
        self._known = known.samples()
        self._held = apart.samples() if held else None
        self._network = centred(
            network, samples=self._known, progress=lambda done: progress("centring", done, None)
        )
        self._graph = self._network.graph()
        self._curves = self._measured_curves(record)
        self._allocator = Allocator(self._curves, self._costs())
        seen = self._fit if goal.budget is not None else reservoir.samples(self._pooled(kept, held))
        self._yardstick = Yardstick(network.ann, self._graph, seen, output)

    def _pooled(self, kept: int, held: int) -> int:
        """Samples on which an agreement is kept: those held back are among them, as it is asked for
        on all of the calibration."""
        return min((self._fit.count or 0) + held, kept)

    def _measured_curves(self, record: Path | None) -> tuple[SiteCurve, ...]:
        def told(done: int, total: int) -> None:
            self._progress("measuring sensitivities", done, total)

        sited, how = self._network.sited, Measuring(self._neuron, self._output, {}, progress=told)
        if record is None:
            return site_curves(sited, self._fit, how)
        kept = CurveRecord(record, self._network, self._fit, self._neuron, self._output)
        return site_curves(sited, self._fit, replace(how, known=kept.curves, found=kept.add))

    def _costs(self) -> Costs:
        spiking = metered(self._graph, self._neuron, SHARED).at(1.0).graph
        feeds = next(self._fit.batches(8))
        size = self._fit.size_of(feeds)
        return Costs(spiking, feeds, size, self._curves, self._goal.count)

    def made(self) -> Made:
        """The recipe's network, or the one of a global lambda where that measures better."""
        budget = self._goal.budget
        if budget is not None and self._allocator.cheapest > budget:
            return self._below_cheapest(budget)
        chosen, graph, allocation = (
            self._by_fidelity() if budget is None else self._by_budget(budget)
        )
        report = RecipeReport(
            "best",
            self._goal.count,
            self._goal.budget,
            chosen,
            sites=site_choices(self._network.sited, self._curves, allocation),
            samples=self._yardstick.samples,
            noise=max((curve.noise for curve in self._curves), default=0.0),
            passes=(*((CentreSites.name,) if self._network is not self._plain else ()), ALLOCATION),
        )
        made = Made(graph, self._neuron, chosen.scale, SHARED, report)
        return made if self._held is None else self._guarded(made, self._held)

    def _below_cheapest(self, budget: float) -> Made:
        """The network of one lambda, for a budget that no steps within the guards meet."""
        plain = self._of_one_lambda(budget)
        return replace(plain, report=replace(plain.report, recipe="best", kept="global lambda"))

    def _corrected(self, made: Made) -> Made:
        """The network with corrected biases, which change its energy a little."""
        passes = CorrectBiases(
            made.neuron,
            self._known,
            made.scale,
            made.polarity,
            mask_input=self._plain.calibration.mask_input,
            progress=lambda done, total: self._progress("correcting biases", done, total),
        )
        return self._with(passes, made)

    def _refitted(self, made: Made) -> Made:
        """The network with weights for the spikes that it has."""
        passes = RefitWeights(
            made.neuron,
            self._known,
            made.scale,
            made.polarity,
            mask_input=self._plain.calibration.mask_input,
            progress=lambda done, total: self._progress("refitting weights", done, total),
        )
        return self._with(passes, made)

    def _by_channel(self, made: Made) -> Made:
        """The network with a step for each channel."""
        return self._with(ChannelSteps(made.neuron, self._known, made.scale, made.polarity), made)

    def _with(self, step: Pass, made: Made) -> Made:
        """The network after one more pass, which changes its energy a little."""
        graph, goal = run_passes(made.graph, (step,)), self._goal
        scaled = metered(graph, made.neuron, made.polarity)
        if goal.budget is None:
            found = self._yardstick.measured(scaled, made.scale, goal.count)
        else:
            found = within_budget(self._yardstick, scaled, goal.budget, goal.count, made.scale)
        report = replace(made.report, chosen=found, passes=(*made.report.passes, step.name))
        return replace(made, graph=graph, scale=found.scale, report=report)

    def _by_budget(self, budget: float) -> tuple[Measured, Graph, Allocation]:
        """The allocation whose energy, measured, is within the budget."""
        aim = budget
        for _ in range(_AIMS):
            allocation = self._allocator.at(aim)
            graph = with_steps(self._graph, allocation.steps)
            scaled = metered(graph, self._neuron, SHARED)
            found = self._yardstick.measured(scaled, COARSEST, self._goal.count)
            if found.ratio <= budget:
                break
            aim *= 0.98 * budget / found.ratio
        found = within_budget(self._yardstick, scaled, budget, self._goal.count, COARSEST)
        return found, graph, allocation

    def _by_fidelity(self) -> tuple[Measured, Graph, Allocation]:
        """The cheapest allocation that keeps the agreement: by bisection over the energy."""
        low, high = self._allocator.cheapest, max(_DEAREST, 2 * self._allocator.cheapest)
        best: tuple[Measured, Graph, Allocation] | None = None
        for number in range(_HALVINGS):
            aim = high if best is None and number == 0 else float(np.sqrt(low * high))
            allocation = self._allocator.at(aim)
            graph = with_steps(self._graph, allocation.steps)
            scaled = metered(graph, self._neuron, SHARED)
            found = self._yardstick.measured(scaled, COARSEST, self._goal.count)
            self._progress("choosing the energy", number + 1, _HALVINGS)
            if found.agreement >= self._goal.fidelity or best is None:
                best, high = (found, graph, allocation), aim
            else:
                low = aim
        assert best is not None
        return best

    def _guarded(self, made: Made, samples: Samples) -> Made:
        """The network made, with steps by channel and with corrected biases or weights where they
        help, or that of one lambda: at a budget the one of least error on samples that none was
        made with, else the one of least energy that keeps the agreement."""
        yardstick = Yardstick(self._plain.ann, self._graph, samples, self._output)

        def held_back(candidate: Made) -> Made:
            scaled = metered(candidate.graph, candidate.neuron, candidate.polarity)
            held = yardstick.measured(scaled, candidate.scale, self._goal.count)
            report = replace(candidate.report, held=held, held_back=yardstick.samples)
            return replace(candidate, report=report)

        tried = [made, self._by_channel(made)]
        tried += [step(each) for step in (self._corrected, self._refitted) for each in tried]
        best = self._first([held_back(each) for each in tried])
        try:
            plain = held_back(self._of_one_lambda(best.report.chosen.ratio))
        except UnmetBudgetError:
            return best
        report = replace(best.report, plain=plain.report.held)
        if self._rank(plain) < self._rank(best):
            report = replace(
                report, chosen=plain.report.chosen, kept="global lambda", sites=(), passes=()
            )
            return replace(plain, report=report)
        return replace(best, report=report)

    def _first(self, tried: list[Made]) -> Made:
        """The one of first rank. Errors at a budget that are alike on samples held back say too
        little: of those networks the one of least error on all samples."""

        def error(made: Made) -> float:
            chosen, held = made.report.chosen, made.report.held
            assert held is not None
            counts = made.report.samples, made.report.held_back
            return float(np.average([chosen.error, held.error], weights=counts))

        best = min(tried, key=self._rank)
        least = best.report.held
        if self._goal.budget is None or least is None:
            return best
        alike = [m for m in tried if m.report.held and m.report.held.is_alike(least)]
        return min(alike or [best], key=error)

    def _of_one_lambda(self, ratio: float) -> Made:
        """The network of the recipe balanced, of that energy or agreement. UnmetBudgetError where
        no lambda is as cheap."""
        graph, neuron, count = fitted(self._plain, SFN()), SFN(), self._goal.count
        scaled = metered(graph, neuron, SEPARATE)
        if self._goal.budget is not None:
            found = within_budget(self._yardstick, scaled, ratio, count)
        else:
            found = self._keeping(scaled)
        samples = self._yardstick.samples
        report = RecipeReport("balanced", count, self._goal.budget, found, samples=samples)
        return Made(graph, neuron, found.scale, SEPARATE, report)

    def _keeping(self, scaled: Scaled) -> Measured:
        """The network of the largest lambda that keeps the agreement, or that agrees best."""
        tried = []
        for scale in GRID:
            tried.append(self._yardstick.measured(scaled, scale, self._goal.count))
            if tried[-1].agreement >= self._goal.fidelity:
                break
        return max(tried, key=lambda found: (found.agreement, found.scale))

    def _rank(self, made: Made) -> tuple[float, float]:
        """Smaller for the network that does better by the goal."""
        chosen, held = made.report.chosen, made.report.held
        if self._goal.budget is None:
            return max(self._goal.fidelity - chosen.agreement, 0.0), chosen.ratio
        assert held is not None
        return 0.0, held.error


_AIMS, _HALVINGS, _DEAREST = 4, 8, 2.0
