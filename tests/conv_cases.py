"""Channels-last convolutions of integers, their results by numpy, and native operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from snnc.ir.node import Array
from snnc.kernels import instruction_sets, kernel_library

LIBRARY = kernel_library()
NEEDS_LIBRARY = pytest.mark.skipif(
    LIBRARY is None, reason="the native kernels are not built (no C++ compiler at installation)"
)
EACH_SET = pytest.mark.parametrize("instructions", instruction_sets())
SETTINGS = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)


@dataclass(frozen=True)
class Geometry:
    """A convolution's attributes; kernel, strides and dilations of one or two axes."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    group: int = 1

    @property
    def attributes(self) -> dict[str, Any]:
        rank = len(self.kernel)
        return {
            "strides": self.strides,
            "dilations": self.dilations,
            "pads": self.pads,
            "group": self.group,
            "channels_first": (0, rank + 1, *range(1, rank + 1)),
            "channels_last": (0, *range(2, rank + 2), 1),
        }


def plain(*kernel: int, group: int = 1, stride: int = 1, pad: int = 0) -> Geometry:
    rank = len(kernel)
    return Geometry(kernel, (stride,) * rank, (1,) * rank, (pad,) * 2 * rank, group)


@dataclass(frozen=True)
class Case:
    """A convolution of integers: counts x [B, ..., C] and weights w [O, C / group, ...]."""

    geometry: Geometry
    x: Array
    w: Array
    zero_point: int = 0


OUTPUTS = st.sampled_from([1, 2, 3, 5, 8, 16, 17, 40])


@st.composite
def cases(draw: Callable[..., Any]) -> Case:
    rank = draw(st.integers(1, 2))
    axes = st.tuples(*[st.integers(1, 3)] * rank)
    geometry = Geometry(
        draw(st.tuples(*[st.integers(1, 4)] * rank)),
        draw(axes),
        draw(st.tuples(*[st.integers(1, 2)] * rank)),
        draw(st.tuples(*[st.integers(0, 3)] * 2 * rank)),
        draw(st.sampled_from([1, 1, 2, 3, 19, 70])),
    )
    size = []
    for i, kernel in enumerate(geometry.kernel):
        reach = (kernel - 1) * geometry.dilations[i] + 1
        pad = geometry.pads[i] + geometry.pads[rank + i]
        size.append(draw(st.integers(max(1, reach - pad), 24)))
    each = st.just(1) if geometry.group > 3 else st.sampled_from([1, 2, 3, 4, 5, 9, 33, 70])
    channels = draw(each)
    outputs = draw(st.sampled_from([1, 1, 2]) if geometry.group > 3 else OUTPUTS)
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    low, high = draw(st.sampled_from([(0, 256), (255, 256), (0, 2)]))
    weight_low = draw(st.sampled_from([-128, 127]))
    x = random.integers(low, high, (draw(st.integers(1, 2)), *size, geometry.group * channels))
    w = random.integers(weight_low, 128, (geometry.group * outputs, channels, *geometry.kernel))
    return Case(geometry, x.astype(np.uint8), w.astype(np.int8), draw(st.sampled_from([0, 128])))


def convolve(x: Array, w: Array, g: Geometry) -> Array:
    """The convolution of x, already less its zero point, in the type of x and w."""
    rank = len(g.kernel)
    x = np.pad(x, [(0, 0), *((g.pads[i], g.pads[rank + i]) for i in range(rank)), (0, 0)])
    sizes = [
        (n - (k - 1) * d - 1) // s + 1
        for n, k, d, s in zip(x.shape[1:-1], g.kernel, g.dilations, g.strides, strict=True)
    ]
    grouped = x.reshape(*x.shape[:-1], g.group, -1)
    weights = w.reshape(g.group, -1, *w.shape[1:])
    y = np.zeros((x.shape[0], *sizes, g.group, weights.shape[1]), x.dtype)
    for tap in np.ndindex(*g.kernel):
        window = tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, g.dilations, sizes, g.strides, strict=True)
        )
        taken = grouped[(slice(None), *window)]
        y += np.einsum("b...gc,goc->b...go", taken, weights[(..., *tap)], optimize=True)
    return y.reshape(x.shape[0], *sizes, w.shape[0])


@dataclass
class Node:
    """One operation of the library: constants are initializers unless they are named in fed.
    sized: the model states the shapes of what is fed."""

    op_type: str
    inputs: dict[str, Array]
    attributes: dict[str, Any]
    fed: tuple[str, ...] = ("x", "addend")
    output: int = TensorProto.FLOAT
    domain: str = "ai.snnc"
    sized: bool = False
    feeds: dict[str, Array] = field(default_factory=dict)

    def session(self, threads: int = 1) -> Any:
        constants = [name for name in self.inputs if name not in self.fed]
        self.feeds = {name: self.inputs[name] for name in self.inputs if name in self.fed}
        node = helper.make_node(
            self.op_type, list(self.inputs), ["y"], "layer", domain=self.domain, **self.attributes
        )
        graph = helper.make_graph(
            [node],
            "g",
            [
                helper.make_tensor_value_info(
                    name,
                    helper.np_dtype_to_tensor_dtype(x.dtype),
                    x.shape if self.sized else None,
                )
                for name, x in self.feeds.items()
            ],
            [helper.make_tensor_value_info("y", self.output, None)],
            [onnx.numpy_helper.from_array(self.inputs[name], name) for name in constants],
        )
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.snnc", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        options.register_custom_ops_library(str(LIBRARY))
        return onnxruntime.InferenceSession(model.SerializeToString(), options)

    def run(self, threads: int = 1) -> Array:
        session = self.session(threads)
        return np.asarray(session.run(None, self.feeds)[0])


def random_case(
    x_shape: tuple[int, ...], outputs: int, geometry: Geometry, zero_point: int = 0
) -> Case:
    random = np.random.default_rng(0)
    w_shape = (outputs, x_shape[-1] // geometry.group, *geometry.kernel)
    x = random.integers(0, 256, x_shape).astype(np.uint8)
    return Case(geometry, x, random.integers(-128, 128, w_shape).astype(np.int8), zero_point)


# rows gathered at once and in blocks, the input as rows, groups, depthwise, one axis
SHAPES = [
    ((1, 56, 56, 64), 64, plain(3, 3, pad=1)),
    ((1, 28, 28, 128), 128, plain(3, 3, pad=1, stride=2)),
    ((1, 7, 7, 512), 96, plain(3, 3, pad=1)),
    ((2, 14, 14, 256), 70, plain(1, 1)),
    ((1, 75, 75, 3), 20, plain(7, 7, pad=3, stride=2)),
    ((2, 20, 20, 36), 36, plain(3, 3, pad=1, group=36)),
    ((1, 30, 31, 160), 160, plain(5, 5, pad=2, stride=2, group=160)),
    ((2, 60, 61, 96), 48, plain(3, 3, pad=1, group=3)),
    ((1, 300, 40), 24, plain(5, pad=2)),
    ((3, 1, 1, 8), 200, plain(1, 1)),
]
