"""Options that several verbs share: the neuron and its thresholds, which layers get one."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, TypeAlias

import click

from snnc.neurons.sfn import SFN

_CHOICES = SFN.choices()

_Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]


def _together(*options: _Decorator) -> _Decorator:
    """One decorator for several options, listed in `--help` in this order."""
    return lambda command: reduce(lambda f, option: option(f), reversed(options), command)


neuron_options = _together(
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

site_options = _together(
    click.option(
        "--keep",
        multiple=True,
        metavar="PATTERN",
        help="Keep nodes of this name analog (* and ? match; repeatable).",
    ),
    click.option(
        "--encode-input",
        is_flag=True,
        help="Also encode the raw input of the first layers in spikes.",
    ),
)

mask_option = click.option(
    "--mask-input", metavar="NAME", help="Input whose zeros mark padding, which calibration skips."
)
