"""Events in other formats read back equal, and are written batch by batch."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import nir
import numpy as np
import pytest

import snnc
from snnc.backends.schedule.events import read_events
from snnc.backends.schedule.export.aer import write_aer
from snnc.backends.schedule.export.events import COLUMNS
from snnc.backends.schedule.export.nir_events import event_names, event_neurons, write_nir_events
from snnc.backends.schedule.export.nir_graph import nir_graph, nir_names
from snnc.data import samples_of
from snnc.errors import CompileError
from snnc.ir.node import Array
from snnc.scheduling import save_schedule, schedule
from tests.conftest import calibration_path, held_out_path, model_path

LAYERS = {"/stem/Relu": 40, "head": 10}


def table(seed: int, samples: tuple[int, ...], events: int = 60) -> dict[str, Array]:
    """Random events of samples, in their order."""
    rng = np.random.default_rng(seed)
    layer = rng.choice(list(LAYERS), events)
    return {
        "sample": np.sort(rng.choice(samples, events)),
        "layer": layer,
        "timestep": rng.integers(0, 4, events),
        "tick": rng.integers(0, 20, events),
        "core": rng.integers(-1, 7, events),
        "neuron": rng.integers(0, 10, events),
        "polarity": rng.choice([-1, 1], events),
        "count": rng.integers(1, 9, events),
    }


BATCHES = [table(0, (0, 1)), table(1, (1,), 0), table(2, (1, 3)), table(3, (5,))]


def joined() -> dict[str, Array]:
    return {name: np.concatenate([batch[name] for batch in BATCHES]) for name in COLUMNS}


def read_aer(path: Path) -> dict[str, Array]:
    lines = path.read_text().splitlines()
    assert lines[0] == "# snnc aer 1"
    names = lines[1].removeprefix("# ").split()
    columns = zip(*(line.split(" ") for line in lines[2:]), strict=True)
    return {
        name: np.array(column) if name == "layer" else np.array(column, np.int64)
        for name, column in zip(names, columns, strict=True)
    }


def test_aer_text_reads_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "events.aer"
    write_aer(BATCHES, path)
    found = read_aer(path)
    assert tuple(found) == COLUMNS
    for name, column in joined().items():
        assert np.array_equal(found[name], column), name


def test_nir_events_read_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "events.nir"
    write_nir_events(BATCHES, path, LAYERS, names={"head": "logits"}, ticks=20)
    data = nir.read_data(str(path))
    expected = joined()
    assert data.nodes.keys() == {"stem.Relu", "logits"}
    for layer, node in (("/stem/Relu", "stem.Relu"), ("head", "logits")):
        observed = data.nodes[node].observables
        spikes = observed["spikes"]
        assert isinstance(spikes, nir.ValuedEventData)
        assert (spikes.n_neurons, spikes.t_max, spikes.n_samples) == (LAYERS[layer], 20, 6)
        for sample in range(6):
            mine = (expected["layer"] == layer) & (expected["sample"] == sample)
            valid = spikes.idx[sample] >= 0
            assert valid.sum() == mine.sum()
            assert np.isinf(spikes.time[sample][~valid]).all()
            assert np.array_equal(spikes.idx[sample][valid], expected["neuron"][mine])
            assert np.array_equal(spikes.time[sample][valid], expected["tick"][mine])
            signed = expected["count"] * expected["polarity"]
            assert np.array_equal(spikes.value[sample][valid], signed[mine])
            for name, column in (("timesteps", "timestep"), ("cores", "core")):
                assert np.array_equal(observed[name].value[sample][valid], expected[column][mine])


def test_layers_without_events_and_no_events_at_all(tmp_path: Path) -> None:
    path = tmp_path / "events.nir"
    write_nir_events([], path, LAYERS)
    spikes = nir.read_data(str(path)).nodes["head"].observables["spikes"]
    assert spikes.idx.shape == (1, 0) and spikes.t_max == 0
    write_aer([], tmp_path / "events.aer")
    assert len((tmp_path / "events.aer").read_text().splitlines()) == 2


def test_text_is_written_batch_by_batch(tmp_path: Path) -> None:
    def many() -> Iterator[dict[str, Array]]:
        for seed in range(60):
            yield table(seed, (seed,), 2000)

    path = tmp_path / "events.aer"
    tracemalloc.start()
    write_aer(many(), path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 2e6
    assert peak < 1.5e6


def test_the_events_of_a_schedule_in_both_formats(tmp_path: Path) -> None:
    graph = snnc.compile(
        model_path("digits_mlp"), calibration=calibration_path("digits_mlp"), neuron="mtn:N=4"
    ).graph
    made = schedule(graph, "generic")
    with np.load(held_out_path("digits_mlp")) as held:
        np.savez(tmp_path / "x.npz", input=held["input"][:5])
    samples = samples_of(tmp_path / "x.npz", graph)
    save_schedule(made, tmp_path / "out", samples=samples)
    recorded = list(read_events(tmp_path / "out" / "events.parquet", 100))
    assert len(recorded) > 2
    write_aer(recorded, tmp_path / "events.aer")
    found = read_aer(tmp_path / "events.aer")
    for name, column in found.items():
        assert np.array_equal(column, np.concatenate([b[name] for b in recorded])), name
    path, names = tmp_path / "events.nir", event_names(made.network)
    write_nir_events(recorded, path, event_neurons(made.network), names=names)
    data = nir.read_data(str(path))
    data.check_nodes(nir_graph(graph))
    assert data.nodes.keys() == set(nir_names(graph).values()) == set(names.values())
    assert sum(len(node.observables) for node in data.nodes.values()) == 6
    for layer, node in names.items():
        spikes = data.nodes[node].observables["spikes"]
        counts = np.zeros((5, spikes.n_neurons))
        mine = found["layer"] == layer
        counts[found["sample"][mine], found["neuron"][mine]] = found["count"][mine]
        last = spikes.to_time_gridded(1.0).data.sum(axis=1)
        assert np.array_equal(last, counts)


def broken() -> Iterator[dict[str, Array]]:
    yield table(0, (0,))
    yield {name: column for name, column in table(1, (1,)).items() if name != "core"}


@pytest.mark.parametrize("format_name", ["aer", "nir"])
def test_an_error_leaves_the_older_file(format_name: str, tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_text("older")
    with pytest.raises(CompileError, match="without the column 'core'"):
        if format_name == "aer":
            write_aer(broken(), path)
        else:
            write_nir_events(broken(), path, LAYERS)
    assert path.read_text() == "older"
    assert [each.name for each in tmp_path.iterdir()] == ["events"]


def test_events_that_do_not_fit_the_network(tmp_path: Path) -> None:
    batch = table(0, (0,))
    with pytest.raises(CompileError, match="a layer 'head' that the network does not have"):
        write_nir_events([batch], tmp_path / "e", {"/stem/Relu": 40})
    with pytest.raises(CompileError, match="which has 3"):
        write_nir_events([batch], tmp_path / "e", {**LAYERS, "head": 3})
    with pytest.raises(CompileError, match="differ in length"):
        write_aer([{**batch, "core": batch["core"][1:]}], tmp_path / "e")
    spaced = {**batch, "layer": np.array(["a layer"] * len(batch["core"]))}
    with pytest.raises(CompileError, match="called 'a layer'"):
        write_aer([spaced], tmp_path / "e")
    assert not list(tmp_path.iterdir())


def test_nir_events_need_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(CompileError, match=r"snnc\[nir\]"):
        write_nir_events([], tmp_path / "e", LAYERS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format_name", ["aer", "nir"])
def test_a_disk_that_is_full(format_name: str, tmp_path: Path, limited: None) -> None:
    path = tmp_path / "events"
    path.write_text("older")
    many = [table(seed, (seed,), 2000) for seed in range(3)]
    with pytest.raises(CompileError, match="cannot write"):
        if format_name == "aer":
            write_aer(many, path)
        else:
            write_nir_events(many, path, LAYERS)
    assert path.read_text() == "older"
    assert [each.name for each in tmp_path.iterdir()] == ["events"]
