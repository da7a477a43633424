"""Simulation of neurons that fire at most once, independent of onnxruntime and of the artifact."""

from snnc.membrane.decode import decoded
from snnc.membrane.layer import Run
from snnc.membrane.simulate import simulate

__all__ = ["Run", "decoded", "simulate"]
