"""What trials found: the one to take, and the Pareto front."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """A scale factor that was tried.

    value: its metric, larger is better; energy: of eq. 43, spikes counted (Energy.ratio_spikes),
    None where only the metric was asked for.
    """

    scale: float
    value: float
    energy: float | None = None

    def summary(self) -> dict[str, float]:
        """As `snnc tune --json` prints it."""
        energy = {} if self.energy is None else {"energy": self.energy}
        return {"lambda": self.scale, "value": self.value} | energy


def best_of(trials: Iterable[Trial], tolerance: float = 0.0) -> Trial:
    """Of the trials within `tolerance` of the best metric the one of least energy.

    Equals, and trials of unknown energy, go to the largest lambda: fewest spikes (spec 2.4).
    """
    trials = tuple(trials)
    bound = max(trial.value for trial in trials) - tolerance
    near = [trial for trial in trials if trial.value >= bound]
    return min(near, key=lambda trial: (trial.energy or 0.0, -trial.scale))


def front_of(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """The trials that no other beats in metric or energy without losing in the other one.

    By growing energy; of equals the one of the largest lambda.
    """
    front: list[Trial] = []
    for trial in sorted(trials, key=lambda t: (t.energy or 0.0, -t.value, -t.scale)):
        if not front or trial.value > front[-1].value:
            front.append(trial)
    return tuple(front)
