"""SFN over 1, 2 and 4 timesteps at the paper's settings (Table 4 of arXiv 2510.23383).

usage: python -m benchmarks.table4 --model M.onnx --calibration C.npz --data D.npz [--samples N]

Prints the table; exits with 1 unless the cosine to the trained network rises with every T.
"""

import argparse
import sys
from itertools import pairwise
from pathlib import Path

import snnc
from benchmarks.memory_over_time import first
from snnc.cli.studies import study_table

PAPER = snnc.SFN(M=8, rule="eq11", levels="sformer")
SCALE, PERCENTILE = 0.25, 1.0
TIMESTEPS = (1, 2, 4)


def main() -> int:
    """Measures the network at every T."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=500)
    options = parser.parse_args()
    study = snnc.timesteps_curve(
        snnc.calibrate(options.model, calibration=options.calibration),
        first(options.data, options.samples),
        neurons=PAPER,
        timesteps=TIMESTEPS,
        scale=SCALE,
        percentile=PERCENTILE,
    )
    print(study_table(study))
    cosines = [point.result.cosine for point in study.points]
    rises = all(before < after for before, after in pairwise(cosines))
    print("cosine rises with T" if rises else "cosine does NOT rise with T")
    return 0 if rises else 1


if __name__ == "__main__":
    sys.exit(main())
