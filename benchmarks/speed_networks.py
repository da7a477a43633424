"""What the speed benchmark runs: networks with the samples to calibrate and to time them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

import snnc
from benchmarks import speed_models
from benchmarks.zoo_data import BUILDERS, Arrays
from snnc.ir.node import Array, Op
from snnc.runtime import Session

MASK = "attention_mask"

MODELS = Path(__file__).parent.parent / "models"


@dataclass(frozen=True)
class Network:
    """A network as a file. calibration: samples by input; batches: sizes to time.

    scale: lambda, given so that nothing is searched; float kernels do not depend on it.
    note: a measured figure that its speed may depend on.
    """

    path: Path
    calibration: Arrays
    batches: tuple[int, ...] = (1,)
    mask_input: str | None = None
    scale: float = 0.2
    note: str = ""

    def feeds(self, batch: int) -> Arrays:
        """`batch` samples, from the first of the calibration data on."""
        places = np.arange(batch)
        return {
            name: np.ascontiguousarray(array.take(places, axis=0, mode="wrap"))
            for name, array in self.calibration.items()
        }


Source = Callable[[Path, Path | None], Network]
"""Makes a network; arguments: a directory to write to, the zoo's directory if there is one."""


class NoZooError(Exception):
    """A network of the zoo was asked for without its directory."""


def _zoo(name: str, samples: int, _: Path, zoo: Path | None) -> Network:
    if zoo is None:
        raise NoZooError(name)
    data = BUILDERS[name](zoo)
    calibration = _first(data.calibration, samples)
    batches = (1, 32) if samples >= 32 else (1,)
    return Network(zoo / "models" / f"{name}.onnx", calibration, batches, data.mask_input)


def _included(
    name: str, data: str, _: Path, __: Path | None, mask_input: str | None = None
) -> Network:
    with np.load(MODELS / f"{data}_calibration.npz") as arrays:
        calibration = _first(dict(arrays), 64)
    return Network(MODELS / f"{name}.onnx", calibration, (1, 32), mask_input)


def _first(arrays: Arrays, samples: int) -> Arrays:
    return {name: array[:samples] for name, array in arrays.items() if name != "labels"}


def _generated(
    name: str,
    make: Callable[[Path], Path],
    inputs: Callable[[int], Array],
    samples: int,
    directory: Path,
    _: Path | None,
) -> Network:
    return Network(make(directory / f"{name}.onnx"), {"input": inputs(samples)})


def _mlp(percent: int, directory: Path, _: Path | None) -> Network:
    path = speed_models.sparse_mlp(directory / f"mlp_{percent}.onnx", percent / 100)
    network = Network(path, {"input": speed_models.mlp_inputs(64)})
    return replace(network, note=f"{silent_share(path, network.feeds(1)):.1%} zeros")


def silent_share(path: Path, feeds: Arrays) -> float:
    """Share of zeros behind the Relus of a network on `feeds`."""
    graph = snnc.load(path)
    rectified = [n.outputs[0] for n in graph.nodes if isinstance(n, Op) and n.op_type == "Relu"]
    values = Session(graph, taps=rectified).run(feeds)
    return float(np.mean([values[name] == 0 for name in rectified]))


SOURCES: dict[str, Source] = {
    "fmnist_cnn": partial(_zoo, "fmnist_cnn", 16),
    "fmnist_vit": partial(_zoo, "fmnist_vit", 16),
    "efficientnet_lite0": partial(_zoo, "efficientnet_lite0", 8),
    "paraphrase-MiniLM-L3-v2": partial(_zoo, "paraphrase-MiniLM-L3-v2", 64),
    "vit_b16": partial(_generated, "vit_b16", speed_models.vit_b16, speed_models.images, 4),
    "resnet50": partial(_generated, "resnet50", speed_models.resnet50, speed_models.images, 4),
    "mlp_60": partial(_mlp, 60),
    "mlp_80": partial(_mlp, 80),
    "mlp_90": partial(_mlp, 90),
    "digits_cnn": partial(_included, "digits_cnn", "digits"),
    "digits_vit": partial(_included, "digits_vit", "digits"),
    "digits_encoder": partial(_included, "digits_encoder", "digits_encoder", mask_input=MASK),
}
"""The networks of the issue, then those of models/, which need nothing else."""
