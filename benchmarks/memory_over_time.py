"""Peak memory over T timesteps: compiling, evaluating, and one run of the artifact.

usage: python -m benchmarks.memory_over_time --model M.onnx --calibration C.npz --data D.npz

Each measurement runs in a process of its own and counts what it adds to the memory of a process
that has imported everything. `every activation` is what all values of the spiking network would
take if each were kept for all samples of the batch and all timesteps.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import snnc
from snnc.data import LABELS

TIMESTEPS = (1, 8, 64)
BATCHES = (1, 4, 16)
SAMPLES = 512
NEURON = "if"


def peak() -> float:
    """The most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def first(path: Path, samples: int) -> dict[str, np.ndarray]:
    """The first samples of a file."""
    with np.load(path) as loaded:
        return {name: array[:samples] for name, array in loaded.items()}


def activations(path: Path) -> float:
    """Every value that the spiking network computes, for one sample at all timesteps, in MiB."""
    graph = snnc.load(path)
    shapes = [graph.types[v].shape or () for node in graph.nodes for v in node.outputs]
    entries = sum(int(np.prod([d for d in s[1:] if isinstance(d, int)])) for s in shapes)
    return entries * graph.timesteps * 4 / 2**20


def compiled(options: argparse.Namespace, artifact: Path, timesteps: int) -> None:
    """Compiles at lambda = 1."""
    network = snnc.compile(
        options.model,
        calibration=options.calibration,
        neuron=NEURON,
        timesteps=timesteps,
        scale=1.0,
    )
    network.save(artifact)


def evaluated(options: argparse.Namespace, artifact: Path, timesteps: int) -> None:
    """Evaluates the artifact beside the trained network."""
    ann, snn = snnc.load(options.model), snnc.load(artifact)
    snnc.evaluate(ann, snn, snnc.samples_of(first(options.data, SAMPLES), ann))


def run(options: argparse.Namespace, artifact: Path, batch: int) -> None:
    """Runs the artifact once."""
    samples = first(options.data, batch)
    samples.pop(LABELS, None)
    snnc.session(artifact, threads=1).run(None, samples)


def nothing(options: argparse.Namespace, artifact: Path, number: int) -> None:
    """What every process holds."""
    first(options.data, SAMPLES)


TASKS: dict[str, Callable[[argparse.Namespace, Path, int], None]] = {
    task.__name__: task for task in (nothing, compiled, evaluated, run)
}


def measured(options: argparse.Namespace, task: str, artifact: Path, number: int) -> float:
    """The peak of a process that does the task, in MiB."""
    files = [f"--{name}={getattr(options, name)}" for name in ("model", "calibration", "data")]
    command = [sys.executable, "-m", "benchmarks.memory_over_time", *files]
    command += [f"--task={task}", f"--artifact={artifact}", f"--number={number}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout))


def main() -> None:
    """Measures every task at every T and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("model", "calibration", "data"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--artifact", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        TASKS[options.task](options, options.artifact, options.number)
        print(json.dumps(peak()))
        return
    with tempfile.TemporaryDirectory() as folder:
        base = measured(options, "nothing", Path(folder), 0)
        print(f"imports and data: {base:.0f} MiB; everything below: MiB above that\n")
        runs = "".join(f" run, {n} | every activation |" for n in BATCHES)
        print(f"| T | compile | evaluate |{runs}")
        print("|---|---|---|" + "---|---|" * len(BATCHES))
        for t in TIMESTEPS:
            artifact = Path(folder) / f"{t}.onnx"
            row = [
                measured(options, task, artifact, t) - base for task in ("compiled", "evaluated")
            ]
            for n in BATCHES:
                row += [measured(options, "run", artifact, n) - base, n * activations(artifact)]
            print(f"| {t} | " + " | ".join(f"{value:.0f}" for value in row) + " |", flush=True)


if __name__ == "__main__":
    main()
