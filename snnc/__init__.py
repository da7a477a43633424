"""snnc: a compiler from trained ONNX networks to spiking networks of one timestep."""

from snnc.calibrated import CalibratedNetwork
from snnc.compiler import CompileReport, SpikingNetwork, Watch, calibrate, compile
from snnc.data import samples_of
from snnc.energy import Energy
from snnc.errors import CompileError
from snnc.evaluation import Evaluation, evaluate, run
from snnc.frontend import load
from snnc.ir.graph import Graph
from snnc.ir.neuron import NeuronModel, make_neuron, neuron_models
from snnc.neurons.sfn import SFN
from snnc.search.outcome import Trial
from snnc.tuning import Tuned, tune

__version__ = "0.1.0"

__all__ = [
    "SFN",
    "CalibratedNetwork",
    "CompileError",
    "CompileReport",
    "Energy",
    "Evaluation",
    "Graph",
    "NeuronModel",
    "SpikingNetwork",
    "Trial",
    "Tuned",
    "Watch",
    "calibrate",
    "compile",
    "evaluate",
    "load",
    "make_neuron",
    "neuron_models",
    "run",
    "samples_of",
    "tune",
]
