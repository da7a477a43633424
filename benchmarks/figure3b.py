"""Integrate-and-fire over T timesteps against the multi-threshold neuron of N = T levels at one.

usage: python -m benchmarks.figure3b --model M.onnx --calibration C.npz --data D.npz
           [--neurons if mtn:N=T@1] [--timesteps 1 2 4 ... 64] [--samples N] [--plot OUT.svg]

Figure 3b of arXiv 2510.23383: one table and one picture of accuracy and energy. lambda is 1 at
every T, as Theorem 1 has it.
"""

import argparse
from pathlib import Path

import numpy as np

import snnc
from snnc.cli.studies import study_table
from snnc.curves import TIMESTEPS
from snnc.ir.node import Array


def first(path: Path, samples: int | None) -> dict[str, Array]:
    """The first samples of a file; all without a number."""
    with np.load(path) as loaded:
        return {name: array[:samples] for name, array in loaded.items()}


def main() -> None:
    """Measures every neuron at every T, prints the table and draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--neurons", nargs="+", default=["if", "mtn:N=T@1"])
    parser.add_argument("--timesteps", nargs="+", type=int, default=list(TIMESTEPS))
    parser.add_argument("--samples", type=int)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    study = snnc.timesteps_curve(
        snnc.calibrate(options.model, calibration=options.calibration),
        first(options.data, options.samples),
        neurons=options.neurons,
        timesteps=options.timesteps,
        scale=1.0,
    )
    print(study_table(study))
    if options.plot is not None:
        snnc.plot(study, options.plot)


if __name__ == "__main__":
    main()
