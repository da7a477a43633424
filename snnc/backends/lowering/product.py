"""SpikeMatMul: products of two spiking activations."""

from __future__ import annotations

from snnc.backends.lowering.drive import Drive, rank_of
from snnc.ir.graph import Graph
from snnc.ir.node import Coding, Op


def product(graph: Graph, op: Op) -> Drive | None:
    """The product, with the swap of its right operand's last axes and the constant factor behind
    it (1/sqrt(d), say); None if `op` multiplies anything but two matrices of spikes."""
    if op.op_type != "MatMul":
        return None
    left, right = op.inputs
    ranks = [rank_of(graph, v) for v in op.inputs]
    if any(
        r is None or r < 2 or graph.types[v].coding is not Coding.SPIKE
        for v, r in zip(op.inputs, ranks, strict=True)
    ):
        return None
    parts: tuple[Op, ...] = (op,)
    swap = graph.op(right, "Transpose")
    swapped = swap is not None and _swaps(swap) and graph.only_reader(right) is op
    if swap is not None and swapped:
        right, parts = swap.inputs[0], (swap, op)
    factor, behind = _factor_behind(graph, op)
    return Drive(
        "SpikeMatMul",
        (left, right),
        (*parts, behind) if behind else parts,
        factor=factor,
        attrs={"trans_b": int(swapped)},
    )


def _swaps(transpose: Op) -> bool:
    """Whether a Transpose swaps the last two axes and no others."""
    order = transpose.ints("perm", ())
    last = len(order)
    return last > 1 and order == (*range(last - 2), last - 1, last - 2)


def _factor_behind(graph: Graph, op: Op) -> tuple[float, Op | None]:
    """The constant that the result is multiplied by, and the operation that does so."""
    reader = graph.only_reader(op.outputs[0])
    if not isinstance(reader, Op) or reader.op_type not in ("Mul", "Div"):
        return 1.0, None
    place = reader.inputs.index(op.outputs[0])
    factor, other = graph.scalar(reader.inputs[1 - place]), reader.inputs[1 - place]
    rank = rank_of(graph, op.outputs[0])
    if factor is None or rank is None or graph.consts[other].ndim > rank:
        return 1.0, None
    if reader.op_type == "Mul":
        return factor, reader
    return (1.0 / factor, reader) if place == 0 and factor else (1.0, None)
