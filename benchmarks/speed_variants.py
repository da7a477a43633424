"""The files that the speed benchmark compares, each made in a process of its own.

A process for each: what fails leaves a reason and no more, and its memory is free afterwards.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import snnc
from benchmarks.speed_networks import Network
from snnc.ir.node import Array
from snnc.ir.rate_neuron import Synapses

ANN, BODIES, FLOAT, INT8, PEER = "ANN", "bodies", "native float", "native int8", "QDQ int8"
ENCODED = "int8, input too"


@dataclass(frozen=True)
class Variant:
    """A way to run a network. path: its file, None with the reason in `note` if there is none;
    library: of the native kernels, if it runs with them."""

    name: str
    path: Path | None
    library: Path | None = None
    note: str = ""


def variants(network: Network, directory: Path) -> list[Variant]:
    """The network itself, its spiking forms, and onnxruntime's own int8 form of it."""
    library = snnc.kernel_library()
    missing = "" if library else "no native kernels here"
    spiking, reason = _made(_compile, network, directory / "spiking.onnx", "float")
    found = [Variant(ANN, network.path), Variant(BODIES, spiking, note=reason)]
    found.append(Variant(FLOAT, spiking if library else None, library, reason or missing))
    for name, file, options in (
        (INT8, "spiking_int8.onnx", ("int8",)),
        (ENCODED, "spiking_int8_encoded.onnx", ("int8", True)),
    ):
        int8, reason = None, missing
        if library:
            int8, reason = _made(_compile, network, directory / file, *options)
        found.append(Variant(name, int8, library, reason))
    peer, reason = _made(_quantise, network, directory / "qdq.onnx")
    return [*found, Variant(PEER, peer, note=reason)]


def _made(
    make: Callable[..., None], network: Network, path: Path, *options: str | bool
) -> tuple[Path | None, str]:
    """Runs `make(network, path, ...)` elsewhere: the path and '', or None and what went wrong."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        error = pool.submit(make, network, path, *options).exception()
    if error is None:
        return path, ""
    words = " ".join(str(error).split())
    return None, f"{type(error).__name__}: {words[:200]}"


def _compile(network: Network, path: Path, synapses: Synapses, encode_input: bool = False) -> None:
    spiking = snnc.compile(
        network.path,
        calibration=network.calibration,
        mask_input=network.mask_input,
        scale=network.scale,
        synapses=synapses,
        encode_input=encode_input,
    )
    spiking.save(path)


class _Reader:
    """Calibration samples one at a time, as onnxruntime's calibrators ask for them."""

    def __init__(self, samples: dict[str, Array]) -> None:
        count = len(next(iter(samples.values())))
        self._feeds: Iterator[dict[str, Array]] = iter(
            {name: array[i : i + 1] for name, array in samples.items()} for i in range(count)
        )

    def get_next(self) -> dict[str, Array] | None:
        return next(self._feeds, None)


def _quantise(network: Network, path: Path) -> None:
    """Static quantisation as onnxruntime documents it: pre-processing, QDQ, uint8 activations,
    int8 weights for each channel; symbolic shapes only where sympy is there."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = path.with_name("prepared.onnx")
    symbolic = importlib.util.find_spec("sympy") is not None
    quant_pre_process(str(network.path), str(prepared), skip_symbolic_shape=not symbolic)
    quantize_static(
        str(prepared),
        str(path),
        _Reader(network.calibration),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
