"""The layers of ONNX that a drive does the work of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from snnc.ir.composed import DRIVES, PARTS, Composed, without_neuron
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Attribute, Dim, Op

BEFORE = ""
"""In the inputs of a layer: the result of the layer before."""

RECOMPILE = "compile the network again"
"""What to do about an artifact that lowering never wrote."""

_ROUNDING = 1e-6
"""A factor this near to 1 is none: it went through a division."""


@dataclass(frozen=True)
class Counts:
    """What a value of 8-bit counts stands for: step x (value - zero point)."""

    step: Array
    zero_point: int


@dataclass(frozen=True)
class Layer:
    """An operation to be made. scale, axis: of its second input, if that is integers; consts:
    further inputs; shape: of its result, if that is not the shape of the whole."""

    op_type: str
    inputs: tuple[str, ...]
    attrs: Mapping[str, Attribute] = field(default_factory=dict)
    scale: Array | None = None
    axis: int = 1
    consts: Mapping[str, Array] = field(default_factory=dict)
    shape: tuple[Dim, ...] | None = None


def layers_of(
    graph: Graph, op: Op, made: Composed, counts: Mapping[str, Counts], parts: int
) -> list[Layer]:
    """The layers of a drive. parts: how many operations it was made of, if that is known."""
    steps = _steps(graph, op, made, counts)
    if made.drive == "SpikeMatMul":
        return _product(graph, op, steps, parts)
    names = dict(zip(DRIVES[made.drive], op.inputs, strict=False))
    weights, bias = (_constant(graph, op, names[key]) for key in ("w", "bias"))
    scale = None
    if "scale" in names:
        scale = np.asarray(_constant(graph, op, names["scale"]) / steps[0], np.float32)
    inputs: tuple[str, ...] = names["x"], names["w"]
    biased = bool(bias.any())
    if made.drive.endswith("Conv"):
        attrs = geometry_of(op) | {"kernel_shape": tuple(weights.shape[2:])}
        inputs += (names["bias"],) * biased
        return [Layer("Conv", inputs, attrs, scale, axis=0)]
    shape = graph.types[names["x"]].shape if names["x"] in graph.types else None
    if parts == 1 and biased and shape is not None and len(shape) == 2:
        return [Layer("Gemm", (*inputs, names["bias"]), {}, scale)]
    product = Layer("MatMul", inputs, {}, scale)
    return [product, Layer("Add", (BEFORE, names["bias"]))] if biased or parts > 1 else [product]


def _steps(graph: Graph, op: Op, made: Composed, counts: Mapping[str, Counts]) -> list[Array]:
    """The thresholds of the spikes that a drive reads."""
    points = {"SpikeMatMul": ("a_zero_point", "b_zero_point")}.get(made.drive, ("zero_point",))
    found = []
    for point, value in zip(points, op.inputs, strict=False):
        if made.drive.startswith("Float"):
            continue
        if value not in counts or counts[value].zero_point != op.attrs.get(point):
            raise graph.error(f"%{value} is not the spike counts of neurons", op, RECOMPILE)
        found.append(counts[value].step)
    return found


def _product(graph: Graph, op: Op, steps: list[Array], parts: int) -> list[Layer]:
    a, b, scale = op.inputs[:3]
    layers = []
    if op.integer("trans_b", 0):
        shape = graph.types[b].shape if b in graph.types else None
        if shape is None or len(shape) < 2:
            raise graph.error(f"the number of axes of %{b} is not known", op, RECOMPILE)
        order = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
        swapped = (*shape[:-2], shape[-1], shape[-2])
        layers.append(Layer("Transpose", (b,), {"perm": order}, shape=swapped))
        b = BEFORE
    layers.append(Layer("MatMul", (a, b)))
    factor = np.asarray(_constant(graph, op, scale) / (steps[0] * steps[1]), np.float32)
    if len(layers) < parts or np.any(np.abs(factor - 1) > _ROUNDING):
        layers.append(Layer("Mul", (BEFORE,), consts={"factor": factor}))
    return layers


def geometry_of(op: Op) -> dict[str, Attribute]:
    """What the attributes of a composed operation say of windows."""
    own = without_neuron(op.attrs)
    return {key: own[key] for key in own if key not in (PARTS, "zero_point", "timesteps")}


def _constant(graph: Graph, op: Op, value: str) -> Array:
    array = graph.consts.get(value)
    if array is None:
        raise graph.error(f"%{value} is not constant", op, RECOMPILE)
    return array
