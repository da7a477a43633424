"""How lambda is chosen: decisions, the centred cosine, more levels where none is fine enough."""

from dataclasses import replace

import numpy as np
import pytest

import snnc
from snnc.fidelity import Agreement, centre_of, primary_output, varied
from snnc.ir.node import Statistics
from snnc.neurons.level_sets import Levels
from snnc.neurons.sfn import SFN
from snnc.prepare import prepare
from snnc.search.grid import ATTEMPTS, GRID, Choice, choose_scale
from tests.conftest import calibration_path, model_path
from tests.onnx_models import arrays, model


def test_decisions_that_hardly_differ_say_nothing() -> None:
    rows = np.zeros((40, 3), np.float32)
    rows[:, 1] = 1
    assert not varied([rows])
    rows[:3] = [1, 0, 0]
    assert varied([rows])
    assert varied([np.ones((4, 1), np.float32)])  # decides nothing


def test_the_centre_is_the_mean_where_outputs_vary() -> None:
    rows = [np.array([[1.0, 2.0], [3.0, 6.0]]), np.array([[2.0, 4.0]])]
    found = centre_of(rows)
    assert found is not None
    np.testing.assert_allclose(found, [2, 4])
    assert centre_of([np.ones((5, 2))]) is None
    assert centre_of([np.ones((1, 2))]) is None
    assert centre_of([np.ones((2, 2)), np.ones((2, 3))]) is None
    assert centre_of([np.array([[1.0, np.inf], [0.0, 1.0]])]) is None


def test_a_part_that_all_outputs_share_does_not_count() -> None:
    rng = np.random.default_rng(0)
    wanted = 100 + rng.standard_normal((50, 8))
    found = 100 + rng.standard_normal((50, 8))
    raw, centred = Agreement(), Agreement(centre_of([wanted]))
    raw.update(found, wanted)
    centred.update(found, wanted)
    assert raw.cosine > 0.999
    assert centred.cosine < 0.3


def test_dense_steps_never_saturate_on_what_calibration_saw() -> None:
    others: tuple[Levels, ...] = ("sformer", "linear", "exponential", "fitted")
    seen = Statistics(1000, 0.0, -3.0, 900.0, 0.0, -1.0, 2.0)
    positive, negative = SFN().steps_of(seen, 0.02, "separate")
    assert positive == np.float32(900 / 263)
    assert negative == np.float32(0.02)
    assert SFN().steps_of(seen, 0.02, "shared") == (positive, positive)
    for levels in others:
        neuron = SFN(levels=levels)
        assert neuron.steps_of(seen, 0.02, "separate") == pytest.approx((0.04, 0.02))


SPAN = 200.0


def wide_model() -> snnc.Graph:
    """A layer whose activations span orders of magnitude, all of which matter."""
    weights = arrays(0, w0=(16, 64), w1=(64, 8))
    weights["w0"] *= np.geomspace(1, SPAN, 64).astype(np.float32)
    weights["w1"] /= np.geomspace(1, SPAN, 64).astype(np.float32)[:, None]
    source = model(
        "g (float[N,16] x) => (float[N,8] y) { h = MatMul(x, w0) t = Relu(h) y = MatMul(t, w1) }",
        weights,
    )
    return snnc.load(source)


def test_more_levels_are_taken_where_no_lambda_is_fine_enough() -> None:
    data = {"x": np.random.default_rng(1).standard_normal((60, 16)).astype(np.float32)}
    plain = snnc.compile(wide_model(), calibration=data, fidelity=0.98, widen=False)
    wider = snnc.compile(wide_model(), calibration=data, fidelity=0.98)
    assert plain.report.choice is not None
    assert wider.report.choice is not None
    assert not plain.report.choice.reached
    assert wider.report.choice.fidelity > plain.report.choice.fidelity
    assert (plain.report.neuron, wider.report.neuron) == (SFN(), SFN(M=10))
    assert wider.report.warnings[0].startswith("no lambda keeps 0.98 with M = 8: the neuron has M")
    assert not any("M = 10" in warning for warning in plain.report.warnings)
    given = snnc.compile(wide_model(), neuron=SFN(), calibration=data, fidelity=0.98)
    assert given.report.neuron == SFN()


class Finisher:
    """Replaces the weights of the networks it is asked for: by noise of the given sizes in turn."""

    def __init__(self, *noise: float) -> None:
        self.noise = noise
        self.asked: list[snnc.Graph] = []

    def __call__(self, graph: snnc.Graph) -> snnc.Graph:
        noise = self.noise[len(self.asked)]
        self.asked.append(graph)
        rng = np.random.default_rng(3)
        consts = {
            name: (w + noise * w.std() * rng.standard_normal(w.shape)).astype(np.float32)
            if w.ndim == 2
            else w
            for name, w in graph.consts.items()
        }
        return replace(graph, consts=consts)


def chosen(finish: Finisher | None, grid: tuple[float, ...] = GRID) -> Choice:
    network = snnc.calibrate(model_path("digits_mlp"), calibration=calibration_path("digits_mlp"))
    output = primary_output(network.ann)
    return choose_scale(
        network.ann,
        network.graph(),
        SFN(),
        network.samples,
        output,
        0.97,
        grid=grid,
        finish=finish,
    )


def test_the_finished_network_must_agree_as_well() -> None:
    plain = chosen(None)
    assert plain.reached and plain.finished is None and plain.agreement == plain.fidelity
    same = chosen(Finisher(0.0))
    assert (same.scale, same.fidelity, same.finished) == (
        plain.scale,
        plain.fidelity,
        same.fidelity,
    )
    finish = Finisher(3.0, 0.0)
    second = chosen(finish)
    assert len(finish.asked) == 2
    assert second.scale < plain.scale
    assert second.reached and second.finished == second.agreement >= 0.97


def test_weights_that_lose_at_any_lambda_are_tried_a_few_times_only() -> None:
    """The best of the finished networks is taken, the larger lambda of equals."""
    first = chosen(None)
    finish = Finisher(3.0, 0.3, 0.3)
    found = chosen(finish)
    assert len(finish.asked) == ATTEMPTS == 3
    assert not found.reached
    assert found.finished is not None and 0.1 < found.finished == found.agreement < 0.97
    assert found.fidelity >= 0.97
    assert found.scale < first.scale


def test_a_network_that_agrees_nowhere_is_never_finished() -> None:
    finish = Finisher()
    found = chosen(finish, grid=(1.0, 0.9))
    assert not finish.asked and not found.reached and found.finished is None


@pytest.mark.parametrize("output", ["label", "probabilities"])
def test_labels_and_scores_are_chosen_by_decisions(output: str) -> None:
    ann, _ = prepare(model_path("digits_mlp"))
    names = {name for name in ann.outputs if output in name}
    if not names:
        pytest.skip(f"no output like {output}")
    network = snnc.compile(
        model_path("digits_mlp"), calibration=calibration_path("digits_mlp"), output=names.pop()
    )
    assert network.report.choice is not None
    assert network.report.choice.measure == "argmax"
