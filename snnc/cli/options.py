"""Options that several verbs share: where calibration comes from, and what has sites."""

from __future__ import annotations

from pathlib import Path

import click

from snnc.random_data import RANDOM

keep_option = click.option(
    "--keep",
    multiple=True,
    metavar="PATTERN",
    help="Keep nodes of this name analog (* and ? match; repeatable).",
)
encode_option = click.option(
    "--encode-input", is_flag=True, help="Also encode the raw input of the first layers in spikes."
)
mask_option = click.option(
    "--mask-input", metavar="NAME", help="Input whose zeros mark padding, which calibration skips."
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


def require_one_of(calibration: str | None, statistics: Path | None) -> None:
    """A usage error unless there are either samples or statistics."""
    if (calibration is None) == (statistics is None):
        raise click.UsageError("pass either --calibration F.npz or --statistics S.npz")


def samples_from(calibration: str | None) -> str | Path | None:
    """What the library takes for --calibration."""
    return calibration if calibration is None or calibration == RANDOM else Path(calibration)
