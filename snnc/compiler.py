"""snnc.compile: from an ONNX file and calibration data to a spiking network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from snnc.calibrated import CalibratedNetwork, CalibrationSource, with_scale
from snnc.calibrating import Watch, calibrated_by, require_open_sites, sources_of
from snnc.compile_report import CompileReport, idle_options, recipe_warnings, warnings_of
from snnc.coverage import coverage_of
from snnc.data import Samples, Source
from snnc.errors import CompileError
from snnc.evaluation import ACTIVITY_SAMPLES, with_activity
from snnc.fidelity import primary_output
from snnc.files import require_writable
from snnc.fitted import fitted, rule_for
from snnc.integer_synapses import integer_synapses, require_no_quantizers
from snnc.ir.graph import Graph
from snnc.ir.numbers import plain
from snnc.ir.rate_neuron import Polarity, RateNeuron, Synapses, rate_neuron
from snnc.passes.assign_thresholds import AssignThresholds
from snnc.passes.fold_time import FoldTime
from snnc.passes.quantize_synapses import QuantizeSynapses
from snnc.passes.threshold_rules import ThresholdRule, percentile_of
from snnc.passes.threshold_rules import threshold_rule as threshold_rule_of
from snnc.pipeline import run_passes
from snnc.prepare import Model
from snnc.recipes.asked import neuron_of_recipe, require_best, require_goal
from snnc.recipes.best import best
from snnc.recipes.costs import Count
from snnc.recipes.made import Goal, Made, spent
from snnc.recipes.report import RecipeName
from snnc.runtime import Session
from snnc.search.grid import (
    FINE_GRID,
    GRID,
    Choice,
    Reference,
    choose_scale,
    require_fidelity,
)
from snnc.spiking_network import SpikingNetwork


def compile(
    model: Model | CalibratedNetwork,
    *,
    neuron: RateNeuron | str = "sfn",
    calibration: Source | None = None,
    statistics: str | Path | None = None,
    save_statistics: str | Path | None = None,
    recipe: RecipeName = "balanced",
    scale: float | None = None,
    fidelity: float = 0.98,
    energy_budget: float | None = None,
    count: Count = "spikes",
    sensitivities: str | Path | None = None,
    widen: bool | None = None,
    percentile: float | None = None,
    threshold_rule: ThresholdRule | str | None = None,
    polarity: Polarity | None = None,
    synapses: Synapses = "float",
    timesteps: int = 1,
    keep: str | Iterable[str] = (),
    encode_input: bool = False,
    mask_input: str | None = None,
    output: str | None = None,
    verify: bool = False,
    watch: Watch | None = None,
) -> SpikingNetwork:
    """Turns a trained network into a spiking one, of one timestep by default, without training.

    model: ONNX file, message or graph, or a network calibrated already (then calibration, keep,
    encode_input, mask_input and verify are settled). neuron: a neuron model, or the name of one.
    calibration: a .npz path, an array, a dict of arrays, an iterable of dicts (samples first), or
    'random'. statistics: a file of what calibration saw, instead of samples. save_statistics: such
    a file to write, before lambda is chosen.
    A network whose neurons are all quantisers of its own needs no calibration.
    recipe: 'paper' for sfn as published, 'balanced', or 'best' for steps by measured sensitivities
    (docs/recipes.md), kept in the file `sensitivities`, which an interrupted run continues.
    scale: lambda in (0, 1]; None chooses the largest one that keeps the outputs' agreement with
    the network's own at `fidelity`, or with an energy_budget (over the trained network's energy,
    eq. 43, counting spikes or events) the smallest one within it. widen: take a finer lambda, and
    with float synapses more levels, where none does (None: if the neuron is passed by name).
    percentile: p of the thresholds (spec 2.3). threshold_rule: what thresholds are made from
    (None: the neuron's own rule; see snnc.passes.threshold_rules). polarity: a step for each sign,
    or one for both (None: for both with integer synapses). synapses: 'int8' for 8-bit weights,
    spike counts of 8 bits and so at most 127, or 255 where only positive spikes exist. timesteps:
    how often the input is shown; the outputs are means over them. keep: patterns of node names
    that stay analog. verify: check on random data that no rewriting of the network changes its
    outputs. Raises CompileError.
    """
    watch = watch or Watch()
    by_name = isinstance(neuron, str)
    requested = neuron = neuron_of_recipe(recipe, rate_neuron(neuron))
    require_goal(recipe, energy_budget, count, scale, synapses, timesteps)
    if recipe == "best":
        require_best(scale, percentile, threshold_rule, polarity, synapses, timesteps)
    elif sensitivities is not None:
        message = f"the recipe {recipe} measures no sensitivities"
        raise CompileError(message, help="take the recipe best")
    require_fidelity(fidelity)
    polarity = polarity or ("separate" if synapses == "float" else "shared")
    timesteps = plain(timesteps)
    FoldTime(timesteps)
    if sensitivities is not None:
        require_writable(Path(sensitivities))
    if timesteps > 1 and synapses == "int8":
        raise CompileError(
            "integer synapses work at one timestep",
            help="leave --timesteps out, or take float synapses",
        )
    AssignThresholds(neuron, 1.0 if scale is None else scale, polarity, synapses)  # refuses early
    rule = threshold_rule_of(threshold_rule, neuron, synapses, mask_input is not None)
    if calibration is not None:  # else what is masked is not known yet
        percentile_of(percentile, [rule])
    if isinstance(model, CalibratedNetwork):
        asked = [v for v in (calibration, statistics, mask_input, save_statistics) if v is not None]
        if asked or keep or encode_input or verify:
            raise CompileError("the network is calibrated already", help="calibrate it anew")
        network = model
    else:
        source = CalibrationSource(calibration, statistics, mask_input)
        if save_statistics is not None:
            sources = sources_of(model, calibration, statistics)
            require_writable(Path(save_statistics), *sources)
        network = calibrated_by(model, source, keep, encode_input, verify, output, watch)
    if save_statistics is not None:
        require_open_sites(network)
        network.save_statistics(save_statistics)
    ann, sited = network.ann, network.sited
    output = primary_output(ann, output)
    if synapses == "int8":
        require_no_quantizers(sited)
    rule = rule_for(network, neuron, threshold_rule, synapses)
    p = percentile_of(percentile, [rule] if sited.open_sites else [])
    reservoir = network.calibration.reservoir
    made: Made | None = None
    if recipe == "best" and sited.open_sites:
        record = None if sensitivities is None else Path(sensitivities)
        goal = Goal(energy_budget, fidelity, count)
        made = best(network, goal, output, record, watch.progress)
        calibrated, neuron, polarity = made.graph, made.neuron, made.polarity
    else:
        calibrated = fitted(
            network,
            neuron,
            rule,
            percentile=p,
            polarity=polarity,
            synapses=synapses,
            timesteps=timesteps,
            scale=scale or 1.0,
            watch=watch.graph,
            progress=partial(watch.progress, "fitting thresholds"),
        )
    if made is None and energy_budget is not None and sited.open_sites:
        meet = partial(spent, network, calibrated, neuron, polarity, recipe)
        made = meet(energy_budget, count, output, watch.progress)
    rounded = None if synapses == "float" else _Rounded(network.samples, watch)
    choice, given = None, scale
    if made is not None:
        scale = made.scale
    elif scale is None and not sited.open_sites:
        scale = 1.0
    if scale is None:
        choose = partial(
            choose_scale, ann, calibrated, samples=network.samples, output=output, fidelity=fidelity
        )
        choose = partial(choose, polarity=polarity, synapses=synapses, timesteps=timesteps)
        choose = partial(choose, finish=rounded)
        finer = neuron.wider() if synapses == "float" else neuron  # 8 bits hold no more levels
        widest = finer if widen or (widen is None and by_name) else None
        neuron, choice = _chosen(neuron, widest, choose, watch)
        scale = choice.scale
    spiking = with_scale(calibrated, neuron, scale, polarity, watch.graph, synapses, timesteps)
    integer = None
    if rounded is not None:
        spiking = rounded(spiking)
        if watch.graph is not None:
            watch.graph(QuantizeSynapses.name, spiking)
        agreement = None if choice is None else choice.finished
        if choice is not None and agreement is None:
            reference = Reference(ann, calibrated, network.samples, output)
            agreement = reference.agreement(Session(spiking).run)
        integer = integer_synapses(spiking, next(reservoir.batches(1)), agreement)
    if reservoir.seen:
        spiking = with_activity(spiking, reservoir.samples(ACTIVITY_SAMPLES))
    unused = (
        recipe_warnings(None if made is None else made.report, fidelity)
        if sited.open_sites
        else idle_options(requested, given, percentile, threshold_rule, recipe, energy_budget)
    )
    warnings = warnings_of(
        spiking, choice, fidelity, network.calibration, requested, neuron, integer
    )
    report = CompileReport(
        neuron=neuron,
        polarity=polarity,
        sites=len(spiking.neurons),
        imported=len(sited.sites) - len(sited.open_sites),
        timesteps=timesteps,
        rule=rule,
        percentile=p,
        neurons=_chosen_neurons(spiking, sited),
        scale=scale,
        choice=choice,
        output=output,
        coverage=coverage_of(sited, next(reservoir.batches(1), None)),
        calibration_samples=reservoir.seen,
        warnings=(*unused, *warnings),
        integer=integer,
        recipe=None if made is None else made.report,
    )
    return SpikingNetwork(spiking, ann, report, network.sources)


def _chosen_neurons(spiking: Graph, sited: Graph) -> tuple[tuple[str, RateNeuron], ...]:
    """The model at every site that is no quantiser of the network, by name of the neuron."""
    imported = {site.outputs[0] for site in sited.sites} - {s.outputs[0] for s in sited.open_sites}
    found = (n for n in spiking.neurons if n.outputs[0] not in imported)
    return tuple((neuron.loc.names[0], neuron.model) for neuron in found)


def _chosen(
    neuron: RateNeuron,
    wider: RateNeuron | None,
    choose: Callable[..., Choice],
    watch: Watch,
) -> tuple[RateNeuron, Choice]:
    """The scale factor for `neuron`; where none is good enough, `wider` with a finer one if that
    is."""

    def progress(done: int) -> None:
        watch.progress("choosing lambda", done, len(GRID))

    choice = choose(neuron=neuron, progress=progress)
    if choice.reached or wider is None:
        return neuron, choice

    def finer(done: int) -> None:
        watch.progress("choosing a finer lambda", done, len(FINE_GRID))

    second = choose(neuron=wider, progress=finer, grid=FINE_GRID)
    return (wider, second) if second.reached else (neuron, choice)


class _Rounded:
    """Networks with integer weights, rounded for these samples; the last one made is kept."""

    def __init__(self, samples: Samples, watch: Watch) -> None:
        self._quantize = QuantizeSynapses(
            samples, progress=lambda done, total: watch.progress("rounding weights", done, total)
        )
        self._last: tuple[Graph, Graph] | None = None

    def __call__(self, spiking: Graph) -> Graph:
        if self._last is None or self._last[0] != spiking:
            self._last = spiking, run_passes(spiking, (self._quantize,))
        return self._last[1]
