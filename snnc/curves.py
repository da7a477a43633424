"""Curves over lambda, percentile and timesteps, and the ablation of fire functions.

Figures 3a and 3b, Tables 5 and 6 of arXiv 2510.23383 on any network, from one calibration.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from typing import TypeVar

from snnc.calibrated import CalibratedNetwork, require_calibrated
from snnc.data import Source
from snnc.errors import CompileError
from snnc.fits import DEFAULT_RECIPE, Fits, Recipe, Setting
from snnc.ir.neuron_spec import NeuronSpec, listed, spec_at
from snnc.ir.numbers import plain
from snnc.ir.rate_neuron import RateNeuron, rate_neuron
from snnc.neurons.level_sets import Levels
from snnc.neurons.sfn import SFN
from snnc.passes.fold_time import FoldTime
from snnc.passes.threshold_rules import PERCENTILE
from snnc.search.grid import GRID
from snnc.studies import Study, measured

PERCENTILES = (0.0, 0.01, 0.1, 0.5, 1.0, 1.5, 2.0, 2.5)
"""p of a percentile curve, in percent: the range of Table 6."""

TIMESTEPS = (1, 2, 4, 8, 16, 32, 64)
"""T of a curve over timesteps: the range of Figure 3b."""

FIRE_FUNCTIONS: tuple[Levels, ...] = ("linear", "exponential", "sformer", "dense")
"""Level sets of the ablation: those of Table 5 (`sformer` is its SFN), and snnc's default."""

DEFAULT_NEURON = SFN()

_Value = TypeVar("_Value")


def lambda_curve(
    network: CalibratedNetwork,
    data: Source,
    *,
    neuron: RateNeuron | str = DEFAULT_NEURON,
    scales: Iterable[float] = GRID,
    percentile: float | None = None,
    recipe: Recipe = DEFAULT_RECIPE,
) -> Study:
    """Metric and energy at every scale factor, on `data` (Figure 3a)."""
    require_calibrated(network)
    neuron = rate_neuron(neuron)
    fits = Fits(network, recipe)
    p = fits.percentile(percentile, [neuron])
    trials = [Setting(neuron, scale, p) for scale in _values(scales, "lambda")]
    return Study("lambda", measured(fits, data, trials))


def percentile_curve(
    network: CalibratedNetwork,
    data: Source,
    *,
    neuron: RateNeuron | str = DEFAULT_NEURON,
    percentiles: Iterable[float] = PERCENTILES,
    scale: float | None = None,
    recipe: Recipe = DEFAULT_RECIPE,
) -> Study:
    """Metric and energy at every percentile p of the thresholds, on `data` (Table 6).

    scale: the same lambda for every p; None chooses one for each p, as `compile` would.
    """
    require_calibrated(network)
    neuron = rate_neuron(neuron)
    fits = Fits(network, recipe)
    asked = [fits.percentile(p, [neuron]) for p in _values(percentiles, "percentile")]
    trials = fits.scaled([Setting(neuron, 1.0, p) for p in asked], scale)
    return Study("percentile", measured(fits, data, trials))


def timesteps_curve(
    network: CalibratedNetwork,
    data: Source,
    *,
    neurons: RateNeuron | str | Iterable[RateNeuron | str] = "if",
    timesteps: Iterable[int] = TIMESTEPS,
    scale: float | None = None,
    percentile: float | None = None,
    recipe: Recipe = DEFAULT_RECIPE,
) -> Study:
    """Metric and energy of every neuron at every number of timesteps T, on `data` (Figure 3b).

    neurons: models, or specs in which 'T' stands for the number: ('if', 'mtn:N=T@1'). scale: the
    same lambda for every T; None chooses one for each T, as `compile` would.
    """
    require_calibrated(network)
    times = _values(timesteps, "number of timesteps")
    series = (_over_time(neuron, times) for neuron in _some(listed(neurons), "neuron"))
    settings, fits = list(chain.from_iterable(series)), Fits(network, recipe)
    p = fits.percentile(percentile, [setting.neuron for setting in settings])
    trials = fits.scaled([replace(setting, percentile=p) for setting in settings], scale)
    return Study("timesteps", measured(fits, data, trials))


def ablation(
    network: CalibratedNetwork,
    data: Source,
    *,
    neuron: SFN = DEFAULT_NEURON,
    percentile: float | None = None,
    recipe: Recipe = DEFAULT_RECIPE,
) -> Study:
    """Every fire function with lambda = 1, then with lambda chosen, on `data` (Table 5)."""
    require_calibrated(network)
    if not isinstance(neuron, SFN):
        raise CompileError("the fire functions are those of sfn", help="pass snnc.SFN(...)")
    fits = Fits(network, recipe)
    p = fits.percentile(percentile, [neuron])
    plain = [Setting(replace(neuron, levels=f), 1.0, p) for f in FIRE_FUNCTIONS]
    trials = [*plain, *fits.scaled(plain, None)]
    return Study("fire function", measured(fits, data, trials))


def _over_time(neuron: RateNeuron | str, timesteps: Iterable[int]) -> list[Setting]:
    """One series of a curve over timesteps."""
    series, found = neuron if isinstance(neuron, str) else str(NeuronSpec(neuron)), []
    for t in timesteps:
        FoldTime(t)  # refuses early
        spec = spec_at(neuron, t)
        found.append(Setting(spec.neuron, 1.0, PERCENTILE, None, spec.timesteps, series, t))
    return found


def _values(values: Iterable[_Value], what: str) -> list[_Value]:
    """Each value once, in the order given."""
    if not isinstance(values, Iterable):
        raise CompileError(
            f"a curve goes over a list, not over {values!r}", help=f"pass ({values!r},)"
        )
    return _some(list(dict.fromkeys(map(plain, values))), what)


def _some(found: list[_Value], what: str) -> list[_Value]:
    if not found:
        raise CompileError(f"a curve needs at least one {what}")
    return found
