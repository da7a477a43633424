"""The native library: how it is found, loaded and chosen, and what it says of bad nodes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import TensorProto

import snnc
from snnc.cli import main
from snnc.kernels import active_instruction_set, instruction_sets, using_instruction_set
from tests.conftest import calibration_path, compiled_network, held_out_path, model_path
from tests.single_operations import LIBRARY, fire, needs_library, neuron_model, open_model, refusal


@needs_library
def test_the_library_is_found_and_names_the_instruction_sets() -> None:
    assert snnc.kernel_library() == LIBRARY
    assert instruction_sets()[-1] == "base"
    assert active_instruction_set() == instruction_sets()[0]
    with using_instruction_set("base"):
        assert active_instruction_set() == "base"
    assert active_instruction_set() == instruction_sets()[0]
    with pytest.raises(ValueError, match="no kernels for 'mmx'"), using_instruction_set("mmx"):
        pass


def test_info_says_which_kernels_run() -> None:
    result = CliRunner().invoke(main, ["info"])
    assert result.exit_code == 0
    assert "function bodies" in result.output if LIBRARY is None else str(LIBRARY) in result.output
    document = json.loads(CliRunner().invoke(main, ["info", "--json"]).output)
    assert document["instruction_sets"] == list(instruction_sets())
    assert document["onnxruntime"] == onnxruntime.__version__


def test_without_the_library_function_bodies_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = compiled_network("digits_vit")
    network.save(tmp_path / "a.onnx")
    x = np.load(held_out_path("digits_vit"))["input"][:20]
    native = snnc.session(tmp_path / "a.onnx", threads=1).run(None, {"input": x})[0]
    monkeypatch.setattr("snnc.runtime.kernel_library", lambda: None)
    bodies = snnc.session(tmp_path / "a.onnx", threads=1).run(None, {"input": x})[0]
    assert (native.argmax(1) == bodies.argmax(1)).all()
    assert np.abs(native - bodies).max() <= 0.05 * np.abs(bodies).max()


@pytest.mark.parametrize("threads", [0, -1, 1.5, "x"])
def test_session_refuses_a_number_of_threads(threads: Any, tmp_path: Path) -> None:
    with pytest.raises(snnc.CompileError, match="threads must be an integer from 1 on"):
        snnc.session(tmp_path / "a.onnx", threads=threads)


def test_session_refuses_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no model")
    with pytest.raises(snnc.CompileError, match="onnxruntime cannot load"):
        snnc.session(tmp_path / "a.onnx")
    with pytest.raises(snnc.CompileError, match="onnxruntime cannot load"):
        snnc.session(tmp_path / "missing.onnx")


@needs_library
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (7,), (2, 3, 4, 5, 6), (100003,)])
def test_inputs_of_any_shape(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = snnc.SFN().step(x, 0.5, 0.25)
    y = fire(neuron_model(), x)
    assert y.shape == shape
    assert y.tobytes() == expected.astype(np.float32).tobytes()


@needs_library
@pytest.mark.parametrize("count", [17, 18, 30])
def test_more_dimensions_than_the_kernels_know_are_refused(count: int) -> None:
    assert "more than 16 dimensions" in refusal_of_rank(count)


def refusal_of_rank(rank: int) -> str:
    with pytest.raises(Exception, match="dimensions") as caught:
        fire(neuron_model(), np.zeros((1,) * rank, np.float32))
    return str(caught.value)


@needs_library
@pytest.mark.parametrize("offset", [1, 2, 3, 5])
def test_inputs_that_are_not_aligned(offset: int) -> None:
    x = np.random.default_rng(offset).normal(size=1000 + offset).astype(np.float32)[offset:]
    assert fire(neuron_model(), x).tobytes() == snnc.SFN().step(x, 0.5, 0.25).tobytes()


@needs_library
@pytest.mark.parametrize(
    "shapes",
    [
        ((4,), (4,)),
        ((3, 1, 1), ()),
        ((), (3, 1, 1)),
        ((3, 1, 1), (4,)),
        ((2, 1, 1, 1), (1, 1, 5, 1)),
    ],
)
def test_steps_broadcast(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 5, 4)).astype(np.float32)
    steps = tuple(rng.uniform(0.05, 0.3, shape).astype(np.float32) for shape in shapes)
    expected = snnc.SFN().step(x, *(np.broadcast_to(s, x.shape) for s in steps))
    assert fire(neuron_model(steps), x).tobytes() == expected.tobytes()


@needs_library
def test_bad_nodes_are_refused_with_their_name() -> None:
    assert "'layer': M must be from 1 to 10, not 11" in refusal(neuron_model(M=11))
    assert "M must be from 1 to 10, not 0" in refusal(neuron_model(M=0))
    assert "bound must be positive" in refusal(neuron_model(bound=-1.0))
    assert "limit must be at least 0" in refusal(neuron_model(limit=-1))
    counts = neuron_model(op_type="SfnDenseNearestBothCount", output=TensorProto.UINT8)
    assert "levels up to 263 do not fit a byte: at most 127" in refusal(counts)
    assert "steps of shape [5] do not broadcast" in refusal(neuron_model((np.ones(5), 1.0)))
    wide = neuron_model((np.ones((2, 2, 3)), 1.0))
    assert "do not broadcast to inputs of shape [2,3]" in refusal(wide)


@needs_library
def test_fitted_levels_out_of_range_are_refused() -> None:
    def refused(**sizes: Any) -> str:
        return refusal(neuron_model(op_type="SfnFittedNearestBoth", **sizes))

    assert "K must be from 1 to 8, not 9" in refused(N=8, K=9, S=1)
    assert "N must be from 1 to 1024, not 1025" in refused(N=1025, K=9, S=1)
    assert "S must be a power of two, not 3" in refused(N=8, K=4, S=3)
    assert "levels reach beyond 524288" in refused(N=21, K=1, S=1)
    assert "levels reach beyond 524288" in refused(N=1024, K=1, S=1)


@needs_library
def test_a_node_without_its_parameters_is_refused() -> None:
    node = onnx.load_from_string(neuron_model())
    del node.graph.node[0].attribute[:]
    assert "the integer attribute 'M' is missing" in refusal(node.SerializeToString())


@needs_library
@pytest.mark.parametrize("name", instruction_sets())
@pytest.mark.parametrize("sides", ["Both", "Positive", "Negative"])
def test_counts_are_bytes_around_a_zero_point(name: str, sides: str) -> None:
    positive, negative = sides in ("Both", "Positive"), sides in ("Both", "Negative")
    x = np.concatenate(
        [np.linspace(-200, 200, 8001), [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40]]
    ).astype(np.float32)
    limit = 127 if negative else 255
    model = neuron_model(
        (0.5, 0.5),
        f"SfnDenseNearest{sides}LimitedCount",
        TensorProto.UINT8,
        limit=limit,
    )
    steps = 0.5 * positive, 0.5 * negative
    expected = snnc.SFN(limit=limit).count(x, *steps) + (128 if negative else 0)
    with using_instruction_set(name):
        y = fire(model, x)
    assert y.dtype == np.uint8
    assert y.tolist() == expected.tolist()


@needs_library
def test_sessions_made_and_run_by_eight_threads_at_once() -> None:
    model = neuron_model()
    x = np.random.default_rng(0).normal(size=(8, 4096)).astype(np.float32)
    expected = snnc.SFN().step(x, 0.5, 0.25).tobytes()

    def work(_: int) -> bool:
        return all(fire(model, x).tobytes() == expected for _ in range(5))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


@needs_library
@pytest.mark.parametrize("name", ["digits_cnn", "digits_vit"])
def test_integer_networks_in_eight_threads_at_once(name: str, tmp_path: Path) -> None:
    """Sessions of their own and one that all share, each with two threads of onnxruntime's."""
    data = calibration_path(name)
    snnc.compile(model_path(name), synapses="int8", scale=0.1, calibration=data).save(
        tmp_path / "a.onnx"
    )
    x = np.load(held_out_path(name))["input"][:16]
    shared = snnc.session(tmp_path / "a.onnx", threads=2)
    expected = shared.run(None, {"input": x})[0].tobytes()

    def work(_: int) -> bool:
        own = snnc.session(tmp_path / "a.onnx", threads=2)
        return all(s.run(None, {"input": x})[0].tobytes() == expected for s in (own, shared) * 3)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


@needs_library
def test_shapes_are_inferred_through_the_operations() -> None:
    session = open_model(neuron_model(shape=("batch", 3, 4)))
    assert session.get_outputs()[0].shape == ["batch", 3, 4]
    assert session.get_outputs()[0].type == "tensor(float)"
