"""SpikingJelly's best converter and snnc on one network: accuracy at each T, time at T = 32.

usage: python -m benchmarks.spikingjelly MODEL.onnx --calibration C.npz --test T.npz
           [--peer-python PATH] [--peer-json F] [--peer-recipes NAME ...] [--neurons NEURON ...]
           [--samples K] [--rounds N] [--seconds S]

PATH is an interpreter with SpikingJelly (benchmarks/spikingjelly_peer.py says which packages). It
measures the accuracy of all its recipes, or of those of --peer-recipes, unless F, the JSON of such
a run, is given. The best of them is taken at each T, chosen on the test samples: in its favour.

Times are of one thread: in each round the peer's process runs alone, then snnc's sessions; medians
over the rounds, ratios of the same round. The peer's recipe is the best at T = 32 and its step mode
the faster one. Without PATH no times are measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import snnc
from benchmarks.speed_timing import Run, bound_run, session
from snnc.ir.node import Array

TIMESTEPS = (1, 2, 4, 8, 16, 32, 64)
TIMED_STEPS = 32
BATCHES = (1, 64)
PEER, ANN = "SpikingJelly", "ANN in onnxruntime"

READOUTS = ("accuracy", "delayed")
"""All outputs are summed, or those from the step on that SpikingJelly's estimate says."""


@dataclass(frozen=True)
class Task:
    """One network and its data."""

    model: Path
    calibration: Path
    test: Path
    samples: int | None

    def arrays(self) -> dict[str, Array]:
        """The test samples that are evaluated, with their labels."""
        with np.load(self.test) as arrays:
            return {name: arrays[name][: self.samples] for name in arrays.files}

    def compiled(self, neuron: str, timesteps: int) -> snnc.SpikingNetwork:
        """The network as a spiking one of so many timesteps."""
        settings: dict[str, Any] = {"neuron": neuron, "timesteps": timesteps}
        return snnc.compile(self.model, calibration=self.calibration, **settings)


def peer(python: Path, task: Task, *options: str) -> dict[str, Any]:
    """What the peer's process measured; what it prints meanwhile goes to stderr."""
    command = [str(python), "-m", "benchmarks.spikingjelly_peer", str(task.model.resolve())]
    command += ["--calibration", str(task.calibration.resolve())]
    command += ["--test", str(task.test.resolve()), *options]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def best(found: dict[str, Any], timesteps: int) -> tuple[float, str, str]:
    """The largest accuracy of the peer at T, its recipe and readout."""
    t = str(timesteps)
    return max(
        (
            (row[readout][t], name, readout)
            for name, row in found["recipes"].items()
            for readout in READOUTS
        ),
        key=lambda entry: entry[0],
    )


def accuracies(task: Task, neurons: Iterable[str]) -> dict[str, dict[int, float | None]]:
    """Top-1 of snnc's networks by neuron and T; None where the compiler refuses, which is said."""
    data = task.arrays()
    return {neuron: {t: _accuracy(task, neuron, t, data) for t in TIMESTEPS} for neuron in neurons}


def _accuracy(task: Task, neuron: str, timesteps: int, data: dict[str, Array]) -> float | None:
    try:
        share = task.compiled(neuron, timesteps).evaluate(data).snn_top1
    except snnc.CompileError as error:
        print(f"{neuron}, T = {timesteps}: {error}", file=sys.stderr)
        return None
    print(f"{neuron}, T = {timesteps}: {share}", file=sys.stderr, flush=True)
    return share


def runs(task: Task, neurons: Iterable[str], directory: Path) -> dict[str, dict[int, Run]]:
    """A run of the network and of each of its spiking ones at T = 32, by name and batch."""
    sessions = {ANN: session(task.model, 1)}
    for neuron in neurons:
        path = directory / f"{neuron}.onnx"
        task.compiled(neuron, TIMED_STEPS).save(path)
        sessions[neuron] = snnc.session(path, threads=1)
    data = task.arrays()
    names = {entry.name for entry in sessions[ANN].get_inputs()}
    feeds = {b: {n: a[:b] for n, a in data.items() if n in names} for b in BATCHES}
    return {
        name: {b: bound_run(ready, feeds[b]) for b in BATCHES} for name, ready in sessions.items()
    }


def seconds(run: Callable[[], object], batch: int, least: float) -> float:
    """Seconds a sample, median of at least 5 runs that take `least` seconds together."""
    run()
    times: list[float] = []
    while len(times) < 5 or sum(times) < least:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times) / batch


Round = dict[str, dict[int, float]]
"""Seconds a sample by name and batch."""


def peer_seconds(python: Path, task: Task, recipe: str, least: float) -> dict[int, float]:
    """Seconds a sample of the peer by batch, in the step mode that is faster."""
    options = ["--only", "times", "--threads", "1", "--seconds", str(least)]
    found = peer(python, task, *options, "--recipes", recipe)
    modes = found["recipes"][recipe]["seconds"].values()
    return {b: min(float(mode[str(b)]) for mode in modes) for b in BATCHES}


def alternate(
    of_peer: Callable[[], dict[int, float]],
    ours: dict[str, dict[int, Run]],
    rounds: int,
    least: float,
) -> list[Round]:
    """The peer, then each of ours, `rounds` times."""
    return [
        {PEER: of_peer()}
        | {
            name: {b: seconds(run, b, least) for b, run in by_batch.items()}
            for name, by_batch in ours.items()
        }
        for _ in range(rounds)
    ]


def accuracy_table(found: dict[str, Any], ours: dict[str, dict[int, float | None]]) -> list[str]:
    """Markdown: a row for each T; T at which the peer is better are marked."""
    lines = _head(["T", PEER, "recipe", *(f"snnc {neuron}" for neuron in ours)])
    for t in TIMESTEPS:
        top, recipe, readout = best(found, t)
        late = found["recipes"][recipe]["delay"][str(t)] if readout == "delayed" else 0
        label = f"{recipe}, read from step {late + 1}" if late else recipe
        cells = [_percent(by_t[t], top) for by_t in ours.values()]
        lines.append(_row([str(t), f"{top:.2%}", label, *cells]))
    return lines


def _percent(share: float | None, least: float) -> str:
    if share is None:
        return "-"
    return f"{share:.2%}" + (" (less)" if share < least else "")


def time_table(rounds: list[Round]) -> list[str]:
    """Markdown: milliseconds a sample, and how many times faster than the peer, by batch."""
    names = list(rounds[0])
    lines = _head(
        ["batch", *(f"{name}, ms" for name in names), *(f"{PEER} / {n}" for n in names[1:])]
    )
    for b in BATCHES:
        medians = [statistics.median(r[name][b] for r in rounds) for name in names]
        ratios = [statistics.median(r[PEER][b] / r[name][b] for r in rounds) for name in names[1:]]
        times = [f"{1e3 * value:.3f}" for value in medians]
        lines.append(_row([str(b), *times, *(f"{ratio:.1f}" for ratio in ratios)]))
    return lines


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _head(cells: list[str]) -> list[str]:
    return [_row(cells), "|" + "---|" * len(cells)]


def _accuracy_options(options: argparse.Namespace) -> list[str]:
    samples = [] if options.samples is None else ["--samples", str(options.samples)]
    recipes = ["--recipes", *options.peer_recipes] if options.peer_recipes else []
    return ["--only", "accuracy", *samples, *recipes]


def main() -> None:
    """Measures both sides and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--peer-json", type=Path)
    parser.add_argument("--peer-recipes", nargs="+", default=[])
    parser.add_argument("--neurons", nargs="+", default=["if"])
    parser.add_argument("--samples", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    if options.peer_python is None and options.peer_json is None:
        parser.error("give --peer-python, --peer-json or both")
    task = Task(options.model, options.calibration, options.test, options.samples)
    if options.peer_json is not None:
        found = json.loads(options.peer_json.read_text())
    else:
        found = peer(options.peer_python, task, *_accuracy_options(options))
    ours = accuracies(task, options.neurons)
    print(f"ANN in torch: {found['ann']['accuracy']:.2%} of {found['samples']} samples\n")
    print("\n".join(accuracy_table(found, ours)), flush=True)
    if options.peer_python is None:
        return
    ready = [neuron for neuron, by_t in ours.items() if by_t[TIMED_STEPS] is not None]
    _, recipe, _ = best(found, TIMED_STEPS)
    of_peer = partial(peer_seconds, options.peer_python, task, recipe, options.seconds)
    with tempfile.TemporaryDirectory() as directory:
        bound = runs(task, ready, Path(directory))
        rounds = alternate(of_peer, bound, options.rounds, options.seconds)
    print(f"\nT = {TIMED_STEPS}, a sample, one thread; {PEER} by '{recipe}'\n")
    print("\n".join(time_table(rounds)))


if __name__ == "__main__":
    main()
