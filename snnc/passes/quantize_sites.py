"""QuantizeSites: every site becomes a quantiser of b bits of least squared error.

The rival of spike counts: activations as post-training quantisation makes them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snnc.errors import CompileError
from snnc.ir.graph import Graph, Replacement, Stage
from snnc.ir.node import Array, Node, Site, Statistics
from snnc.neurons.aif import AIF
from snnc.passes.calibration import Calibration

BITS = (2, 16)
"""Fewest and most bits of an activation."""

_TAIL = np.geomspace(1e-6, 0.01, 48)
_EDGES = np.concatenate([[0.0], _TAIL[:-1], np.linspace(0.01, 0.99, 512), 1 - _TAIL[-2::-1], [1.0]])
SHARES, WEIGHTS = (_EDGES[:-1] + _EDGES[1:]) / 2, np.diff(_EDGES)
"""At which quantiles are read, densely at the tails, and the share of entries each stands for."""

CLIPPED = np.geomspace(0.02, 1.0, 40)
"""Shares of the smallest and of the largest activation that are tried as limits."""


@dataclass(frozen=True)
class QuantizeSites:
    """Sites -> thresholds and AIF models that round as QuantizeLinear with a zero point does:
    n_min .. n_max are 2^bits integers with 0 among them, of one scale a tensor."""

    bits: int
    calibration: Calibration

    name: ClassVar[str] = "quantize-sites"
    before: ClassVar[Stage] = Stage.CALIBRATED
    after: ClassVar[Stage] = Stage.CALIBRATED

    def __post_init__(self) -> None:
        fewest, most = BITS
        if type(self.bits) is not int or not fewest <= self.bits <= most:
            raise CompileError(
                f"bits of activations out of range: {self.bits!r}",
                help=f"choose {fewest} to {most}",
            )

    def __call__(self, graph: Graph) -> Graph:
        def rule(node: Node) -> Replacement | None:
            if not isinstance(node, Site) or node.statistics is None:
                return None
            if node.statistics.sides == "silent":
                return None
            quantiles = self.calibration.accumulators[node.inputs[0]].quantiles(SHARES)
            step, lowest, highest = best_levels(quantiles, node.statistics, self.bits)
            model = AIF(L=max(highest, -lowest), n_min=lowest, n_max=highest, rounding="half-even")
            theta = float(np.float32(step * model.L))
            thresholds = (theta if highest else 0.0,), (theta if lowest else 0.0,)
            return Replacement((replace(node, neuron=model, thresholds=thresholds, axis=0),))

        return graph.rewrite(rule)


def best_levels(quantiles: Array, seen: Statistics, bits: int) -> tuple[float, int, int]:
    """Step, smallest and largest of 2^bits integers of least squared error.

    quantiles: of the activations at SHARES. Limits are tried on a grid of shares of both extremes.
    """
    steps = 2**bits - 1
    low = -CLIPPED * min(seen.minimum, 0.0) if seen.minimum < 0 else np.zeros(1)
    high = CLIPPED * seen.maximum if seen.maximum > 0 else np.zeros(1)
    below, above = (grid.ravel() for grid in np.meshgrid(low, high))
    step = (below + above) / steps
    lowest = -np.rint(below / step)
    errors = [_squared_error(quantiles, s, n, n + steps) for s, n in zip(step, lowest, strict=True)]
    best = int(np.argmin(errors))
    return float(step[best]), int(lowest[best]), int(lowest[best]) + steps


def _squared_error(x: Array, step: float, lowest: float, highest: float) -> float:
    error = x - step * np.clip(np.rint(x / step), lowest, highest)
    return float(WEIGHTS @ (error * error))
