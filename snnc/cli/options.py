"""Options that several verbs share: neuron, scale factor, sites, source of calibration."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from snnc.energy import PJ_AC, PJ_MAC
from snnc.ir.rate_neuron import RateNeuron, rate_neuron
from snnc.neurons.sfn import SFN
from snnc.neurons.ttfs import TTFS
from snnc.passes.threshold_rules import RULES
from snnc.random_data import RANDOM

_CHOICES = SFN.choices()

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def together(*options: Decorator) -> Decorator:
    """Several options as one decorator; help lists them in the order given."""
    return lambda command: reduce(lambda c, option: option(c), reversed(options), command)


keep_option = click.option(
    "--keep",
    multiple=True,
    metavar="PATTERN",
    help="Keep nodes of this name analog (* and ? match; repeatable).",
)
encode_option = click.option(
    "--encode-input", is_flag=True, help="Also encode the raw input of the first layers in spikes."
)
verify_option = click.option(
    "--verify",
    is_flag=True,
    help="Check on random data that no rewriting of the network changes its outputs.",
)
mask_option = click.option(
    "--mask-input", metavar="NAME", help="Input whose zeros mark padding, which calibration skips."
)


_GOALS = {"scale": "--lambda", "fidelity": "--fidelity", "energy_budget": "--energy-budget"}
"""Options that settle a lambda, or what it is chosen by."""


def given_or_chosen(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Refuses two goals at once (a callback of click, of each of these options)."""
    asked = [
        option
        for name, option in _GOALS.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if asked[:2] == ["--lambda", "--fidelity"]:
        raise click.UsageError("--lambda and --fidelity, which a lambda is chosen by: pass one")
    if len(asked) > 1:
        raise click.UsageError(f"{' and '.join(asked)} are two goals: pass one")
    return value


scale_options = together(
    click.option(
        "--lambda",
        "scale",
        type=float,
        callback=given_or_chosen,
        help="Scale factor in (0, 1].  [default: the largest that keeps --fidelity]",
    ),
    click.option(
        "--fidelity",
        type=float,
        callback=given_or_chosen,
        default=0.98,
        show_default=True,
        help="Agreement with the network that a chosen lambda keeps.",
    ),
)
percentile_option = click.option(
    "--percentile",
    type=float,
    help="Share of activations above the threshold, in percent, where the threshold rule takes "
    "one.  [default: 1]  Of ttfs neurons: of their range, in place of the extremes.",
)
polarity_option = click.option(
    "--polarity",
    type=click.Choice(["separate", "shared"]),
    help="One step for each sign (the default; not with int8 synapses), or one for both.",
)
neuron_options = together(
    click.option(
        "--neuron",
        default="sfn",
        show_default=True,
        metavar="NAME[:PARAMETER=VALUE]...",
        help="Neuron model and its parameters (see: snnc neurons).",
    ),
    percentile_option,
    click.option(
        "--m",
        type=int,
        help="Size M of sfn's level set.  [default: 8; compile takes more where no lambda is fine "
        "enough]",
    ),
    click.option(
        "--rule",
        type=click.Choice(_CHOICES["rule"]),
        help="When a level of sfn fires.  [default: nearest]",
    ),
    click.option(
        "--levels",
        type=click.Choice(_CHOICES["levels"]),
        help="Which spike counts of sfn exist.  [default: dense]",
    ),
    polarity_option,
)
energy_options = together(
    click.option(
        "--pj-ac",
        type=click.FloatRange(min=0, min_open=True, max=1e6),
        default=PJ_AC,
        show_default=True,
        help="Energy of an accumulate, pJ.",
    ),
    click.option(
        "--pj-mac",
        type=click.FloatRange(min=0, min_open=True, max=1e6),
        default=PJ_MAC,
        show_default=True,
        help="Energy of a multiply-accumulate, pJ.",
    ),
)
threshold_rule_option = click.option(
    "--threshold-rule",
    type=click.Choice(list(RULES)),
    help="What thresholds are made from (docs/thresholds.md).  [default: channel-mse for if, "
    "dual-if, mtn and dual-mtn, pmsm2025 for aif, tensor-percentile for sfn]",
)
timesteps_option = click.option(
    "--timesteps",
    type=int,
    default=1,
    show_default=True,
    metavar="T",
    help="How often the input is shown; the outputs are means over them.",
)
synapses_option = click.option(
    "--synapses",
    type=click.Choice(["float", "int8"]),
    default="float",
    show_default=True,
    help="int8: 8-bit weights and spike counts, much faster with the native kernels (snnc info).",
)
emission_options = together(
    click.option(
        "--emission",
        type=click.Choice(TTFS.choices()["rule"]),
        help="The tick at which ttfs neurons fire: the first from the crossing on, or the nearest. "
        " [default: causal]",
    ),
    click.option(
        "--products",
        type=click.Choice(TTFS.choices()["products"]),
        help="How ttfs neurons multiply activations (snnc neurons).  [default: quarter]",
    ),
)
spike_time_options = together(
    click.option(
        "--time-precision",
        "precision",
        multiple=True,
        metavar="[LAYER=]P",
        help="Ticks in a window of ttfs neurons, of all layers or of those whose names match "
        "(repeatable).  [default: 1024]",
    ),
    emission_options,
)
site_options = together(
    keep_option,
    encode_option,
    mask_option,
)
calibration_option = click.option(
    "--calibration",
    metavar="F.npz",
    help=f"Samples to calibrate on; '{RANDOM}' only to try things out.",
)
statistics_option = click.option(
    "--statistics",
    type=click.Path(path_type=Path),
    metavar="S.npz",
    help="What snnc calibrate saw, instead of --calibration.",
)


_ONE_OF = "pass either --calibration F.npz or --statistics S.npz"


def require_one_of(calibration: str | None, statistics: Path | None) -> None:
    """A usage error unless there are either samples or statistics."""
    if calibration is None and statistics is None:
        raise click.UsageError(_ONE_OF)
    require_at_most_one_of(calibration, statistics)


def require_at_most_one_of(calibration: str | None, statistics: Path | None) -> None:
    """A usage error where there are both; a quantised network may need neither."""
    if calibration is not None and statistics is not None:
        raise click.UsageError(_ONE_OF)


def samples_from(calibration: str | None) -> str | Path | None:
    """What the library takes for --calibration."""
    return calibration if calibration is None or calibration == RANDOM else Path(calibration)


def neuron_of(neuron: str, m: int | None, rule: str | None, levels: str | None) -> RateNeuron:
    """The neuron that the options describe."""
    return rate_neuron(neuron_text(neuron, m, rule, levels))


def neuron_text(neuron: str, m: int | None, rule: str | None, levels: str | None) -> str:
    """NAME[:PARAMETER=VALUE]...[@TIMESTEPS] with all that the options say."""
    given = {"M": m, "rule": rule, "levels": levels}
    settings = [f"{key}={value}" for key, value in given.items() if value is not None]
    name, at, timesteps = neuron.partition("@")
    return ":".join([name, *settings]) + at + timesteps
