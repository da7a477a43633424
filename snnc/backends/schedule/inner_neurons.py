"""The neurons between two factors of spike times and their product, as layers of their own."""

from __future__ import annotations

import numpy as np

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Attribute, Node, Op, Type, real
from snnc.ir.spike_times import MULTIPLIED, RELAY, SPIKE_TIME, with_times


def with_inner_neurons(graph: Graph) -> Graph:
    """The graph with every product of two spike times written out: a chip has to hold the neurons
    for sums and differences, or for sums of logarithms. Ideal products have none.

    Numbers are rounded as in the function bodies (snnc.ir.spike_times).
    """

    def rule(node: Node) -> Replacement | None:
        if not isinstance(node, Op) or node.op_type not in MULTIPLIED or "Ideal" in node.op_type:
            return None
        writer = _Writer(graph, node)
        writer.finish(writer.quarter() if "Quarter" in node.op_type else writer.log_exp())
        return Replacement(tuple(writer.nodes), writer.types, writer.consts)

    return with_times(graph.rewrite(rule))


class _Writer:
    """The operations that take the place of one product."""

    def __init__(self, graph: Graph, op: Op) -> None:
        self._graph, self._op = graph, op
        self._pairs = op.op_type.endswith("MatMul")
        self.nodes: list[Op] = []
        self.types: dict[str, Type] = {}
        self.consts: dict[str, Array] = {}

    def quarter(self) -> str:
        """((c a + b / c)^2 - (c a - b / c)^2) / 4."""
        c = np.float32(self._op.number("balance", 1.0))
        a_low, a_high, b_low, b_high = self._ends()
        a = self._add("a", "Mul", self._spread(0), self._number("balance", c))
        b = self._add("b", "Div", self._spread(1), self._number("balance", c))
        a_low, a_high, b_low, b_high = a_low * c, a_high * c, b_low / c, b_high / c
        both = self._fire("sum", self._add("sums", "Add", a, b), a_low + b_low, a_high + b_high)
        apart = self._add("differences", "Sub", a, b)
        difference = self._fire("difference", apart, a_low - b_high, a_high - b_low)
        squares = [
            self._add(f"{name}.square", "Mul", v, v)
            for name, v in (("sum", both), ("difference", difference))
        ]
        fourfold = self._add("fourfold", "Sub", *squares)
        return self._add("pairs", "Mul", fourfold, self._number("quarter", np.float32(0.25)))

    def log_exp(self) -> str:
        """exp(ln(a + c) + ln(b + d)) - d a - c b - c d; the factors come once more, by relays."""
        a_low, a_high, b_low, b_high = self._ends()
        one = np.float32(1)
        c, d = one - a_low, one - b_low
        shifts = self._number("c", c), self._number("d", d)
        logs = [
            self._add(
                f"log.{i}", "Log", self._add(f"shifted.{i}", "Add", self._spread(i), shifts[i])
            )
            for i in (0, 1)
        ]
        most = np.log(a_high + c) + np.log(b_high + d)
        fired = self._fire("log", self._add("logs", "Add", *logs), np.float32(0), most)
        powers = self._add("powers", "Exp", fired)
        late = [self._spread(i, self._relay(i)) for i in (0, 1)]
        parts = [self._add(f"part.{i}", "Mul", late[i], shifts[1 - i]) for i in (0, 1)]
        less = self._add("less.b", "Sub", self._add("less.a", "Sub", powers, parts[0]), parts[1])
        return self._add("pairs", "Sub", less, self._number("cd", c * d))

    def finish(self, pairs: str) -> None:
        """The result from the products of pairs."""
        result, loc = self._op.outputs, self._op.loc
        if not self._pairs:
            self.nodes.append(Op(result, (pairs,), loc, "Identity"))
            return
        axis = self._named("axis")
        self.consts[axis] = np.array([-2], np.int64)
        self.nodes.append(Op(result, (pairs, axis), loc, "ReduceSum", {"keepdims": 0}))

    def _ends(self) -> tuple[np.float32, ...]:
        names = ("a_low", "a_high", "b_low", "b_high")
        return tuple(np.float32(self._op.number(name)) for name in names)

    def _named(self, part: str) -> str:
        return self._graph.fresh(f"{self._op.outputs[0]}.{part}", self.types | self.consts)

    def _add(
        self, part: str, op_type: str, *inputs: str, attrs: dict[str, Attribute] | None = None
    ) -> str:
        name = self._named(part)
        self.types[name] = real("float32", None)
        self.nodes.append(Op((name,), inputs, self._op.loc, op_type, attrs or {}))
        return name

    def _number(self, part: str, number: np.float32) -> str:
        name = self._named(part)
        self.consts[name] = np.asarray(number, np.float32)
        return name

    def _spread(self, place: int, value: str | None = None) -> str:
        """A factor beside the other one: of matrices [..., M, K, 1] and [..., 1, K, N]."""
        value = value or self._op.inputs[place]
        if not self._pairs:
            return value
        axes = self._named(f"axes.{place}")
        self.consts[axes] = np.array([-1 if place == 0 else -3], np.int64)
        return self._add(f"spread.{place}", "Unsqueeze", value, axes)

    def _relay(self, place: int) -> str:
        attrs: dict[str, Attribute] = {"windows": 1, "window": self._op.integer("window", 0)}
        return self._add(f"relay.{place}", RELAY, self._op.inputs[place], attrs=attrs)

    def _fire(self, part: str, value: str, low: np.float32, high: np.float32) -> str:
        kept = {k: self._op.attrs[k] for k in ("ticks", "early", "window")}
        attrs: dict[str, Attribute] = {"low": float(low), "high": float(high), **kept}
        return self._add(part, SPIKE_TIME, value, attrs=attrs)
