"""Several neuron models on one network: accuracy, spikes, energy and time side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from snnc.calibrated import CalibratedNetwork, require_calibrated
from snnc.data import Source
from snnc.energy import PJ_AC
from snnc.errors import CompileError
from snnc.evaluation import ACTIVITY_SAMPLES, with_activity
from snnc.fits import DEFAULT_RECIPE, Fits, Recipe, Setting
from snnc.integer_energy import IntegerNetwork, as_integers
from snnc.ir.neuron_spec import NeuronSpec, listed, neuron_spec
from snnc.ir.rate_neuron import RateNeuron
from snnc.latency import latency_ratio
from snnc.passes.assign_thresholds import AssignThresholds
from snnc.passes.fold_time import FoldTime
from snnc.studies import Point, measured

TIMESTEP_MS = 1.0
"""Length of a timestep in the power figure of arXiv 2508.14520."""


@dataclass(frozen=True)
class Row:
    """One neuron model: what it reaches, or why it cannot take the network.

    time: of the spiking network over the ANN's, None where it was not measured.
    """

    spec: NeuronSpec
    point: Point | None = None
    integers: IntegerNetwork | None = None
    time: float | None = None
    refusal: CompileError | None = None

    @property
    def power_mw(self) -> float | None:
        """Mean power by eq. 11 of arXiv 2508.14520: spikes x 0.9 pJ / (T x 1 ms), in milliwatt.

        It counts a spike once, however many synapses it reaches, and no layer that stays real.
        """
        if self.point is None:
            return None
        picojoule = self.point.result.energy.fired_spikes * PJ_AC
        return picojoule * 1e-6 / (self.spec.timesteps * TIMESTEP_MS)

    def summary(self) -> dict[str, Any]:
        named = {"neuron": str(self.spec), "timesteps": self.spec.timesteps}
        if self.point is None or self.integers is None:
            assert self.refusal is not None
            why = {"message": self.refusal.message, "at": self.refusal.at}
            return named | {"refused": why | {"help": self.refusal.help}}
        energy = self.point.result.energy
        return {
            **named,
            "refused": None,
            **{k: v for k, v in self.point.summary().items() if k not in ("series", "at")},
            "spikes": energy.fired_spikes,
            "events": energy.fired_events,
            "time_ratio": self.time,
            "integers": self.integers.summary(),
            "power_mw": self.power_mw,
        }


@dataclass(frozen=True)
class Comparison:
    """Neuron models on one network and the same samples, in the order asked for."""

    rows: tuple[Row, ...]

    @property
    def points(self) -> tuple[Point, ...]:
        """What the neurons that take the network reach."""
        return tuple(row.point for row in self.rows if row.point is not None)

    @property
    def metric_name(self) -> str:
        return self.points[0].metric_name

    @property
    def ann_metric(self) -> float:
        """The ANN's own top-1; 1.0 for an agreement with itself."""
        return self.points[0].ann_metric

    def summary(self) -> dict[str, Any]:
        """As `snnc compare --json` prints it."""
        first = self.points[0]
        return {
            "samples": first.result.samples,
            "output": first.result.output,
            "metric": first.metric_name,
            "ann": {"top1": first.result.ann_top1},
            "rows": [row.summary() for row in self.rows],
        }


def compare(
    network: CalibratedNetwork,
    data: Source,
    *,
    neurons: RateNeuron | str | Iterable[RateNeuron | str],
    scale: float | None = None,
    percentile: float | None = None,
    seconds: float = 0.5,
    recipe: Recipe = DEFAULT_RECIPE,
) -> Comparison:
    """Every neuron on `data`, in one pass: models, or specs such as 'sfn', 'mtn:N=16', 'if@32', or
    several between commas.

    scale: the same lambda for all; None chooses one for each, as `compile` would. seconds: about
    how long to time each network on one calibration sample; 0 leaves it out. A neuron that cannot
    take the network gets a row with the reason; CompileError if none can. percentile: of neurons
    whose rule takes one.
    """
    require_calibrated(network)
    specs = [neuron_spec(asked) for asked in listed(neurons)]
    if not specs:
        raise CompileError("no neuron to compare", help="pass ('sfn', 'if@32'), say")
    fits = Fits(network, recipe)
    p = fits.percentile(percentile, [spec.neuron for spec in specs])
    given = 1.0 if scale is None else scale
    for spec in specs:
        FoldTime(spec.timesteps)
        AssignThresholds(spec.neuron, given, recipe.polarity)
    settings = [Setting(spec.neuron, given, p, None, spec.timesteps) for spec in specs]
    refusals = [_refusal(fits, setting) for setting in settings]
    accepted = [s for s, refusal in zip(settings, refusals, strict=True) if refusal is None]
    if not accepted:
        raise _all_refused(specs, [refusal for refusal in refusals if refusal is not None])
    accepted = fits.scaled(accepted, scale)
    measurements = zip(accepted, measured(fits, data, accepted), strict=True)
    rows = []
    for spec, refusal in zip(specs, refusals, strict=True):
        if refusal is not None:
            rows.append(Row(spec, refusal=refusal))
        else:
            rows.append(_row(fits, *next(measurements), seconds))
        if seconds > 0:
            recipe.progress("timing", len(rows), len(specs))
    return Comparison(tuple(rows))


def _refusal(fits: Fits, setting: Setting) -> CompileError | None:
    """Why the neuron cannot take the network, if so."""
    try:
        fits.spiking(setting)
    except CompileError as refusal:
        return refusal
    return None


def _row(fits: Fits, setting: Setting, point: Point, seconds: float) -> Row:
    graph, network = fits.spiking(setting), fits.network
    time = None
    if seconds > 0:
        reservoir = network.calibration.reservoir
        deployed = with_activity(graph, reservoir.samples(ACTIVITY_SAMPLES))
        time = latency_ratio(network.ann, deployed, next(reservoir.batches(1)), seconds)
    statistics = {s.outputs[0]: s.statistics for s in network.graph(setting.percentile).sites}
    seen = {name: (s.minimum, s.maximum) for name, s in statistics.items() if s is not None}
    return Row(setting.spec, point, as_integers(graph, point.result.energy, seen), time)


def _all_refused(specs: list[NeuronSpec], refusals: list[CompileError]) -> CompileError:
    reasons = "; ".join(f"{s}: {r.message}" for s, r in zip(specs, refusals, strict=True))
    return CompileError(
        f"no neuron takes this network: {reasons}", at=refusals[0].at, help=refusals[0].help
    )
