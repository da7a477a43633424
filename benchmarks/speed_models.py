"""Networks of known shapes with random weights, as exporters write them: ViT-B/16, ResNet-50, MLP.

Everything is deterministic; weights are scaled so that activations keep about their size from layer
to layer. Nothing is trained: speed depends on shapes, and on zeros where a kernel skips them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from snnc.ir.node import Array

OPSET, IR_VERSION = 17, 8


class Builder:
    """Nodes and weights in the order in which they are added; values named after their nodes."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def op(self, op_type: str, *inputs: str, **attrs: Any) -> str:
        """Adds an operation; its result."""
        name = f"/{op_type}_{len(self.nodes)}"
        result = f"{name}_output_0"
        self.nodes.append(helper.make_node(op_type, inputs, [result], name=name, **attrs))
        return result

    def const(self, array: Array) -> str:
        """Adds an initializer (float64 becomes float32); its name."""
        name = f"weight_{len(self.weights)}"
        single = array.astype(np.float32) if array.dtype == np.float64 else array
        self.weights.append(numpy_helper.from_array(np.asarray(single, order="C"), name))
        return name

    def normal(self, shape: tuple[int, ...], deviation: float) -> str:
        """Adds normally distributed weights of mean 0."""
        return self.const(self.rng.standard_normal(shape, np.float32) * np.float32(deviation))

    def save(
        self, path: Path, inputs: dict[str, tuple[int | str, ...]], output: str, classes: int
    ) -> Path:
        """Writes the network from its float inputs to `output`, [N, classes]; the path."""
        batch = next(iter(inputs.values()))[0]
        result = helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, classes])
        self.nodes.append(helper.make_node("Identity", [output], ["output"], name="/output"))
        infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()]
        graph = helper.make_graph(self.nodes, path.stem, infos, [result], self.weights)
        opset = helper.make_opsetid("", OPSET)
        onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION), path)
        return path


# Vision transformer -----------------------------------------------------------------------------

WIDTH, HEADS, HIDDEN, BLOCKS, PATCHES = 768, 12, 3072, 12, 196
TOKENS = PATCHES + 1


def vit_b16(path: Path) -> Path:
    """ViT-B/16 at 224 x 224, one image: input [1, 3, 224, 224], output [1, 1000]."""
    b = Builder(seed=1)
    patches = b.op(
        "Conv",
        "input",
        b.normal((WIDTH, 3, 16, 16), (3 * 256) ** -0.5),
        b.normal((WIDTH,), 0.02),
        kernel_shape=[16, 16],
        strides=[16, 16],
    )
    rows = b.op("Reshape", patches, b.const(np.array([1, WIDTH, PATCHES])))
    tokens = b.op("Transpose", rows, perm=[0, 2, 1])
    joined = b.op("Concat", b.normal((1, 1, WIDTH), 0.5), tokens, axis=1)
    x = b.op("Add", joined, b.normal((1, TOKENS, WIDTH), 0.5))
    for _ in range(BLOCKS):
        x = b.op("Add", x, _attention(b, _layer_norm(b, x)))
        x = b.op("Add", x, _perceptron(b, _layer_norm(b, x)))
    first = b.op("Gather", _layer_norm(b, x), b.const(np.array(0)), axis=1)
    return b.save(path, {"input": (1, 3, 224, 224)}, _linear(b, first, WIDTH, 1000), 1000)


def _layer_norm(b: Builder, x: str) -> str:
    gain = b.const(1 + 0.1 * b.rng.standard_normal(WIDTH))
    return b.op("LayerNormalization", x, gain, b.normal((WIDTH,), 0.1), axis=-1, epsilon=1e-6)


def _linear(b: Builder, x: str, inputs: int, outputs: int, gain: float = 1.0) -> str:
    product = b.op("MatMul", x, b.normal((inputs, outputs), gain * inputs**-0.5))
    return b.op("Add", b.normal((outputs,), 0.02), product)


def _heads(b: Builder, x: str, perm: list[int]) -> str:
    shape = b.const(np.array([1, TOKENS, HEADS, WIDTH // HEADS]))
    return b.op("Transpose", b.op("Reshape", x, shape), perm=perm)


def _attention(b: Builder, x: str) -> str:
    query = _heads(b, _linear(b, x, WIDTH, WIDTH, 1.5), [0, 2, 1, 3])
    key = _heads(b, _linear(b, x, WIDTH, WIDTH, 1.5), [0, 2, 3, 1])
    value = _heads(b, _linear(b, x, WIDTH, WIDTH), [0, 2, 1, 3])
    scores = b.op("Div", b.op("MatMul", query, key), b.const(np.array((WIDTH / HEADS) ** 0.5)))
    mixed = b.op("MatMul", b.op("Softmax", scores, axis=-1), value)
    joined = b.op("Transpose", mixed, perm=[0, 2, 1, 3])
    rows = b.op("Reshape", joined, b.const(np.array([1, TOKENS, WIDTH])))
    return _linear(b, rows, WIDTH, WIDTH, 0.5)


def _perceptron(b: Builder, x: str) -> str:
    hidden = _linear(b, x, WIDTH, HIDDEN)
    error_function = b.op("Erf", b.op("Div", hidden, b.const(np.array(2**0.5))))
    doubled = b.op("Mul", hidden, b.op("Add", error_function, b.const(np.array(1.0))))
    activation = b.op("Mul", doubled, b.const(np.array(0.5)))
    return _linear(b, activation, HIDDEN, WIDTH, 0.5)


# Residual network -------------------------------------------------------------------------------

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
"""Inner channels and bottlenecks of each stage of ResNet-50."""


def resnet50(path: Path) -> Path:
    """ResNet-50 with its normalisations in the convolutions: [N, 3, 224, 224] to [N, 1000]."""
    b = Builder(seed=2)
    x = b.op("Relu", _conv(b, "input", 3, 64, size=7, stride=2))
    x = b.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, (inner, blocks) in enumerate(STAGES):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            x = _bottleneck(b, x, channels, inner, stride, project=block == 0)
            channels = 4 * inner
    flat = b.op("Flatten", b.op("GlobalAveragePool", x), axis=1)
    weights = b.normal((1000, channels), channels**-0.5)
    logits = b.op("Gemm", flat, weights, b.normal((1000,), 0.02), transB=1)
    return b.save(path, {"input": ("N", 3, 224, 224)}, logits, 1000)


def _conv(
    b: Builder, x: str, inputs: int, outputs: int, size: int, stride: int = 1, gain: float = 1.0
) -> str:
    deviation = gain * (2 / (inputs * size * size)) ** 0.5
    return b.op(
        "Conv",
        x,
        b.normal((outputs, inputs, size, size), deviation),
        b.normal((outputs,), 0.05),
        kernel_shape=[size, size],
        strides=[stride, stride],
        pads=[size // 2] * 4,
    )


def _bottleneck(b: Builder, x: str, channels: int, inner: int, stride: int, project: bool) -> str:
    """1x1, 3x3 (with the stride), 1x1 and the shortcut; the branches keep the size of x."""
    hidden = b.op("Relu", _conv(b, x, channels, inner, size=1))
    hidden = b.op("Relu", _conv(b, hidden, inner, inner, size=3, stride=stride))
    branch = _conv(b, hidden, inner, 4 * inner, size=1, gain=0.5)
    shortcut = _conv(b, x, channels, 4 * inner, 1, stride, gain=0.7) if project else x
    return b.op("Relu", b.op("Add", branch, shortcut))


# Perceptron whose hidden layers are mostly silent -----------------------------------------------

PIXELS, LAYERS, UNITS = 784, 3, 4096


def sparse_mlp(path: Path, zeros: float) -> Path:
    """784 inputs and three layers of 4,096, a share `zeros` of whose hidden units is 0 on
    `mlp_inputs`, for one sample at a time.

    Each unit's bias is minus the quantile of its drive there, so that the share holds unit by unit.
    """
    b = Builder(seed=3)
    name, values = "input", mlp_inputs(64)
    for layer in range(LAYERS):
        deviation = float((values.shape[1] * np.mean(values**2)) ** -0.5)
        weights = b.rng.standard_normal((values.shape[1], UNITS), np.float32)
        weights *= np.float32(deviation)
        drive = values @ weights
        last = layer == LAYERS - 1
        bias = np.zeros(UNITS) if last else -np.quantile(drive, zeros, axis=0)
        name = b.op("Gemm", name, b.const(weights), b.const(bias))
        if not last:
            name = b.op("Relu", name)
        values = np.maximum(drive + bias, 0).astype(np.float32)
    return b.save(path, {"input": (1, PIXELS)}, name, UNITS)


def mlp_inputs(count: int) -> Array:
    """Inputs of `sparse_mlp`, half of them zero as after a Relu: [count, 784]."""
    rng = np.random.default_rng(4)
    return np.maximum(rng.standard_normal((count, PIXELS), np.float32), 0)


def images(count: int) -> Array:
    """Images of coarse and fine noise, about standard normal: [count, 3, 224, 224]."""
    rng = np.random.default_rng(5)
    coarse = rng.standard_normal((count, 3, 14, 14), np.float32)
    fine = rng.standard_normal((count, 3, 224, 224), np.float32)
    return np.asarray(0.8 * coarse.repeat(16, axis=2).repeat(16, axis=3) + 0.6 * fine, np.float32)
