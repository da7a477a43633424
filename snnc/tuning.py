"""snnc.tune: a Bayesian search for the scale factor on validation data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

from snnc.calibrated import CalibratedNetwork
from snnc.calibrating import Watch, calibrate
from snnc.data import Samples, Source, samples_of
from snnc.errors import CompileError, unknown_name
from snnc.fidelity import primary_output
from snnc.fitted import fitted, rule_for
from snnc.ir.rate_neuron import Polarity, RateNeuron, rate_neuron
from snnc.ir.text import format_graph
from snnc.passes.threshold_rules import ThresholdRule, percentile_of
from snnc.prepare import Model
from snnc.search.objective import Metric, Objective
from snnc.search.outcome import Trial, best_of, front_of
from snnc.search.scaled import Scaled
from snnc.search.split import digest_of, split_of

Goal: TypeAlias = Literal["metric", "pareto"]

RANGE = (0.02, 1.0)
"""Scale factors searched: the interval of the deterministic grid."""


@dataclass(frozen=True)
class Tuned:
    """The scale factor found, and all that the study tried.

    value: its metric; ann: the metric of the trained network; energy: eq. 43 with spikes counted
    (pareto only); front: the Pareto front, by growing energy; evaluations: how often this call ran
    a network over the samples, the trained one included; study: its name, None if not kept.
    """

    scale: float
    value: float
    energy: float | None
    metric: str
    ann: float
    objective: Goal
    trials: tuple[Trial, ...]
    front: tuple[Trial, ...]
    evaluations: int
    samples: int | None
    study: str | None

    def summary(self) -> dict[str, Any]:
        """As `snnc tune --json` prints it."""
        pareto = {"energy": self.energy, "front": [trial.summary() for trial in self.front]}
        return {
            "lambda": self.scale,
            "value": self.value,
            "trials": len(self.trials),
            "study": self.study,
            "evaluations": self.evaluations,
            "metric": self.metric,
            "ann": self.ann,
            "samples": self.samples,
            "objective": self.objective,
            **(pareto if self.objective == "pareto" else {}),
        }


def tune(
    model: Model | CalibratedNetwork,
    *,
    data: Source,
    calibration: Source | None = None,
    neuron: RateNeuron | str = "sfn",
    metric: Metric | None = None,
    objective: Goal = "metric",
    trials: int = 50,
    scale_range: tuple[float, float] = RANGE,
    tolerance: float = 0.0,
    subsample: float | None = None,
    percentile: float | None = None,
    polarity: Polarity = "separate",
    threshold_rule: ThresholdRule | str | None = None,
    output: str | None = None,
    storage: str | None = None,
    study: str | None = None,
    seed: int = 0,
    watch: Watch | None = None,
    told: Callable[[Trial], None] = lambda trial: None,
) -> Tuned:
    """Searches the scale factor that is best on `data`; one calibration serves every trial.

    model: as snnc.calibrate returns it, or as it takes it, with `calibration`. metric: a function
    of the outputs (by name, all samples) and the labels (None without), larger is better; by
    default top-1 accuracy, without labels the agreement with the trained network. objective:
    'pareto' weighs the energy (eq. 43, spikes) against it. trials: of the study in all, whoever
    made them. tolerance: how far below the best metric a cheaper lambda may lie. subsample: a
    share of the data, or a number of samples. percentile, threshold_rule: as of snnc.compile.
    storage, study: an optuna storage URL (or
    journal:FILE) and a name in it, which another call may resume or share. told: of every trial
    of this call. Raises CompileError.
    """
    # not above: importing optuna takes as long as importing snnc
    from snnc.search.storage import Storage
    from snnc.search.study import Study

    watch = watch or Watch()
    neuron = rate_neuron(neuron)
    _check(objective, trials, scale_range, tolerance, storage, study, seed)
    where = Storage(storage)
    network = _calibrated(model, calibration, watch)
    output = primary_output(network.ann, output)
    samples = split_of(samples_of(data, network.ann), subsample, seed)
    metered = objective == "pareto"
    rule = rule_for(network, neuron, threshold_rule)
    percentile = percentile_of(percentile, [rule])
    calibrated = fitted(
        network,
        neuron,
        rule,
        percentile=percentile,
        polarity=polarity,
        progress=partial(watch.progress, "fitting thresholds"),
    )
    scaled = Scaled(calibrated, neuron, polarity, metered=metered)
    worth = Objective(network.ann, scaled, samples, output, metric, metered=metered)
    identity = {
        "neuron": f"{neuron.name} {neuron.plain_parameters}",
        "threshold rule": rule.name,
        "percentile": str(float(percentile)),
        "polarity": polarity,
        "output": output,
        "metric": worth.name,
        "objective": objective,
        "range": f"{scale_range[0]} to {scale_range[1]}",
    }
    kept = Study(
        identity if storage is None else identity | _digests(network, samples),
        scale_range,
        where,
        study,
        metered=metered,
        seed=seed,
    )

    def finished(trial: Trial) -> None:
        told(trial)
        watch.progress("searching lambda", len(kept.trials()), trials)

    kept.work(trials, worth.at, finished)
    found = tuple(kept.trials())
    watch.progress("searching lambda", len(found), trials)
    front = front_of(found) if metered else ()
    best = best_of(front or found, tolerance)
    return Tuned(
        best.scale,
        best.value,
        best.energy,
        worth.name,
        worth.ann,
        objective,
        found,
        front,
        worth.evaluations,
        samples.count,
        study,
    )


def _check(
    objective: str,
    trials: int,
    scale_range: tuple[float, float],
    tolerance: float,
    storage: str | None,
    study: str | None,
    seed: int,
) -> None:
    low, high = scale_range
    if objective not in get_args(Goal):
        raise unknown_name("objective", objective, get_args(Goal))
    if trials < 1:
        raise CompileError(f"{trials} trials find nothing", help="choose at least 1")
    if not 0 < low < high <= 1:
        raise CompileError(
            f"the range {low:g} to {high:g} is out of range", help="choose 0 < low < high <= 1"
        )
    if seed < 0:
        raise CompileError(f"seed {seed} is negative", help="choose 0 or more")
    if not tolerance >= 0:
        raise CompileError(f"tolerance {tolerance:g} is out of range", help="choose 0 or more")
    if (storage is None) != (study is None):
        raise CompileError(
            "a study is kept in a storage under a name",
            help="give both a storage and a study, or neither",
        )


def _calibrated(
    model: Model | CalibratedNetwork,
    calibration: Source | None,
    watch: Watch,
) -> CalibratedNetwork:
    if not isinstance(model, CalibratedNetwork):
        if calibration is None:
            raise CompileError("there are no samples to calibrate on", help="pass calibration=...")
        return calibrate(model, calibration=calibration, watch=watch)
    if calibration is not None:
        raise CompileError("the network is calibrated already", help="calibrate it anew")
    return model


def _digests(network: CalibratedNetwork, samples: Samples) -> dict[str, str]:
    """What identifies the network, its sites, what they were calibrated on, and the data.

    Of the calibration the samples and how many values each site counted (which depends on the
    mask), not the thresholds, whose last bits may differ between machines.
    """
    counts = [(value, seen.count) for value, seen in network.calibration.accumulators.items()]
    return {
        "model": _sha256(format_graph(replace(network.ann, source=""))),
        "calibration": _sha256(f"{sorted(counts)} {digest_of(network.samples)}"),
        "data": digest_of(samples),
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
