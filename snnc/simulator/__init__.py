"""Spiking networks executed event by event, on spike counts, without onnxruntime."""

from snnc.simulator.layer import NEAR, Differing
from snnc.simulator.simulate import Run, Simulator, simulate

__all__ = ["NEAR", "Differing", "Run", "Simulator", "simulate"]
