"""Neurons over several timesteps: kernels and function bodies against copying what they read.

usage: python -m benchmarks.speed_over_time [--timesteps 8 32] [--seconds S]

One thread, all forms in turns in this process; a ratio is the median (and quartiles), over rounds,
of a form's processor time over that of a copy of all timesteps (onnxruntime's Identity) in the
same round. `no membrane`: the kernel of the same neuron with every row a sample of its own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

import snnc
from benchmarks.speed_timing import Run, bound_run, session
from snnc.export import export
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Array, Coding, Loc, Neuron, Type, real
from snnc.ir.rate_neuron import RateNeuron, rate_neuron

MODELS = ("if", "mtn", "dual-mtn", "aif", "sfn")

NEURONS = ((1, 768), (197, 768))
"""Of one timestep: a token of ViT-B, an image of it."""

STEP = 0.1

TURN, LEAST_ROUNDS = 5e-3, 5
"""Processor seconds that a turn lasts at least; rounds to take a median of."""

NATIVE, BODY, PLAIN, COPY = "kernel", "function body", "kernel, no membrane", "copy"


def measure(model: RateNeuron, timesteps: int, shape: tuple[int, ...], seconds: float) -> str:
    """A row of the table."""
    x = np.random.default_rng(0).normal(0.3, 0.5, (timesteps * shape[0], *shape[1:]))
    with tempfile.TemporaryDirectory() as directory:
        times = _times(_runs(model, timesteps, x.astype(np.float32), Path(directory)), seconds)
    size = "x".join(map(str, (timesteps, *shape)))
    ratios = "".join(f" {_shown(times[name] / times[COPY])} |" for name in (NATIVE, BODY, PLAIN))
    return f"| {model.name} | {size} |{ratios} {np.median(times[COPY]) * 1e6:.0f} us |"


def _shown(ratios: Array) -> str:
    low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    return f"{median:.2f} ({low:.2f}-{high:.2f})"


def _times(runs: Mapping[str, Run], seconds: float) -> dict[str, Array]:
    """Processor seconds of every run, round by round."""
    repeats = {name: max(1, round(TURN / _processor_time(run, 3))) for name, run in runs.items()}
    rounds: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds * len(runs)
    while time.perf_counter() < end or len(rounds[COPY]) < LEAST_ROUNDS:
        for name, run in runs.items():
            rounds[name].append(_processor_time(run, repeats[name]))
    return {name: np.array(found) for name, found in rounds.items()}


def _processor_time(run: Run, repeats: int) -> float:
    start = time.thread_time()
    for _ in range(repeats):
        run()
    return (time.thread_time() - start) / repeats


def _runs(model: RateNeuron, timesteps: int, x: Array, directory: Path) -> dict[str, Run]:
    over_time, plain = (_neuron(model, t, x.shape, directory / f"{t}.onnx") for t in (timesteps, 1))
    library, feeds = snnc.kernel_library(), {"x": x}
    return {
        COPY: bound_run(session(_copy(x.shape, directory / "copy.onnx"), 1), feeds),
        NATIVE: bound_run(session(over_time, 1, library), feeds),
        BODY: bound_run(session(over_time, 1), feeds),
        PLAIN: bound_run(session(plain, 1, library), feeds),
    }


def _neuron(model: RateNeuron, timesteps: int, shape: tuple[int, ...], path: Path) -> Path:
    steps = {sign: np.array(STEP, np.float32) for sign in model.signs}
    inputs = ("x", *(sign if sign in steps else "" for sign in ("positive", "negative")))
    neuron = Neuron(("y",), inputs, Loc(("neuron",)), model, timesteps=timesteps)
    types = {"x": real("float32", shape), "y": Type(Coding.SPIKE, "float32", shape)}
    graph = Graph("g", ("x",), ("y",), (neuron,), types, steps, Stage.SPIKING, timesteps)
    onnx.save(export(graph).model, path)
    return path


def _copy(shape: tuple[int, ...], path: Path) -> Path:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "copy", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed_over_time")
    parser.add_argument("--timesteps", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    print(f"| neuron | timesteps and neurons | {NATIVE} | {BODY} | {PLAIN} | {COPY} |")
    print("|---|---|---|---|---|---|")
    for timesteps in options.timesteps:
        for shape in NEURONS:
            for name in MODELS:
                print(measure(rate_neuron(name), timesteps, shape, options.seconds), flush=True)


if __name__ == "__main__":
    main()
