"""The benchmark beside SpikingJelly: what it asks of the peer, what it compares and prints."""

from __future__ import annotations

import json
import stat
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import snnc
from benchmarks import spikingjelly
from benchmarks.speed_timing import Run
from benchmarks.spikingjelly import (
    ANN,
    BATCHES,
    PEER,
    TIMED_STEPS,
    TIMESTEPS,
    Task,
    accuracies,
    accuracy_table,
    alternate,
    best,
    peer_seconds,
    runs,
    time_table,
)

MODELS = Path("models")
TASK = Task(
    MODELS / "digits_vit.onnx",
    MODELS / "digits_calibration.npz",
    MODELS / "digits_test.npz",
    samples=64,
)


def peer_document(**accuracy: float) -> dict[str, Any]:
    """A peer's JSON with two recipes of constant accuracy, the second also read late."""
    by_t = {name: dict.fromkeys(map(str, TIMESTEPS), value) for name, value in accuracy.items()}
    delay = dict.fromkeys(map(str, TIMESTEPS), 3)
    return {
        "recipes": {
            "rate": {"accuracy": by_t["rate"], "delayed": by_t["rate"], "delay": delay},
            "balancing": {"accuracy": by_t["balancing"], "delayed": by_t["late"], "delay": delay},
        }
    }


def test_the_peers_best_is_over_recipes_and_readouts() -> None:
    found = peer_document(rate=0.5, balancing=0.4, late=0.6)
    assert best(found, 8) == (0.6, "balancing", "delayed")
    found["recipes"]["rate"]["accuracy"]["8"] = 0.7
    assert best(found, 8) == (0.7, "rate", "accuracy")


def test_the_accuracy_table_says_where_snnc_is_worse_or_refuses() -> None:
    mixed: dict[int, float | None] = {**dict.fromkeys(TIMESTEPS, 0.7), 2: 0.55}
    ours: dict[str, dict[int, float | None]] = {
        "if": mixed,
        "mtn": dict.fromkeys(TIMESTEPS, None),
    }
    lines = accuracy_table(peer_document(rate=0.5, balancing=0.4, late=0.6), ours)
    assert len(lines) == 2 + len(TIMESTEPS)
    assert lines[2] == "| 1 | 60.00% | balancing, read from step 4 | 70.00% | - |"
    assert lines[3] == "| 2 | 60.00% | balancing, read from step 4 | 55.00% (less) | - |"


def test_the_time_table_takes_ratios_within_rounds() -> None:
    rounds = [
        {PEER: dict.fromkeys(BATCHES, slow * 10e-3), "if": dict.fromkeys(BATCHES, slow * 1e-3)}
        for slow in (1.0, 3.0, 2.0)
    ]
    assert time_table(rounds)[2] == f"| {BATCHES[0]} | 20.000 | 2.000 | 10.0 |"


def test_the_peer_runs_alone_in_every_round() -> None:
    order: list[str] = []

    def of_peer() -> dict[int, float]:
        order.append("peer")
        return dict.fromkeys(BATCHES, 1.0)

    ours: dict[str, dict[int, Run]] = {"if": {b: partial(order.append, "if") for b in BATCHES}}
    rounds = alternate(of_peer, ours, rounds=2, least=0.0)
    assert len(rounds) == 2
    assert [name for i, name in enumerate(order) if i == 0 or order[i - 1] != name] == [
        *("peer", "if"),
        *("peer", "if"),
    ]


def test_the_peers_interpreter_is_called_and_its_faster_mode_taken(tmp_path: Path) -> None:
    seconds = {"s": {"1": 3.0, "64": 1.0}, "m": {"1": 2.0, "64": 4.0}}
    document = json.dumps({"recipes": {"rate": {"seconds": seconds}}})
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho \"$@\" > {tmp_path}/asked\necho '{document}'\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    assert peer_seconds(python, TASK, "rate", 0.5) == {1: 2.0, 64: 1.0}
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith("-m benchmarks.spikingjelly_peer /")
    assert "--only times --threads 1 --seconds 0.5 --recipes rate" in asked


def test_snncs_side_compiles_evaluates_and_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, int]] = []

    def compiled(model: Path, *, neuron: str, timesteps: int, calibration: Path) -> object:
        asked.append((neuron, timesteps))
        return plain(model, neuron=neuron, calibration=calibration, scale=0.2)

    plain = snnc.compile
    monkeypatch.setattr(snnc, "compile", compiled)
    monkeypatch.setattr(spikingjelly, "TIMESTEPS", (1, TIMED_STEPS))
    found = accuracies(TASK, ["sfn", "nonesuch"])
    assert asked == [(n, t) for n in ("sfn", "nonesuch") for t in (1, TIMED_STEPS)]
    assert all(share is not None and share > 0.8 for share in found["sfn"].values())
    assert set(found["nonesuch"].values()) == {None}
    assert "nonesuch, T = 1: " in capsys.readouterr().err
    bound = runs(TASK, ["sfn"], tmp_path)
    assert {name: set(by_batch) for name, by_batch in bound.items()} == {
        ANN: set(BATCHES),
        "sfn": set(BATCHES),
    }
    for by_batch in bound.values():
        for run in by_batch.values():
            run()
