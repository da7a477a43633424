"""ScaleOutliers: channels far larger than their site come down, the weights behind them up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from snnc.data import Samples
from snnc.errors import CompileError
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Array, Op, Site
from snnc.ir.numbers import real_number
from snnc.passes.channel_scales import divided, multiplied_weights, with_inputs
from snnc.passes.channels import axis_of
from snnc.runtime import Session, batch_size


@dataclass(frozen=True)
class ScaleOutliers:
    """x_c / s_c and W_c s_c with s_c = 2^ceil(log2(max|x_c| / (`sigmas` rms(x)))) where that is
    above 1: the migration of Xiao et al. (SmoothQuant, ICML 2023), of outliers only.

    rms(x) is that of the whole site. Powers of two, so that not even rounding changes. Where all
    readers are layers with constant weights, and a LayerNormalization, a product with a vector or
    a layer, behind a ReLU or pooling perhaps, takes the scale; other sites stay.
    """

    samples: Samples
    sigmas: float = 8.0

    name: ClassVar[str] = "scale-outliers"
    before: ClassVar[Stage] = Stage.SITED
    after: ClassVar[Stage] = Stage.SITED

    def __post_init__(self) -> None:
        if not real_number(self.sigmas, "sigmas") > 0:
            raise CompileError(
                f"outliers beyond {self.sigmas} sigmas are no outliers",
                help="choose a positive number",
            )

    def __call__(self, graph: Graph) -> Graph:
        for name, scales in self._scales(graph).items():
            site = graph.producer[name]
            assert isinstance(site, Site)
            graph = _scaled(graph, site, scales)
        return graph

    def _scales(self, graph: Graph) -> dict[str, Array]:
        """s_c of the sites that have outliers, by name."""
        sites = [site for site in graph.open_sites if axis_of(graph, site)]
        largest: dict[str, Array] = {}
        squares = dict.fromkeys((site.outputs[0] for site in sites), 0.0)
        count = dict.fromkeys(squares, 0)
        taps = tuple(dict.fromkeys(site.inputs[0] for site in sites))
        session = Session(graph, taps=taps)
        for feeds in self.samples.batches(batch_size(graph, taps)) if sites else ():
            values = session.run(feeds)
            for site in sites:
                name, x = site.outputs[0], values[site.inputs[0]]
                by_channel = np.moveaxis(np.abs(x), axis_of(graph, site), 0)
                highest = by_channel.reshape(len(by_channel), -1).max(1, initial=0)
                largest[name] = np.maximum(largest.get(name, highest), highest)
                squares[name] += float(np.square(x, dtype=np.float64).sum())
                count[name] += x.size
        found = {}
        for name, highest in largest.items():
            limit = self.sigmas * np.sqrt(squares[name] / max(count[name], 1))
            ratio = np.maximum(highest / limit, 1) if limit else np.ones_like(highest)
            if (ratio > 1).any():
                found[name] = np.exp2(np.ceil(np.log2(ratio))).astype(np.float32)
        return found


def _scaled(graph: Graph, site: Site, scales: Array) -> Graph:
    """The same network with the site's channels divided, where both ends take the scale."""
    axis = axis_of(graph, site)
    behind = [
        multiplied_weights(graph, op, scales) if isinstance(op, Op) else None
        for op in graph.readers[site.outputs[0]]
    ]
    before = divided(graph, site.inputs[0], axis, scales)
    if before is None or site.outputs[0] in graph.outputs:
        return graph
    new = dict(before)
    for each in behind:
        if each is None:
            return graph
        new |= each
    return with_inputs(graph, new)
