"""What `snnc eval` can be asked for, and which options each of them takes."""

from __future__ import annotations

import click
from click.core import ParameterSource

_CALIBRATED = frozenset(
    {"calibration", "statistics", "m", "rule", "polarity", "keep", "encode_input", "threshold_rule"}
)
_STUDY = _CALIBRATED | {"mask_input", "plot", "output", "pj_ac", "pj_mac"}

COMPARISON = "comparison"
"""The mode without a flag: MODEL beside the spiking network SNN."""

MODES = {
    COMPARISON: frozenset({"per_layer", "samples", "output", "pj_ac", "pj_mac"}),
    "lambda_curve": _STUDY | {"neuron", "levels", "percentile", "lambdas"},
    "percentile_curve": _STUDY | {"neuron", "levels", "percentiles", "scale", "fidelity"},
    "timesteps_curve": _STUDY | {"neuron", "levels", "against", "percentile", "scale", "fidelity"},
    "precision_curve": frozenset(
        {
            *("calibration", "statistics", "keep", "mask_input", "plot", "output", "percentile"),
            *("neuron", "emission", "products"),
        }
    ),
    "ablation": _STUDY | {"percentile", "fidelity"},
    "histogram": _CALIBRATED
    | {"mask_input", "plot", "output", "neuron", "levels", "percentile", "scale", "fidelity"},
}
"""The parameters that each mode takes, besides those that every mode takes."""


def mode_of(context: click.Context) -> str:
    """The mode that the command line asks for. Raises UsageError for options that do not fit."""
    given = {
        name: _flag(context, name)
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    asked = [name for name in MODES if name in given]
    if len(asked) > 1:
        flags = ", ".join(given[name] for name in asked)
        raise click.UsageError(f"{flags}: choose one", context)
    mode = asked[0] if asked else COMPARISON
    fitting = {name: [other for other in MODES if name in MODES[other]] for name in given}
    unfit = [name for name in given if fitting[name] and name not in MODES[mode]]
    if unfit:
        name = min(unfit, key=lambda name: len(fitting[name]))  # it says most about what was meant
        names = ", ".join(filter(None, (_flag(context, other) for other in fitting[name])))
        missing = ", which is missing" * (not asked and len(fitting[name]) == 1)
        raise click.UsageError(f"{given[name]} goes with {names or 'SNN'}{missing}", context)
    _check_networks(context, mode, given.get(mode, ""))
    if "samples" in given and "per_layer" not in given:
        raise click.UsageError(f"{given['samples']} goes with --per-layer", context)
    return mode


def _check_networks(context: click.Context, mode: str, flag: str) -> None:
    """A study compiles MODEL itself; a comparison needs the compiled network."""
    if mode == COMPARISON:
        if context.params["snn"] is None:
            raise click.UsageError("Missing argument 'SNN'.", context)
    elif context.params["snn"] is not None:
        raise click.UsageError(f"{flag} compiles MODEL itself: leave SNN out", context)
    elif (context.params["calibration"] is None) == (context.params["statistics"] is None):
        raise click.UsageError(f"{flag} needs either --calibration or --statistics", context)


def _flag(context: click.Context, name: str) -> str:
    """The option as the user types it; '' for the mode that has none."""
    parameters = (p for p in context.command.params if p.name == name)
    return next((p.opts[0] for p in parameters), "")
