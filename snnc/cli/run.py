"""`snnc run` and `snnc eval`."""

from __future__ import annotations

from pathlib import Path

import click

from snnc.cli.output import Progress, json_option, print_json
from snnc.data import samples_of
from snnc.energy import PJ_AC, PJ_MAC
from snnc.errors import CompileError
from snnc.evaluation import evaluate, run
from snnc.files import replacing, require_writable
from snnc.frontend import load
from snnc.ir.graph import Stage
from snnc.npz import write_npz
from snnc.report import energy_table, percent, table


@click.command("run")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), metavar="X.npz", help="Input samples."
)
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="Y.npz",
    help="File to write: one array per output, samples first.",
)
@json_option
def run_command(file: Path, data: Path, out: Path, as_json: bool) -> None:
    """Run the network FILE, trained or spiking, over samples.

    \b
    Example:
      snnc run model.snn.onnx --data test.npz -o outputs.npz
    """
    require_writable(out, file, data)
    graph = load(file)
    samples = samples_of(data, graph)
    with Progress() as progress:
        outputs = run(graph, samples, progress.phase("running", samples.count))
    with replacing(out) as directory:
        write_npz(directory / out.name, outputs)
    shapes = {name: list(array.shape) for name, array in outputs.items()}
    if as_json:
        print_json({"samples": samples.count, "outputs": shapes, "output": str(out)})
        return
    rows = [(name, str(shape)) for name, shape in shapes.items()]
    click.echo(table(["output", f"shape, written to {out}"], rows))


@click.command("eval")
@click.argument("ann", type=click.Path(path_type=Path))
@click.argument("snn", type=click.Path(path_type=Path))
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="F.npz",
    help="Samples, with 'labels' where they are known.",
)
@click.option(
    "--output", metavar="NAME", help="Output to compare.  [default: the float output computed last]"
)
@click.option("--per-layer", is_flag=True, help="List every layer with its operations.")
@click.option(
    "--pj-ac",
    type=click.FloatRange(min=0, min_open=True, max=1e6),
    default=PJ_AC,
    show_default=True,
    help="Energy of an accumulate, pJ.",
)
@click.option(
    "--pj-mac",
    type=click.FloatRange(min=0, min_open=True, max=1e6),
    default=PJ_MAC,
    show_default=True,
    help="Energy of a multiply-accumulate, pJ.",
)
@json_option
def eval_command(
    ann: Path,
    snn: Path,
    data: Path,
    output: str | None,
    per_layer: bool,
    pj_ac: float,
    pj_mac: float,
    as_json: bool,
) -> None:
    """Compare the spiking network SNN with the network ANN it came from.

    \b
    Example:
      snnc eval model.onnx model.snn.onnx --data test.npz
    """
    networks = load(ann), load(snn)
    for file, graph, stage, what in (
        (ann, networks[0], Stage.ANN, "the trained network"),
        (snn, networks[1], Stage.SPIKING, "a network that snnc compiled"),
    ):
        if graph.stage != stage:
            raise CompileError(f"'{file}' is not {what}", help="snnc eval ANN.onnx SNN.onnx")
    samples = samples_of(data, networks[0])
    with Progress() as progress:
        result = evaluate(
            *networks,
            samples,
            output,
            pj_ac=pj_ac,
            pj_mac=pj_mac,
            progress=progress.phase("evaluating", samples.count),
        )
    energy = result.energy
    if as_json:
        layers = [
            {
                "name": x.name,
                "op": x.op_type,
                "kind": x.kind,
                "macs": x.macs,
                "spikes": x.spikes,
                "events": x.events,
                "picojoule": energy.picojoule(x),
            }
            for x in energy.layers
        ]
        print_json(result.summary() | ({"layers": layers} if per_layer else {}))
        return
    if per_layer:
        click.echo(energy_table(energy) + "\n")
    rows = [
        ("samples", "", result.samples),
        ("top-1", percent(result.ann_top1), percent(result.snn_top1)),
        (f"same argmax of '{result.output}'", "", percent(result.agreement)),
        ("mean cosine to the ANN", "", f"{result.cosine:.4f}"),
        ("energy, a count of y as y additions", "100 %", percent(energy.ratio_spikes)),
        ("  without analog MACs (eq. 44)", "100 %", percent(energy.ratio_spikes_eq44)),
        ("energy, a count as one addition", "100 %", percent(energy.ratio_events)),
        ("analog MACs a sample", f"{energy.ann_macs:.4g}", f"{energy.analog_macs:.4g}"),
    ]
    click.echo(table(["", "ANN", "SNN"], rows))
