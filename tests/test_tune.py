"""The search of the scale factor: what it finds, what it costs, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import snnc
from snnc.data import Feeds, samples_of
from snnc.ir.node import Array
from snnc.search.outcome import Trial, best_of, front_of
from snnc.search.split import digest_of, split_of
from tests.conftest import calibration_path, held_out_path, model_path

DATA = held_out_path("digits_mlp")
Outputs = dict[str, Array]


@pytest.fixture(scope="module")
def network() -> snnc.CalibratedNetwork:
    return snnc.calibrate(model_path("digits_mlp"), calibration=calibration_path("digits_mlp"))


def arrays(path: Path = DATA) -> Outputs:
    with np.load(path) as loaded:
        return dict(loaded)


def at(network: snnc.CalibratedNetwork, scale: float, data: Any = DATA) -> snnc.Evaluation:
    return snnc.compile(network, scale=scale).evaluate(data)


# --- what is found ------------------------------------------------------------------------------


def test_the_best_top1_of_all_trials_is_found(network: snnc.CalibratedNetwork) -> None:
    found = snnc.tune(network, data=DATA, trials=20)
    assert (found.metric, found.samples, len(found.trials)) == ("top-1", 450, 20)
    assert found.value == max(trial.value for trial in found.trials)
    assert found.scale == max(t.scale for t in found.trials if t.value == found.value)
    compared = at(network, found.scale)
    assert (compared.snn_top1, compared.ann_top1) == (found.value, found.ann)
    worst = min(found.trials, key=lambda trial: trial.value)
    assert worst.value < found.value - 0.05
    assert at(network, worst.scale).snn_top1 == worst.value


def test_a_study_begins_with_the_range_and_stays_in_it(network: snnc.CalibratedNetwork) -> None:
    found = snnc.tune(network, data=DATA, trials=12, scale_range=(0.1, 0.4))
    scales = [trial.scale for trial in found.trials]
    assert scales[:6] == pytest.approx(np.geomspace(0.4, 0.1, 6))
    assert all(0.1 <= scale <= 0.4 for scale in scales)
    assert len(set(scales)) == 12


def test_without_labels_the_agreement_counts(network: snnc.CalibratedNetwork) -> None:
    data = {"input": arrays()["input"]}
    found = snnc.tune(network, data=data, trials=6)
    assert (found.metric, found.ann) == ("argmax agreement", 1.0)
    assert at(network, found.scale, data).agreement == found.value


def test_embeddings_agree_by_cosine() -> None:
    model = model_path("digits_encoder")
    network = snnc.calibrate(
        model, calibration=calibration_path("digits_encoder"), mask_input="attention_mask"
    )
    data = {k: v[:20] for k, v in arrays(held_out_path("digits_encoder")).items() if k != "labels"}
    hidden = next(name for name in network.ann.outputs if name != "logits")
    found = snnc.tune(network, data=data, trials=3, output=hidden)
    assert found.metric == "cosine agreement"
    compared = snnc.compile(network, scale=found.scale).evaluate(data, hidden)
    assert compared.cosine == pytest.approx(found.value, abs=1e-3)  # the batches differ


def test_equal_metrics_go_to_the_largest_lambda(network: snnc.CalibratedNetwork) -> None:
    found = snnc.tune(network, data=DATA, trials=9, metric=lambda outputs, labels: 1.0)
    assert found.scale == 1.0


def test_a_model_is_calibrated_on_the_way() -> None:
    options: dict[str, Any] = {"data": DATA, "trials": 3}
    calibration = calibration_path("digits_mlp")
    whole = snnc.tune(model_path("digits_mlp"), calibration=calibration, **options)
    network = snnc.calibrate(model_path("digits_mlp"), calibration=calibration)
    assert whole == snnc.tune(network, **options)


def test_the_same_seed_finds_the_same(network: snnc.CalibratedNetwork, tmp_path: Path) -> None:
    def scales(**options: Any) -> list[float]:
        found = snnc.tune(network, data=DATA, trials=9, **options)
        return [trial.scale for trial in found.trials]

    first = scales()
    assert scales() == first
    assert scales(storage=f"sqlite:///{tmp_path}/s.db", study="s") == first
    assert scales(storage=f"journal:{tmp_path}/s.log", study="s") == first
    other = scales(seed=1)
    assert other[:6] == first[:6]
    assert other[6:] != first[6:]


# --- metric and energy --------------------------------------------------------------------------


def test_the_pareto_front_is_what_nothing_dominates(network: snnc.CalibratedNetwork) -> None:
    found = snnc.tune(network, data=DATA, trials=20, objective="pareto", tolerance=0.02)

    def dominates(a: Trial, b: Trial) -> bool:
        assert a.energy is not None
        assert b.energy is not None
        better = (a.value, -a.energy), (b.value, -b.energy)
        return all(x >= y for x, y in zip(*better, strict=True)) and better[0] != better[1]

    undominated = {t for t in found.trials if not any(dominates(o, t) for o in found.trials)}
    assert set(found.front) == undominated
    assert 1 < len(found.front) < 20
    best = max(trial.value for trial in found.trials)
    near = [t for t in found.front if t.value >= best - 0.02]
    assert found.energy == min(t.energy for t in near if t.energy is not None)
    compared = at(network, found.scale)
    assert compared.snn_top1 == found.value
    assert compared.energy.ratio_spikes == pytest.approx(found.energy, rel=1e-9)


def test_the_metric_alone_knows_no_energy(network: snnc.CalibratedNetwork) -> None:
    found = snnc.tune(network, data=DATA, trials=2)
    assert (found.energy, found.front) == (None, ())
    assert "front" not in found.summary()


@pytest.mark.parametrize(("tolerance", "scale"), [(0.0, 0.3), (0.01, 0.5), (0.2, 0.9), (1.0, 1.0)])
def test_tolerance_buys_a_larger_lambda(tolerance: float, scale: float) -> None:
    trials = [Trial(*t) for t in ((0.1, 0.9), (0.3, 0.9), (0.5, 0.895), (0.9, 0.8), (1.0, 0.1))]
    assert best_of(trials, tolerance).scale == scale


def test_energy_decides_before_lambda() -> None:
    trials = [Trial(0.2, 0.9, 0.5), Trial(0.4, 0.9, 0.6), Trial(0.3, 0.9, 0.5)]
    assert best_of(trials).scale == 0.3
    assert front_of(trials) == (trials[2],)


# --- what it costs ------------------------------------------------------------------------------


class Counting:
    """A metric that counts how often a network was run over the whole data."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, outputs: Outputs, labels: Array | None) -> float:
        self.calls += 1
        assert labels is not None
        return float((outputs["label"] == labels).mean())


def test_fifty_trials_cost_fifty_one_evaluations(network: snnc.CalibratedNetwork) -> None:
    counting = Counting()
    found = snnc.tune(network, data=DATA, metric=counting, trials=50)
    assert found.evaluations == counting.calls == 51
    assert found.metric == "Counting"


def test_an_equal_network_is_not_run_again(network: snnc.CalibratedNetwork) -> None:
    """All of the range rounds to the same float32 steps."""
    counting = Counting()
    narrow = (0.25, 0.25 * (1 + 1e-12))
    found = snnc.tune(network, data=DATA, metric=counting, trials=10, scale_range=narrow)
    assert len({trial.scale for trial in found.trials}) > 1
    assert found.evaluations == counting.calls == 2


def test_progress_tells_of_every_trial(network: snnc.CalibratedNetwork) -> None:
    phases: list[tuple[str, int, int | None]] = []
    tried: list[Trial] = []
    watch = snnc.Watch(progress=lambda *event: phases.append(event))
    found = snnc.tune(network, data=DATA, trials=3, watch=watch, told=tried.append)
    assert phases == [("searching lambda", n, 3) for n in (1, 2, 3, 3)]
    assert tuple(tried) == found.trials


# --- a user's metric ----------------------------------------------------------------------------


def test_a_metric_sees_every_output_of_all_samples(network: snnc.CalibratedNetwork) -> None:
    data = arrays()
    seen: list[tuple[Outputs, Array | None]] = []

    def metric(outputs: Outputs, labels: Array | None) -> float:
        seen.append((outputs, labels))
        return 0.0

    found = snnc.tune(network, data=data, trials=1, metric=metric)
    assert found.metric == "metric"
    spiking = snnc.compile(network, scale=found.scale).run(data)
    for (outputs, labels), wanted in zip(seen, (None, spiking), strict=True):
        assert {name: array.shape for name, array in outputs.items()} == {
            "label": (450,),
            "probabilities": (450, 10),
        }
        np.testing.assert_array_equal(labels, data["labels"])
        for name, array in (wanted or {}).items():
            np.testing.assert_array_equal(outputs[name], array)
    snnc.tune(network, data={"input": data["input"]}, trials=1, metric=metric)
    assert seen[-1][1] is None


def raising(outputs: Outputs, labels: Array | None) -> float:
    return float(outputs["nothing"][0])


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (raising, "the metric raised KeyError: 'nothing'"),
        (lambda outputs, labels: float("nan"), "the metric returned nan"),
        (lambda outputs, labels: -np.inf, "the metric returned -inf"),
        (lambda outputs, labels: None, "the metric raised TypeError"),
        (lambda outputs: 1.0, "the metric raised TypeError"),
    ],
)
def test_a_metric_that_fails_is_named(
    network: snnc.CalibratedNetwork, metric: Any, message: str
) -> None:
    with pytest.raises(snnc.CompileError) as raised:
        snnc.tune(network, data=DATA, trials=2, metric=metric)
    assert raised.value.message.startswith(message)
    assert raised.value.help


# --- the validation split -----------------------------------------------------------------------


def stream(data: Outputs, size: int) -> Iterator[Feeds]:
    for start in range(0, len(data["input"]), size):
        yield {name: array[start : start + size] for name, array in data.items()}


def test_a_stream_serves_every_trial(network: snnc.CalibratedNetwork) -> None:
    whole = snnc.tune(network, data=DATA, trials=4)
    assert snnc.tune(network, data=stream(arrays(), 37), trials=4) == whole


@pytest.mark.parametrize(("subsample", "count"), [(0.1, 45), (20, 20), (1e-6, 1), (9999, 450)])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_subsample_keeps_samples_and_labels_together(
    network: snnc.CalibratedNetwork, subsample: float, count: int, streamed: bool
) -> None:
    data = arrays()
    data["input"][:, 0] = np.arange(450)
    data["labels"] = np.arange(450)
    source: Any = stream(data, 37) if streamed else data
    kept = split_of(samples_of(source, network.ann), subsample, seed=3)
    rows = np.concatenate([feeds["input"] for feeds in kept.batches(16)])
    assert kept.count == len(rows) == count
    np.testing.assert_array_equal(rows[:, 0], kept.labels)
    assert len(np.unique(rows[:, 0])) == count
    assert max(len(feeds["input"]) for feeds in kept.batches(16)) <= 16
    again = split_of(samples_of(data, network.ann), subsample, seed=3)
    np.testing.assert_array_equal(again.labels, kept.labels)


def test_the_digest_is_that_of_the_samples(network: snnc.CalibratedNetwork) -> None:
    data = arrays()
    wanted = digest_of(samples_of(DATA, network.ann))
    assert digest_of(samples_of(data, network.ann)) == wanted
    assert digest_of(split_of(samples_of(stream(data, 64), network.ann))) == wanted
    for name in data:
        changed = data | {name: data[name].copy()}
        changed[name][7] += 1
        assert digest_of(samples_of(changed, network.ann)) != wanted


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": 0}, "0 trials find nothing"),
        ({"scale_range": (0.0, 1.0)}, "the range 0 to 1 is out of range"),
        ({"scale_range": (0.5, 0.2)}, "the range 0.5 to 0.2 is out of range"),
        ({"scale_range": (0.5, 1.5)}, "the range 0.5 to 1.5 is out of range"),
        ({"tolerance": -0.1}, "tolerance -0.1 is out of range"),
        ({"tolerance": float("nan")}, "tolerance nan is out of range"),
        ({"subsample": 0}, "subsample 0 is out of range"),
        ({"subsample": 2.5}, "subsample 2.5 is out of range"),
        ({"objective": "energy"}, "unknown objective 'energy'"),
        ({"output": "probabilites"}, "unknown output 'probabilites'"),
        ({"polarity": "both"}, "unknown polarity 'both'"),
        ({"neuron": "snf"}, "unknown neuron model 'snf'"),
        ({"study": "s"}, "a study is kept in a storage under a name"),
        ({"storage": "sqlite:///x.db"}, "a study is kept in a storage under a name"),
        ({"calibration": DATA}, "the network is calibrated already"),
    ],
)
def test_wrong_options_are_refused(
    network: snnc.CalibratedNetwork, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(snnc.CompileError) as raised:
        snnc.tune(network, data=DATA, **options)
    assert raised.value.message.startswith(message)


def test_a_model_needs_calibration_samples() -> None:
    with pytest.raises(snnc.CompileError, match="no samples to calibrate on"):
        snnc.tune(model_path("digits_mlp"), data=DATA)


def test_labels_must_be_classes(network: snnc.CalibratedNetwork) -> None:
    data = arrays()
    data["labels"] = data["labels"].astype(np.float32)
    with pytest.raises(snnc.CompileError, match="not class indices"):
        snnc.tune(network, data=data, trials=1)


def test_compile_takes_a_calibrated_network(network: snnc.CalibratedNetwork) -> None:
    calibration = calibration_path("digits_mlp")
    direct = snnc.compile(model_path("digits_mlp"), calibration=calibration, scale=0.3)
    assert snnc.compile(network, scale=0.3).graph == direct.graph
    for settled in ({"calibration": calibration}, {"keep": "x"}, {"encode_input": True}):
        with pytest.raises(snnc.CompileError, match="calibrated already"):
            snnc.compile(network, **settled)
