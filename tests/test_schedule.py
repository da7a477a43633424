"""Schedules: written whole, read with everything checked, replayed against onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import snnc
from snnc.backends.schedule.artifact import Schedule, load_schedule
from snnc.backends.schedule.directory import EVENTS, MANIFEST
from snnc.backends.schedule.events import SCHEMA
from snnc.backends.schedule.samples import by_sample
from snnc.backends.schedule.timing import Timing
from snnc.backends.schedule.weights import synapse_arrays
from snnc.cli import main
from snnc.data import Samples, samples_of
from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.ir.spike_times import RELAY, neurons_behind
from snnc.npz import write_npz
from snnc.replay import _distance, replay
from snnc.schedule_view import _traffic
from snnc.scheduling import for_target, save_schedule, schedule

MODELS = Path(__file__).parent.parent / "models"
SAMPLES = 12


def compiled(model: str, place: Path, neuron: str, **options: object) -> Path:
    """The file of a compiled network, made once."""
    settings = {"calibration": MODELS / "digits_calibration.npz", "scale": 0.2, **options}
    path = place / f"{model}.{neuron.partition(':')[0]}.{'.'.join(options)}.onnx"
    if path.exists():
        return path
    if neuron.startswith("ttfs"):
        del settings["scale"]
        network = snnc.compile_spike_times(MODELS / f"{model}.onnx", neuron=neuron, **settings)  # type: ignore[arg-type]
        network.save(path)
        return path
    snnc.compile(MODELS / f"{model}.onnx", neuron=neuron, **settings).save(path)  # type: ignore[arg-type]
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("schedules")


@pytest.fixture(scope="module")
def data(place: Path) -> Path:
    with np.load(MODELS / "digits_test.npz") as arrays:
        write_npz(place / "few.npz", {k: v[:SAMPLES] for k, v in arrays.items()})
    return place / "few.npz"


@pytest.fixture(scope="module")
def cnn(place: Path) -> Path:
    return compiled("digits_cnn", place, "sfn")


def few(data: Path, graph: Graph) -> Samples:
    return samples_of(data, graph)


CHEAP: dict[str, object] = {"threshold_rule": "tensor-percentile"}
"""Thresholds that take no time to fit."""

CASES: dict[str, tuple[str, str, dict[str, object], str]] = {
    "cnn_spinnaker2": ("digits_cnn", "sfn", {}, "spinnaker2"),
    "cnn_int8": ("digits_cnn", "sfn", {"synapses": "int8"}, "generic"),
    "vit_generic": ("digits_vit", "sfn", {}, "generic"),
    "vit_spinnaker2": ("digits_vit", "sfn", {}, "spinnaker2"),
    "if_over_time": ("digits_cnn", "if", {"timesteps": 6, **CHEAP}, "generic"),
    "mtn": ("digits_cnn", "mtn:N=8", CHEAP, "spinnaker2"),
    "spike_times": ("digits_vit", "ttfs:p=256", {}, "generic"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_schedule_replays_as_onnxruntime_runs(case: str, place: Path, data: Path) -> None:
    model, neuron, options, target = CASES[case]
    path = compiled(model, place, neuron, **options)
    graph = snnc.load(path)
    made = schedule(graph, target)
    saved = save_schedule(made, place / case, samples=few(data, graph))
    again = load_schedule(place / case)
    found = replay(again, few(data, graph), for_target(graph, again.target))
    compared = found.comparison
    assert compared is not None
    assert compared.neurons > 1000
    assert compared.differing == 0
    assert compared.agreement is not None
    assert compared.agreement >= 0.995
    assert saved.replay is not None
    assert saved.replay.counts.synops == found.counts.synops
    events = sum(float(each.sum()) for each in found.counts.events.values())
    assert saved.events == pytest.approx(events * SAMPLES)
    assert pq.ParquetFile(place / case / EVENTS).metadata.num_rows == saved.events


def test_events_say_which_neuron_fired_when(place: Path, data: Path, cnn: Path) -> None:
    graph = snnc.load(cnn)
    made = schedule(graph, "spinnaker2")
    save_schedule(made, place / "rows", samples=few(data, graph))
    table = pq.read_table(place / "rows" / EVENTS)
    assert table.schema.equals(SCHEMA)
    rows = {name: table.column(name).to_numpy() for name in SCHEMA.names}
    layers = {layer.name: (i, layer) for i, layer in enumerate(made.network.layers)}
    slots = {slot.layer: slot for slot in made.mapping.slots}
    assert {*rows["sample"]} == {*range(SAMPLES)}
    for name in {*rows["layer"]}:
        mine = rows["layer"] == name
        index, layer = layers[name]
        assert rows["neuron"][mine].max() < layer.cells
        assert {*rows["tick"][mine]} == {slots[index].first}
        cores = made.mapping.cores[layer.start + rows["neuron"][mine]]
        np.testing.assert_array_equal(rows["core"][mine], cores)
    assert (rows["count"] > 0).all()
    assert {*np.abs(rows["polarity"])} == {1}


def test_relays_send_the_same_ticks_windows_later(place: Path) -> None:
    graph = snnc.load(compiled("digits_vit", place, "ttfs:p=256"))
    made = schedule(graph, "generic")
    timing, none = Timing(made.network, made.mapping), np.zeros(6, np.int64)
    within, seen = np.arange(0, 256, 50), 0
    for node in made.graph.nodes:
        source = neurons_behind(made.graph, node.outputs[0])
        if isinstance(node, Op) and node.op_type == RELAY and source is not None:
            late = timing.tick(node.outputs[0], none, none, within)
            windows = node.integer("window", 0) - source.integer("window", 0)
            first = timing.tick(source.outputs[0], none, none, within)
            np.testing.assert_array_equal(late - first, windows * 256)
            seen += windows > 0
    assert seen > 5


def test_a_flipped_spike_among_the_events_is_found(place: Path, data: Path, cnn: Path) -> None:
    directory = place / "flipped"
    arguments = ["--data", str(data)]
    run(["schedule", str(cnn), "--target", "generic", *arguments, "-o", str(directory)])
    run(["simulate", str(directory), *arguments, "--events"])
    table = pq.read_table(directory / EVENTS)
    polarity = table.column("polarity").to_numpy().copy()
    polarity[len(polarity) // 2] *= -1
    place_of = table.schema.get_field_index("polarity")
    changed = table.set_column(place_of, SCHEMA.field("polarity"), [polarity])
    pq.write_table(changed.cast(SCHEMA), directory / EVENTS)
    result = CliRunner().invoke(main, ["simulate", str(directory), *arguments, "--events"])
    assert result.exit_code == 1
    assert "1 events differ from those that the schedule recorded" in result.stderr


def test_a_changed_weight_is_found(place: Path, data: Path, cnn: Path) -> None:
    graph = snnc.load(cnn)
    made = schedule(graph, "generic")
    name = max(graph.consts, key=lambda v: graph.consts[v].size)
    weights = graph.consts[name].copy()
    weights.reshape(-1)[::97] += 0.1
    other = replace(graph, consts={**graph.consts, name: weights})
    found = replay(made, few(data, graph), for_target(other, made.target)).comparison
    assert found is not None
    assert found.differing > 0


def test_changed_files_are_refused(place: Path, cnn: Path) -> None:
    directory = place / "tampered"
    made = schedule(snnc.load(cnn), "spinnaker2")

    def fresh() -> None:
        save_schedule(made, directory)

    def archive(name: str, change: str) -> None:
        with np.load(directory / name) as arrays:
            found = {key: arrays[key].copy() for key in arrays.files}
        found[change].reshape(-1)[-1] += 1
        write_npz(directory / name, found)

    def manifest(**changes: object) -> None:
        found = json.loads((directory / MANIFEST).read_text())
        (directory / MANIFEST).write_text(json.dumps({**found, **changes}))

    largest = max(made.graph.consts, key=lambda v: made.graph.consts[v].size)
    synapses = next(v for v in synapse_arrays(made.graph, made.target) if v.endswith("integers"))
    for damage, words in (
        (lambda: archive("weights.npz", largest), "no tensor with digest"),
        (lambda: archive("synapses.npz", synapses), "does not hold"),
        (lambda: archive("placement.npz", "cell_core"), "not sound"),
        (lambda: archive("routes.npz", "target"), "not sound"),
        (lambda: (directory / "routes.npz").unlink(), "damaged"),
        (lambda: (directory / "placement.npz").write_bytes(b"PK"), "damaged"),
        (lambda: manifest(version=9), "version 9"),
        (lambda: manifest(format="other"), "no manifest of a schedule"),
        (lambda: manifest(shapes={}), "damaged"),
        (lambda: (directory / MANIFEST).write_text("{"), "no manifest"),
        (lambda: (directory / "network.txt").write_text("graph"), "line 1"),
    ):
        fresh()
        load_schedule(directory)
        damage()
        with pytest.raises(CompileError, match=words):
            load_schedule(directory)


def test_a_failure_leaves_the_older_schedule(
    place: Path, data: Path, cnn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = snnc.load(cnn)
    made = schedule(graph, "generic")
    directory = place / "kept"
    save_schedule(made, directory)
    before = {file.name: file.read_bytes() for file in directory.iterdir()}
    samples = few(data, graph)

    def interrupted(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("snnc.scheduling.replay", interrupted)
    with pytest.raises(CompileError, match="No space left on device"):
        save_schedule(made, directory, samples=samples)
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == before
    assert {file.name for file in place.iterdir() if file.name.startswith(".snnc")} == set()


def test_what_is_no_schedule_is_never_replaced(place: Path, cnn: Path) -> None:
    made: Schedule = schedule(snnc.load(cnn), "generic")
    other = place / "precious"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(CompileError, match="would be lost"):
        save_schedule(made, other)
    with pytest.raises(CompileError, match="it is no directory"):
        save_schedule(made, other / "thesis.txt")
    with pytest.raises(CompileError, match="no directory"):
        save_schedule(made, place / "nowhere" / "deeper")
    for manifest in ('{"name": "a web application"}', '{"format": "snnc-schedule"}'):
        (other / MANIFEST).write_text(manifest)
        with pytest.raises(CompileError, match=r"thesis\.txt"):
            save_schedule(made, other)
    (other / "thesis.txt").rename(place / "thesis.txt")
    (other / MANIFEST).write_text('{"name": "a web application"}')
    with pytest.raises(CompileError, match="would be lost"):
        save_schedule(made, other)
    assert (place / "thesis.txt").read_text() == "years of work"


def test_a_picture_in_the_directory_that_is_replaced_is_refused(
    place: Path, data: Path, cnn: Path
) -> None:
    directory = place / "pictured"
    arguments = ["schedule", str(cnn), "--target", "generic", "--data", str(data)]
    run([*arguments, "-o", str(directory)])
    report = ["--report", str(directory / "a.png"), "-o", str(directory)]
    result = CliRunner().invoke(main, [*arguments, *report])
    assert result.exit_code == 1
    assert "would be replaced" in result.stderr


def run(arguments: list[str]) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_loads_of_cores_links_and_layers(place: Path, data: Path, cnn: Path) -> None:
    directory = place / "loads"
    run(["schedule", str(cnn), "--target", "spinnaker2", "-o", str(directory)])
    arguments = ["simulate", str(directory), "--data", str(data), "--per-core"]
    document = json.loads(run([*arguments, "--json"]))
    for loads in (document["core_loads"], document["layer_loads"]):
        assert sum(each["synops"] for each in loads) == pytest.approx(document["synops"])
    assert sum(each["packets"] for each in document["links"]) > 0
    shown = run(arguments)
    assert "packets sent" in shown and "host - 0" in shown and "real operations" in shown


def test_a_schedule_is_exported_for_other_tools(place: Path, data: Path) -> None:
    mlp = compiled(
        "digits_mlp",
        place,
        "mtn:N=4",
        calibration=MODELS / "digits_mlp_calibration.npz",
        **CHEAP,
    )
    test, directory = str(MODELS / "digits_mlp_test.npz"), place / "exported"
    run(["schedule", str(mlp), "--target", "generic", "--data", test, "-o", str(directory)])
    for form in ("nir", "nir-events", "aer"):
        out = place / f"out.{form}"
        run(["export", str(directory), "--to", form, "-o", str(out)])
        assert out.stat().st_size > 1000
    graph = nir.read(place / "out.nir")
    assert {type(node).__name__ for node in graph.nodes.values()} >= {"Threshold", "Affine"}
    with (place / "out.aer").open() as file:
        rows = sum(not line.startswith("#") for line in file)
    assert rows == pq.ParquetFile(directory / EVENTS).metadata.num_rows
    for wrong, words in (
        (["--to", "aer", "--most-levels", "9"], "goes with --to nir"),
        (["--to", "sana-fe"], "needs it"),
    ):
        arguments = ["export", str(directory), *wrong, "-o", str(place / "no")]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2
        assert words in result.stderr


def test_compiling_schedules_in_the_same_call(place: Path, data: Path) -> None:
    out, directory = place / "one.onnx", place / "one.schedule"
    model = str(MODELS / "digits_mlp.onnx")
    sampled = ["--calibration", str(MODELS / "digits_mlp_calibration.npz"), "--lambda", "0.2"]
    targeted = ["--target", "loihi2", "--schedule", str(directory), "--json"]
    document = json.loads(run(["compile", model, *sampled, *targeted, "-o", str(out)]))
    assert document["schedule"]["cores"] >= 1
    test = str(MODELS / "digits_mlp_test.npz")
    replayed = json.loads(
        run(["simulate", str(directory), "--data", test, "--against", str(out), "--json"])
    )
    assert replayed["differing_spike_counts"] == 0
    assert replayed["samples"] > 100
    assert {"spikes", "synops", "cores", "energy_joules", "latency_seconds"} <= replayed.keys()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["schedule", "OUT", "--target", "loihi3"], "unknown target 'loihi3'; did you mean"),
        (["schedule", "ANN", "--target", "generic"], "this is a trained one"),
        (["schedule", "VIT", "--target", "truenorth"], "do not fit truenorth"),
        (["schedule", "OUT", "--target", "generic", "--data", "EMPTY"], ""),
        (["simulate", "NOWHERE", "--data", "DATA"], "cannot read the schedule"),
        (["simulate", "MADE", "--data", "DATA", "--against", "OTHER"], "another network"),
        (["simulate", "MADE", "--data", "DATA", "--events"], "has no recorded events"),
        (["export", "MADE", "--to", "aer"], "has no recorded events"),
        (["export", "TIMED", "--to", "sana-fe", "--data", "DATA"], "neurons that count spikes"),
        (["simulate", "MADE", "--data", "DATA", "--against", "IF"], "another network"),
    ],
)
def test_wrong_calls_get_one_message(
    arguments: list[str], words: str, place: Path, data: Path, cnn: Path
) -> None:
    save_schedule(schedule(snnc.load(cnn), "generic"), place / "made")
    (place / "empty.npz").write_bytes(b"")
    over_time = compiled("digits_cnn", place, "if", timesteps=2)
    timed = compiled("digits_cnn", place, "ttfs:p=64")
    save_schedule(schedule(snnc.load(timed), "generic"), place / "timed")
    names = {
        "IF": over_time,
        "TIMED": place / "timed",
        "OUT": cnn,
        "ANN": MODELS / "digits_cnn.onnx",
        "VIT": compiled("digits_vit", place, "sfn"),
        "OTHER": compiled("digits_vit", place, "sfn"),
        "EMPTY": place / "empty.npz",
        "NOWHERE": place / "nowhere",
        "MADE": place / "made",
        "DATA": data,
    }
    out = place / "unwritten"
    written = [] if arguments[0] == "simulate" else ["-o", str(out)]
    result = CliRunner().invoke(main, [str(names.get(a, a)) for a in arguments] + written)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("error: ") == 1
    assert words in result.stderr
    assert not out.exists()


def test_recorded_events_of_more_samples_are_found(place: Path, data: Path) -> None:
    directory = place / "more"
    path = compiled("digits_cnn", place, "sfn")
    run(["schedule", str(path), "--target", "generic", "--data", str(data), "-o", str(directory)])
    events = pq.read_table(directory / EVENTS)
    pq.write_table(pa.concat_tables([events, events.slice(0, 3)]), directory / EVENTS)
    arguments = ["simulate", str(directory), "--data", str(data), "--events"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "3 events differ" in result.stderr


def test_a_changed_weight_of_the_last_layer_is_found(place: Path, data: Path, cnn: Path) -> None:
    graph = snnc.load(cnn)
    made = schedule(graph, "generic")
    last = next(n for n in graph.nodes if graph.outputs[0] in n.outputs)
    name = next(v for v in last.inputs if v in graph.consts)
    other = replace(graph, consts={**graph.consts, name: graph.consts[name] * np.float32(1.01)})
    same = replay(made, few(data, graph), for_target(graph, made.target)).comparison
    found = replay(made, few(data, graph), for_target(other, made.target)).comparison
    assert same is not None
    assert found is not None
    assert not same.differs
    assert found.differing == 0
    assert found.differs


def test_outputs_that_are_not_finite_on_one_side_are_found() -> None:
    nan, one = np.array([1.0, np.nan]), np.array([1.0, 2.0])
    assert _distance(nan, nan) == 0.0
    assert _distance(one, np.array([1.0, 2.5])) == 0.5
    with pytest.raises(CompileError, match="finite"):
        _distance(nan, one)


def test_values_of_other_kinds_in_a_directory_are_refused(place: Path) -> None:
    directory = place / "kinds"
    made = schedule(snnc.load(compiled("digits_cnn", place, "sfn")), "loihi2", host=True)
    save_schedule(made, directory)
    pristine = {name: (directory / name).read_bytes() for name in (MANIFEST, "network.txt")}

    def edit(change: Callable[[dict[str, Any]], None]) -> None:
        found = json.loads(pristine[MANIFEST])
        change(found)
        (directory / MANIFEST).write_text(json.dumps(found))

    def text(old: str, new: str) -> None:
        found = pristine["network.txt"].decode()
        assert old in found
        (directory / "network.txt").write_text(found.replace(old, new, 1))

    def arrays(file: str, name: str, change: Callable[[Array], Array]) -> None:
        pristine.setdefault(file, (directory / file).read_bytes())
        with np.load(directory / file) as found:
            write_npz(directory / file, {**found, name: change(found[name])})

    step = next(v for v in made.graph.consts if v.endswith("step+"))
    hosted = next(i for i, x in enumerate(made.network.layers) if x.name in made.host)
    damages: tuple[Callable[[], None], ...] = (
        lambda: edit(lambda m: m["layers"][1]["timeline"].update(first="x")),
        lambda: edit(lambda m: m["layers"][1]["timeline"].update(ticks=[])),
        lambda: edit(lambda m: m["layers"][hosted].update(host=False)),
        lambda: edit(lambda m: m["layers"][2].update(name="other")),
        lambda: edit(lambda m: m["layers"][2].pop("operations")),
        lambda: edit(lambda m: m.update(timesteps=0)),
        lambda: edit(lambda m: m.update(target=7)),
        lambda: edit(lambda m: m["outputs"].append("more")),
        lambda: edit(lambda m: next(iter(m["shapes"].values())).pop()),
        lambda: arrays("routes.npz", "target_end", lambda a: a[:-1]),
        lambda: arrays("routes.npz", "target_end", lambda a: a - 1),
        lambda: arrays("routes.npz", "layer", lambda a: a[:, None]),
        lambda: arrays("routes.npz", "core", lambda a: a + 0.5),
        lambda: arrays("placement.npz", "synapse_bits", lambda a: a[:, None]),
        lambda: arrays("weights.npz", step, lambda a: a + np.float32(1)),
        lambda: text(f"%{step}", "%absent"),
    )
    for damage in damages:
        for name, content in pristine.items():
            (directory / name).write_bytes(content)
        load_schedule(directory)
        damage()
        with pytest.raises(CompileError, match=r"damaged|is read before"):
            load_schedule(directory)


def test_two_writers_at_once_leave_one_whole_schedule(place: Path, data: Path, cnn: Path) -> None:
    directory = place / "contested"
    made = [schedule(snnc.load(cnn), target) for target in ("generic", "spinnaker2")]
    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(save_schedule, m, directory) for m in made * 5]:
            each.result()
    assert load_schedule(directory).target.name in ("generic", "spinnaker2")
    assert not [file for file in place.iterdir() if file.name.startswith(".snnc")]


def test_the_documented_calls_take_paths_as_text(place: Path, data: Path, cnn: Path) -> None:
    network = snnc.load(str(cnn))
    made = snnc.schedule(network, "generic")
    snnc.save_schedule(made, str(place / "text"))
    assert snnc.load_schedule(str(place / "text")).graph == made.graph
    with pytest.raises(CompileError, match="needs samples"):
        snnc.save_schedule(made, place / "text", picture=place / "text.png")


def test_numbers_out_of_range_do_not_warn(
    place: Path, cnn: Path, recwarn: pytest.WarningsRecorder
) -> None:
    graph = snnc.load(cnn)
    huge = samples_of(np.full((2, 1, 8, 8), 1e38, np.float32), graph)
    assert replay(schedule(graph, "generic"), huge, graph).comparison is not None
    assert not recwarn.list


def test_a_network_that_fits_nowhere_is_compiled_all_the_same(place: Path) -> None:
    out = place / "unfit.onnx"
    sampled = ["--calibration", str(MODELS / "digits_mlp_calibration.npz"), "--lambda", "0.2"]
    model = ["compile", str(MODELS / "digits_mlp.onnx"), *sampled, "-o", str(out)]
    result = CliRunner().invoke(main, [*model, "--target", "truenorth"])
    assert result.exit_code == 1
    assert f"written all the same: {out}" in result.stderr
    assert out.exists()


def test_an_export_tells_what_it_wrote_in_json(place: Path, data: Path, cnn: Path) -> None:
    directory, out = place / "exported", place / "exported.aer"
    run(["schedule", str(cnn), "--target", "generic", "--data", str(data), "-o", str(directory)])
    document = json.loads(run(["export", str(directory), "--to", "aer", "-o", str(out), "--json"]))
    assert document == {"schedule": str(directory), "format": "aer", "output": str(out)}


@pytest.mark.parametrize(
    ("shape", "once", "timesteps"),
    [
        ((16, 4, 3), (1, 64, 3), 1),
        ((16, 4, 3), (1, 5, 3), 1),
        ((32, 4, 3), (1, 5, 3), 2),
        ((32, 2, 3), (1, 32, 3), 2),
    ],
)
def test_samples_of_another_size_are_refused(
    shape: tuple[int, ...], once: tuple[int, ...], timesteps: int
) -> None:
    with pytest.raises(CompileError, match="samples of one schedule have one size"):
        by_sample(np.zeros(shape, np.float32), once, timesteps, 16)


def test_values_of_a_batch_are_taken_apart() -> None:
    values = np.arange(2 * 3 * 4).reshape(6, 4)
    np.testing.assert_array_equal(by_sample(values, (1, 4), 1, 6)[0, 2], values[2])
    np.testing.assert_array_equal(by_sample(values, (1, 4), 2, 3)[1, 2], values[5])
    np.testing.assert_array_equal(by_sample(values, (2, 4), 1, 3)[0, 1], values[2:4].ravel())
    np.testing.assert_array_equal(by_sample(values.T, (4, 2), 1, 3)[0, 1], values.T[:, 2:4].ravel())
    assert by_sample(values, (6, 4), 1, 3).shape == (1, 3, 24)


def test_the_traffic_of_a_picture_is_of_packets(data: Path, cnn: Path) -> None:
    graph = snnc.load(cnn)
    made = schedule(graph, "generic")
    counts = replay(made, few(data, graph)).counts
    slots = tuple(replace(slot, sending="unary") for slot in made.mapping.slots)
    unary = replace(made, mapping=replace(made.mapping, slots=slots))
    assert _traffic(unary, counts).sum() > 1.1 * _traffic(made, counts).sum()
