"""Measuring the error of every site: in the network as it runs, and where it alone spikes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from snnc.data import Feeds, Source, samples_of
from snnc.diagnosis import CAUSES, Diagnosis, SiteError
from snnc.errors import CompileError
from snnc.fidelity import primary_output
from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Node, Site
from snnc.ir.rate_neuron import RateNeuron
from snnc.passes.substitute import neuron_at
from snnc.reservoir import Reservoir
from snnc.runtime import Session, batch_size
from snnc.shards import batch_of
from snnc.sites import Pairing, layers_of, pair, site_names, steps_of

SAMPLES = 256
"""Samples on which sites are measured, drawn evenly from the data."""

OUTPUT_BYTES = 2**28
"""Bytes of the network's outputs that are held at most; large outputs leave fewer samples."""


def diagnose(
    ann: Graph,
    snn: Graph,
    data: Source,
    output: str | None = None,
    *,
    limit: int = SAMPLES,
    progress: Callable[[str, int, int | None], None] = lambda phase, done, total: None,
) -> Diagnosis:
    """Measures every site of a spiking network against the ANN it came from.

    At most `limit` samples are run, once in both networks and once for each site alone: one
    session at a time. Raises CompileError if `snn` was not compiled from `ann`, or runs several
    timesteps.
    """
    if limit < 1:
        raise CompileError(f"{limit} samples measure nothing", help="choose at least 1")
    if snn.timesteps != 1:
        raise CompileError(
            f"sites are measured at one timestep, and this network runs {snn.timesteps}",
            at=snn.source or None,
            help="compile it for one timestep",
        )
    output = primary_output(ann, output)
    pairing = pair(ann, snn)
    samples = samples_of(data, ann)
    held = Reservoir(samples.single, samples.splittable, limit=limit)
    for feeds in samples.batches(64):
        held.add(batch_of(feeds, held.seen, samples.splittable))
    size = batch_size(snn, [n.outputs[0] for n in snn.neurons])
    run = _Run(pairing, snn, output, list(held.batches(size)))
    together, exact = run.together()
    names, found = site_names(pairing.sited), []
    for done, site in enumerate(pairing.sited.open_sites):
        own, at_output = run.alone(site, exact)
        found.append((site, own, at_output))
        progress("measuring sites", done + 1, len(names))
    total = sum(at_output.relative**2 for _, _, at_output in found) or 1.0
    sites = [
        SiteError(
            names[site.outputs[0]],
            site.role,
            layers_of(pairing.sited, site),
            together[site.outputs[0]].relative,
            own.relative,
            at_output.relative,
            at_output.relative**2 / total,
            own.entries,
            own.blame,
            pairing.neurons[site.outputs[0]].model,
        )
        for site, own, at_output in found
    ]
    sites.sort(key=lambda site: -site.output_error)
    count = sum(samples.size_of(feeds) for feeds in run.feeds)
    return Diagnosis(count, output, together[output].relative, tuple(sites))


class _Run:
    """The networks over the held samples. feeds: those samples, in batches."""

    def __init__(self, pairing: Pairing, snn: Graph, output: str, feeds: list[Feeds]) -> None:
        self._sited, self._neurons = pairing.sited, pairing.neurons
        self._snn, self._output, self.feeds = snn, output, feeds

    def together(self) -> tuple[dict[str, _Error], list[Array]]:
        """Errors of every site and of the output with all sites spiking; the exact outputs."""
        sites = [site.outputs[0] for site in self._sited.open_sites]
        sessions = Session(self._sited, taps=sites), Session(self._snn, taps=sites)
        errors = {value: _Error() for value in (*sites, self._output)}
        exact: list[Array] = []
        for feeds in self.feeds:
            real, spiking = (session.run(feeds) for session in sessions)
            for value, error in errors.items():
                error.update(real[value], spiking[value])
            exact.append(real[self._output])
            if sum(array.nbytes for array in exact) > OUTPUT_BYTES:
                break
        self.feeds = self.feeds[: len(exact)]
        return errors, exact

    def alone(self, site: Site, exact: list[Array]) -> tuple[_OwnError, _Error]:
        """Error of one site on exact activations, and at the output when it alone spikes."""
        neuron = self._neurons[site.outputs[0]]
        steps = steps_of(self._snn, neuron)
        session = Session(
            spiking_at(self._sited, site, neuron.model, steps), taps=(*site.inputs, *site.outputs)
        )
        own, at_output = _OwnError(neuron.model, steps), _Error()
        for feeds, expected in zip(self.feeds, exact, strict=True):
            values = session.run(feeds)
            own.update(values[site.inputs[0]], values[site.outputs[0]])
            at_output.update(expected, values[self._output])
        return own, at_output


def spiking_at(sited: Graph, site: Site, model: RateNeuron, steps: tuple[Array, Array]) -> Graph:
    """The network with a neuron at one site and the exact activation at all others."""

    def rule(node: Node) -> Replacement | None:
        if node.outputs != site.outputs:
            return None
        by_sign = dict(zip("+-", steps, strict=True))
        return neuron_at(sited, site, site.inputs[0], model, by_sign)

    return sited.rewrite(rule)


class _Error:
    """Running relative error."""

    def __init__(self) -> None:
        self._wrong = self._size = 0.0

    def update(self, real: Array, spiking: Array) -> None:
        real = np.asarray(real, np.float64)
        with np.errstate(invalid="ignore"):
            self._wrong += float(np.square(np.asarray(spiking, np.float64) - real).sum())
        self._size += float(np.square(real).sum())
        if not np.isfinite(self._wrong + self._size):
            raise CompileError(
                "an activation or output is not finite on a sample",
                help="look for weights or samples out of range; "
                "compare another output with --output",
            )

    @property
    def relative(self) -> float:
        """0 where both are zero throughout; against a zero activation the error itself."""
        return float(np.sqrt(self._wrong / (self._size or 1.0)))


class _OwnError(_Error):
    """Running error of a neuron on exact activations, and what causes it."""

    def __init__(self, model: RateNeuron, steps: tuple[Array, Array]) -> None:
        super().__init__()
        self._model, self._steps = model, steps
        self._entries = dict.fromkeys(CAUSES, 0)
        self._squares = dict.fromkeys(CAUSES, 0.0)
        self._count = 0

    def update(self, real: Array, spiking: Array) -> None:
        super().update(real, spiking)
        x, out = (np.asarray(v, np.float32) for v in (real, spiking))
        squares = np.square(np.asarray(out - x, np.float64))
        self._count += x.size
        for cause, mask in causes_of(x, out, self._model, self._steps).items():
            self._entries[cause] += int(np.count_nonzero(mask))
            self._squares[cause] += float(squares[mask].sum())

    @property
    def entries(self) -> dict[str, float]:
        return {cause: n / max(self._count, 1) for cause, n in self._entries.items()}

    @property
    def blame(self) -> dict[str, float]:
        total = sum(self._squares.values()) or 1.0
        return {cause: square / total for cause, square in self._squares.items()}


def causes_of(
    x: Array, out: Array, model: RateNeuron, steps: tuple[float | Array, float | Array]
) -> dict[str, Array]:
    """Every entry that is not exact under exactly one of CAUSES, as masks."""
    highest, lowest = (
        np.abs(model.step(np.array(end, np.float32), *steps)) for end in (np.inf, -np.inf)
    )
    step = np.where(x < 0, np.float32(steps[1]), np.float32(steps[0]))
    size, missing = np.abs(x), np.abs(out - x)
    wrong = missing > 0
    beyond = size > np.where(x < 0, lowest, highest) + step / 2
    masks: dict[str, Array] = {}
    left = wrong
    for cause, mask in (
        ("unseen", step == 0),
        ("saturated", beyond),
        ("silent", out == 0),
        ("gap", missing > step * np.float32(0.5 + 1e-4)),
        ("rounding", wrong),
    ):
        masks[cause] = left & mask
        left = left & ~mask
    return masks
