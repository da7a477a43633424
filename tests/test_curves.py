"""Curves and the ablation: every point is what compiling and evaluating would give."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest

import snnc
import snnc.calibrated
import snnc.evaluation
from snnc.curves import FIRE_FUNCTIONS, PERCENTILES
from snnc.data import Feeds
from snnc.evaluation import Evaluation
from snnc.fits import Recipe
from snnc.ir.neuron_spec import neuron_spec, spec_at
from snnc.runtime import Session
from tests.conftest import calibration_path, held_out_path, model_path
from tests.onnx_models import arrays, model

CNN = model_path("digits_cnn")
CALIBRATION = calibration_path("digits_cnn")


@cache
def calibrated() -> snnc.CalibratedNetwork:
    return snnc.calibrate(CNN, calibration=CALIBRATION)


@cache
def held_out() -> dict[str, Any]:
    with np.load(held_out_path("digits_cnn")) as loaded:
        return {name: array[:150] for name, array in loaded.items()}


def compiled_and_evaluated(**options: Any) -> Evaluation:
    network = snnc.compile(CNN, calibration=CALIBRATION, **options)
    return network.evaluate(held_out())


def assert_same(found: Evaluation, wanted: Evaluation) -> None:
    assert found.samples == wanted.samples == 150
    assert (found.ann_top1, found.snn_top1) == (wanted.ann_top1, wanted.snn_top1)
    assert found.agreement == wanted.agreement
    assert found.cosine == pytest.approx(wanted.cosine, abs=1e-6)
    assert found.energy.summary() == pytest.approx(wanted.energy.summary())


def test_a_point_is_the_network_compiled_at_that_lambda() -> None:
    neuron = snnc.SFN(levels="sformer", rule="eq11")
    study = snnc.lambda_curve(calibrated(), held_out(), neuron=neuron, scales=(0.6, 0.1))
    assert [point.scale for point in study.points] == [0.6, 0.1]
    for point in study.points:
        wanted = compiled_and_evaluated(neuron=neuron, scale=point.scale)
        assert_same(point.result, wanted)
        assert (point.metric_name, point.metric) == ("top-1", wanted.snn_top1)
    assert study.points[0].metric < study.points[1].metric
    assert study.ann_metric == study.points[0].result.ann_top1


def test_a_curve_takes_one_session_and_one_run_of_the_ann(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Any] = []
    runs: dict[int, int] = {}

    class Counting(Session):
        def __init__(self, *words: Any, **options: Any) -> None:
            super().__init__(*words, **options)
            made.append(self)

        def run(self, feeds: Any) -> Any:
            runs[id(self)] = runs.get(id(self), 0) + 1
            return super().run(feeds)

    monkeypatch.setattr(snnc.evaluation, "Session", Counting)
    scales = np.geomspace(1, 0.05, 7)
    snnc.lambda_curve(calibrated(), held_out(), scales=scales)
    ann, spiking = made
    assert runs[id(spiking)] % len(scales) == 0
    batches = runs[id(spiking)] // len(scales)
    assert runs[id(ann)] == batches + 2  # two to find the axis of the samples


def test_neurons_with_bounds_of_their_own_do_not_share_them() -> None:
    specs = ("aif", "aif:L=2", "aif:n_max=2")
    study = snnc.timesteps_curve(calibrated(), held_out(), neurons=specs, timesteps=(1,), scale=0.5)
    for point in study.points:
        assert_same(point.result, compiled_and_evaluated(neuron=point.neuron, scale=0.5))
    assert len({point.result.cosine for point in study.points}) == 3


def test_percentiles_share_one_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    network = calibrated()
    wanted = [compiled_and_evaluated(scale=0.3, percentile=p) for p in (0.0, 2.0)]

    def forbidden(*words: Any, **options: Any) -> None:
        raise AssertionError("calibrated again")

    monkeypatch.setattr(snnc.calibrated, "observe", forbidden)
    study = snnc.percentile_curve(network, held_out(), percentiles=(0.0, 2.0), scale=0.3)
    assert [point.percentile for point in study.points] == [0.0, 2.0]
    for point, expected in zip(study.points, wanted, strict=True):
        assert_same(point.result, expected)
    energies = [point.result.energy.ratio_spikes for point in study.points]
    assert energies[0] < energies[1]  # the thresholds fall with p


def test_without_a_lambda_each_percentile_takes_the_one_that_compile_would() -> None:
    study = snnc.percentile_curve(calibrated(), held_out(), percentiles=(0.0, 2.5))
    for point in study.points:
        network = snnc.compile(CNN, calibration=CALIBRATION, percentile=point.percentile)
        assert point.scale == network.report.scale


def test_the_ablation_has_every_fire_function_with_and_without_scaling() -> None:
    study = snnc.ablation(calibrated(), held_out(), neuron=snnc.SFN(M=6, rule="eq11"))
    plain, scaled = study.points[:4], study.points[4:]
    for points in (plain, scaled):
        assert tuple(p.neuron.parameters["levels"] for p in points) == FIRE_FUNCTIONS
    assert {p.scale for p in plain} == {1.0}
    assert all(p.neuron.parameters["M"] == 6 for p in study.points)
    for point in (plain[0], scaled[1]):
        network = snnc.compile(
            CNN,
            neuron=point.neuron,
            calibration=CALIBRATION,
            scale=point.scale if point in plain else None,
        )
        assert point.scale == network.report.scale
        assert_same(point.result, network.evaluate(held_out()))


def test_levels_of_equal_number_a_sign() -> None:
    for levels in ("linear", "exponential", "sformer"):
        assert len(snnc.SFN(M=8, levels=levels).level_values) == 16
    assert snnc.SFN(M=8, levels="linear").level_values.tolist() == list(range(1, 17))
    assert snnc.SFN(M=8, levels="exponential").level_values.tolist() == [2**k for k in range(16)]


def test_a_curve_over_timesteps_is_what_compiling_for_each_gives() -> None:
    neurons = ("if", "mtn:N=T@1")
    few = {name: array[:40] for name, array in held_out().items()}
    study = snnc.timesteps_curve(
        calibrated(), few, neurons=neurons, timesteps=(1, 4, 16), scale=1.0
    )
    assert [(p.series, p.at, p.timesteps) for p in study.points] == [
        *(("if", t, t) for t in (1, 4, 16)),
        *(("mtn:N=T@1", t, 1) for t in (1, 4, 16)),
    ]
    assert [p.neuron.parameters.get("N") for p in study.points[3:]] == [1, 4, 16]
    wanted = snnc.compile(
        CNN, neuron="if", calibration=CALIBRATION, scale=1.0, timesteps=4
    ).evaluate(few)
    found = study.points[1].result
    assert (found.snn_top1, found.agreement) == (wanted.snn_top1, wanted.agreement)
    assert found.cosine == pytest.approx(wanted.cosine, abs=1e-6)
    assert found.energy.summary() == pytest.approx(wanted.energy.summary())
    for curve in (study.points[:3], study.points[3:]):
        cosines = [p.result.cosine for p in curve]
        assert cosines == sorted(cosines)
    # at one timestep integrate-and-fire is the multi-threshold neuron of one level
    assert study.points[0].result.cosine == pytest.approx(study.points[3].result.cosine)
    assert study.summary()["points"][5]["neuron"] == "mtn:N=16"
    assert study.summary()["points"][2]["timesteps"] == 16


def test_without_a_lambda_each_number_of_timesteps_takes_the_one_that_compile_would() -> None:
    few = {name: array[:20] for name, array in held_out().items()}
    study = snnc.timesteps_curve(calibrated(), few, neurons=snnc.IF(), timesteps=(4,))
    network = snnc.compile(CNN, neuron=snnc.IF(), calibration=CALIBRATION, timesteps=4)
    assert study.points[0].scale == network.report.scale
    assert study.points[0].series == "if"


def test_neurons_with_their_timesteps_are_read_and_written() -> None:
    for text in ("if", "if@32", "mtn:N=16", "if:potential=0.25:reset=hard@8", "sfn:M=4"):
        assert str(neuron_spec(text)) == text
    assert str(spec_at("mtn:N=T@1", 8)) == "mtn:N=8"
    assert spec_at("if", 8) == neuron_spec("if@8")
    assert spec_at("mtn:N=T:potential=0", 4) == neuron_spec("mtn:N=4:potential=0.0@4")
    with pytest.raises(snnc.CompileError, match="no number of timesteps: 'x'"):
        neuron_spec("if@x")
    with pytest.raises(snnc.CompileError, match="N is no whole number: 'T'"):
        neuron_spec("mtn:N=T")


def test_the_metric_is_agreement_without_labels_and_a_stream_is_read_once() -> None:
    images = held_out()["input"]

    def stream() -> Iterator[Feeds]:
        yield from ({"input": images[i : i + 40]} for i in range(0, 120, 40))

    study = snnc.lambda_curve(calibrated(), stream(), scales=(0.4,))
    assert study.metric_name == "agreement"
    assert study.ann_metric == 1.0
    assert study.summary()["samples"] == 120
    assert study.summary()["ann"] == {"top1": None}


def test_the_metric_is_cosine_where_nothing_is_decided() -> None:
    proto = model(
        """g (float[N, 6] x) => (float[N, 1] y) {
            h = MatMul (x, w)  t = Tanh (h)  y = MatMul (t, v) }""",
        arrays(1, w=(6, 8), v=(8, 1)),
    )
    data = arrays(2, x=(40, 6))
    study = snnc.lambda_curve(snnc.calibrate(proto, calibration=data), data, scales=(0.5, 0.1))
    assert study.metric_name == "cosine"
    assert study.points[0].metric < study.points[1].metric <= 1


def test_recipes_reach_the_networks() -> None:
    shared = snnc.lambda_curve(
        calibrated(), held_out(), scales=(0.3,), recipe=Recipe(polarity="shared", pj_ac=1.8)
    )
    wanted = compiled_and_evaluated(scale=0.3, polarity="shared")
    ratio = shared.points[0].result.energy.ratio_spikes_eq44
    assert ratio == pytest.approx(2 * wanted.energy.ratio_spikes_eq44)


def test_bad_curves_are_refused() -> None:
    for scales in ((), (0.0,), (1.5,)):
        with pytest.raises(snnc.CompileError):
            snnc.lambda_curve(calibrated(), held_out(), scales=scales)
    with pytest.raises(snnc.CompileError, match="percentile 50"):
        snnc.percentile_curve(calibrated(), held_out(), percentiles=(50.0,), scale=0.3)
    assert PERCENTILES[0] == 0
    for times in ((), (0,), (5000,)):
        with pytest.raises(snnc.CompileError, match="timesteps"):
            snnc.timesteps_curve(calibrated(), held_out(), timesteps=times)


def test_what_is_no_calibrated_network_is_one_error() -> None:
    for study in (snnc.lambda_curve, snnc.percentile_curve, snnc.timesteps_curve, snnc.ablation):
        with pytest.raises(snnc.CompileError, match="a str is no calibrated network"):
            study("m.onnx", "data.npz")  # type: ignore[arg-type]
