"""The ordered passes from a trained network to a spiking one, verified in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.verify import verify
from snnc.passes.assign_thresholds import AssignThresholds
from snnc.passes.base import Pass
from snnc.passes.calibrate import Calibrate
from snnc.passes.fit_thresholds import FitThresholds
from snnc.passes.fold_time import FoldTime
from snnc.passes.normalize import Normalize
from snnc.passes.place_sites import PlaceSites
from snnc.passes.quantize_synapses import QuantizeSynapses
from snnc.passes.site_neurons import SiteNeurons
from snnc.passes.softmax_max import SoftmaxMax
from snnc.passes.spike_times.emit import EmitSpikes
from snnc.passes.spike_times.place import PlaceSpikeTimes
from snnc.passes.spike_times.windows import AlignWindows
from snnc.passes.substitute import Substitute

PIPELINE: tuple[type[Pass], ...] = (
    Normalize,
    PlaceSites,
    Calibrate,
    FitThresholds,
    SiteNeurons,
    AssignThresholds,
    SoftmaxMax,
    Substitute,
    FoldTime,
    QuantizeSynapses,
)
"""Every pass in the order they run: FitThresholds and SiteNeurons for rules that need them, the
last two for several timesteps and for integer synapses."""

SPIKE_TIME_PIPELINE: tuple[type[Pass], ...] = (
    Normalize,
    PlaceSpikeTimes,
    Calibrate,
    EmitSpikes,
    AlignWindows,
)
"""Every pass to neurons that fire at most once, in the order they run."""

PASS_NAMES = tuple(p.name for p in PIPELINE)
SPIKE_TIME_PASS_NAMES = tuple(p.name for p in SPIKE_TIME_PIPELINE)
"""What `--dump-after` takes for either kind of neuron."""

Watcher = Callable[[str, Graph], None]


def run_passes(graph: Graph, passes: Iterable[Pass], watch: Watcher | None = None) -> Graph:
    """Applies the passes in turn, verifying the graph before and after each.

    watch: told the name of each pass and the graph after it. A CompileError raised inside a pass
    names the pass.
    """
    for step in passes:
        with named_in_errors(step.name):
            verify(graph, step.before)
            graph = step(graph)
            verify(graph, step.after)
        if watch is not None:
            watch(step.name, graph)
    return graph


@contextmanager
def named_in_errors(pass_name: str) -> Iterator[None]:
    """A CompileError raised inside names the pass, unless it names one already."""
    try:
        yield
    except CompileError as error:
        error.pass_name = error.pass_name or pass_name
        raise
