"""A target as an architecture of SANA-FE: one tile a core, in the target's mesh."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from snnc.backends.schedule.mapping import HOST
from snnc.errors import CompileError
from snnc.targets import Target

_MOST_CELLS = 1024
"""Neurons that the dendrites of one core hold in SANA-FE 2.2.9 (loihi_max_compartments)."""


@dataclass(frozen=True)
class Chip:
    """cells: how many each core in use holds, HOST among them; sources: neurons of the host that
    send what no spike brings."""

    target: Target
    cells: Mapping[int, int]
    sources: int

    def __post_init__(self) -> None:
        for core, cells in self.cells.items():
            if core != HOST and cells > _MOST_CELLS:
                raise CompileError(
                    f"core {core} holds {cells} neurons, a core of SANA-FE up to {_MOST_CELLS}",
                    help="map the network onto a target of fewer cells a core",
                )
        if self.cells.get(HOST, 0) > _MOST_CELLS:
            raise CompileError(
                f"the host reads out {self.cells[HOST]} numbers, a core of SANA-FE holds up to "
                f"{_MOST_CELLS}",
                help="export a smaller network",
            )

    @property
    def columns(self) -> int:
        largest = max(max(self.cells), 0)
        return self.target.columns or math.ceil(math.sqrt(largest + 1))

    @property
    def rows(self) -> int:
        return max(max(self.cells), 0) // self.columns + 1

    def tile(self, core: int) -> int:
        """The tile of a core: SANA-FE numbers them column by column; the host's is the last."""
        if core == HOST:
            return self.columns * self.rows
        return (core % self.columns) * self.rows + core // self.columns


def architecture(chip: Chip) -> str:
    """The architecture file (YAML), with the target's figures in joules and seconds."""
    energy, time = chip.target.picojoules, chip.target.nanoseconds
    hops = "".join(
        f"        energy_{way}_hop: {_pico(energy, 'packet_hop')}\n"
        f"        latency_{way}_hop: {_nano(time, 'packet_hop')}\n"
        for way in ("north", "east", "south", "west")
    )
    tiles = chip.columns * chip.rows
    most = max((n for core, n in chip.cells.items() if core != HOST), default=1)
    return (
        f"# {chip.target.title}\n"
        "architecture:\n"
        f"  name: {chip.target.name}\n"
        "  attributes:\n"
        "    topology: mesh\n"
        f"    width: {chip.columns + 1}\n"
        f"    height: {chip.rows}\n"
        "    link_buffer_size: 16\n"
        "    sync_model: fixed\n"
        f"    latency_sync: {_nano(time, 'barrier')}\n"
        "  tile:\n"
        + _tile(f"tile[0..{tiles - 1}]", hops, most, _figures(energy, time), "")
        + _tile("host", hops, chip.cells.get(HOST, 0) + chip.sources, _FREE, _inputs(chip.sources))
    )


def _pico(figures: Mapping[str, float], name: str) -> str:
    return repr(figures.get(name, 0.0) * 1e-12)


def _nano(figures: Mapping[str, float], name: str) -> str:
    return repr(figures.get(name, 0.0) * 1e-9)


def _figures(energy: Mapping[str, float], time: Mapping[str, float]) -> dict[str, str]:
    return {
        "synapse_energy": _pico(energy, "synop"),
        "synapse_latency": _nano(time, "synop"),
        "update_energy": _pico(energy, "neuron_update"),
        "update_latency": _nano(time, "neuron_update"),
        "packet_energy": _pico(energy, "packet"),
    }


_FREE = dict.fromkeys(_figures({}, {}), "0.0")


def _inputs(sources: int) -> str:
    return _soma(f"sources[0..{sources - 1}]", "input", _FREE)


def _soma(name: str, model: str, figures: Mapping[str, str]) -> str:
    return f"""            - name: {name}
              attributes:
                model: {model}
                energy_access_neuron: 0.0
                latency_access_neuron: 0.0
                energy_update_neuron: {figures["update_energy"]}
                latency_update_neuron: {figures["update_latency"]}
                energy_spike_out: 0.0
                latency_spike_out: 0.0
"""


def _tile(name: str, hops: str, cells: int, figures: Mapping[str, str], inputs: str) -> str:
    """One core, whose neurons read in a tick what was sent in the one before."""
    return f"""    - name: {name}
      attributes:
{hops}      core:
        - name: core
          attributes:
            buffer_position: soma
            buffer_inside_unit: false
            max_neurons_supported: {cells}
          axon_in:
            - name: axons_in
              attributes:
                energy_message_in: 0.0
                latency_message_in: 0.0
          synapse:
            - name: synapses
              attributes:
                model: current_based
                energy_process_spike: {figures["synapse_energy"]}
                latency_process_spike: {figures["synapse_latency"]}
          dendrite:
            - name: dendrites
              attributes:
                model: accumulator
                energy_update: 0.0
                latency_update: 0.0
          soma:
{_soma("cells", "truenorth", figures)}{inputs}          axon_out:
            - name: axons_out
              attributes:
                energy_message_out: {figures["packet_energy"]}
                latency_message_out: 0.0
"""
