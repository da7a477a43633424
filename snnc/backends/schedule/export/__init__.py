"""Schedules and spiking networks in the formats of other tools, as far as those can say them."""

from snnc.backends.schedule.export.aer import write_aer
from snnc.backends.schedule.export.nir_events import event_names, event_neurons, write_nir_events
from snnc.backends.schedule.export.nir_graph import (
    MOST_LEVELS,
    nir_graph,
    nir_names,
    write_nir,
)
from snnc.backends.schedule.export.sana_fe import write_sana_fe

__all__ = [
    "MOST_LEVELS",
    "event_names",
    "event_neurons",
    "nir_graph",
    "nir_names",
    "write_aer",
    "write_nir",
    "write_nir_events",
    "write_sana_fe",
]
