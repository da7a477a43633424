"""How the spike counts of a layer travel on a target."""

from __future__ import annotations

from dataclasses import dataclass

from snnc.backends.schedule.demands import Spikes
from snnc.backends.schedule.mapping import Sending
from snnc.targets import Target


@dataclass(frozen=True)
class Sent:
    """bits: of the largest count, without sign; ticks: that a count takes; polarities: 2 where
    spikes of each sign have an address of their own, as they carry no sign."""

    sending: Sending
    bits: int
    ticks: int
    polarities: int


def sent(spikes: Spikes, target: Target) -> Sent | None:
    """Graded where the payload is wide enough, else in bit planes where the target can weigh them,
    else one by one; None where neurons do not count over ticks either."""
    bits = spikes.top.bit_length()
    signed = spikes.signed and target.signed_payload
    polarities = 2 if spikes.signed and not target.signed_payload else 1
    if bits + signed <= target.payload_bits:
        return Sent("graded", bits, spikes.window, polarities)
    if not target.timesteps:
        return None
    if target.bit_planes:
        return Sent("bit-plane", bits, bits, polarities)
    return Sent("unary", bits, spikes.top, polarities)


def largest_count(signed: bool, target: Target) -> int:
    """The largest spike count that one spike carries."""
    bits = target.payload_bits - (signed and target.signed_payload)
    return int(2**bits - 1)
