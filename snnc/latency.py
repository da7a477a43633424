"""Time of a spiking network beside that of its ANN: in turns, in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from snnc.backends.lowering import lower
from snnc.data import Feeds
from snnc.ir.graph import Graph
from snnc.runtime import Session

LEAST_ROUNDS, MOST_ROUNDS = 5, 200

LEAST_TURN, LEAST_REPEATS = 5e-3, 3
"""A turn lasts about so many seconds at least, and has so many runs."""


def latency_ratio(ann: Graph, snn: Graph, feeds: Feeds, seconds: float) -> float:
    """Median over rounds of the spiking network's time over the ANN's, for about `seconds`.

    Native kernels where they are installed; one thread, as threads that wait for one another would
    measure the machine. A turn is the fastest of its runs: the others were interrupted.
    """
    sessions = Session(ann, threads=1), Session(lower(snn), threads=1)
    runs = [lambda s=s: s.run(feeds) for s in sessions]
    repeats = [_repeats(run) for run in runs]
    ratios: list[float] = []
    start = time.perf_counter()
    while len(ratios) < MOST_ROUNDS and (
        len(ratios) < LEAST_ROUNDS or time.perf_counter() - start < seconds
    ):
        turns = {i: _turn(runs[i], repeats[i]) for i in ((0, 1), (1, 0))[len(ratios) % 2]}
        ratios.append(turns[1] / turns[0])
    return statistics.median(ratios)


def _repeats(run: Callable[[], object]) -> int:
    run()  # the first run allocates
    return max(LEAST_REPEATS, round(LEAST_TURN / _turn(run, 1)))


def _turn(run: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)
