"""Quantised networks against the spiking networks made of them, on all test samples.

    python -m benchmarks.quantized ZOO --out TABLE.md

ZOO holds models/ and data/. Every network is quantised statically by onnxruntime (QDQ) in several
ways, compiled without calibration, and run beside onnxruntime with graph optimisations off: the
artifact without optimisations, too (every number must be the same), and as `snnc run` runs it.
"""

import argparse
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

import snnc
from snnc.ir.node import Array

Arrays = dict[str, Array]

NETWORKS = {
    "fmnist_cnn": ("fmnist_calib", "fmnist_test"),
    "fmnist_vit": ("fmnist_calib", "fmnist_test"),
    "digits_mlp_skl": ("digits_mlp_calib", "digits_mlp_test"),
    "efficientnet_lite0": ("imagenet20", "imagenet20"),
}
"""By name: calibration and test samples."""

SETTINGS: dict[str, dict[str, Any]] = {
    "uint8, int8 weights": {
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
    },
    "uint8, int8 weights a channel": {
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
        "per_channel": True,
    },
    "int8 symmetric, int8 weights a channel": {
        "activation_type": QuantType.QInt8,
        "weight_type": QuantType.QInt8,
        "per_channel": True,
        "extra_options": {"ActivationSymmetric": True},
    },
    "uint8, uint8 weights": {
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QUInt8,
    },
    "int16, int8 weights": {
        "activation_type": QuantType.QInt16,
        "weight_type": QuantType.QInt8,
    },
}


class _Samples(CalibrationDataReader):  # type: ignore[misc]
    """Batches for onnxruntime's calibration."""

    def __init__(self, inputs: Arrays, size: int) -> None:
        self._batches = batches(inputs, size)

    def get_next(self) -> Arrays | None:
        return next(self._batches, None)


def batches(inputs: Arrays, size: int) -> Iterator[Arrays]:
    """The samples in batches of at most `size`."""
    for first in range(0, len(next(iter(inputs.values()))), size):
        yield {name: array[first : first + size] for name, array in inputs.items()}


def quantized(model: Path, inputs: Arrays, setting: dict[str, Any], out: Path) -> None:
    """Writes the network as onnxruntime quantises it for these samples."""
    prepared = out.with_suffix(".prepared.onnx")
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    reader = _Samples(inputs, 20)
    quantize_static(str(prepared), str(out), reader, quant_format=QuantFormat.QDQ, **setting)


def reference(path: Path) -> Any:
    """A session without graph optimisations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options)


def outputs(session: Any, inputs: Arrays, name: str, size: int = 50) -> Array:
    """One output for all samples."""
    return np.concatenate([session.run([name], feeds)[0] for feeds in batches(inputs, size)])


def compared(name: str, setting: str, zoo: Path, directory: Path) -> tuple[str, ...]:
    """One row of the table."""
    calibration, test = (dict(np.load(zoo / "data" / f"{n}.npz")) for n in NETWORKS[name])
    labels = test.pop("labels")
    calibration.pop("labels")
    source, spiking = directory / f"{name}.onnx", directory / f"{name}.snn.onnx"
    quantized(zoo / "models" / f"{name}.onnx", calibration, SETTINGS[setting], source)
    network = snnc.compile(source)
    network.save(spiking)
    output = network.report.output
    wanted = outputs(reference(source), test, output)
    plain = outputs(reference(spiking), test, output)
    run = outputs(snnc.session(spiking), test, output)
    report = network.report
    analog = len(report.coverage.names("analog"))
    return (
        name,
        setting,
        str(len(labels)),
        f"{report.imported} of {report.sites}",
        str(analog),
        f"{np.mean(wanted.argmax(-1) == labels):.2%}",
        f"{_same_rows(plain, wanted):.2%}",
        f"{np.abs(plain - wanted).max():.2g}",
        f"{_same_argmax(plain, wanted):.2%}",
        f"{np.mean(_close_rows(run, wanted)):.2%}",
        f"{_same_argmax(run, wanted):.2%}",
    )


def _same_rows(found: Array, wanted: Array) -> float:
    return float(np.mean((found == wanted).all(-1)))


def _close_rows(found: Array, wanted: Array) -> Array:
    return np.asarray(np.isclose(found, wanted, rtol=1e-5, atol=1e-6).all(-1))


def _same_argmax(found: Array, wanted: Array) -> float:
    return float(np.mean(found.argmax(-1) == wanted.argmax(-1)))


HEAD = (
    "network",
    "activations",
    "samples",
    "imported",
    "analog",
    "top-1",
    "same numbers",
    "largest difference",
    "same argmax",
    "optimised: same",
    "argmax",
)


def main() -> None:
    """Prints and writes the table."""
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--network", choices=NETWORKS, nargs="*", default=list(NETWORKS))
    args = parser.parse_args()
    rows = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    print("\n".join(rows), flush=True)
    for name in args.network:
        for setting in SETTINGS:
            try:
                with tempfile.TemporaryDirectory() as directory:
                    row = compared(name, setting, args.zoo, Path(directory))
            except ValueError:  # onnxruntime 1.32 quantises no product with bias a channel
                row = (name, setting, "onnxruntime does not quantise it so", *[""] * 8)
            rows.append("| " + " | ".join(row) + " |")
            print(rows[-1], flush=True)
    if args.out is not None:
        args.out.write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
