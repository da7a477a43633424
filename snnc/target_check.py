"""Whether a network fits a neuromorphic chip, layer by layer: compiled as it is, or trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from snnc.backends.schedule.feasibility import Finding, findings, misfit, total_cores
from snnc.compiler import compile
from snnc.data import Feeds
from snnc.errors import CompileError
from snnc.frontend import load
from snnc.ir.graph import Graph, Stage
from snnc.ir.neuron import parse_neuron
from snnc.ir.neuron_spec import neuron_spec
from snnc.ir.rate_neuron import RateNeuron
from snnc.neurons.ttfs import TTFS
from snnc.prepare import Model
from snnc.random_data import RANDOM, random_samples
from snnc.scheduling import network_for
from snnc.spike_time_compiler import compile_spike_times
from snnc.targets import Target


@dataclass(frozen=True)
class TargetCheck:
    """assumed: whether the network was trained, so that its neurons were placed on random data;
    misfit: the error for what does not fit, None where all does."""

    target: Target
    findings: tuple[Finding, ...]
    misfit: CompileError | None
    assumed: bool

    @property
    def least_cores(self) -> int:
        """A lower bound of the cores that the network takes, where layers may share cores."""
        return total_cores(self.findings, self.target)

    def summary(self) -> dict[str, Any]:
        """As `snnc check --target --json` prints it (without the path of the model)."""
        error = self.misfit
        return {
            "target": self.target.name,
            "assumed_neurons": self.assumed,
            "fits": error is None,
            "least_cores": self.least_cores,
            "cores": self.target.total_cores,
            "refused": None
            if error is None
            else {"message": error.message, "at": error.at, "help": error.help},
            "layers": [_layer(finding) for finding in self.findings],
        }


def _layer(finding: Finding) -> dict[str, Any]:
    sent = finding.sent
    return {
        "name": finding.name,
        "cells": finding.cells,
        "operations": sorted(finding.needs),
        "fits": finding.fits,
        "host": finding.host,
        "sent": None
        if sent is None
        else {
            "as": sent.sending,
            "bits": sent.bits,
            "ticks": sent.ticks,
            "polarities": sent.polarities,
        },
        "least_cores": finding.cores,
        "why": [{"limit": reason.limit, "text": reason.text} for reason in finding.why],
        "fix": str(finding.fix) or None,
        "notes": list(finding.notes),
    }


@dataclass(frozen=True)
class _Options:
    """How a trained network is compiled for a check."""

    neuron: str
    keep: str | Iterable[str]
    encode_input: bool
    verify: bool


def check_target(
    model: Model,
    target: Target,
    *,
    neuron: str | None = None,
    keep: str | Iterable[str] = (),
    encode_input: bool = False,
    verify: bool = False,
    host: bool = False,
) -> TargetCheck:
    """What a chip makes of each layer of a network.

    A compiled network is checked as it is. A trained one is compiled with `neuron` (sfn) on random
    data: levels and layers are then those of any data, but which signs occur may differ, and more
    levels may be chosen with a scale factor. host: see `findings`; the rest as in `snnc.check`.
    Raises CompileError for what is no network or cannot be compiled.
    """
    graph = model if isinstance(model, Graph) else load(model)
    assumed = graph.stage != Stage.SPIKING
    if not assumed and (neuron or keep or encode_input or verify):
        raise CompileError(
            "the network is compiled already: its neurons and layers are settled",
            at=graph.source or None,
            help="leave out --neuron, --keep, --encode-input and --verify, or pass the trained one",
        )
    options = _Options(neuron or "sfn", keep, encode_input, verify)
    spiking = _assumed(graph, options) if assumed else graph
    found = findings(network_for(spiking, target), target, host=host)
    return TargetCheck(target, found, misfit(found, target), assumed)


def _assumed(graph: Graph, asked: _Options) -> Graph:
    neuron, keep = asked.neuron, asked.keep
    if isinstance(parse_neuron(neuron.partition("@")[0]), TTFS):
        return compile_spike_times(
            graph, neuron=neuron, calibration=RANDOM, keep=keep, verify=asked.verify
        ).graph
    spec = neuron_spec(neuron)
    return compile(
        graph,
        neuron=spec.neuron,
        timesteps=spec.timesteps,
        calibration=_samples(graph, spec.neuron),
        scale=1.0,
        keep=keep,
        encode_input=asked.encode_input,
        verify=asked.verify,
    ).graph


def _samples(graph: Graph, neuron: RateNeuron) -> Iterable[Feeds]:
    """Random numbers, none below 0 for neurons that fire for positive inputs only."""
    for feeds in random_samples(graph).batches(1):
        yield feeds if "negative" in neuron.signs else {k: np.abs(v) for k, v in feeds.items()}
