"""What a chip takes of a network: per layer what fits, why not, and a way out that is one."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import snnc
from snnc.backends.schedule.demands import Spikes, demands
from snnc.backends.schedule.feasibility import Finding, findings, require_fit, total_cores
from snnc.backends.schedule.fixes import fewer_levels
from snnc.backends.schedule.layers import Network
from snnc.backends.schedule.operations import needed
from snnc.backends.schedule.sending import sent
from snnc.cli import main
from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.rate_neuron import rate_neuron
from snnc.scheduling import network_for
from snnc.target_check import check_target
from snnc.targets import Operation, Target, load_target, target_names
from tests.conftest import calibration_path, model_path
from tests.onnx_models import arrays, model
from tests.test_cli import GOLDEN

GENERIC = load_target("generic")


def network_of(graph: Graph) -> Network:
    """The layers of a network with the weights that it was compiled with."""
    return network_for(graph, GENERIC)


MODELS = ("digits_mlp", "digits_cnn", "digits_vit", "digits_encoder")


@cache
def layers(name: str, neuron: str = "sfn", encode: bool = False) -> Network:
    data = calibration_path(name)
    if neuron == "ttfs":
        timed = snnc.compile_spike_times(model_path(name), neuron=neuron, calibration=data)
        return network_of(timed.graph)
    text, _, timesteps = neuron.partition("@")
    return network_of(
        snnc.compile(
            model_path(name),
            neuron=text,
            calibration=data,
            scale=0.5,
            timesteps=int(timesteps or 1),
            encode_input=encode,
            mask_input="attention_mask" if name == "digits_encoder" else None,
        ).graph
    )


def found(network: Network, target: Target, host: bool = False) -> dict[str, Finding]:
    return {each.name: each for each in findings(network, target, host=host)}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("target", ["generic", "spinnaker2"])
def test_everything_fits_where_everything_is_allowed(name: str, target: str) -> None:
    require_fit(layers(name), load_target(target))


@pytest.mark.parametrize("neuron", ["if@4", "ttfs"])
def test_several_timesteps_and_spike_times_fit_generic(neuron: str) -> None:
    require_fit(layers("digits_mlp", neuron), GENERIC)


def test_what_layers_need() -> None:
    operations = {each.name: set(each.operations) for each in demands(layers("digits_vit"))}
    first = "/blocks/blocks.0"
    wanted: dict[str, set[Operation]] = {
        "/patches/Conv": {"real-input"},
        f"{first}/norm1/LayerNormalization": {"normalisation"},
        f"{first}/MatMul": {"product"},
        f"{first}/Softmax": {"softmax"},
        f"{first}/mlp/mlp.0/MatMul": {"synapses", "activation-function"},
        f"{first}/mlp/mlp.2/MatMul": {"synapses", "sum"},
        "/head/Gemm": {"synapses"},
    }
    for name, expected in wanted.items():
        assert operations[name] == expected, name
    network = layers("digits_vit")
    for layer, demand in zip(network.layers[1:], demands(network), strict=True):
        assert needed(network, layer) == demand.operations
    assert all(set(d.operations) <= GENERIC.operations for d in demands(network))


def test_spike_times_need_kernels() -> None:
    asked = demands(layers("digits_mlp", "ttfs"))
    inside = [each for each in asked if not each.outside]
    assert inside and all("spike-time-kernel" in each.operations for each in inside)
    windows = {each.spikes.window for each in asked if each.spikes}
    assert windows == {1024}
    assert {each.spikes.top for each in asked if each.spikes} == {1}


def test_synapses_of_a_neuron_are_those_of_the_weights() -> None:
    network = layers("digits_cnn")
    sizes = {each.name: (each.synapses, each.weights) for each in demands(network)}
    consts = network.graph.consts
    for layer in network.layers:
        for each in layer.connections:
            if each.kind == "synapses" and each.neurons is not None:
                array = next(consts[v] for v in each.op.inputs[1:2])
                turned = each.op.op_type == "Gemm" and each.op.integer("transB", 0)  # type: ignore[union-attr]
                depth = array[0].size if turned or array.ndim == 4 else array.shape[0]
                assert sizes[layer.name] == (depth, array.size)


def one_layer(body: str, w: tuple[int, ...], x: str = "N,4") -> Network:
    source = model(
        f"g (float[{x}] x) => (float[N,?] y) {{ h = MatMul(x, v) r = Relu(h) {body} }}",
        arrays(0, v=(4, 6), w=w),
    )
    return network_of(snnc.compile(source, calibration="random", scale=0.5).graph)


@pytest.mark.parametrize(
    ("body", "w", "depth"),
    [
        ("y = MatMul(r, w)", (6, 3), 6),
        ("y = Gemm <transB = 1> (r, w)", (3, 6), 6),
        ("a = Add(r, r) y = MatMul(a, w)", (6, 3), 6),
    ],
)
def test_depth_of_products(body: str, w: tuple[int, ...], depth: int) -> None:
    last = demands(one_layer(body, w))[-1]
    assert last.synapses + last.signed_synapses == depth


def test_padding_without_a_value_is_nowhere() -> None:
    source = model(
        "g (float[N,1,4] x) => (float[N,2,4] y)"
        " { p = Pad(x, pads) h = Conv(p, v) r = Relu(h) y = Conv(r, w) }",
        arrays(0, v=(2, 2, 1), w=(2, 2, 1)) | {"pads": np.array([0, 1, 0, 0, 0, 0])},
    )
    graph = snnc.compile(source, calibration="random", scale=0.5).graph
    network = network_of(graph)
    read = [each for layer in network.layers for each in layer.connections if each.place == 0]
    assert read[0].cells.tolist() == [[[-1, -1, -1, -1], [0, 1, 2, 3]]]


def test_a_choice_that_depends_on_the_data_is_computed_not_moved() -> None:
    body = "h = MatMul(x, v) g = MatMul(x, u) b = Less(h, g) c = Where(b, h, two) y = MatMul(c, w)"
    source = model(
        f"g (float[N,4] x) => (float[N,3] y) {{ {body} }}",
        arrays(0, v=(4, 6), u=(4, 6), w=(6, 3)) | {"two": np.full((), 2, np.float32)},
    )
    graph = snnc.compile(source, calibration="random", scale=0.5).graph
    asked = demands(network_of(graph))
    needs = {operation for each in asked for operation in each.operations}
    assert "other" in needs
    assert not any(each.outside for each in asked)


SPIKES = {
    "graded": (Spikes(7, False), {"payload_bits": 3}, ("graded", 3, 1, 1)),
    "with a sign": (Spikes(7, True), {"payload_bits": 4}, ("graded", 3, 1, 1)),
    "no room for the sign": (Spikes(7, True), {"payload_bits": 3}, ("bit-plane", 3, 3, 1)),
    "address for each sign": (
        Spikes(7, True),
        {"payload_bits": 3, "signed_payload": False},
        ("graded", 3, 1, 2),
    ),
    "binary": (Spikes(1, False), {"payload_bits": 1, "signed_payload": False}, ("graded", 1, 1, 1)),
    "planes": (
        Spikes(9, False),
        {"payload_bits": 1, "signed_payload": False},
        ("bit-plane", 4, 4, 1),
    ),
    "unary": (
        Spikes(9, True),
        {"payload_bits": 1, "signed_payload": False, "bit_planes": False},
        ("unary", 4, 9, 2),
    ),
    "window": (Spikes(1, False, None, 64), {"payload_bits": 1}, ("graded", 1, 64, 1)),
    "none": (Spikes(9, False), {"payload_bits": 3, "timesteps": False}, None),
}


@pytest.mark.parametrize("case", SPIKES)
def test_sending(case: str) -> None:
    spikes, changes, expected = SPIKES[case]
    travels = sent(spikes, replace(GENERIC, **changes))  # type: ignore[arg-type]
    if expected is None:
        assert travels is None
    else:
        assert travels is not None
        ways = (travels.sending, travels.bits, travels.ticks, travels.polarities)
        assert ways == expected


@pytest.mark.parametrize(
    ("neuron", "bits", "option"),
    [
        ("sfn", 8, "--m 7"),
        ("sfn:M=8:levels=exponential", 4, "--m 2"),
        ("sfn:levels=fitted", 6, "--neuron sfn:levels=fitted:N=23:K=12:S=4"),
        ("sfn:levels=fitted", 3, "--neuron sfn:levels=fitted:N=7:K=7:S=4"),
        ("mtn:N=20", 4, "--neuron mtn:N=15"),
        ("dual-mtn:N=20", 3, "--neuron dual-mtn:N=7"),
        ("sfn", 1, None),  # M = 1 has levels 1 and 2 already
    ],
)
def test_fewer_levels_is_the_most_that_fits(neuron: str, bits: int, option: str | None) -> None:
    target = replace(GENERIC, payload_bits=bits, signed_payload=False, timesteps=False)
    asked = rate_neuron(neuron)
    assert fewer_levels(Spikes(asked.top, False, asked), target) == option


def test_a_payload_too_narrow_and_its_fix() -> None:
    narrow = replace(GENERIC, name="narrow", payload_bits=8, timesteps=False)
    first = found(layers("digits_mlp"), narrow)["MatMul"]
    assert not first.fits and [r.limit for r in first.why] == ["payload"]
    assert first.fix.levels == "--m 7"
    fixed = check_target(model_path("digits_mlp"), narrow, neuron="sfn:M=7")
    assert fixed.misfit is None and fixed.assumed
    assert check_target(model_path("digits_mlp"), narrow, neuron="sfn:M=8").misfit is not None


def test_spikes_from_the_input_on_are_the_fix_of_a_raw_input() -> None:
    binary = replace(
        GENERIC, name="binary", operations=GENERIC.operations - {"real-input"}, payload_bits=1
    )
    binary = replace(binary, signed_payload=False)
    first = found(layers("digits_mlp"), binary)["MatMul"]
    assert not first.fits and first.fix.encode
    encoded = findings(layers("digits_mlp", encode=True), binary)
    assert all(each.fits for each in encoded)
    assert encoded[0].host  # it encodes the input


def test_fan_in() -> None:
    limited = replace(GENERIC, fan_in=10)
    alone = found(layers("digits_mlp"), limited)["MatMul1"]
    assert [r.limit for r in alone.why] == ["fan-in"]
    assert "64 synapses into a neuron, at most 10" in alone.why[0].text


def test_both_signs_take_twice_the_synapses_without_a_sign() -> None:
    network = layers("digits_vit")
    name = "/blocks/blocks.0/mlp/mlp.0/MatMul"
    limited = replace(GENERIC, fan_in=64, partial_sums=False)
    assert found(network, limited)[name].fits
    unsigned = found(network, replace(limited, signed_payload=False))[name]
    assert [r.text for r in unsigned.why] == ["128 synapses into a neuron, at most 64"]


def test_memory_of_one_neuron() -> None:
    small = replace(GENERIC, synapse_bits_per_core=64 * 32 - 1, partial_sums=False)
    reasons = found(layers("digits_mlp"), small)["MatMul1"].why
    assert [r.limit for r in reasons] == ["memory"]
    assert found(layers("digits_mlp"), replace(small, weight_bits=8))["MatMul1"].fits


def test_fan_out() -> None:
    asked = {each.name: each for each in demands(layers("digits_mlp"))}
    assert asked["MatMul"].fan_out == 32 and asked["MatMul1"].fan_out == 10
    limited = found(layers("digits_mlp"), replace(GENERIC, fan_out=31))
    assert [r.limit for r in limited["MatMul"].why] == ["fan-out"]
    assert limited["MatMul1"].fits


def test_real_numbers_need_packets_that_hold_them() -> None:
    spikes_only = replace(GENERIC, real_bits=0)
    pool = found(layers("digits_cnn"), spikes_only)["/stem/stem.6/MaxPool"]
    assert [r.limit for r in pool.why] == ["real numbers"]
    assert "'/stem/stem.3/Conv'" in pool.why[0].text
    assert not pool.fix.steps  # not even the host, which would need them, too


def test_pooling_of_the_raw_input_reads_real_numbers() -> None:
    body = "p = AveragePool <kernel_shape = [2]> (x) h = Conv(p, v) r = Relu(h) y = Conv(r, w)"
    source = model(
        f"g (float[N,2,5] x) => (float[N,2,4] y) {{ {body} }}", arrays(0, v=(2, 2, 1), w=(2, 2, 1))
    )
    graph = snnc.compile(source, calibration="random", scale=0.5, encode_input=True).graph
    first = findings(network_of(graph), load_target("loihi1"))[0]
    assert first.needs == {"average-pooling", "real-input"} and not first.fits
    assert not first.fix.encode and first.fix.host
    assert findings(network_of(graph), load_target("loihi2"))[0].fits


def test_neurons_of_several_timesteps_keep_a_membrane() -> None:
    forgetful = replace(GENERIC, timesteps=False)
    reasons = found(layers("digits_mlp", "if@4"), forgetful)["MatMul"].why
    assert [r.limit for r in reasons] == ["timesteps"]


def test_the_host_takes_what_only_an_operation_is_missing_for() -> None:
    loihi = load_target("loihi2")
    network = layers("digits_vit")
    alone = findings(network, loihi)
    unfit = [each for each in alone if not each.fits]
    assert {r.limit for each in unfit for r in each.why} == {"operation"}
    assert {op for each in unfit for op in each.needs} <= {"product", "softmax"}
    hosted = findings(network, loihi, host=True)
    assert all(each.fits for each in hosted)
    assert [e.name for e in hosted if e.host] == [e.name for e in unfit]
    assert all(each.cores == 0 for each in hosted if each.host)
    require_fit(network, loihi, host=True)


def test_the_host_reads_what_stands_behind_the_last_synapses() -> None:
    hosted = [each.name for each in findings(layers("digits_mlp"), GENERIC) if each.host]
    assert hosted == ["Relu2", "ArgMax", "ArrayFeatureExtractor"]
    assert not any(each.host for each in findings(layers("digits_vit"), GENERIC))


@pytest.mark.parametrize("name", ["digits_cnn", "digits_vit"])
@pytest.mark.parametrize("target", [n for n in target_names() if n != "generic"])
def test_other_targets_that_are_named_take_the_layer(name: str, target: str) -> None:
    for each in findings(layers(name), load_target(target)):
        assert each.fits == (not each.why)
        for other in each.fix.targets:
            assert other != target
            assert found(layers(name), load_target(other))[each.name].fits


def test_one_error_names_the_layers() -> None:
    with pytest.raises(CompileError) as caught:
        require_fit(layers("digits_vit"), load_target("loihi2"))
    text = caught.value.render()
    assert "9 of 31 layers do not fit loihi2: no product (MatMul); no softmax (Softmax)" in text
    assert "at '/blocks/blocks.0/MatMul', '/blocks/blocks.0/Softmax'" in text
    assert "and 6 more" in text and "--host" in text and "spinnaker2" in text


def test_too_few_cores() -> None:
    tiny = replace(GENERIC, name="tiny", cores=2, chips=1, columns=1, cells_per_core=512)
    least = total_cores(findings(layers("digits_cnn"), tiny), tiny)
    with pytest.raises(CompileError, match=f"takes at least {least} cores, tiny has 2"):
        require_fit(layers("digits_cnn"), tiny)


def test_least_cores() -> None:
    target = replace(GENERIC, cells_per_core=100, weight_bits=8, synapse_bits_per_core=8 * 1000)
    found = findings(layers("digits_mlp"), target)
    cores = {each.name: each.cores for each in found}
    assert cores["MatMul"] == 5  # 64 x 64 weights
    assert cores["MatMul1"] == 3 and cores["MatMul2"] == 1
    assert total_cores(found, target) == 7  # 64 x 64 + 64 x 32 + 32 x 10 weights
    few = replace(target, cells_per_core=10, synapse_bits_per_core=None)
    assert total_cores(findings(layers("digits_mlp"), few), few) == 11  # 64 + 32 + 10 cells


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("target") / "mlp.snn.onnx"
    source, data = model_path("digits_mlp"), calibration_path("digits_mlp")
    snnc.compile(source, calibration=data, scale=0.5).save(path)
    yield path


def call(*words: str) -> Result:
    return CliRunner().invoke(main, ["check", *words])


def test_check_of_a_compiled_network(mlp: Path) -> None:
    result = call(str(mlp), "--target", "loihi2", "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["fits"] and document["refused"] is None and not document["assumed_neurons"]
    first = document["layers"][0]
    assert first["sent"] == {"as": "graded", "bits": 9, "ticks": 1, "polarities": 1}
    shown = call(str(mlp), "--target", "loihi2")
    assert shown.exit_code == 0 and "graded, 9 bits" in shown.stdout
    assert "6 of 6 layers" in shown.stdout


def test_check_of_a_trained_network_places_neurons_on_random_data() -> None:
    words = (str(model_path("digits_mlp")), "--target", "truenorth", "--neuron", "mtn:N=3")
    document = json.loads(call(*words, "--encode-input", "--json").stdout)
    assert document["fits"] and document["assumed_neurons"]
    assert document["layers"][1]["sent"]["as"] == "unary"
    refused = call(*words, "--json")
    assert refused.exit_code == 1
    document = json.loads(refused.stdout)
    assert document["refused"]["message"] in refused.stderr
    assert document["layers"][0]["fix"].startswith("spikes from the input on (--encode-input)")
    assert "neurons" in call(*words).stdout


ERRORS = {
    "target_unknown": "mlp.onnx --target loihi3",
    "target_no_file": "mlp.onnx --target none.toml",
    "target_misfit": "vit.onnx --target loihi2",
    "target_misfits": "mlp.onnx --target truenorth --neuron aif",
    "target_levels": "mlp.onnx --target akida2",
    "target_compiled": "mlp.snn.onnx --target loihi2 --neuron sfn",
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case: str, mlp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mlp", "vit"):
        Path(f"{name}.onnx").write_bytes(model_path(f"digits_{name}").read_bytes())
    Path("mlp.snn.onnx").write_bytes(mlp.read_bytes())
    result = call(*ERRORS[case].split())
    assert result.exit_code == 1
    assert result.stderr == (GOLDEN / "errors" / f"{case}.txt").read_text()


def test_host_goes_with_a_target() -> None:
    assert call(str(model_path("digits_mlp")), "--host").exit_code == 2


def test_findings_do_not_depend_on_the_data() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((8, 64), np.float32)
    graph = snnc.compile(model_path("digits_mlp"), calibration=x, scale=0.5).graph
    assert findings(network_of(graph), load_target("loihi1")) == findings(
        layers("digits_mlp"), load_target("loihi1")
    )
