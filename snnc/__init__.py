"""snnc: a compiler from trained ONNX networks to spiking networks of one timestep."""

from snnc.backends.schedule.artifact import Schedule, load_schedule
from snnc.calibrated import CalibratedNetwork
from snnc.calibrating import Watch, calibrate, calibrate_spike_times
from snnc.comparison import Comparison, compare
from snnc.compile_report import CompileReport
from snnc.compiler import compile
from snnc.curves import ablation, lambda_curve, percentile_curve, timesteps_curve
from snnc.data import samples_of
from snnc.diagnosis import Diagnosis, SiteError
from snnc.energy import Energy
from snnc.equivalence import Equivalence, LayerEquivalence, verify_equivalence
from snnc.errors import CompileError
from snnc.evaluation import Evaluation, evaluate, run
from snnc.fits import Recipe
from snnc.frontend import load
from snnc.histogram import Histogram, histogram
from snnc.ir.graph import Graph
from snnc.ir.neuron import NeuronModel, make_neuron, neuron_models
from snnc.ir.rate_neuron import RateNeuron
from snnc.kernels import kernel_library
from snnc.neurons.aif import AIF
from snnc.neurons.dual_if import DualIF
from snnc.neurons.dual_mtn import DualMTN
from snnc.neurons.integrate_fire import IF
from snnc.neurons.mtn import MTN
from snnc.neurons.sfn import SFN
from snnc.neurons.ttfs import TTFS
from snnc.pareto import pareto
from snnc.pareto_front import Pareto
from snnc.plots import plot
from snnc.precision import PrecisionCurve, precision_curve
from snnc.prepare import check
from snnc.replay import Replay, replay
from snnc.runtime import session
from snnc.scheduling import for_target, save_schedule, schedule
from snnc.search.outcome import Trial
from snnc.shards import Shard
from snnc.simulator import Simulator
from snnc.site_errors import diagnose
from snnc.spike_time_compiler import compile_spike_times
from snnc.spike_time_evaluation import SpikeTimeEvaluation
from snnc.spiking_network import SpikeTimeNetwork, SpikingNetwork
from snnc.statistics import merge_statistics
from snnc.studies import Point, Study
from snnc.targets import Target, load_target
from snnc.tuning import Tuned, tune

__version__ = "0.1.0"

__all__ = [
    "AIF",
    "IF",
    "MTN",
    "SFN",
    "TTFS",
    "CalibratedNetwork",
    "Comparison",
    "CompileError",
    "CompileReport",
    "Diagnosis",
    "DualIF",
    "DualMTN",
    "Energy",
    "Equivalence",
    "Evaluation",
    "Graph",
    "Histogram",
    "LayerEquivalence",
    "NeuronModel",
    "Pareto",
    "Point",
    "PrecisionCurve",
    "RateNeuron",
    "Recipe",
    "Replay",
    "Schedule",
    "Shard",
    "Simulator",
    "SiteError",
    "SpikeTimeEvaluation",
    "SpikeTimeNetwork",
    "SpikingNetwork",
    "Study",
    "Target",
    "Trial",
    "Tuned",
    "Watch",
    "ablation",
    "calibrate",
    "calibrate_spike_times",
    "check",
    "compare",
    "compile",
    "compile_spike_times",
    "diagnose",
    "evaluate",
    "for_target",
    "histogram",
    "kernel_library",
    "lambda_curve",
    "load",
    "load_schedule",
    "load_target",
    "make_neuron",
    "merge_statistics",
    "neuron_models",
    "pareto",
    "percentile_curve",
    "plot",
    "precision_curve",
    "replay",
    "run",
    "samples_of",
    "save_schedule",
    "schedule",
    "session",
    "timesteps_curve",
    "tune",
    "verify_equivalence",
]
