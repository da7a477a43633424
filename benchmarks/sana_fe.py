"""SANA-FE and snnc's simulator on one network: spikes of every neuron, and time.

usage: python -m benchmarks.sana_fe MODEL.onnx --calibration C.npz --test T.npz --peer-python PATH
           [--neuron NEURON] [--timesteps T] [--samples K] [--rounds N]

PATH is an interpreter with SANA-FE (benchmarks/sana_fe_peer.py says which). The network is compiled
to integrate-and-fire neurons and exported for each of the first K test samples; SANA-FE executes
the files, snnc.simulator the network itself. JSON: how many neurons of each layer spike another
number of times (`differing_spike_counts`), and synaptic operations a second of both, simulation
alone: SANA-FE sample by sample, ours sample by sample (`one`) and all samples at once (`batch`).
Either counts its own operations: SANA-FE also those of the neurons that bring biases and inputs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import snnc
from snnc.backends.schedule.export import write_sana_fe
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.scheduling import schedule
from snnc.simulator import Simulator

Feeds = dict[str, Array]


def peer(python: Path, directories: list[Path], rounds: int) -> list[dict[str, Any]]:
    """What the peer's process measured; what it prints meanwhile goes to stderr."""
    command = [str(python), "-m", "benchmarks.sana_fe_peer", "--rounds", str(rounds)]
    command += [str(directory) for directory in directories]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def ours(graph: Graph, feeds: Feeds) -> dict[str, Array]:
    """How often each neuron fires, [samples, neurons] by layer."""
    run = Simulator(graph).run(feeds)
    return {
        value: spikes.counts.reshape(graph.timesteps, len(next(iter(feeds.values()))), -1).sum(0)
        for value, spikes in run.spikes.items()
    }


def differences(
    mine: Mapping[str, Array], theirs: list[dict[str, Any]]
) -> dict[str, dict[str, int]]:
    """Spikes of each layer on both sides, and neurons whose numbers differ."""
    found = {}
    for value, counts in mine.items():
        other = np.array([sample["layers"][value] for sample in theirs])
        found[value] = {
            "spikes": int(counts.sum()),
            "spikes_sana_fe": int(other.sum()),
            "differing_spike_counts": int((counts != other).sum()),
        }
    return found


def least_seconds(run: Callable[[], object], rounds: int) -> float:
    """The shortest of some runs, after one that does not count."""
    run()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def speeds(
    graph: Graph, samples: list[Feeds], batch: Feeds, theirs: list[dict[str, Any]], rounds: int
) -> dict[str, dict[str, float]]:
    """Seconds, synaptic operations, and these a second, of all samples together."""
    simulator = Simulator(graph)
    synops = sum(simulator.run(batch).synops.values())
    one = sum(least_seconds(partial(simulator.run, each), rounds) for each in samples)
    at_once = least_seconds(partial(simulator.run, batch), rounds)
    rows = {
        "sana_fe": (sum(s["seconds"] for s in theirs), float(sum(s["synops"] for s in theirs))),
        "one": (one, synops),
        "batch": (at_once, synops),
    }
    return {
        name: {"seconds": spent, "synops": count, "synops_per_second": count / spent}
        for name, (spent, count) in rows.items()
    }


def report(
    graph: Graph, batch: Feeds, python: Path, rounds: int, directory: Path
) -> dict[str, Any]:
    """Both sides on the samples of a batch."""
    size = len(next(iter(batch.values())))
    samples = [{k: v[i : i + 1] for k, v in batch.items()} for i in range(size)]
    made = schedule(graph, "generic", sample=samples[0])
    directories = [directory / str(number) for number in range(size)]
    for place, feeds in zip(directories, samples, strict=True):
        write_sana_fe(made.network, made.mapping, made.target, feeds, place)
    theirs = peer(python, directories, rounds)
    layers = differences(ours(graph, batch), theirs)
    found = speeds(graph, samples, batch, theirs, rounds)
    return {
        "samples": size,
        "timesteps": graph.timesteps,
        "differing_spike_counts": sum(row["differing_spike_counts"] for row in layers.values()),
        "layers": layers,
        "speed": found,
        "times_sana_fe": {
            name: found[name]["synops_per_second"] / found["sana_fe"]["synops_per_second"]
            for name in ("one", "batch")
        },
    }


def main() -> None:
    """Compiles, exports, runs both sides, prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--peer-python", type=Path, required=True)
    parser.add_argument("--neuron", default="if")
    parser.add_argument("--timesteps", type=int, default=16)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    graph = snnc.compile(
        options.model,
        calibration=options.calibration,
        neuron=options.neuron,
        timesteps=options.timesteps,
    ).graph
    with np.load(options.test) as arrays:
        batch = {name: arrays[name][: options.samples] for name in graph.inputs}
    with tempfile.TemporaryDirectory() as directory:
        found = report(graph, batch, options.peer_python, options.rounds, Path(directory))
    print(json.dumps({"model": options.model.name, "neuron": options.neuron, **found}, indent=1))


if __name__ == "__main__":
    main()
