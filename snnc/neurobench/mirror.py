"""The spiking graph as torch modules: layers and neurons that NeuroBench hooks into.

Between them onnxruntime computes what NeuroBench does not count, as the artifact does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from neurobench.models import NeuroBenchModel
from torch import nn

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Neuron, Node
from snnc.neurobench.layers import Reading, Synapses, Window
from snnc.runtime import Session

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class Neurons(nn.Module):  # type: ignore[misc]
    """A layer of neurons: drive -> step x count, [T * N, ...] over several timesteps."""

    def __init__(self, graph: Graph, neuron: Neuron) -> None:
        super().__init__()
        self._model, self._timesteps = neuron.model, neuron.timesteps
        for name, step in zip(("positive", "negative"), neuron.inputs[1:], strict=True):
            array = graph.consts[step] if step else np.zeros((), np.float32)
            self.register_buffer(name, torch.tensor(array))

    def forward(self, drive: torch.Tensor) -> torch.Tensor:
        x = drive.detach().cpu().numpy()
        steps = self.positive.cpu().numpy(), self.negative.cpu().numpy()
        if self._timesteps > 1:
            unfolded = x.reshape(self._timesteps, -1, *x.shape[1:])
            emitted = self._model.over_time(unfolded, *steps).reshape(x.shape)
        else:
            emitted = self._model.step(x, *steps)
        return torch.from_numpy(emitted).to(drive.device)


class Layer(nn.Module):  # type: ignore[misc]
    """Constant weights times what they read; the bias stands beside the layer that is counted.

    A layer of spikes holds weight x step and reads counts.
    """

    def __init__(self, synapses: Synapses, spikes: Reading) -> None:
        super().__init__()
        self._unary = spikes == "unary" and synapses.step is not None
        self._pads, self.synapses = _synapses(synapses)
        self.synapses.weight = _fixed(synapses.weight_of_spikes)
        along = [1] * (synapses.weight.ndim - 2)
        step = None if synapses.step is None else torch.tensor(synapses.step)
        self._step = step if step is None or not step.ndim else step.reshape(-1, *along)
        bias = synapses.bias
        if bias is not None and synapses.window is not None:
            bias = bias.reshape(-1, *along)
        self.bias = None if bias is None else _fixed(bias)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        read = values if self._step is None else torch.round(values / self._step.to(values.device))
        read = nn.functional.pad(read, self._pads) if any(self._pads) else read
        parts = _binary(read) if self._unary else [read]
        total = sum(self.synapses(part) for part in parts)
        return total if self.bias is None else total + self.bias


def _binary(counts: torch.Tensor) -> Iterator[torch.Tensor]:
    """The counts as a sum of spikes of 1 and -1; none at all are one tensor of zeros."""
    size = counts.abs()
    for k in range(max(int(size.max()) if size.numel() else 0, 1)):
        yield counts.sign() * (size > k)


def _synapses(layer: Synapses) -> tuple[list[int], Any]:
    """Zeros to put around what is read, last axis first, and the torch layer behind them."""
    if layer.window is None:
        outputs, inputs = layer.weight.shape
        return [], nn.Linear(inputs, outputs, bias=False)
    window = layer.window
    even = all(before == after for before, after in window.pads)
    around = [] if even else [pad for axis in reversed(window.pads) for pad in axis]
    return around, _convolution(layer.weight, window, even)


def _convolution(weight: Array, window: Window, padded: bool) -> Any:
    outputs, inputs, *kernel = weight.shape
    return _CONVOLUTIONS[len(kernel)](
        inputs * window.groups,
        outputs,
        tuple(kernel),
        stride=window.strides,
        dilation=window.dilations,
        padding=tuple(before for before, _ in window.pads) if padded else 0,
        groups=window.groups,
        bias=False,
    )


def _fixed(array: Array) -> nn.Parameter:
    return nn.Parameter(torch.tensor(np.asarray(array, np.float32)), requires_grad=False)


class Host:
    """Operations that NeuroBench does not count, one after the other, in onnxruntime."""

    def __init__(self, graph: Graph, nodes: Sequence[Node], needed: frozenset[str]) -> None:
        """needed: values that are read elsewhere."""
        made = {v for node in nodes for v in node.outputs if v}
        read = (v for node in nodes for v in node.inputs if v in graph.types and v not in made)
        self.inputs = tuple(dict.fromkeys(read))
        outputs = tuple(v for node in nodes for v in node.outputs if v in needed)
        alone = replace(graph, inputs=self.inputs, outputs=outputs, nodes=tuple(nodes)).pruned()
        self._session = Session(alone)

    def __call__(self, values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        feeds = {name: values[name].detach().cpu().numpy() for name in self.inputs}
        device = next((values[name].device for name in self.inputs), None)
        found = self._session.run(feeds)
        return {name: torch.from_numpy(array).to(device) for name, array in found.items()}


class Mirror(nn.Module):  # type: ignore[misc]
    """The network, [N, ...] -> its output; children: its layers and its neurons, by node name."""

    def __init__(
        self, graph: Graph, layers: Sequence[Synapses], output: str, spikes: Reading
    ) -> None:
        super().__init__()
        graph = replace(graph, outputs=(output,)).pruned()
        self._input, self._output = graph.inputs[0], output
        self._dtype = graph.types[self._input].dtype
        counted = {layer.op.outputs[0]: layer for layer in layers}
        self._steps: list[tuple[str, str, nn.Module] | Host] = []
        for nodes in _runs(graph, counted):
            node, value = nodes[0], nodes[0].outputs[0]
            if isinstance(node, Neuron):
                self._add(node, node.inputs[0], Neurons(graph, node))
            elif value in counted:
                self._add(node, counted[value].operand, Layer(counted[value], spikes))
            elif needed := _read_elsewhere(graph, nodes, counted):
                self._steps.append(Host(graph, nodes, needed))

    def _add(self, node: Node, operand: str, module: nn.Module) -> None:
        name = node.loc.names[0].replace(".", "_")
        again = sum(child.partition("#")[0] == name for child, _ in self.named_children())
        self.add_module(f"{name}#{again + 1}" if again else name, module)
        self._steps.append((operand, node.outputs[0], module))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        values = {self._input: batch.to(getattr(torch, self._dtype))}
        for step in self._steps:
            if isinstance(step, Host):
                values |= step(values)
                continue
            operand, result, module = step
            values[result] = module(values[operand])
        return values[self._output]


def _runs(graph: Graph, counted: Mapping[str, Synapses]) -> Iterator[tuple[Node, ...]]:
    """The nodes in order: neurons and counted layers alone, what lies between them together."""
    between: list[Node] = []
    for node in graph.nodes:
        if not isinstance(node, Neuron) and node.outputs[0] not in counted:
            between.append(node)
            continue
        if between:
            yield tuple(between)
            between = []
        yield (node,)
    if between:
        yield tuple(between)


def _read_elsewhere(
    graph: Graph, nodes: Sequence[Node], counted: Mapping[str, Synapses]
) -> frozenset[str]:
    """The results of some nodes that the network returns or other nodes read; the weights that a
    counted layer reads are in that layer."""
    own = {id(node) for node in nodes}
    found = set(graph.outputs)
    for node in graph.nodes:
        if id(node) in own:
            continue
        layer = counted.get(node.outputs[0])
        found.update(node.inputs if layer is None else (layer.operand,))
    return frozenset(found.intersection(v for node in nodes for v in node.outputs if v))


class CompiledModel(NeuroBenchModel):  # type: ignore[misc]
    """What NeuroBench's Benchmark takes: it runs the network and hooks into layers and neurons."""

    def __init__(
        self, graph: Graph, layers: Sequence[Synapses], output: str, spikes: Reading
    ) -> None:
        super().__init__()
        self.net = Mirror(graph, layers, output, spikes).eval()
        self.add_activation_module(Neurons)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        return self.net(batch)

    def __net__(self) -> nn.Module:
        return self.net
