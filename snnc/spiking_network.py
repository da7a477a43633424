"""Compiled networks: to run, to evaluate, to save."""

from __future__ import annotations

from pathlib import Path

from snnc.backends.lowering import lower
from snnc.backends.onnx_model import save_onnx
from snnc.compile_report import CompileReport
from snnc.data import Source, samples_of
from snnc.energy import PJ_AC, PJ_MAC, Energy
from snnc.evaluation import Evaluation, evaluate, measure, run
from snnc.files import require_writable
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.spike_time_evaluation import SpikeTimeEvaluation, evaluate_spike_times
from snnc.spike_time_report import SpikeTimeReport


class _Compiled:
    """graph: the spiking graph; ann: the network it came from."""

    def __init__(self, graph: Graph, ann: Graph, sources: tuple[Path, ...]) -> None:
        """sources: files it was made from, which `save` will not overwrite."""
        self.graph = graph
        self.ann = ann
        self._sources = sources

    def save(self, path: str | Path) -> None:
        """Writes the ONNX artifact that stock onnxruntime runs; never over a file it came from."""
        require_writable(Path(path), *self._sources)
        save_onnx(self.graph, path)

    def run(self, data: Source) -> dict[str, Array]:
        """Every output for all samples of `data`, by name."""
        return run(lower(self.graph), samples_of(data, self.graph))


class SpikingNetwork(_Compiled):
    """A network of neurons that count spikes. graph: the spiking graph; ann: the network it came
    from; report."""

    def __init__(
        self, graph: Graph, ann: Graph, report: CompileReport, sources: tuple[Path, ...] = ()
    ) -> None:
        super().__init__(graph, ann, sources)
        self.report = report

    def evaluate(self, data: Source, output: str | None = None) -> Evaluation:
        """The spiking network beside its ANN on `data` (labels under the key 'labels')."""
        return evaluate(self.ann, self.graph, samples_of(data, self.ann), output)

    def energy(self, data: Source, pj_ac: float = PJ_AC, pj_mac: float = PJ_MAC) -> Energy:
        """Operations and energy ratios of the spiking network on `data`."""
        return measure(self.graph, samples_of(data, self.graph)).energy(pj_ac, pj_mac)


class SpikeTimeNetwork(_Compiled):
    """A network of neurons that fire at most once. graph: the spiking graph; ann: the network it
    came from; report."""

    def __init__(
        self, graph: Graph, ann: Graph, report: SpikeTimeReport, sources: tuple[Path, ...] = ()
    ) -> None:
        super().__init__(graph, ann, sources)
        self.report = report

    def evaluate(self, data: Source, output: str | None = None) -> SpikeTimeEvaluation:
        """The network beside its ANN on `data` (labels under the key 'labels'), with its energy."""
        return evaluate_spike_times(self.ann, self.graph, samples_of(data, self.ann), output)
