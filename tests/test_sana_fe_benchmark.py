"""The benchmark beside SANA-FE: what it asks of the peer, what it compares."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import snnc
from benchmarks import sana_fe
from tests.conftest import calibration_path, held_out_path, model_path
from tests.test_sana_fe_export import Files


def executed(python: Path, directories: list[Path], rounds: int) -> list[dict[str, Any]]:
    """What SANA-FE would answer: the files, executed by the tests' own reading of them."""
    found = []
    for directory in directories:
        files = Files(directory)
        fired = files.run()
        layers = {
            group["value"]: fired[group["group"]][group["first_tick"] - 1 : group["last_tick"]]
            .sum(axis=0)
            .astype(int)
            .tolist()
            for group in files.told["groups"]
            if group["fires"]
        }
        found.append({"layers": layers, "synops": 1000, "seconds": 0.5})
    return found


@pytest.mark.parametrize("changed", [0, 1])
def test_every_neuron_is_compared(
    changed: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def peer(*arguments: Any) -> list[dict[str, Any]]:
        found = executed(*arguments)
        next(iter(found[1]["layers"].values()))[3] += changed
        return found

    monkeypatch.setattr(sana_fe, "peer", peer)
    graph = snnc.compile(
        model_path("digits_mlp"),
        calibration=calibration_path("digits_mlp"),
        neuron="if",
        timesteps=4,
    ).graph
    with np.load(held_out_path("digits_mlp")) as arrays:
        batch = {"input": arrays["input"][:2]}
    found = sana_fe.report(graph, batch, Path("python"), 1, tmp_path)
    assert found["differing_spike_counts"] == changed
    assert [row["differing_spike_counts"] for row in found["layers"].values()] == [changed, 0]
    assert all(row["spikes"] > 0 for row in found["layers"].values())
    assert found["speed"]["sana_fe"]["synops_per_second"] == 2000
    assert found["times_sana_fe"]["batch"] > 0


def test_the_peer_is_asked_in_its_own_interpreter(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@" >&2\nprintf \'[{"arguments": "%s"}]\' "$*"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    (found,) = sana_fe.peer(python, [tmp_path / "0"], 3)
    assert found["arguments"] == f"-m benchmarks.sana_fe_peer --rounds 3 {tmp_path / '0'}"
    assert json.dumps(found)
