"""What a compilation to spike times did, and what the user should know about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from snnc.coverage import Coverage
from snnc.fidelity import Measure
from snnc.neurons.ttfs import TTFS


@dataclass(frozen=True)
class SpikeTimeReport:
    """layers: of neurons; relays: layers of relays; windows: until the last output is there;
    precisions: (pattern of nodes, ticks) of layers that differ from the neuron's p; percentile: of
    the ranges, None for extremes with a margin; agreement: of `output` with the trained network on
    `measured_samples` of the calibration, None where none were kept."""

    neuron: TTFS
    precisions: tuple[tuple[str, int], ...]
    layers: int
    relays: int
    windows: int
    percentile: float | None
    coverage: Coverage
    calibration_samples: int
    output: str
    measure: Measure
    agreement: float | None
    measured_samples: int
    warnings: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """As `snnc compile --json` prints it (without the path of the file written)."""
        return {
            "neuron": self.neuron.name,
            "parameters": self.neuron.plain_parameters,
            "time_precision": [{"layers": key, "p": p} for key, p in self.precisions],
            "layers": self.layers,
            "relay_layers": self.relays,
            "windows": self.windows,
            "percentile": self.percentile,
            "agreement": {
                "reached": self.agreement,
                "measure": self.measure,
                "output": self.output,
                "samples": self.measured_samples,
            },
            "calibration_samples": self.calibration_samples,
            "host": [
                {"op": e.op, "name": e.name} for e in self.coverage.entries if e.fate == "host"
            ],
            **self.coverage.summary(),
            "warnings": list(self.warnings),
        }
