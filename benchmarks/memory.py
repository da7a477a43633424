"""Peak memory of calibration on a stream of samples: 2,000 against 20,000.

usage: python -m benchmarks.memory MODEL DATA.npz

Each size runs in a process of its own, on the samples of DATA.npz repeated by an iterator.
"""

import argparse
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import snnc
from snnc.data import Feeds

SIZES = (2_000, 20_000)


def calibrate(model: Path, data: Path, size: int) -> None:
    """Compiles with `size` samples at a fixed lambda and prints the peak of resident memory."""
    graph = snnc.load(model)
    with np.load(data) as arrays:
        samples = {name: arrays[name] for name in graph.inputs}

    def stream() -> Iterator[Feeds]:
        done = 0
        while done < size:
            count = min(64, size - done)
            index = np.arange(done, done + count) % len(next(iter(samples.values())))
            yield {name: array[index] for name, array in samples.items()}
            done += count

    network = snnc.compile(model, calibration=stream(), scale=0.2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{network.report.calibration_samples} samples: peak {peak:.1f} MiB")


def main() -> None:
    """Runs both sizes and prints their peaks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int)
    options = parser.parse_args()
    if options.size:
        calibrate(options.model, options.data, options.size)
        return
    for size in SIZES:
        command = [
            sys.executable,
            "-m",
            "benchmarks.memory",
            options.model,
            options.data,
            "--size",
            str(size),
        ]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
