"""Which operations of a spiking graph are layers that NeuroBench counts, and with what weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from snnc.errors import CompileError, RefusedNode, unknown_name
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Array, Coding, Neuron, Op
from snnc.ir.ops import multiplied
from snnc.ir.spike_times import fires
from snnc.ir.weights import is_weight, weight
from snnc.streams import neuron_behind

Reading: TypeAlias = Literal["graded", "unary"]
READINGS: tuple[Reading, ...] = ("graded", "unary")


@dataclass(frozen=True, eq=False)
class Window:
    """Where the kernel of a convolution moves, an entry for each spatial axis.

    pads: zeros in front of and behind each axis.
    """

    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    groups: int


@dataclass(frozen=True, eq=False)
class Synapses:
    """A layer of constant weights. operand: the value it reads; weight: [outputs, inputs] of a
    linear layer, [outputs, inputs / groups, kernel...] of a convolution; bias: what is added to
    each output; step: what one spike of the operand stands for, [] or [inputs], 1 for an input that
    never fires, None where the operand holds real numbers or spikes whose size depends on more than
    the input; window: of a convolution."""

    op: Op
    operand: str
    weight: Array
    bias: Array | None
    step: Array | None
    window: Window | None = None

    @property
    def weight_of_spikes(self) -> Array:
        """The weights of spike counts: weight x step."""
        if self.step is None or not self.step.ndim:
            return np.asarray(self.weight * (np.float32(1) if self.step is None else self.step))
        outputs, inputs, *kernel = self.weight.shape
        by_group = np.repeat(self.step.reshape(-1, inputs), outputs * inputs // self.step.size, 0)
        return np.asarray(self.weight * by_group.reshape(outputs, inputs, *[1] * len(kernel)))


def layers_of(
    graph: Graph, spikes: Reading = "graded"
) -> tuple[tuple[Synapses, ...], tuple[RefusedNode, ...]]:
    """The layers that NeuroBench counts, and the operations with synapses that it has none for.

    Raises CompileError for a network that is no compiled one, has neurons of spike times, more
    than one input, or no layer; with 'unary' for spikes that are not all of one size.
    """
    if spikes not in READINGS:
        raise unknown_name("reading of spikes", str(spikes), READINGS)
    _require_counts(graph)
    layers, left_out = [], []
    for node in graph.nodes:
        if not isinstance(node, Op) or not multiplied(node):
            continue
        found = _layer(graph, node)
        if isinstance(found, str):
            help = "pass leave_out=True to run it without counting it"
            left_out.append(RefusedNode(node.loc.names[0], node.op_type, found, help))
            continue
        spiking = neuron_behind(graph, found.operand) is not None
        if spikes == "unary" and spiking and found.step is None:
            raise graph.error(
                "spikes of several sizes reach one synapse of this layer", node, _GRADED
            )
        layers.append(found)
    if not layers:
        raise CompileError("no layer has constant weights", at=graph.source or None)
    return tuple(layers), tuple(left_out)


_GRADED = "read them as graded ones: spikes='graded'"


def _require_counts(graph: Graph) -> None:
    at = graph.source or None
    if any(fires(node) for node in graph.nodes):
        raise CompileError(
            "neurons that fire at most once have spike times, no spike counts",
            at=at,
            help="compile the network with another neuron: snnc compile --neuron sfn",
        )
    if graph.stage is not Stage.SPIKING or not graph.neurons:
        raise CompileError(
            "this network has no spiking neurons", at=at, help="pass a file that snnc compile wrote"
        )
    if len(graph.inputs) != 1:
        raise CompileError(
            f"NeuroBench feeds one input, the network has {len(graph.inputs)}: "
            + ", ".join(graph.inputs),
            at=at,
            help="fix the others: snnc fix NETWORK.onnx --input NAME=VALUE before compiling",
        )


def _layer(graph: Graph, op: Op) -> Synapses | str:
    """The layer of an operation, or why there is none."""
    operands = multiplied(op)
    if op.op_type not in ("MatMul", "Gemm", "Conv"):
        return f"NeuroBench counts no {op.op_type}"
    if not any(is_weight(graph, v) for v in operands):
        return "a product of two activations: NeuroBench counts layers of constant weights"
    operand, held = operands
    array = weight(graph, held)
    if is_weight(graph, operand) or array is None:
        return "its weights are no constant second operand"
    bias = weight(graph, op.inputs[2]) if len(op.inputs) > 2 and op.inputs[2] else None
    if len(op.inputs) > 2 and op.inputs[2] and bias is None:
        return "its bias is computed"
    step = _step(graph, operand, array.ndim if op.op_type == "Conv" else 0)
    if op.op_type == "Conv":
        window = _window(op, array)
        if isinstance(window, str):
            return window
        return Synapses(op, operand, array, bias, step, window)
    if array.ndim != 2:
        return "its weights are no matrix"
    if op.integer("transA", 0):
        return "it transposes its activations"
    if bias is not None and bias.size > 1 and bias.size != bias.shape[-1]:
        return "its bias differs from row to row"
    outputs_first = array if op.integer("transB", 0) else array.T
    scaled = np.float32(op.number("alpha", 1.0)) * outputs_first
    if bias is not None:
        bias = np.float32(op.number("beta", 1.0)) * bias.reshape(-1)
        bias = np.broadcast_to(bias, (len(scaled),))
    return Synapses(op, operand, scaled, bias, step)


def _step(graph: Graph, value: str, rank: int) -> Array | None:
    """The size of the spikes that a value holds for each input of a layer, or one for all.

    rank: of the operand of a convolution, whose inputs are along axis 1; 0 for the last axis.
    """
    if value not in graph.types or graph.types[value].coding is not Coding.SPIKE:
        return None
    behind = neuron_behind(graph, value)
    neuron = graph.producer[behind] if behind else None
    if not isinstance(neuron, Neuron):
        return None
    step, *other = [graph.consts[name] for name in neuron.inputs[1:] if name] or [np.ones(())]
    if any(not np.array_equal(step, each) for each in other):
        return None
    alive = np.where(step > 0, step, 1).astype(np.float32)
    if alive.size == 1:
        return alive.reshape(())
    along = (alive.size, *[1] * (rank - 2)) if rank else (alive.size,)
    by_input = alive.shape[-len(along) :] == along  # what is in front of it has size 1
    return alive.reshape(-1) if by_input and value == behind else None


def _window(op: Op, array: Array) -> Window | str:
    rank = array.ndim - 2
    if not 1 <= rank <= 3:
        return f"NeuroBench counts no convolution over {rank} axes"
    if op.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "", "VALID"):
        return "its padding depends on the size of its input"
    ones, pads = (1,) * rank, op.ints("pads", (0,) * 2 * rank)
    if op.attrs.get("auto_pad") == "VALID":
        pads = (0,) * 2 * rank
    return Window(
        op.ints("strides", ones),
        op.ints("dilations", ones),
        tuple(zip(pads[:rank], pads[rank:], strict=True)),
        op.integer("group", 1),
    )
