"""How fast networks run as spiking ones, beside themselves and onnxruntime's own int8 form.

usage: python -m benchmarks.speed [--only NAME ...] [--zoo DIR] [--threads 1 2] [--seconds S]
                                  [--json F] [--out docs/speed.md]

All forms of a network run in turns in this process; every ratio is the median, over rounds, of the
time of one form over that of the network itself in the same round. Networks with random weights
are made on the spot, those of the zoo (DIR/models, DIR/data) need --zoo. `kernels` are single
operations. --out rewrites the tables between the marker lines of that file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

import snnc
from benchmarks.speed_kernels import kernel_rows
from benchmarks.speed_networks import SOURCES, Network, NoZooError
from benchmarks.speed_report import Measured, NetworkRow, write
from benchmarks.speed_timing import bound_run, ratios, session
from benchmarks.speed_variants import ANN, Variant, variants

KERNELS = "kernels"


@dataclass(frozen=True)
class Settings:
    """threads: numbers of them to measure with; seconds: for each form of a network."""

    threads: list[int]
    seconds: float
    zoo: Path | None


def measure(name: str, settings: Settings, measured: Measured, directory: Path) -> None:
    """Adds the rows of one network, and what could not be run of it."""
    try:
        network = SOURCES[name](directory, settings.zoo)
    except NoZooError:
        measured.skipped.append(f"{name}: skipped, it is part of the zoo and --zoo was not given")
        return
    forms = variants(network, directory)
    measured.skipped += [f"{name}, {f.name}: {f.note}" for f in forms if f.path is None]
    for threads in settings.threads:
        for batch in network.batches:
            row = _row(name, network, forms, threads, batch, settings.seconds)
            measured.networks.append(row)
            print(_line(row), flush=True)


def _row(
    name: str, network: Network, forms: list[Variant], threads: int, batch: int, seconds: float
) -> NetworkRow:
    feeds = network.feeds(batch)
    runs = {
        form.name: bound_run(session(form.path, threads, form.library), feeds)
        for form in forms
        if form.path is not None
    }
    return NetworkRow(name, batch, threads, ratios(runs, ANN, seconds), network.note)


def _line(row: NetworkRow) -> str:
    shown = [f"{name} {ratio.median:.3f}" for name, ratio in row.ratios.items() if name != ANN]
    return f"{row.network}, batch {row.batch}, {row.threads} threads: " + ", ".join(shown)


def measure_kernels(settings: Settings, measured: Measured, directory: Path) -> None:
    """Adds the rows of single operations."""
    library = snnc.kernel_library()
    if library is None:
        measured.skipped.append(f"{KERNELS}: no native kernels here, the neuron's body alone")
    for threads in settings.threads:
        for row in kernel_rows(directory, library, threads, settings.seconds):
            measured.kernels.append(row)
            print(f"{row.kernel}, {row.threads} threads: {row.ratio.median:.3f}", flush=True)


def context() -> dict[str, object]:
    """What a ratio depends on besides the networks."""
    return {
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
        "Python": platform.python_version(),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


def _processor() -> str:
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    """Measures the chosen networks and operations, prints and writes the tables."""
    names = [*SOURCES, KERNELS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--zoo", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    settings = Settings(options.threads, options.seconds, options.zoo)
    measured = Measured(context())
    for name in options.only:
        with tempfile.TemporaryDirectory() as directory:
            if name == KERNELS:
                measure_kernels(settings, measured, Path(directory))
            else:
                measure(name, settings, measured, Path(directory))
    print("\n" + measured.markdown())
    if options.json:
        options.json.write_text(json.dumps(measured.json(), indent=1) + "\n")
    if options.out:
        write(options.out, measured.markdown())


if __name__ == "__main__":
    main()
