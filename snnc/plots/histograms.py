"""The picture of a site: activations of the trained network, spike counts of the spiking one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.histogram import Histogram
from snnc.plots.picture import BLUE, GREEN, ORANGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_histogram(figure: Figure, found: Histogram) -> None:
    """Activations and the values emitted above, spike counts below."""
    above, below = figure.subplots(2, 1)
    edges = np.array(found.edges)
    tally = np.maximum(found.activations, 0.5)
    above.stairs(tally, edges, baseline=0.5, fill=True, color=BLUE, label="ANN")
    theta = zip(found.theta, (1, -1), strict=True)
    for at in (position := [sign * size for size, sign in theta if size]):
        label = "threshold θ" if at == position[0] else None
        above.axvline(at, color=ORANGE, ls="--", lw=1.4, label=label)
    emitted = _emitted(found)
    above.plot(emitted, np.full(len(emitted), 0.25), "|", color="black", label="values emitted")
    above.set_ylim(bottom=0.12)
    above.set_yscale("log")
    above.set_xlabel(f"activation at {found.site}")
    above.set_ylabel("entries")
    above.legend(frameon=False, fontsize=8)
    counts = sorted(found.counts)
    below.vlines(counts, 0.5, [found.counts[c] for c in counts], color=GREEN, lw=1.6)
    below.plot(counts, [found.counts[c] for c in counts], ".", color=GREEN, ms=4)
    below.set_yscale("log")
    below.set_ylim(bottom=0.5)
    below.set_xlabel(
        f"spike count y (λ = {found.scale:.3g}, mean |y| = {found.mean_count:.3g}, "
        f"{100 * found.silent:.1f} % silent)"
    )
    below.set_ylabel("entries")


def _emitted(found: Histogram) -> list[float]:
    """The outputs that occurred, within the range shown."""
    values = [count * found.step[0 if count > 0 else 1] for count in found.counts if count]
    return [v for v in sorted(values) if found.edges[0] <= v <= found.edges[-1]]
