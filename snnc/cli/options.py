"""Options that `snnc compile` and the studies of `snnc eval` share."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import click

from snnc.neurons.sfn import SFN

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
scale_options = together(
    click.option(
        "--lambda",
        "scale",
        type=float,
        help="Scale factor in (0, 1].  [default: the largest that keeps --fidelity]",
    ),
    click.option(
        "--fidelity",
        type=float,
        default=0.98,
        show_default=True,
        help="Agreement with the network that a chosen lambda keeps.",
    ),
)
neuron_options = together(
    click.option(
        "--neuron", default="sfn", show_default=True, help="Neuron model (see: snnc neurons)."
    ),
    click.option(
        "--percentile",
        type=float,
        default=1.0,
        show_default=True,
        help="Share of activations above the threshold, in percent.",
    ),
    click.option("--m", type=int, default=8, show_default=True, help="Size M of the level set."),
    click.option(
        "--rule",
        type=click.Choice(_CHOICES["rule"]),
        default="nearest",
        show_default=True,
        help="When a level fires.",
    ),
    click.option(
        "--levels",
        type=click.Choice(_CHOICES["levels"]),
        default="dense",
        show_default=True,
        help="Which spike counts exist.",
    ),
    click.option(
        "--polarity",
        type=click.Choice(["separate", "shared"]),
        default="separate",
        show_default=True,
        help="One step for each sign, or one for both.",
    ),
)
site_options = together(
    keep_option,
    encode_option,
    click.option(
        "--mask-input",
        metavar="NAME",
        help="Input whose zeros mark padding, which calibration skips.",
    ),
)
