"""Recipes: measured sensitivities, steps at an energy, the guard, goals that cannot be met."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import snnc
from snnc.calibrated import CalibratedNetwork, with_scale
from snnc.cli import main
from snnc.compile_report import recipe_warnings
from snnc.data import samples_of
from snnc.errors import CompileError
from snnc.evaluation import measure
from snnc.fidelity import primary_output
from snnc.ir.node import Array
from snnc.neurons.sfn import SFN
from snnc.recipes import best as best_module
from snnc.recipes import tails
from snnc.recipes.allocation import Allocation, Allocator
from snnc.recipes.best import best
from snnc.recipes.costs import Costs
from snnc.recipes.curves import FINE, MEASURED, Measuring, SiteCurve, site_curves
from snnc.recipes.made import COARSEST, Goal, Made, with_steps
from snnc.recipes.tails import tail_of
from snnc.replay import replay
from snnc.runtime import Session
from snnc.scheduling import schedule
from snnc.site_errors import spiking_at
from tests.conftest import calibration_path, held_out_path, model_path

Arrays = dict[str, Array]

SAMPLES = 12


def arrays(path: Path, count: int, start: int = 0) -> Arrays:
    with np.load(path) as loaded:
        part = slice(start, start + count)
        return {k: v[part] for k, v in loaded.items() if k != "labels"}


@cache
def calibrated(name: str) -> CalibratedNetwork:
    data = arrays(calibration_path(name), 48)
    mask = "attention_mask" if name == "digits_encoder" else None
    return snnc.calibrate(model_path(name), calibration=data, mask_input=mask)


@cache
def curves_of(name: str) -> tuple[SiteCurve, ...]:
    network = calibrated(name)
    how = Measuring(SFN(), primary_output(network.ann), {})
    return site_curves(network.sited, network.calibration.reservoir.samples(SAMPLES), how)


@cache
def made(name: str, budget: float) -> Made:
    network = calibrated(name)
    return best(network, Goal(budget, 0.98, "spikes"), primary_output(network.ann))


@pytest.mark.parametrize("name", ["digits_cnn", "digits_vit"])
def test_what_lies_behind_a_site_gives_the_error_of_the_whole_network(name: str) -> None:
    network, curves = calibrated(name), curves_of(name)
    output = primary_output(network.ann)
    feeds = list(network.calibration.reservoir.batches(SAMPLES, SAMPLES))
    exact = np.concatenate([Session(network.sited).run(f)[output] for f in feeds])
    spread = np.square(exact - exact.mean(0)).sum()
    for site in (network.sited.open_sites[0], network.sited.open_sites[-1]):
        curve = next(c for c in curves if c.name == site.outputs[0])
        assert curve.errors is not None
        step = np.array(MEASURED[3] * curve.unit, np.float32)
        whole = Session(spiking_at(network.sited, site, SFN(), (step, step)))
        found = np.concatenate([whole.run(f)[output] for f in feeds])
        error = np.square(found - exact, dtype=np.float64).sum() / spread
        np.testing.assert_allclose(curve.errors[3], error, rtol=1e-3)


def test_a_tail_holds_only_what_depends_on_its_site() -> None:
    sited = calibrated("digits_vit").sited
    output = primary_output(sited)
    first, last = sited.open_sites[0], sited.open_sites[-1]
    tails = [tail_of(sited, site, output) for site in (first, last)]
    assert tails[0] is not None and tails[1] is not None
    assert len(tails[1].graph.nodes) < len(tails[0].graph.nodes) < len(sited.nodes)
    assert last.inputs[0] in tails[1].inputs
    assert not set(sited.inputs) & set(tails[1].inputs)


def test_a_site_that_the_output_does_not_depend_on_has_no_error() -> None:
    network = calibrated("digits_vit")
    site = network.sited.open_sites[-1]
    assert tail_of(network.sited, site, network.sited.open_sites[0].outputs[0]) is None


@pytest.mark.parametrize("count", ["spikes", "events"])
@pytest.mark.parametrize("name", ["digits_cnn", "digits_vit"])
def test_the_energy_foretold_is_near_the_one_measured(name: str, count: Any) -> None:
    network, curves = calibrated(name), curves_of(name)
    plain = with_scale(network.graph(), SFN(), 0.5, "shared")
    feeds = next(network.calibration.reservoir.batches(8))
    costs = Costs(plain, feeds, 8, curves, count)
    for place in (20, 45):
        steps = {curve.name: float(FINE[place] * curve.unit) for curve in curves}
        graph = with_scale(with_steps(network.graph(), steps), SFN(), COARSEST, "shared")
        energy = measure(graph, network.calibration.reservoir.samples(24)).energy()
        wanted = energy.ratio_spikes if count == "spikes" else energy.ratio_events
        assert costs.ratio([place] * len(curves)) == pytest.approx(wanted, rel=0.12)


@cache
def of_gaussians() -> SiteCurve:
    """A site of standard normal activations, with the square of the step as output error."""
    x = np.random.default_rng(0).standard_normal(4096).astype(np.float32)
    counts = [np.abs(SFN().count(x, s, s)) for s in FINE]
    spikes = np.array([c.mean() for c in counts])
    events = np.array([(c > 0).mean() for c in counts])
    own = np.array([np.square(SFN().step(x, s, s) - x).mean() for s in FINE])
    error = np.square(MEASURED)
    return SiteCurve("", "activation", 1.0, spikes, events, own, error, np.zeros(len(error)))


def synthetic(errors: list[float]) -> tuple[SiteCurve, ...]:
    """Sites whose output errors are these times the square of the step."""
    one = of_gaussians()
    assert one.errors is not None
    sizes = [(str(i), size * one.errors) for i, size in enumerate(errors)]
    return tuple(replace(one, name=name, errors=error) for name, error in sizes)


class Additive:
    """Costs of layers that each read one site."""

    def __init__(self, curves: tuple[SiteCurve, ...], fans: list[float]) -> None:
        self._curves, self._fans, self.floor = curves, fans, 0.0

    def ratio(self, places: list[int]) -> float:
        each = zip(self._curves, self._fans, places, strict=True)
        return sum(float(c.spikes[p]) * fan for c, fan, p in each)

    def along(self, site: int, places: list[int]) -> Array:
        return np.asarray(self._curves[site].spikes * self._fans[site])


@given(
    errors=st.lists(st.floats(1e-4, 1.0), min_size=2, max_size=2),
    fans=st.lists(st.floats(0.05, 1.0), min_size=2, max_size=2),
    share=st.floats(0.1, 0.9),
)
@settings(max_examples=25, deadline=None)
def test_no_other_steps_of_that_energy_have_less_error(
    errors: list[float], fans: list[float], share: float
) -> None:
    curves = synthetic(errors)
    costs: Any = Additive(curves, fans)
    allocator = Allocator(curves, costs)
    finest = costs.ratio([0, 0])
    budget = allocator.cheapest + share * (finest - allocator.cheapest)
    chosen = allocator.at(budget)
    assert chosen.ratio <= budget
    allowed = range(int(np.flatnonzero(curves[0].own <= 0.25)[-1]) + 1)
    error = [curve.output_error for curve in curves]
    for a in allowed:
        for b in allowed:
            if costs.ratio([a, b]) <= chosen.ratio * (1 - 1e-9):
                assert error[0][a] + error[1][b] >= chosen.error * (1 - 1e-6)


def test_sensitive_sites_get_finer_steps_and_costly_ones_coarser() -> None:
    curves = synthetic([1.0, 0.1, 1.0])
    costs: Any = Additive(curves, [0.3, 0.3, 1.0])
    steps = Allocator(curves, costs).at(1.0).steps
    assert steps["0"] < steps["1"]
    assert steps["0"] < steps["2"]


def test_a_sensitivity_that_is_noise_stays_near_those_of_its_role() -> None:
    sure, doubtful = synthetic([1.0, 1.0, 1.0]), synthetic([1e-4])[0]
    assert doubtful.errors is not None
    noisy = replace(doubtful, name="3", deviations=doubtful.errors.copy())
    costs: Any = Additive((*sure, noisy), [0.5] * 4)
    guarded = Allocator((*sure, noisy), costs).at(4.0).steps
    trusting = Allocator((*sure, replace(doubtful, name="3")), costs).at(4.0).steps
    assert guarded["3"] < 1.5 * guarded["0"]
    assert trusting["3"] > 2 * trusting["0"]


@pytest.mark.parametrize("name", ["digits_cnn", "digits_vit"])
def test_the_best_recipe_beats_one_lambda_of_equal_energy(name: str) -> None:
    budget = {"digits_cnn": 0.12, "digits_vit": 0.2}[name]
    found = made(name, budget)
    report = found.report
    assert report.kept == "recipe" and report.held is not None and report.plain is not None
    assert report.chosen.ratio <= budget
    assert report.held.error < report.plain.error
    network = calibrated(name)
    spiking = with_scale(found.graph, found.neuron, found.scale, found.polarity)
    unseen = samples_of(arrays(held_out_path(name), 100), network.ann)
    assert measure(spiking, unseen).energy().ratio_spikes <= budget * 1.05


def test_its_networks_are_the_same_in_numpy_in_bodies_and_in_kernels() -> None:
    found = made("digits_vit", 0.2)
    spiking = with_scale(found.graph, found.neuron, found.scale, found.polarity)
    feeds = arrays(held_out_path("digits_vit"), 4)
    taps = [v for neuron in spiking.neurons for v in (neuron.inputs[0], *neuron.outputs)]
    for kernels in (False, True):
        values = Session(spiking, taps=taps, kernels=kernels, optimize=False).run(feeds)
        for neuron in spiking.neurons:
            steps = [spiking.consts[s] if s else np.zeros(()) for s in neuron.inputs[1:]]
            wanted = neuron.model.step(values[neuron.inputs[0]], steps[0], steps[1])
            np.testing.assert_array_equal(values[neuron.outputs[0]], wanted)


def test_its_networks_replay_spike_by_spike() -> None:
    found = made("digits_vit", 0.2)
    spiking = with_scale(found.graph, found.neuron, found.scale, found.polarity)
    samples = samples_of(arrays(held_out_path("digits_vit"), 4), spiking)
    comparison = replay(schedule(spiking, "generic"), samples, spiking).comparison
    assert comparison is not None
    assert comparison.differing == 0


def test_an_agreement_is_kept_with_less_energy_than_one_lambda_takes() -> None:
    network = snnc.compile(calibrated("digits_cnn"), recipe="best", fidelity=0.97)
    plain = snnc.compile(calibrated("digits_cnn"), fidelity=0.97)
    report = network.report.recipe
    assert report is not None and report.chosen.agreement >= 0.97
    data = arrays(held_out_path("digits_cnn"), 100)
    assert network.energy(data).ratio_spikes < plain.energy(data).ratio_spikes


@pytest.mark.parametrize("fidelity", [0.95, 0.98])
def test_an_agreement_that_is_asked_for_is_kept(fidelity: float) -> None:
    network = snnc.compile(calibrated("digits_mlp"), recipe="best", fidelity=fidelity)
    plain = snnc.compile(calibrated("digits_mlp"), fidelity=fidelity)
    recipe = network.report.recipe
    assert recipe is not None and recipe.chosen.agreement >= fidelity
    data = arrays(held_out_path("digits_mlp"), 100)
    assert network.energy(data).ratio_spikes <= plain.energy(data).ratio_spikes * 1.05


def test_what_is_not_reached_is_said() -> None:
    few = snnc.calibrate(
        model_path("digits_cnn"), calibration=arrays(calibration_path("digits_cnn"), 8)
    )
    warnings = snnc.compile(few, recipe="best", energy_budget=0.12).report.warnings
    assert any("chosen on 6 samples only" in warning for warning in warnings)
    report = replace(made("digits_cnn", 0.12).report, budget=None)
    assert "was reached" in recipe_warnings(report, 1.1)[0]


def test_a_budget_below_all_allocations_is_met_by_one_lambda(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Allocator, "cheapest", 0.2)
    network = calibrated("digits_cnn")
    found = best(network, Goal(0.12, 0.98, "spikes"), primary_output(network.ann))
    assert found.report.kept == "global lambda" and found.report.chosen.ratio <= 0.12


def test_activations_beyond_memory_lie_in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tails, "MEMORY", 0)
    network = calibrated("digits_cnn")
    how = Measuring(SFN(), primary_output(network.ann), {})
    found = site_curves(network.sited, network.calibration.reservoir.samples(SAMPLES), how)
    for mine, wanted in zip(found, curves_of("digits_cnn"), strict=True):
        np.testing.assert_array_equal(mine.spikes, wanted.spikes)
        np.testing.assert_array_equal(mine.errors, wanted.errors)


def test_the_better_one_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    class Careless(Allocator):
        def at(self, ratio: float) -> Allocation:
            found = super().at(ratio)
            steps = {
                name: step * (3 if i % 2 else 0.3)
                for i, (name, step) in enumerate(found.steps.items())
            }
            return replace(found, steps=steps)

    monkeypatch.setattr(best_module, "Allocator", Careless)
    network = calibrated("digits_cnn")
    found = best(network, Goal(0.12, 0.98, "spikes"), primary_output(network.ann))
    assert found.report.kept == "global lambda"
    assert found.report.chosen.ratio <= 0.12
    assert not found.report.sites


@pytest.mark.parametrize("recipe", ["paper", "balanced"])
@pytest.mark.parametrize("count", ["spikes", "events"])
def test_a_budget_is_met_by_one_lambda(recipe: Any, count: Any) -> None:
    budget = {"spikes": 0.15, "events": 0.1}[count]
    network = snnc.compile(
        calibrated("digits_cnn"), recipe=recipe, energy_budget=budget, count=count
    )
    assert network.report.neuron == (
        SFN(rule="eq11", levels="sformer") if recipe == "paper" else SFN()
    )
    report = network.report.recipe
    assert report is not None and 0.95 * budget < report.chosen.ratio <= budget
    assert network.report.choice is None and not network.report.allocated


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, record = calibrated("digits_cnn"), tmp_path / "curves.npz"
    goal, output = Goal(0.12, 0.98, "spikes"), primary_output(network.ann)

    def stop(phase: str, done: int, total: int | None) -> None:
        if phase == "measuring sensitivities" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        best(network, goal, output, record, stop)
    measured: list[str] = []
    original = site_curves

    def counting(sited: Any, samples: Any, how: Measuring) -> tuple[SiteCurve, ...]:
        def found(curve: SiteCurve) -> None:
            measured.append(curve.name)
            how.found(curve)

        return original(sited, samples, replace(how, found=found))

    monkeypatch.setattr(best_module, "site_curves", counting)
    resumed = best(network, goal, output, record)
    assert len(measured) == len(network.sited.open_sites) - 2
    assert resumed.graph == made("digits_cnn", 0.12).graph


def test_records_of_other_networks_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    record, goal = tmp_path / "curves.npz", Goal(0.12, 0.98, "spikes")
    network = calibrated("digits_cnn")
    best(network, goal, primary_output(network.ann), record)
    other = calibrated("digits_mlp")
    with pytest.raises(CompileError, match="of another network"):
        best(other, goal, primary_output(other.ann), record)
    whole = record.read_bytes()
    for damaged in (b"", b"no file", whole[: len(whole) // 2]):
        record.write_bytes(damaged)
        with pytest.raises(CompileError, match="not a readable file of sensitivities"):
            best(network, goal, primary_output(network.ann), record)
        assert record.read_bytes() == damaged


@pytest.mark.parametrize("damage", ["negative", "missing"])
def test_records_whose_curves_cannot_be_are_refused(tmp_path: Path, damage: str) -> None:
    record, goal = tmp_path / "curves.npz", Goal(0.12, 0.98, "spikes")
    network = calibrated("digits_cnn")
    best(network, goal, primary_output(network.ann), record)
    with np.load(record) as loaded:
        held = dict(loaded)
    if damage == "missing":
        del held["1.errors"]
    else:
        held["1.errors"] = -held["1.errors"]
    np.savez(record, **held)
    with pytest.raises(CompileError, match="not a readable file of sensitivities"):
        best(network, goal, primary_output(network.ann), record)


def test_an_agreement_is_kept_on_all_samples_of_the_calibration() -> None:
    network = calibrated("digits_cnn")
    found = best(network, Goal(None, 0.98, "spikes"), primary_output(network.ann)).report
    assert found.samples == len(network.calibration.reservoir)
    assert found.chosen.agreement >= 0.98


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "recipe": ({"recipe": "finest"}, "recipe 'finest'"),
    "neuron": ({"recipe": "best", "neuron": "mtn"}, "settles the neuron"),
    "lambda": ({"recipe": "best", "scale": 0.5}, "takes no lambda"),
    "two": (
        {"recipe": "best", "polarity": "shared", "timesteps": 2},
        "no polarity and no timesteps",
    ),
    "goals": ({"energy_budget": 0.2, "scale": 0.5}, "are both given"),
    "int8": ({"energy_budget": 0.2, "synapses": "int8"}, "with float synapses"),
    "zero": ({"energy_budget": 0.0}, "out of range"),
    "nan": ({"energy_budget": float("nan")}, "energy budget"),
    "count": ({"energy_budget": 0.2, "count": "volts"}, "volts"),
    "counted": ({"count": "events"}, "counts events for an energy budget, and none is given"),
    "curves": ({"sensitivities": "c.npz"}, "measures no sensitivities"),
    "little": ({"energy_budget": 1e-4}, "cannot be met"),
    "least": ({"energy_budget": 1e-4, "recipe": "best"}, "cannot be met"),
    "no file": ({"recipe": "best", "sensitivities": "/nowhere/c.npz"}, "cannot write"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_had_is_refused(case: str) -> None:
    asked, message = REFUSED[case]
    with pytest.raises(CompileError, match=message):
        snnc.compile(calibrated("digits_cnn"), **asked)


def test_the_command_says_what_it_spent_and_what_it_is_compared_with(tmp_path: Path) -> None:
    data = tmp_path / "few.npz"
    few: dict[str, Any] = arrays(calibration_path("digits_cnn"), 48)
    np.savez(data, **few)
    model = ["compile", str(model_path("digits_cnn")), "--calibration", str(data)]
    asked = [*model, "-o", str(tmp_path / "out.onnx"), "--recipe", "best"]
    result = CliRunner().invoke(main, [*asked, "--energy-budget", "0.12", "--json"])
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    recipe = document["recipe"]
    assert recipe["name"] == "best" and recipe["energy"] <= 0.12
    assert recipe["held_back_error"] < recipe["global_lambda_error"]
    assert len(recipe["sites"]) == document["sites"]
    assert document["threshold_rule"] is None
    shown = CliRunner().invoke(main, [*asked, "--energy-budget", "0.12"])
    assert "samples held back" in shown.stdout and "0.12 allowed" in shown.stdout
    both = CliRunner().invoke(main, [*asked, "--energy-budget", "0.12", "--lambda", "0.2"])
    assert both.exit_code == 2 and "two goals" in both.stderr
    settled = CliRunner().invoke(main, [*asked, "--rule", "eq11", "--m", "4"])
    assert settled.exit_code == 1 and "it takes no M 4 and no rule eq11" in settled.stderr
