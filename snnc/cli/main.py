"""The `snnc` command: groups the verbs and renders errors."""

from __future__ import annotations

import click

import snnc
from snnc.cli.calibrate import calibrate_command
from snnc.cli.check import check_command
from snnc.cli.compare import compare_command
from snnc.cli.compile import compile_command
from snnc.cli.eval import eval_command
from snnc.cli.export import export_command
from snnc.cli.fix import fix_command
from snnc.cli.info import info_command
from snnc.cli.inspect import inspect_command, neurons_command
from snnc.cli.pareto import pareto_command
from snnc.cli.run import run_command
from snnc.cli.schedule import schedule_command
from snnc.cli.simulate import simulate_command
from snnc.cli.targets import targets_command
from snnc.cli.tune import tune_command
from snnc.cli.verify_equivalence import verify_equivalence_command
from snnc.errors import CompileError


class _Group(click.Group):
    """Prints a CompileError as it renders itself and exits with 1."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except CompileError as error:
            click.echo(error.render(), err=True)
            ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(snnc.__version__, prog_name="snnc")
def main() -> None:
    """Turn trained ONNX networks into spiking networks of one timestep.

    \b
    Example:
      snnc compile model.onnx --calibration samples.npz -o model.snn.onnx
      snnc eval model.onnx model.snn.onnx --data test.npz
    """


for _command in (
    compile_command,
    tune_command,
    check_command,
    fix_command,
    calibrate_command,
    inspect_command,
    run_command,
    schedule_command,
    simulate_command,
    export_command,
    eval_command,
    compare_command,
    pareto_command,
    verify_equivalence_command,
    neurons_command,
    targets_command,
    info_command,
):
    main.add_command(_command)
