"""Which layers of a network a chip takes, which it does not, why, and the nearest way out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from snnc.backends.schedule.demands import Demand, demands
from snnc.backends.schedule.fixes import Fix, fix_of
from snnc.backends.schedule.layers import Network
from snnc.backends.schedule.limits import Reason, against, least_cores, stored_bits
from snnc.backends.schedule.mapping import Sending
from snnc.backends.schedule.sending import Sent, sent
from snnc.errors import CompileError, few
from snnc.targets import Operation, Target, load_target, target_names


@dataclass(frozen=True)
class Finding:
    """What a target makes of one layer.

    needs: operations; fits; host: computed by the host; why: reasons against it, empty where it
    fits; fix: the nearest way out; sent: how its spike counts travel, None where it has no neurons;
    notes: what is done about limits. bits: of its weights on the chip; cores: the least that it
    takes by itself.
    """

    name: str
    cells: int
    needs: frozenset[Operation]
    fits: bool
    host: bool
    why: tuple[Reason, ...]
    fix: Fix
    sent: Sent | None
    notes: tuple[str, ...]
    bits: int
    cores: int

    @property
    def sending(self) -> Sending | None:
        return self.sent.sending if self.sent else None


def findings(network: Network, target: Target, *, host: bool = False) -> tuple[Finding, ...]:
    """What the target makes of each layer, inputs left out.

    host: layers that fail for a missing operation alone are computed by the host, as are those
    that would take real numbers from no other layers than these.
    """
    asked, others = demands(network), _Others(network, target)
    verdicts = _verdicts(network, asked, target, host)
    return tuple(
        _finding(demand, target, verdict, others)
        for demand, verdict in zip(asked, verdicts, strict=True)
    )


def require_fit(network: Network, target: Target, *, host: bool = False) -> None:
    """Raises CompileError naming the layers that do not fit the target, or if all of them take more
    cores than there are."""
    found = findings(network, target, host=host)
    error = misfit(found, target)
    if error is not None:
        raise error


def misfit(found: Sequence[Finding], target: Target) -> CompileError | None:
    """The one error for what does not fit; None where all does."""
    unfit = [each for each in found if not each.fits]
    if unfit:
        return _unfit(unfit, len(found), target)
    least, most = total_cores(found, target), target.total_cores
    if most is None or least <= most:
        return None
    return CompileError(
        f"the network takes at least {least} cores, {target.name} has {most}",
        help="a smaller network, or another target (snnc targets)",
    )


def total_cores(found: Sequence[Finding], target: Target) -> int:
    """A lower bound of the cores that a network takes, where layers may share cores."""
    placed = [each for each in found if not each.host]
    cells, bits = sum(each.cells for each in placed), sum(each.bits for each in placed)
    return least_cores(cells, bits, target)


def _unfit(unfit: Sequence[Finding], layers: int, target: Target) -> CompileError:
    reasons = list(dict.fromkeys(each.why[0].text for each in unfit))
    others = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    fixes = [each.fix for each in unfit]
    helps = []
    if all(fix.steps for fix in fixes):
        levels = [fix for fix in fixes if fix.levels]
        merged = Fix(
            min(levels, key=lambda fix: fix.most).levels if levels else None,
            encode=any(fix.encode for fix in fixes),
            host=any(fix.host for fix in fixes),
            narrower=any(fix.narrower for fix in fixes),
        )
        helps.append(" and ".join(merged.steps))
    taking = [name for name in fixes[0].targets if all(name in fix.targets for fix in fixes)]
    if taking:
        helps.append(f"another target that takes these layers: {', '.join(taking)}")
    return CompileError(
        f"{len(unfit)} of {layers} layers {'does' if len(unfit) == 1 else 'do'} not fit "
        f"{target.name}: {'; '.join(reasons[:3])}{others}",
        at=few(f"'{each.name}'" for each in unfit),
        help="\n".join(helps) or "another network; snnc check --target says what each layer needs",
    )


Verdict: TypeAlias = tuple[tuple[Reason, ...], bool]
"""What speaks against a layer, and whether the host computes it."""


def _verdicts(
    network: Network, asked: Sequence[Demand], target: Target, host: bool
) -> Iterator[Verdict]:
    hosted: set[int] = set()
    for demand in asked:
        reasons = () if demand.outside else against(demand, target, network)
        limits = {reason.limit for reason in reasons}
        if hosted.issuperset(demand.real):
            limits.discard("real numbers")
        on_host = demand.outside or (host and bool(reasons) and limits <= {"operation"})
        if on_host:
            hosted.add(demand.index)
        yield reasons, on_host


class _Others:
    """The known targets that would take a layer."""

    def __init__(self, network: Network, target: Target) -> None:
        self._network, self._target = network, target

    @cached_property
    def _known(self) -> list[Target]:
        known = map(load_target, target_names())
        return [each for each in known if each.name != self._target.name and each.cores is not None]

    def taking(self, demand: Demand) -> tuple[str, ...]:
        return tuple(t.name for t in self._known if not against(demand, t, self._network))


def _finding(demand: Demand, target: Target, verdict: Verdict, others: _Others) -> Finding:
    reasons, on_host = verdict
    fits = on_host or not reasons
    limits = {reason.limit for reason in reasons}
    travels = sent(demand.spikes, target) if demand.spikes is not None else None
    cells, bits = demand.layer.cells, 0 if on_host else stored_bits(demand, target)
    return Finding(
        demand.name,
        cells,
        frozenset(demand.operations),
        fits,
        on_host,
        reasons,
        Fix() if fits else fix_of(demand, target, limits, others.taking(demand)),
        travels,
        tuple(_notes(demand, target, travels)) if fits and not on_host else (),
        bits,
        0 if on_host else least_cores(cells, bits, target),
    )


def _notes(demand: Demand, target: Target, travels: Sent | None) -> Iterator[str]:
    """What is done about limits of the target."""
    if travels is not None and travels.polarities > 1:
        yield "an address for each sign"
    if demand.real:
        yield f"reads real numbers of {target.real_bits} bits"
