"""Calibration: statistics of sites, masks, streams in bounded memory, refused data."""

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

import snnc
from snnc.calibrated import calibrate_sites
from snnc.data import Feeds, samples_of
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Statistics
from snnc.prepare import prepare
from snnc.reservoir import Reservoir
from snnc.runtime import Session
from snnc.shards import batch_of
from tests.conftest import calibration_path, model_path


def load(name: str) -> dict[str, Array]:
    with np.load(calibration_path(name)) as arrays:
        return {key: value for key, value in arrays.items() if key != "labels"}


def statistics(graph: Graph) -> dict[str, Statistics]:
    found = {s.inputs[0]: s.statistics for s in graph.sites}
    assert all(found.values())
    return {name: value for name, value in found.items() if value is not None}


def test_statistics_are_those_of_the_tapped_values() -> None:
    data = load("digits_cnn")
    ann, sited = prepare(model_path("digits_cnn"))
    calibrated = calibrate_sites(ann, sited, samples_of(data, ann)).graph(percentile=2.0)
    values = Session(sited, taps=[s.inputs[0] for s in sited.sites]).run(data)
    for name, found in statistics(calibrated).items():
        pooled = np.sort(values[name].ravel())
        assert found.count == pooled.size
        assert found.minimum == pytest.approx(pooled[0], rel=1e-5)
        assert found.maximum == pytest.approx(pooled[-1], rel=1e-5)
        assert found.mean == pytest.approx(pooled.mean(dtype=np.float64), rel=1e-4)
        assert found.zeros == pytest.approx(np.mean(pooled == 0), abs=1e-6)
        high = pooled[int(np.floor(0.98 * pooled.size)) - 1]
        low = pooled[int(np.floor(0.02 * pooled.size)) - 1]
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-4)


def padded(longer: int) -> dict[str, Array]:
    """The encoder's samples with `longer` more positions, all masked, of any token."""
    data = load("digits_encoder")
    ids, mask = data["input_ids"][:40, :40], data["attention_mask"][:40, :40]
    junk = np.random.default_rng(0).integers(0, 17, (40, longer))
    return {
        "input_ids": np.concatenate([ids, junk], axis=1),
        "attention_mask": np.concatenate([mask, np.zeros((40, longer), np.int64)], axis=1),
    }


@pytest.mark.parametrize("longer", [4, 8, 24])
def test_masked_positions_do_not_count(longer: int) -> None:
    """Padding of any content changes nothing, at any length: also when the length is that of
    another axis (heads of 12, 48 features)."""
    found = []
    for data in (padded(0), padded(longer)):
        ann, sited = prepare(model_path("digits_encoder"))
        network = calibrate_sites(ann, sited, samples_of(data, ann), "attention_mask")
        found.append(statistics(network.graph()))
    assert found[0].keys() == found[1].keys()
    for name, before in found[0].items():
        after = found[1][name]
        assert after.count == before.count
        assert after.high == pytest.approx(before.high, rel=1e-3, abs=1e-6)
        assert after.low == pytest.approx(before.low, rel=1e-3, abs=1e-6)


def test_without_the_mask_padding_counts() -> None:
    ann, sited = prepare(model_path("digits_encoder"))
    counts = []
    for mask in (None, "attention_mask"):
        network = calibrate_sites(ann, sited, samples_of(padded(8), ann), mask)
        counts.append(sum(s.count for s in statistics(network.graph()).values()))
    assert counts[0] > counts[1]


def test_memory_does_not_grow_with_the_stream() -> None:
    images = load("digits_cnn")["input"]
    ann, sited = prepare(model_path("digits_cnn"))

    def stream(repeats: int) -> Iterator[Feeds]:
        for _ in range(repeats):
            yield {"input": images}

    def peak(repeats: int) -> int:
        samples = samples_of(stream(repeats), ann)
        tracemalloc.start()
        reservoir = calibrate_sites(ann, sited, samples).calibration.reservoir
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (reservoir.seen, len(reservoir)) == (300 * repeats, 512)
        return highest

    assert peak(60) < 1.2 * peak(10)


def test_the_reservoir_is_a_uniform_sample_within_its_bounds() -> None:
    values = np.arange(20_000, dtype=np.float32).reshape(-1, 1)
    reservoir = Reservoir(limit=500)
    for start in range(0, len(values), 64):
        reservoir.add(batch_of({"x": values[start : start + 64]}, start, splittable=True))
    kept = np.concatenate([f["x"] for f in reservoir.batches(64)]).ravel()
    assert kept.size == 500
    assert np.unique(kept).size == 500
    assert abs(kept.mean() - 10_000) < 1000
    small = Reservoir(limit=500, megabytes=1)
    small.add(batch_of({"x": np.zeros((50, 2**17), np.float32)}, 0, splittable=True))
    assert len(small) == 2


def test_progress_and_samples_are_reported() -> None:
    told: list[tuple[str, int, int | None]] = []
    watch = snnc.Watch(progress=lambda *event: told.append(event))
    network = snnc.compile(
        model_path("digits_mlp"), calibration=calibration_path("digits_mlp"), watch=watch
    )
    assert ("calibrating", 300, 300) in told
    assert any(phase == "choosing lambda" for phase, _, _ in told)
    assert network.report.calibration_samples == 300


def test_a_site_that_is_not_finite_is_named() -> None:
    ann, sited = prepare(model_path("digits_mlp"))
    huge = np.full((2, 64), 3e38, np.float32)
    with pytest.raises(snnc.CompileError) as raised:
        calibrate_sites(ann, sited, samples_of(huge, ann))
    assert raised.value.message == "the activation is not finite on a calibration sample"
    assert raised.value.at is not None
    assert raised.value.pass_name == "calibrate"


def test_a_stream_is_checked_and_read_once() -> None:
    ann, _ = prepare(model_path("digits_mlp"))
    good = {"input": np.zeros((3, 64), np.float32)}
    once = samples_of(iter([good]), ann)
    assert sum(len(f["input"]) for f in once.batches(2)) == 3
    with pytest.raises(snnc.CompileError, match="read already"):
        list(once.batches(2))
    with pytest.raises(snnc.CompileError, match="no samples"):
        samples_of(iter([]), ann)
    with pytest.raises(snnc.CompileError, match="not a dict"):
        list(samples_of(iter([np.zeros(3)]), ann).batches(2))  # type: ignore[arg-type]
    wrong = samples_of(iter([good, {"input": np.zeros((3, 63), np.float32)}]), ann)
    with pytest.raises(snnc.CompileError, match="shape"):
        list(wrong.batches(2))
