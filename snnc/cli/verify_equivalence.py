"""`snnc verify-equivalence`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from snnc.calibrating import Watch, calibrate
from snnc.cli.options import (
    percentile_option,
    scale_options,
    site_options,
    threshold_rule_option,
)
from snnc.cli.output import Progress, json_option, print_json
from snnc.equivalence import (
    Equivalence,
    LayerEquivalence,
    require_integrate_and_fire,
    verify_equivalence,
)
from snnc.fits import Recipe
from snnc.ir.rate_neuron import rate_neuron
from snnc.passes.fold_time import FoldTime
from snnc.report import percent, short, table


@click.command("verify-equivalence")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--calibration",
    required=True,
    type=click.Path(path_type=Path),
    metavar="F.npz",
    help="Samples to calibrate and to compare on.",
)
@click.option("--timesteps", required=True, type=int, metavar="T", help="Of the network.")
@click.option(
    "--neuron",
    default="if",
    show_default=True,
    metavar="if|dual-if[:potential=V]",
    help="Integrate-and-fire neurons of one membrane, or of one for each sign.",
)
@scale_options
@threshold_rule_option
@percentile_option
@site_options
@json_option
def verify_equivalence_command(
    model: Path,
    calibration: Path,
    timesteps: int,
    neuron: str,
    scale: float | None,
    fidelity: float,
    threshold_rule: str | None,
    percentile: float | None,
    keep: tuple[str, ...],
    encode_input: bool,
    mask_input: str | None,
    as_json: bool,
) -> None:
    """Check, layer by layer, whether an integrate-and-fire network of MODEL over T timesteps equals
    multi-threshold neurons at one: threshold theta/T, N = T, on the mean of the layer's inputs.

    \b
    Example:
      snnc verify-equivalence model.onnx --calibration samples.npz --timesteps 16
    """
    FoldTime(timesteps)
    asked = rate_neuron(neuron)
    require_integrate_and_fire(asked)
    with Progress() as progress:
        network = calibrate(
            model,
            calibration=calibration,
            keep=keep,
            encode_input=encode_input,
            mask_input=mask_input,
            watch=Watch(progress),
        )
        found = verify_equivalence(
            network,
            calibration,
            timesteps=timesteps,
            neuron=asked,
            scale=scale,
            percentile=percentile,
            recipe=Recipe(fidelity=fidelity, progress=progress, threshold_rule=threshold_rule),
        )
    if as_json:
        print_json(found.summary())
        return
    click.echo(_table(found))


_COLUMNS = [
    *("layer", "verdict", "exact", "beyond", "worst x/theta"),
    *("error/theta", "mean error", "bound/theta", "holds"),
]


def _table(found: Equivalence) -> str:
    head = f"{found.samples} samples, {found.neuron}, lambda {found.scale:.4g}"
    notes = [
        "exact: entries for which Theorem 1 holds; beyond: x(t) outside the thresholds in others",
        "error: |IF - MTN|, the largest; bound: of Theorem 3, the largest; in own thresholds",
    ]
    if found.reached is False:
        notes.append("no lambda keeps the fidelity asked for; this one comes nearest")
    ties = sum(layer.ties for layer in found.layers)
    if ties:
        notes.append(f"{ties} spikes lie so near a threshold that float32 alone decides: no errors")
    return "\n".join([head, table(_COLUMNS, map(_row, found.layers)), *notes])


def _row(layer: LayerEquivalence) -> list[Any]:
    verdicts = {"exact": "exact", "bounded": "bounded", "violated": "premises violated"}
    return [
        short(layer.name),
        verdicts[layer.verdict],
        percent(layer.exact),
        percent(layer.beyond),
        f"{layer.worst:.3f}" if layer.beyond else None,
        f"{layer.error:.4f}",
        f"{layer.mean_error:.5f}",
        f"{layer.bound:.4f}",
        "yes" if layer.holds else "NO",
    ]
