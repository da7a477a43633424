"""Choosing the scale factor without labels, on calibration data alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from snnc.calibrated import step_constants, with_scale
from snnc.data import Feeds, Samples
from snnc.errors import CompileError
from snnc.fidelity import Agreement, Measure, measure_of
from snnc.ir.graph import Graph
from snnc.ir.neuron import NeuronModel, Polarity
from snnc.ir.node import Array
from snnc.rows import batches_and_axes, rows_of
from snnc.runtime import Session

GRID = tuple(float(s) for s in np.geomspace(1.0, 0.02, 16))
"""Scale factors tried, largest first: 16 log-spaced values in [0.02, 1] (spec 2.4)."""

BATCH = 32


@dataclass(frozen=True)
class Choice:
    """The scale factor taken, the agreement it reached and how that was measured."""

    scale: float
    fidelity: float
    measure: Measure
    reached: bool
    samples: int


def require_fidelity(fidelity: float) -> None:
    """Raises CompileError for an agreement that cannot be asked for."""
    if not 0 < fidelity <= 1:
        raise CompileError(f"fidelity {fidelity} is out of range", help="choose 0 < fidelity <= 1")


def choose_scale(
    ann: Graph,
    calibrated: Graph,
    neuron: NeuronModel,
    samples: Samples,
    output: str,
    fidelity: float,
    polarity: Polarity = "separate",
    progress: Callable[[int], None] = lambda done: None,
) -> Choice:
    """The largest scale factor of the grid whose outputs agree with the ANN's to `fidelity`.

    If none does, the one that agrees best (the larger of equals). One session serves all scale
    factors: the steps are fed at every run.
    """
    measure = measure_of(ann, output)
    reference = Session(ann)
    batches, axes = batches_and_axes(reference, samples, BATCH, (output,))
    held = list(batches)

    def rows(session: Session, extra: Feeds) -> Iterator[Array]:
        for feeds in held:
            yield rows_of(session.run({**feeds, **extra})[output], axes[output])

    expected = list(rows(reference, {}))
    scored: list[tuple[float, float]] = []
    session: Session | None = None
    alive: tuple[str, ...] = ()
    for tried, scale in enumerate(GRID):
        spiking = with_scale(calibrated, neuron, scale, polarity)
        steps = step_constants(spiking)
        if session is None or tuple(steps) != alive:
            session, alive = Session(spiking, free=steps), tuple(steps)
        score = Agreement()
        for found, wanted in zip(rows(session, steps), expected, strict=True):
            score.update(found, wanted)
        scored.append((score.value(measure), scale))
        progress(tried + 1)
        if scored[-1][0] >= fidelity:
            break
    best = max(scored)
    return Choice(best[1], best[0], measure, best[0] >= fidelity, score.samples)
