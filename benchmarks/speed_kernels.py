"""Single operations: the neuron against copying its tensor, one row of spikes times a matrix,
convolutions of spikes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import snnc
from benchmarks.speed_timing import Ratio, Run, bound_run, ratios, session
from snnc.backends.onnx_model import save_onnx
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Array, Coding, Loc, Neuron, Type, real

SHAPES = ((197, 3072), (1, 64, 112, 112), (4096, 4096))
"""Tensors of the neuron: a hidden layer of ViT-B, the first of ResNet-50, one beyond all caches."""

STEPS = {"positive": 0.31, "negative": 0.17}

UNITS, SHARES = 4096, (60, 80, 90)
"""Inputs and outputs of the matrix-vector product, percentages of zeros."""

COUNTS, ZERO_POINT = 8, 128
"""Spike counts of the one row lie in -8..8; uint8 with zero point 128 (int8 synapses)."""


MAPS, SILENT = ((24, 28), (64, 56), (256, 14)), (85, 95)
"""Channels and sizes of the feature maps of 3x3 convolutions, percentages of zeros."""


@dataclass(frozen=True)
class KernelRow:
    """kernel: what was timed; against: what its time is divided by."""

    kernel: str
    against: str
    threads: int
    ratio: Ratio


def kernel_rows(
    directory: Path, library: Path | None, threads: int, seconds: float
) -> Iterator[KernelRow]:
    """Every single operation; the neuron on one thread only, as onnxruntime copies on one."""
    if threads == 1:
        yield from _neuron_rows(directory, library, seconds)
    if library is not None:
        yield from _product_rows(directory, library, threads, seconds)
        yield from _convolution_rows(directory, library, threads, seconds)


# The neuron -------------------------------------------------------------------------------------


def _neuron_rows(directory: Path, library: Path | None, seconds: float) -> Iterator[KernelRow]:
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        neuron = _neuron(directory / "neuron.onnx", shape)
        feeds = {"x": rng.standard_normal(shape, np.float32)}
        copy = _single(directory / "copy.onnx", "Identity", "", shape, {})
        runs = {
            "copy": bound_run(session(copy, 1), feeds),
            "neuron, body": bound_run(session(neuron, 1), feeds),
        }
        if library is not None:
            runs["neuron, native"] = bound_run(session(neuron, 1, library), feeds)
        size = "x".join(map(str, shape))
        for name, ratio in ratios(runs, "copy", seconds).items():
            if name != "copy":
                yield KernelRow(f"{name}, {size}", "copy", 1, ratio)


def _neuron(path: Path, shape: tuple[int, ...]) -> Path:
    """One neuron of dense levels for both signs, with a scalar step for each."""
    neuron = Neuron(("y",), ("x", *STEPS), Loc(("neuron",)), snnc.SFN())
    types = {"x": real("float32", shape), "y": Type(Coding.SPIKE, "float32", shape)}
    consts = {name: np.array(step, np.float32) for name, step in STEPS.items()}
    save_onnx(Graph("neuron", ("x",), ("y",), (neuron,), types, consts, Stage.SPIKING), path)
    return path


# One row times a matrix -------------------------------------------------------------------------


def _product_rows(
    directory: Path, library: Path, threads: int, seconds: float
) -> Iterator[KernelRow]:
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((UNITS, UNITS), np.float32)
    small = rng.integers(-127, 128, (UNITS, UNITS), np.int8)
    bias = np.zeros(UNITS, np.float32)
    scale = np.array(0.01, np.float32)
    shape = (1, UNITS)
    files = {
        "ANN": _single(directory / "ann.onnx", "MatMul", "", shape, {"w": weights}),
        "float": _single(
            directory / "float.onnx", "FloatLinear", "ai.snnc", shape, {"w": weights, "b": bias}
        ),
        "int8": _single(
            directory / "int8.onnx",
            "SpikeLinear",
            "ai.snnc",
            shape,
            {"w": small, "scale": scale, "b": bias},
            TensorProto.UINT8,
            zero_point=ZERO_POINT,
        ),
    }
    sessions = {
        name: session(path, threads, None if name == "ANN" else library)
        for name, path in files.items()
    }
    for share in SHARES:
        counts = rng.integers(1, COUNTS + 1, shape) * rng.choice([-1, 1], shape)
        counts[0, rng.permutation(UNITS)[: round(UNITS * share / 100)]] = 0
        real_feeds = {"x": counts.astype(np.float32)}
        feeds = {"int8": {"x": (counts + ZERO_POINT).astype(np.uint8)}}
        runs: dict[str, Run] = {
            name: bound_run(one, feeds.get(name, real_feeds)) for name, one in sessions.items()
        }
        for name, ratio in ratios(runs, "ANN", seconds).items():
            if name != "ANN":
                row = f"one row x {UNITS}x{UNITS}, {share} % zeros, {name}"
                yield KernelRow(row, "MatMul of the ANN", threads, ratio)


# Convolutions ------------------------------------------------------------------------------------


def _convolution_rows(
    directory: Path, library: Path, threads: int, seconds: float
) -> Iterator[KernelRow]:
    rng = np.random.default_rng(2)
    geometry: dict[str, Any] = {"strides": [1, 1], "pads": [1] * 4, "dilations": [1, 1], "group": 1}
    for channels, size in MAPS:
        shape = (4, channels, size, size)
        weights = {
            "w": rng.standard_normal((channels, channels, 3, 3), np.float32),
            "b": np.zeros(channels, np.float32),
        }
        ann = _single(directory / "conv.onnx", "Conv", "", shape, weights, **geometry)
        events = directory / "float_conv.onnx"
        _single(events, "FloatConv", "ai.snnc", shape, weights, **geometry)
        sessions = {"ANN": session(ann, threads), "float": session(events, threads, library)}
        for share in SILENT:
            x = 0.5 * (rng.random(shape) >= share / 100).astype(np.float32)
            runs = {name: bound_run(one, {"x": x}) for name, one in sessions.items()}
            ratio = ratios(runs, "ANN", seconds)["float"]
            row = f"3x3 on {channels}x{size}x{size}, {share} % zeros, float"
            yield KernelRow(row, "Conv of the ANN", threads, ratio)


def _single(
    path: Path,
    op_type: str,
    domain: str,
    shape: tuple[int, ...],
    weights: dict[str, Array],
    element: int = TensorProto.FLOAT,
    **attrs: Any,
) -> Path:
    """A network of one operation from x to a float y, both of `shape`."""
    node = helper.make_node(op_type, ["x", *weights], ["y"], domain=domain, **attrs)
    graph = helper.make_graph(
        [node],
        op_type,
        [helper.make_tensor_value_info("x", element, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 21)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path
