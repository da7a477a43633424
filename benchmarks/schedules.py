"""Schedules of one network on several chips, each replayed against onnxruntime.

usage: python -m benchmarks.schedules --model M.onnx --calibration C.npz --data D.npz
           [--neuron NEURON] [--lambda L] [--timesteps T] [--synapses int8] [--targets A,B]
           [--samples N]

Compiles, schedules with the host computing what a chip lacks, saves, loads and replays; prints one
row of a table for each chip. Exits with 1 if a spike count differs that no near threshold explains.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import snnc
from benchmarks.memory_over_time import first
from snnc.backends.schedule.loads import loads
from snnc.ir.graph import Graph

HEAD = (
    "| network | neuron | chip | host | cores | ticks | additions | energy | latency "
    "| layer by layer | near | freely | same decisions |"
)


def main() -> int:
    """Prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--neuron", default="sfn")
    parser.add_argument("--lambda", dest="scale", type=float)
    parser.add_argument("--timesteps", type=int, default=1)
    parser.add_argument("--synapses", default="float")
    parser.add_argument("--targets", default="generic")
    parser.add_argument("--samples", type=int, default=200)
    options = parser.parse_args()
    differing = 0
    with tempfile.TemporaryDirectory() as directory:
        graph = compiled(options, Path(directory) / "out.onnx")
        data = first(options.data, options.samples)
        samples = snnc.samples_of({name: data[name] for name in graph.inputs}, graph)
        name = f"{options.model.stem} | {options.neuron}"
        name += f", T = {options.timesteps}" if options.timesteps > 1 else ""
        name += f", {options.synapses}" if options.synapses != "float" else ""
        print(HEAD)
        for target in options.targets.split(","):
            place = Path(directory) / target
            made = snnc.schedule(graph, target, host=True)
            snnc.save_schedule(made, place)
            made = snnc.load_schedule(place)
            found = snnc.replay(made, samples, snnc.for_target(graph, made.target))
            load = loads(made.network, made.mapping, made.target, found.counts)
            compared = found.comparison
            assert compared is not None
            differing += compared.differing
            free = compared.free_running / compared.neurons
            row = [
                f"{len(made.host)} of {len(made.network.layers)}",
                f"{made.mapping.used:,}",
                f"{made.mapping.ticks:,}",
                f"{load.synops:,.0f}",
                f"{load.energy_joules * 1e6:.3g} µJ",
                f"{load.latency_seconds * 1e3:.3g} ms",
                f"{compared.differing} of {compared.neurons:,}",
                f"{compared.near}",
                f"{free:.2%}",
                "-" if compared.agreement is None else f"{compared.agreement:.1%}",
            ]
            print(f"| {name} | {target} | {' | '.join(row)} |", flush=True)
    return int(differing > 0)


def compiled(options: argparse.Namespace, out: Path) -> Graph:
    """The network as its file holds it."""
    model, calibration = options.model, options.calibration
    if options.neuron.startswith("ttfs"):
        snnc.compile_spike_times(model, neuron=options.neuron, calibration=calibration).save(out)
    else:
        snnc.compile(
            model,
            neuron=options.neuron,
            calibration=calibration,
            scale=options.scale,
            timesteps=options.timesteps,
            synapses=options.synapses,
        ).save(out)
    return snnc.load(out)


if __name__ == "__main__":
    sys.exit(main())
