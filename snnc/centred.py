"""A calibrated network with zero points at its sites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from snnc.calibrated import CalibratedNetwork
from snnc.data import Samples
from snnc.errors import CompileError
from snnc.passes.calibrate import Calibrate
from snnc.passes.calibration import observe
from snnc.passes.centre_sites import DEFAULT, CentreSites
from snnc.passes.centring.centres import Kind
from snnc.pipeline import Watcher, named_in_errors, run_passes


def centred(
    network: CalibratedNetwork,
    kinds: tuple[Kind, ...] = DEFAULT,
    *,
    samples: Samples | None = None,
    watch: Watcher | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> CalibratedNetwork:
    """The network whose sites see activations minus their medians, where that costs less
    (CentreSites), calibrated anew on the samples that were kept, or on these. It computes what it
    did; no statistics of the old sites are of it. A network without anything to centre is handed
    back.

    progress: told how many samples are done, twice over. Raises CompileError where no samples were
    kept.
    """
    samples = replace(samples or network.samples, random=network.calibration.random)
    if not samples.count:
        raise CompileError(
            "medians are taken from calibration samples, and none were kept",
            at=network.ann.source or None,
            help="pass --calibration",
            pass_name=CentreSites.name,
        )
    mask = network.calibration.mask_input
    sited = run_passes(
        network.sited, (CentreSites(samples, kinds, mask_input=mask, progress=progress),), watch
    )
    if sited.nodes == network.sited.nodes:
        return network
    with named_in_errors(Calibrate.name):
        seen = observe(sited, samples, mask_input=mask, progress=progress)
    return replace(network, sited=sited, calibration=seen)
