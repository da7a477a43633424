"""Networks that do not look like the usual classifier: batch axes, layouts, outputs, files."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import snnc
from snnc.data import samples_of
from snnc.evaluation import evaluate, run
from snnc.files import replacing, require_writable
from snnc.ir.node import Array
from tests.onnx_models import model as text_model

RNG = np.random.default_rng(3)
W: dict[str, Array] = {
    "w0": RNG.standard_normal((8, 16)).astype(np.float32) / 2,
    "w1": RNG.standard_normal((16, 4)).astype(np.float32) / 3,
    "one": RNG.standard_normal((16, 1)).astype(np.float32) / 3,
}
ROWS: Array = RNG.standard_normal((40, 8)).astype(np.float32)


def mlp(
    inputs: str = "float[n,8] x", tail: str = "y = MatMul(r, w1)", out: str = "y"
) -> ModelProto:
    body = f"h = MatMul(x, w0) r = Relu(h) {tail}"
    return text_model(f"g ({inputs}) => ({out}) {{ {body} }}", W)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("scale", [None, 0.2])
def test_a_fixed_batch_axis(batch: int, scale: float | None) -> None:
    model = mlp(f"float[{batch},8] x", out=f"float[{batch},4] y")
    network = snnc.compile(model, calibration=ROWS, scale=scale)
    assert network.report.calibration_samples == 40
    outputs = network.run(ROWS)["y"]
    free = snnc.compile(mlp(out="float[n,4] y"), calibration=ROWS, scale=network.report.scale)
    np.testing.assert_allclose(outputs, free.run(ROWS)["y"], rtol=1e-4, atol=1e-5)
    result = network.evaluate({"x": ROWS, "labels": outputs.argmax(axis=1)})
    assert (result.samples, result.snn_top1) == (40, 1.0)
    energies = [n.energy(ROWS).ratio_spikes for n in (network, free)]
    assert energies[0] == pytest.approx(energies[1], rel=1e-3)


def test_a_network_without_a_batch_axis() -> None:
    model = mlp("float[8] x", out="float[4] y")
    network = snnc.compile(model, calibration=ROWS)
    free = snnc.compile(mlp(out="float[n,4] y"), calibration=ROWS, scale=network.report.scale)
    np.testing.assert_allclose(network.run(ROWS)["y"], free.run(ROWS)["y"], rtol=1e-4, atol=1e-5)
    streamed = snnc.compile(model, calibration=iter([{"x": ROWS}]), scale=0.2)
    assert streamed.report.calibration_samples == 40


def test_an_extra_axis_is_no_batch_of_batches() -> None:
    with pytest.raises(snnc.CompileError, match="has shape"):
        snnc.compile(mlp(out="float[n,4] y"), calibration=ROWS.reshape(8, 5, 8))


def test_a_single_real_number_decides_nothing() -> None:
    regression = mlp(tail="y = MatMul(r, one)", out="float[n,1] y")
    network = snnc.compile(regression, calibration=ROWS)
    assert network.report.choice is not None
    assert network.report.choice.measure == "cosine"
    labelled: dict[str, Array] = {"x": ROWS, "labels": np.zeros(40, np.int64)}
    result = network.evaluate(labelled)
    assert result.agreement is None
    assert (result.ann_top1, result.snn_top1) == (None, None)
    assert 0.9 < result.cosine < 1


def test_whole_numbers_are_compared_as_they_are() -> None:
    tail = "y = MatMul(r, w1) label = ArgMax<axis = 1, keepdims = 0>(y)"
    model = mlp(tail=tail, out="float[n,4] y, int64[n] label")
    network = snnc.compile(model, calibration=ROWS, scale=0.9)
    by_scores = network.evaluate(ROWS, output="y").agreement
    by_label = network.evaluate(ROWS, output="label").agreement
    assert by_label == by_scores
    assert by_label is not None
    assert by_label < 1


def test_nan_in_a_bias_is_refused() -> None:
    tail = "p = MatMul(r, w1) y = Add(p, b)"
    weights: dict[str, Array] = {**W, "b": np.array([0, np.nan, 0, 0], np.float32)}
    text = f"g (float[n,8] x) => (float[n,4] y) {{ h = MatMul(x, w0) r = Relu(h) {tail} }}"
    with pytest.raises(snnc.CompileError, match="%b holds NaN") as raised:
        snnc.compile(text_model(text, weights), calibration=ROWS)
    assert raised.value.at is not None


def test_outputs_that_are_not_finite_agree_with_nothing() -> None:
    tail = "p = MatMul(r, w1) q = Sub(p, p) y = Div(p, q)"
    with pytest.raises(snnc.CompileError, match="not finite"):
        snnc.compile(mlp(tail=tail, out="float[n,4] y"), calibration=ROWS)


def test_an_output_that_mixes_the_batch_is_computed_by_the_sample() -> None:
    tail = "y = MatMul(r, w1) m = ReduceMean<axes = [0], keepdims = 0>(y)"
    text = (
        f"g (float[n,8] x) => (float[n,4] y, float[4] m) {{ h = MatMul(x, w0) r = Relu(h) {tail} }}"
    )
    graph = snnc.load(text_model(text, W))
    outputs = run(graph, samples_of(ROWS, graph))
    np.testing.assert_allclose(outputs["m"], outputs["y"], rtol=1e-4, atol=1e-6)
    assert evaluate(graph, graph, samples_of(ROWS, graph), "m").samples == 40


def test_a_constant_output_is_given_once() -> None:
    text = (
        "g (float[n,8] x) => (float[n,16] y, float[16,4] c) { y = MatMul(x, w0) c = Identity(w1) }"
    )
    graph = snnc.load(text_model(text, W))
    outputs = run(graph, samples_of(ROWS, graph))
    assert outputs["y"].shape == (40, 16)
    assert outputs["c"].shape[-2:] == (16, 4)


def test_open_dimensions_that_must_fit_are_taken_from_the_samples() -> None:
    """Channels are open in the file; only samples tell that there are three."""
    weight = RNG.standard_normal((5, 3, 3, 3)).astype(np.float32)
    second = RNG.standard_normal((4, 5, 3, 3)).astype(np.float32)
    text = (
        "g (float[n,c,h,w] x) => (float[n,4,p,q] y) { a = Conv(x, k) r = Relu(a) y = Conv(r, l) }"
    )
    images = RNG.standard_normal((6, 3, 9, 9)).astype(np.float32)
    model = text_model(text, {"k": weight, "l": second})
    network = snnc.compile(model, calibration=images, scale=0.2)
    assert network.report.coverage.spiking_fraction == 1.0
    assert network.run(images)["y"].shape == (6, 4, 5, 5)


def transformerish(layout: str) -> ModelProto:
    """Embeds tokens and projects them, with samples first, positions first, or flattened."""
    table = np.random.default_rng(4).standard_normal((30, 8)).astype(np.float32)
    table[29] = 1000.0
    consts: dict[str, Array] = {
        **W,
        "table": table,
        "flat": np.array([-1, 8], np.int64),
        "cls": np.ones((1, 1, 8), np.float32),
        "head": np.array([0], np.int64),
        "tail": np.array([1], np.int64),
    }
    moves = {
        "samples": "e = Identity(t)",
        "positions": "e = Transpose<perm = [1, 0, 2]>(t)",
        "flat samples": "e = Reshape(t, flat)",
        "flat positions": "u = Transpose<perm = [1, 0, 2]>(t) e = Reshape(u, flat)",
        "longer": (
            "s = Shape(t) f = Slice(s, head, tail) g = Concat<axis = 0>(f, tail, tail) "
            "k = Expand(cls, g) e = Concat<axis = 1>(k, t)"
        ),
    }
    body = f"t = Gather(table, ids) {moves[layout]} h = MatMul(e, w0) r = Relu(h) z = MatMul(r, w1)"
    outputs = "y = ReduceSum<keepdims = 0>(z)"
    text = f"g (int64[n,s] ids, int64[n,s] mask) => (float y) {{ {body} {outputs} }}"
    return text_model(text, consts)


def token_samples(padding: int) -> dict[str, Array]:
    ids = np.random.default_rng(5).integers(0, 29, (12, 6))
    junk = np.full((12, padding), 29)
    mask = np.concatenate([np.ones_like(ids), np.zeros_like(junk)], axis=1)
    return {"ids": np.concatenate([ids, junk], axis=1), "mask": mask}


@pytest.mark.parametrize("layout", ["samples", "positions", "flat samples", "flat positions"])
@pytest.mark.parametrize("padding", [2, 10])
def test_masked_positions_are_left_out_in_every_layout(layout: str, padding: int) -> None:
    steps = []
    for data in (token_samples(0), token_samples(padding)):
        network = snnc.compile(
            transformerish(layout), calibration=data, mask_input="mask", scale=0.5
        )
        graph = network.graph
        steps.append([float(graph.consts[s]) for n in graph.neurons for s in n.inputs[1:] if s])
    assert steps[0] == pytest.approx(steps[1], rel=1e-5)


def test_positions_that_cannot_be_told_are_refused_and_named() -> None:
    with pytest.raises(snnc.CompileError, match="cannot tell which entries") as raised:
        snnc.compile(transformerish("longer"), calibration=token_samples(2), mask_input="mask")
    assert raised.value.at is not None
    assert "Concat" in raised.value.at


def external_model(directory: Path) -> Path:
    tensor = numpy_helper.from_array(W["w0"], "w0")
    node = helper.make_node("MatMul", ["x", "w0"], ["y"])
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("x", "y")]
    graph = helper.make_graph([node], "g", info[:1], info[1:], [tensor])
    path = directory / "m.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]),
        str(path),
        save_as_external_data=True,
        location="out.onnx.data",
        size_threshold=0,
    )
    return path


def test_no_output_destroys_an_input(tmp_path: Path) -> None:
    model = external_model(tmp_path)
    sources = (model, tmp_path / "data.npz", tmp_path / "out.onnx.data")
    np.savez(sources[1], x=ROWS)
    for out in (*sources, tmp_path / "out.onnx"):
        with pytest.raises(snnc.CompileError, match="would be overwritten"):
            require_writable(out, *sources)
    require_writable(tmp_path / "other.onnx", *sources)


def test_links_are_followed_modes_kept_and_devices_refused(tmp_path: Path) -> None:
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)
    with replacing(link) as directory:
        (directory / "link.txt").write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o600
    with pytest.raises(snnc.CompileError, match="not a regular file"):
        require_writable(Path("/dev/null"))
    with pytest.raises(snnc.CompileError, match="cannot write"):
        require_writable(tmp_path / ("x" * 300))


@pytest.mark.parametrize("wrong", [1.5, 7])
def test_what_is_no_data_is_refused(wrong: object) -> None:
    with pytest.raises(snnc.CompileError, match="holds no samples"):
        snnc.compile(mlp(out="float[n,4] y"), calibration=wrong)  # type: ignore[arg-type]


def test_names_of_neurons_and_polarities_are_checked() -> None:
    named = snnc.compile(mlp(out="float[n,4] y"), neuron="sfn", calibration=ROWS, scale=0.3)
    assert named.report.neuron == snnc.SFN()
    with pytest.raises(snnc.CompileError, match="did you mean 'shared'"):
        snnc.compile(
            mlp(out="float[n,4] y"),
            calibration=ROWS,
            polarity="sharde",  # type: ignore[arg-type]
        )


def test_nodes_from_a_call_remember_it_and_can_be_kept_by_its_name() -> None:
    functions = """<domain: "local", opset_import: ["" : 17]>
        block (a, w, v) => (c) { b = MatMul (a, w) r = Relu (b) c = MatMul (r, v) }"""
    body = "c = local.block (x, w0, w1) t = Tanh (c) y = MatMul (t, square)"
    text = f"g (float[n,8] x) => (float[n,4] y) {{ {body} }}"
    weights: dict[str, Array] = {**W, "square": np.eye(4, dtype=np.float32)}
    source = text_model(text, weights, domains={"local": 1}, functions=functions)
    source.graph.node[0].name = "first"
    graph = snnc.load(source)
    names = [node.loc.names for node in graph.nodes]
    assert names[:3] == [
        ("first/MatMul", "first"),
        ("first/Relu", "first"),
        ("first/MatMul#4", "first"),
    ] or all(loc[-1] == "first" for loc in names[:3])
    kept = snnc.compile(source, calibration=ROWS, keep=("first",), scale=0.3)
    assert kept.report.sites == 1


def test_damaged_artifacts_end_in_one_error(tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    snnc.compile(mlp(out="float[n,4] y"), calibration=ROWS, scale=0.3).save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damaged))
        try:
            graph = snnc.load(path)
            run(graph, samples_of(ROWS, graph))
        except snnc.CompileError:
            refused += 1
    assert refused > 0


def test_the_library_protects_its_inputs_too(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(mlp(out="float[n,4] y"), str(path))
    network = snnc.compile(path, calibration=ROWS, scale=0.3)
    with pytest.raises(snnc.CompileError, match="would be overwritten"):
        network.save(path)
    network.save(tmp_path / "out.onnx")


def test_streams_carry_their_labels() -> None:
    network = snnc.compile(mlp(out="float[n,4] y"), calibration=ROWS, scale=0.3)
    labels = network.run(ROWS)["y"].argmax(axis=1)
    parts = [{"x": ROWS[i : i + 7], "labels": labels[i : i + 7]} for i in range(0, 40, 7)]
    assert network.evaluate(iter(parts)).snn_top1 == 1.0
    half = [parts[0], {"x": ROWS[7:9]}]
    with pytest.raises(snnc.CompileError, match="some have none"):
        network.evaluate(half)


def test_few_samples_are_warned_of_and_odd_arguments_refused() -> None:
    few = snnc.compile(mlp(out="float[n,4] y"), calibration=ROWS[:10])
    assert any("10 samples only" in warning for warning in few.report.warnings)
    with pytest.raises(snnc.CompileError, match="is no neuron model"):
        snnc.compile(mlp(), neuron=snnc.SFN, calibration=ROWS)  # type: ignore[arg-type]
    with pytest.raises(snnc.CompileError, match="is no model"):
        snnc.compile(b"model", calibration=ROWS)  # type: ignore[arg-type]
    with pytest.raises(snnc.CompileError, match="other values than 0 and 1"):
        tokens = token_samples(2)
        snnc.compile(transformerish("samples"), calibration=tokens, mask_input="ids")


def test_arithmetic_on_shapes_is_no_computing_on_activations() -> None:
    """A scale taken from a shape at run time is layout; a scale taken from data is analog."""
    body = (
        "h = MatMul(x, w0) r = Relu(h) s = Shape(x) f = Cast<to = 1>(s) q = Sqrt(f) "
        "p = MatMul(r, w1) m = ReduceMax<keepdims = 0>(q) y = Div(p, m)"
    )
    checked = snnc.compile(
        text_model(f"g (float[n,8] x) => (float[n,4] y) {{ {body} }}", W),
        calibration=ROWS,
        scale=0.3,
    )
    assert {entry["op"] for entry in checked.report.coverage.analog} == {"Div"}
