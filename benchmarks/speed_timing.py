"""Sessions side by side in one process: run in turns, compared round by round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from snnc.ir.node import Array

Run = Callable[[], object]

WARM_UP, LEAST_ROUNDS, MOST_ROUNDS = 2, 5, 400

LEAST_TURN = 5e-3
"""Seconds that a turn lasts about at least: shorter runs are repeated within their turn."""


@dataclass(frozen=True)
class Ratio:
    """Times of a variant over those of the reference in the same round: median and quartiles.

    seconds: median time of one run, context for the ratio and no claim.
    """

    median: float
    low: float
    high: float
    rounds: int
    seconds: float


def session(path: Path, threads: int, library: Path | None = None) -> onnxruntime.InferenceSession:
    """onnxruntime's own defaults but for the threads; library: of native kernels.

    Threads stop spinning when a run ends: they would take the processor from the next session.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if library is not None:
        options.register_custom_ops_library(str(library))
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def bound_run(session: onnxruntime.InferenceSession, feeds: Mapping[str, Array]) -> Run:
    """Runs the session on `feeds` with outputs in memory that stays, without copies."""
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in feeds.values()]
    binding = session.io_binding()
    for name, value in zip(feeds, values, strict=True):
        binding.bind_ortvalue_input(name, value)
    for output, array in zip(session.get_outputs(), session.run(None, dict(feeds)), strict=True):
        kept = onnxruntime.OrtValue.ortvalue_from_numpy(np.empty_like(array))
        binding.bind_ortvalue_output(output.name, kept)
    return lambda: session.run_with_iobinding(binding)


def ratios(runs: Mapping[str, Run], reference: str, seconds: float) -> dict[str, Ratio]:
    """Every run against `reference`, in alternation, for about `seconds` a run.

    The order rotates from round to round, so that no run always follows the same one.
    """
    repeats = {name: _repeats(run) for name, run in runs.items()}
    names = list(runs)
    rounds: list[dict[str, float]] = []
    start = time.perf_counter()
    budget = seconds * len(runs)
    while len(rounds) < MOST_ROUNDS and (
        len(rounds) < LEAST_ROUNDS or time.perf_counter() - start < budget
    ):
        shift = len(rounds) % len(names)
        order = names[shift:] + names[:shift]
        rounds.append({name: _turn(runs[name], repeats[name]) for name in order})
    return {name: _ratio(rounds, name, reference) for name in names}


def _repeats(run: Run) -> int:
    for _ in range(WARM_UP):
        run()
    return max(1, round(LEAST_TURN / _turn(run, 1)))


def _turn(run: Run, repeats: int) -> float:
    """The fastest of the runs of a turn: the others were interrupted."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def _ratio(rounds: list[dict[str, float]], name: str, reference: str) -> Ratio:
    quotients = [times[name] / times[reference] for times in rounds]
    low, median, high = (float(np.quantile(quotients, q)) for q in (0.25, 0.5, 0.75))
    seconds = statistics.median(times[name] for times in rounds)
    return Ratio(median, low, high, len(rounds), seconds)
