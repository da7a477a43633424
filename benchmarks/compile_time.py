"""Where the time of `snnc.compile` goes: running the network over the samples, and all the rest.

usage: python -m benchmarks.compile_time MODEL DATA.npz [--mask-input NAME]
"""

import argparse
import time
from pathlib import Path
from typing import Any

import snnc
from snnc.runtime import Session


def main() -> None:
    """Compiles once with the time inside onnxruntime's runs measured apart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--mask-input")
    options = parser.parse_args()
    running = 0.0
    original = Session.run

    def timed(self: Session, feeds: Any) -> Any:
        nonlocal running
        start = time.perf_counter()
        try:
            return original(self, feeds)
        finally:
            running += time.perf_counter() - start

    Session.run = timed  # type: ignore[method-assign]
    start = time.perf_counter()
    network = snnc.compile(options.model, calibration=options.data, mask_input=options.mask_input)
    network.save("compile_time.snn.onnx")
    whole = time.perf_counter() - start
    Path("compile_time.snn.onnx").unlink()
    print(f"whole {whole:.1f} s, running the network {running:.1f} s, rest {whole - running:.1f} s")


if __name__ == "__main__":
    main()
