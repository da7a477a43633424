"""Runs networks that snnc wrote for SANA-FE, in SANA-FE: runs where SANA-FE lives.

usage: PEER_PYTHON -m benchmarks.sana_fe_peer DIRECTORY ... [--rounds N]

PEER_PYTHON is an interpreter with `pip install sanafe==2.2.9`, without snnc. Each directory holds
one sample, as `snnc.backends.schedule.export.write_sana_fe` writes it. JSON on stdout: for each
directory the spikes of each layer's neurons in its own timesteps, all events at synapses, and the
seconds of the simulation alone (files read, chip loaded, nothing traced, SANA-FE's faster timing
model), the least of N runs. Every run loads the chip anew: input trains do not start over.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import sanafe

TIMING_MODEL = "simple"


def loaded(directory: Path) -> Any:
    """A chip with the network of a directory."""
    architecture = sanafe.load_arch(str(directory / "architecture.yaml"))
    network = sanafe.load_net(str(directory / "network.net"), architecture, use_netlist_format=True)
    chip = sanafe.SpikingChip(architecture)
    chip.load(network)
    return chip


def spikes(trace: list[list[Any]], group: dict[str, Any]) -> list[int]:
    """How often each neuron of a layer fired in its own timesteps."""
    counts = [0] * group["neurons"]
    for fired in trace[group["first_tick"] - 1 : group["last_tick"]]:
        for neuron in fired:
            if str(neuron.group_name) == str(group["group"]):
                counts[neuron.neuron_offset] += 1
    return counts


def measured(directory: Path, rounds: int) -> dict[str, Any]:
    """Spikes, events at synapses and seconds of one sample."""
    told = json.loads((directory / "groups.json").read_text())
    ticks = told["ticks"]
    traced = loaded(directory).sim(ticks, timing_model=TIMING_MODEL, spike_trace=True)
    seconds = []
    for _ in range(rounds):
        chip = loaded(directory)
        start = time.perf_counter()
        chip.sim(ticks, timing_model=TIMING_MODEL)
        seconds.append(time.perf_counter() - start)
    layers = {
        group["value"]: spikes(traced["spike_trace"], group)
        for group in told["groups"]
        if group["fires"]
    }
    return {
        "layers": layers,
        "synops": traced["spikes"],
        "energy_joules": traced["energy"]["total"],
        "latency_seconds": traced["sim_time"],
        "seconds": min(seconds),
    }


def main() -> None:
    """Measures all directories and prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directories", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with contextlib.redirect_stdout(sys.stderr):
        found = [measured(directory, options.rounds) for directory in options.directories]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
