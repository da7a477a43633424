"""Where accuracy is lost and what to do about it: the errors of every site, and advice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snnc.ir.node import Role
from snnc.ir.rate_neuron import RateNeuron
from snnc.passes.threshold_rules import RULES

CAUSES = ("unseen", "saturated", "silent", "gap", "rounding")
"""Why an entry is not exact: its sign never fires; it is more than half a step beyond the largest
output; it is too small for a spike; it is further than half a step from its level, because levels
lie apart; or it is within half a step of it."""

NEGLIGIBLE = 0.01
"""Relative error of the output below which there is nothing to advise."""

MAJORITY = 0.5
"""Advice goes to the worst sites that together make this share of the squared output errors."""

OUTSTANDING = 3.0
"""A site with this many times the mean share is worth keeping analog."""


@dataclass(frozen=True)
class SiteError:
    """Relative errors |spiking - real| / |real| (Euclidean norms over all entries and samples).

    error: at the site, in the spiking network as it runs; own_error: what the neuron makes of the
    exact activation; output_error: at the network's output when only this site spikes;
    share: of the sum of squared output errors over all sites. entries, blame: share of the
    entries and of the squared own error by cause (see CAUSES).
    """

    name: str
    role: Role
    layers: tuple[str, ...]
    error: float
    own_error: float
    output_error: float
    share: float
    entries: Mapping[str, float]
    blame: Mapping[str, float]
    neuron: RateNeuron

    @property
    def cause(self) -> str:
        """What makes most of the site's own error."""
        return max(CAUSES, key=lambda cause: self.blame[cause])

    def summary(self) -> dict[str, Any]:
        return {
            "site": self.name,
            "role": self.role,
            "layers": list(self.layers),
            "error": self.error,
            "own_error": self.own_error,
            "output_error": self.output_error,
            "share": self.share,
            "entries": dict(self.entries),
            "blame": dict(self.blame),
        }


@dataclass(frozen=True)
class Diagnosis:
    """The sites, the one that costs the output most first; output_error: when all sites spike."""

    samples: int
    output: str
    output_error: float
    sites: tuple[SiteError, ...]

    @property
    def advice(self) -> tuple[str, ...]:
        """What to do about each site, '' where nothing pays."""
        found, covered = [], 0.0
        for site in self.sites:
            pays = self.output_error > NEGLIGIBLE and covered < MAJORITY and site.output_error > 0
            found.append(_advice(site, len(self.sites)) if pays else "")
            covered += site.share
        return tuple(found)

    def summary(self) -> dict[str, Any]:
        """As `snnc eval --per-layer --json` prints it."""
        pairs = zip(self.sites, self.advice, strict=True)
        return {
            "samples": self.samples,
            "output": self.output,
            "output_error": self.output_error,
            "sites": [site.summary() | {"advice": advice or None} for site, advice in pairs],
        }


def _advice(site: SiteError, sites: int) -> str:
    entries, blame = site.entries[site.cause], site.blame[site.cause]
    text = f"{100 * entries:.2g} % of entries {_WHAT[site.cause]}"
    text += f", {100 * blame:.0f} % of its error: {_remedy(site)}"
    if site.share >= min(OUTSTANDING / sites, MAJORITY):
        text += "; or " + " ".join(f"--keep '{layer}'" for layer in site.layers)
    return text


def _remedy(site: SiteError) -> str:
    """What works against the site's main cause with its neuron, whose default rule is assumed."""
    neuron, softmax = site.neuron, site.role == "softmax"
    match site.cause:
        case "gap":
            return "--levels dense --rule nearest"
        case "saturated" if not softmax:
            lower = "lower --percentile, or " * RULES[neuron.threshold_rule].takes_percentile
            return lower + neuron.more_levels
        case "silent" | "rounding":
            return neuron.more_levels if softmax else neuron.finer_levels
    return "calibrate on more samples"


_WHAT = {
    "unseen": "have a sign that calibration never saw",
    "saturated": "exceed the top level",
    "silent": "are too small for a spike",
    "gap": "fall between levels that lie apart",
    "rounding": "are rounded to the nearest level",
}
