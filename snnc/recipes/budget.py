"""One global scale factor that spends an energy budget, measured on samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from snnc.data import Feeds, Samples
from snnc.energy import EnergyMeter
from snnc.errors import CompileError
from snnc.fidelity import Agreement, Measure, centre_of, measure_of, varied
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.ir.numbers import real_number
from snnc.ir.rate_neuron import Polarity, RateNeuron
from snnc.recipes.costs import Count
from snnc.rows import batches_and_axes, rows_of
from snnc.runtime import Session, batch_size
from snnc.search.scaled import Scaled

SMALLEST = 0.005
"""The smallest lambda that is tried."""

TOLERANCE = 0.01
"""How far below a budget the energy may stay."""

COARSER = 1.25
"""By which lambda grows while the error falls."""

_TRIES = 12


@dataclass(frozen=True)
class Measured:
    """A network on some samples. ratio: energy, as it is counted; error: squared error of the
    output over its squared distance from its mean; agreement: as `snnc compile` measures it; parts:
    what each sample adds to the error."""

    scale: float
    ratio: float
    error: float
    agreement: float
    parts: Array = field(default_factory=lambda: np.zeros(0), compare=False, repr=False)

    def is_alike(self, other: Measured) -> bool:
        """Whether errors on the same samples differ by at most the standard error of that."""
        apart = self.parts - other.parts
        return bool(abs(apart.sum()) <= apart.std() * np.sqrt(len(apart)))


class UnmetBudgetError(CompileError):
    """An energy that no network of a recipe is as low as."""


class Yardstick:
    """Measures spiking networks by the trained one's outputs on some samples."""

    def __init__(self, ann: Graph, network: Graph, samples: Samples, output: str) -> None:
        """network: of any stage; which kind of output it has is read from it."""
        session = Session(ann)
        batches, axes = batches_and_axes(session, samples, batch_size(network, ()), (output,))
        self._output, self._axis = output, axes[output]
        self._feeds: list[tuple[Feeds, int]] = [(f, samples.size_of(f)) for f in batches]
        self._exact = [rows_of(session.run(f)[output], self._axis) for f, _ in self._feeds]
        self._centre = centre_of(self._exact)
        self.measure: Measure = measure_of(network, output) if varied(self._exact) else "cosine"
        centre = 0.0 if self._centre is None else self._centre
        self._spread = sum(float(_squares(each, centre).sum()) for each in self._exact) or 1.0
        self.samples = sum(map(len, self._exact))

    def measured(self, scaled: Scaled, scale: float, count: Count) -> Measured:
        """The network at one scale factor; `scaled` must be metered."""
        at = scaled.at(scale)
        meter, score, parts = EnergyMeter(at.graph), Agreement(self._centre), []
        for (feeds, size), exact in zip(self._feeds, self._exact, strict=True):
            values = at.run(feeds)
            rows = rows_of(values[self._output], self._axis)
            score.update(rows, exact)
            parts.append(_squares(rows, exact.reshape(len(exact), -1)) / self._spread)
            meter.update(values, size)
        energy = meter.energy()
        ratio = energy.ratio_spikes if count == "spikes" else energy.ratio_events
        found, agreement = np.concatenate(parts), score.value(self.measure)
        return Measured(float(scale), float(ratio), float(found.sum()), agreement, found)


def _squares(rows: Array, centre: Array | float) -> Array:
    """The squared distance of each row."""
    apart = np.asarray(rows, np.float64).reshape(len(rows), -1) - centre
    return np.asarray(np.square(apart).sum(1))


def require_budget(budget: float) -> None:
    """Raises CompileError for an energy that cannot be asked for."""
    if not 0 < real_number(budget, "energy budget") < math.inf:
        raise CompileError(
            f"energy budget {budget} is out of range",
            help="pass the energy over the trained network's, .25 say",
        )


def within_budget(
    yardstick: Yardstick,
    scaled: Scaled,
    budget: float,
    count: Count,
    start: float = 0.2,
    progress: Callable[[int], None] = lambda done: None,
) -> Measured:
    """The network of least error among those of one lambda whose energy is within the budget.

    The smallest lambda in [SMALLEST, 1] that is, by regula falsi over 1/lambda, of which the spikes
    of most networks are a linear function, until the energy is less than TOLERANCE below the
    budget; then larger ones while they have less error, as the last level saturates where steps
    are small. CompileError where lambda = 1 still costs more.
    """
    over: Measured | None = None
    under: Measured | None = None
    scale = min(max(start, SMALLEST), 1.0)
    for number in range(_TRIES):
        found = yardstick.measured(scaled, scale, count)
        progress(number + 1)
        if found.ratio > budget:
            over = found
            if scale == 1.0:
                raise _unmet(budget, found)
        else:
            under = found
            if scale == SMALLEST or found.ratio >= budget * (1 - TOLERANCE):
                break
        scale = _aimed(over, under, budget * (1 - TOLERANCE / 2), number)
    if under is None:
        under = yardstick.measured(scaled, 1.0, count)
        if under.ratio > budget:
            raise _unmet(budget, under)
    while under.scale * COARSER <= 1.0:
        coarser = yardstick.measured(scaled, under.scale * COARSER, count)
        if coarser.error >= under.error or coarser.ratio > budget:
            break
        under = coarser
    return under


def _aimed(over: Measured | None, under: Measured | None, budget: float, number: int) -> float:
    """The scale factor to try next, given the nearest ones on both sides of the budget.

    Every third time it halves the bracket, which else may close from one side only.
    """
    if over is None:
        assert under is not None
        return max(SMALLEST, under.scale * min(under.ratio / budget, 0.5))
    if under is None:
        return min(1.0, over.scale * max(over.ratio / budget, 2.0))
    if number % 3 == 2:
        return math.sqrt(over.scale * under.scale)
    share = (budget - under.ratio) / (over.ratio - under.ratio)
    share = min(max(share, 0.02), 0.98)
    return 1 / (1 / under.scale + share * (1 / over.scale - 1 / under.scale))


def _unmet(budget: float, cheapest: Measured) -> UnmetBudgetError:
    return UnmetBudgetError(
        f"the energy budget {budget:g} cannot be met: with lambda = 1 the network still takes "
        f"{cheapest.ratio:.3g} of the trained one's energy",
        help="raise the budget, or let more layers spike: fewer kept, the input encoded",
    )


def metered(calibrated: Graph, neuron: RateNeuron, polarity: Polarity) -> Scaled:
    """Networks of every scale factor whose sessions return what an EnergyMeter reads."""
    return Scaled(calibrated, neuron, polarity, metered=True)
