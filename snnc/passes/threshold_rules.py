"""What thresholds are made from: named rules of the literature and of this project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

from snnc.errors import CompileError, unknown_name
from snnc.ir.rate_neuron import RateNeuron, Synapses
from snnc.passes.calibration import require_percentile

Statistic: TypeAlias = Literal["percentile", "maximum", "mse", "entropy"]
Per: TypeAlias = Literal["tensor", "channel"]

PERCENTILE = 1.0
"""p of the thresholds where none is asked for, in percent."""


@dataclass(frozen=True)
class ThresholdRule:
    """theta of a site from the activations x that calibration saw there.

    statistic: `maximum` of x; `percentile`, what all but that share of x stays below; `mse`, the
    fraction of the maximum that minimises E[(x - emitted)^2], layer by layer on the spiking
    network's own activations; `entropy`, what the neuron model makes of the quantiles of x. per:
    one theta for a tensor, or one a channel where the layers that read the site tell its channels.
    percentile: in percent, None for the one of the compilation. correct: biases also shift so that
    the layers' outputs come nearest to the trained ones.
    """

    statistic: Statistic = "percentile"
    per: Per = "tensor"
    percentile: float | None = None
    correct: bool = False

    def __post_init__(self) -> None:
        if self.statistic not in get_args(Statistic):
            raise unknown_name("statistic", str(self.statistic), get_args(Statistic))
        if self.per not in get_args(Per):
            raise unknown_name("per", str(self.per), get_args(Per))
        if self.percentile is not None:
            require_percentile(self.percentile)
        if self.statistic == "entropy" and self.per == "channel":
            raise CompileError(
                "the statistic 'entropy' is of whole tensors", help="leave per='channel' out"
            )
        if self.correct and self.statistic != "mse":
            raise CompileError(
                f"biases are not corrected with the statistic '{self.statistic}'",
                help="take mse, or leave correct out",
            )

    @property
    def needs_samples(self) -> bool:
        """Whether quantiles of whole tensors do not suffice."""
        return self.per == "channel" or self.statistic == "mse"

    @property
    def needs_neuron(self) -> bool:
        """Whether what it makes of a calibration depends on the neuron model."""
        return self.needs_samples or self.statistic == "entropy"

    @property
    def takes_percentile(self) -> bool:
        """Whether the percentile of the compilation is part of it."""
        return self.statistic == "percentile" and self.percentile is None

    @property
    def name(self) -> str:
        """That of RULES, or what it is made of."""
        own = f"{self.statistic} by {self.per}" + ", biases corrected" * self.correct
        return next((name for name, rule in RULES.items() if rule == self), own)

    def at(self, percentile: float) -> ThresholdRule:
        """The same rule; with this percentile, if it has none of its own."""
        return self if self.percentile is not None else replace(self, percentile=percentile)

    @property
    def quantile(self) -> float:
        """The percentile of the statistics at every site."""
        return 0.0 if self.statistic == "maximum" else self.percentile or 0.0


RULES: Mapping[str, ThresholdRule] = MappingProxyType(
    {
        "tensor-percentile": ThresholdRule(),
        "diehl2015": ThresholdRule("maximum"),
        "rueckauer2017": ThresholdRule("percentile", percentile=0.1),
        "kim2020": ThresholdRule("maximum", "channel"),
        "channel-percentile": ThresholdRule("percentile", "channel"),
        "pmsm2025": ThresholdRule("entropy"),
        "tensor-mse": ThresholdRule("mse", correct=True),
        "channel-mse": ThresholdRule("mse", "channel", correct=True),
    }
)
"""Rules by name.

tensor-percentile: arXiv 2510.23383, section 3.2. diehl2015: data-based normalisation (Diehl et al.,
IJCNN 2015). rueckauer2017: its robust form, the 99.9th percentile (Rueckauer et al., Frontiers in
Neuroscience 2017). kim2020: channel-wise normalisation (Kim et al., Spiking-YOLO, AAAI 2020).
channel-percentile: both of the last. pmsm2025: bounds of AIF and theta = L sigma by entropy (arXiv
2508.14520, eqs. 12-19). tensor-mse, channel-mse: thresholds of least error, and biases corrected as
in data-free quantisation (Nagel et al., ICCV 2019), but behind the rectifier."""


def threshold_rule(
    rule: ThresholdRule | str | None,
    neuron: RateNeuron,
    synapses: Synapses = "float",
    masked: bool = False,
) -> ThresholdRule:
    """The rule itself, the one of that name, or that of the neuron model where it can be.

    CompileError for a rule that needs samples where synapses are integers, or padding is masked.
    """
    if rule is not None and not isinstance(rule, ThresholdRule) and rule not in RULES:
        raise unknown_name("threshold rule", str(rule), RULES)
    name = neuron.threshold_rule if rule is None else rule
    chosen = name if isinstance(name, ThresholdRule) else RULES[name]
    if rule is None and (synapses == "int8" or masked) and chosen.needs_samples:
        chosen = RULES["tensor-percentile"]
    if not chosen.needs_samples or (synapses == "float" and not masked):
        return chosen
    if masked:
        raise CompileError(
            "thresholds by channel or of least error see padding, too, which a mask cannot hide",
            help="take a rule of whole tensors and quantiles, or leave --mask-input out",
        )
    raise CompileError(
        "integer synapses need thresholds of whole tensors from quantiles",
        help="take tensor-percentile, diehl2015 or rueckauer2017, or float synapses",
    )


def percentile_of(asked: float | None, rules: Iterable[ThresholdRule]) -> float:
    """p for rules that take one, PERCENTILE where none is asked for.

    CompileError for one out of range, or asked for where none of the rules takes it.
    """
    if asked is None:
        return PERCENTILE
    require_percentile(asked)
    names = {rule.name: rule.takes_percentile for rule in rules}
    if names and not any(names.values()):
        raise CompileError(
            f"--percentile does not apply to the rule {' or '.join(names)}",
            help="leave it out, or take --threshold-rule tensor-percentile",
        )
    return asked
