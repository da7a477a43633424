"""Events of networks of spike times against counts by hand, from the spikes that they emit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from snnc.errors import CompileError
from snnc.ir.graph import DOMAIN, Graph, Stage
from snnc.ir.node import Array, Attribute, Loc, Op, real
from snnc.ir.spike_times import GATED_SPIKE_TIME, RELAY, SPIKE_TIME, with_times
from snnc.ir.verify import verify
from snnc.neurons.ttfs import TTFS
from snnc.runtime import Session, shape_name
from snnc.spike_time_energy import SpikeTimeEnergy, SpikeTimeLayer, SpikeTimeMeter
from snnc.spike_time_operations import Operations
from snnc.synapses import fan_out

TICKS, MODEL = 8, TTFS(8)
PAPER = Operations(weighted=1000.0)


@dataclass
class Net:
    """A spiking graph, written operation by operation; neurons are named by their values."""

    nodes: list[Op] = field(default_factory=list)
    consts: dict[str, Array] = field(default_factory=dict)
    inputs: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def op(self, kind: str, y: str, *read: str, **attrs: Attribute) -> str:
        self.nodes.append(Op((y,), read, Loc((f"/{y}",)), kind, attrs))
        return y

    def fire(self, y: str, *read: str, window: int, low: float = -1.0, high: float = 1.0) -> str:
        kind = GATED_SPIKE_TIME if len(read) > 1 else SPIKE_TIME
        attrs = {"low": float(low), "high": float(high), "early": MODEL.early}
        return self.op(kind, y, *read, **attrs, ticks=TICKS, window=window)

    def relay(self, y: str, x: str, windows: int, window: int) -> str:
        return self.op(RELAY, y, x, windows=windows, window=window)

    def product(self, kind: str, y: str, a: str, b: str, window: int, balance: float = 1.0) -> str:
        ranges = {"a_low": -1.0, "a_high": 1.0, "b_low": -1.0, "b_high": 1.0}
        attrs = {**ranges, "early": MODEL.early, "balance": balance}
        return self.op(f"{DOMAIN}.{kind}", y, a, b, **attrs, ticks=TICKS, window=window)

    def graph(self, *outputs: str) -> Graph:
        types = {name: real("float32", shape) for name, shape in self.inputs.items()}
        made = {op.outputs[0]: real(_dtype(op), None) for op in self.nodes}
        graph = Graph(
            "g",
            tuple(self.inputs),
            outputs,
            tuple(self.nodes),
            {**made, **types},
            self.consts,
            Stage.SPIKING,
        )
        run = Session(graph, shapes_of=made).run(self.feeds(0))
        shapes = {v: tuple(int(d) for d in run[shape_name(v)]) for v in made}
        types = types | {v: real(made[v].dtype, shape) for v, shape in shapes.items()}
        graph = with_times(replace(graph, types=types))
        verify(graph, Stage.SPIKING)
        return graph

    def feeds(self, seed: int) -> dict[str, Array]:
        rng = np.random.default_rng(seed)
        return {
            name: rng.uniform(-1.6, 1.0, shape).astype(np.float32)
            for name, shape in self.inputs.items()
        }


def _dtype(op: Op) -> str:
    return "int64" if op.op_type == "ArgMax" else "float32"


SAMPLES = 2


def metered(net: Net, *outputs: str, paper: Operations = PAPER) -> SpikeTimeEnergy:
    """Two batches through the meter, whose first axis is that of the samples."""
    meter = SpikeTimeMeter(net.graph(*outputs))
    session = Session(meter.graph, taps=meter.taps, shapes_of=meter.shapes_of)
    for seed in (1, 2):
        meter.update(session.run(net.feeds(seed)), SAMPLES)
    return meter.energy(paper)


def spikes(net: Net, value: str, low: float = -1.0) -> Array:
    """Which neurons of a layer fire, 0 or 1, over both batches."""
    plain = Session(net.graph(value), taps=[value])
    runs = [plain.run(net.feeds(seed))[value] > low for seed in (1, 2)]
    return np.concatenate(runs).astype(np.float64)


def layer(energy: SpikeTimeEnergy, name: str, kind: str = "neurons") -> SpikeTimeLayer:
    found = [x for x in energy.layers if x.name in (f"/{name}", name) and x.kind == kind]
    assert len(found) == 1
    return found[0]


def mean(total: float) -> float:
    return total / (2 * SAMPLES)


def encoded(**shapes: tuple[int, ...]) -> Net:
    """Neurons for each input, `x` for input `x_in`."""
    net = Net(inputs={f"{name}_in": (SAMPLES, *shape) for name, shape in shapes.items()})
    for name in shapes:
        net.fire(name, f"{name}_in", window=0)
    return net


def check(found: SpikeTimeLayer, neurons: float, operations: float, events: float) -> None:
    assert found.neurons == neurons
    assert found.operations == operations
    assert found.events == pytest.approx(events, rel=1e-12)
    assert found.spikes <= found.neurons and found.events <= found.operations


# --- weighted layers ------------------------------------------------------------------------------


def test_a_linear_layer() -> None:
    net = encoded(x=(6,))
    net.consts |= {"w": np.ones((6, 5), np.float32) / 9, "b": np.zeros(5, np.float32)}
    net.op("Gemm", "h", "x", "w", "b")
    net.fire("y", "h", window=1)
    energy = metered(net, "y")
    fired = spikes(net, "x")
    assert 0 < fired.sum() < fired.size
    check(layer(energy, "x"), 6, 0, 0)
    assert layer(energy, "x").spikes == mean(fired.sum())
    assert layer(energy, "x").silent == pytest.approx(1 - fired.mean())
    check(layer(energy, "y"), 5, 30, mean(fired.sum() * 5))
    assert energy.samples == 4 and energy.windows == 2 and energy.analog_macs == 0


@pytest.mark.parametrize(
    ("weights", "attrs"), [((6, 5), {}), ((5, 6), {"transB": 1}), ((6, 5), {"alpha": 2.0})]
)
def test_matrices_in_other_orders(weights: tuple[int, int], attrs: Mapping[str, Attribute]) -> None:
    net = encoded(x=(6,))
    net.consts["w"] = np.full(weights, 0.1, np.float32)
    net.fire("y", net.op("Gemm", "h", "x", "w", **attrs), window=1)
    check(layer(metered(net, "y"), "y"), 5, 30, mean(spikes(net, "x").sum() * 5))


def test_weights_on_the_left_and_many_rows() -> None:
    net = encoded(x=(3, 4))
    net.consts |= {"w": np.ones((7, 3), np.float32), "v": np.ones((4, 2), np.float32)}
    net.fire("y", net.op("MatMul", "h", "w", "x"), window=1, low=-9, high=9)
    net.fire("z", net.op("MatMul", "g", "x", "v"), window=1, low=-9, high=9)
    energy, fired = metered(net, "y", "z"), spikes(net, "x").sum()
    check(layer(energy, "y"), 28, 3 * 4 * 7, mean(7 * fired))
    check(layer(energy, "z"), 6, 3 * 4 * 2, mean(2 * fired))


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_drives_fewer_synapses_at_its_border(group: int, stride: int) -> None:
    net = encoded(x=(2, 5, 6))
    net.consts["w"] = np.full((4, 2 // group, 3, 3), 0.1, np.float32)
    attrs: dict[str, Attribute] = {"pads": (1, 1, 0, 1), "strides": (stride, stride)}
    net.op("Conv", "h", "x", "w", **attrs, group=group)
    net.fire("y", "h", window=1)
    energy, fired = metered(net, "y"), spikes(net, "x")
    graph = net.graph("y")
    conv = graph.op("h")
    assert conv is not None
    shapes: dict[str, tuple[int, ...]] = {"x": (1, 2, 5, 6), "w": (4, 2 // group, 3, 3)}
    shapes["h"] = tuple(int(d or 0) for d in graph.types["h"].shape or ())
    fan = np.asarray(fan_out(conv, "x", shapes))
    assert fan.shape == (5, 6) and len(set(fan.ravel())) > 1
    check(
        layer(energy, "y"),
        float(np.prod(shapes["h"][1:])),
        2 * fan.sum(),
        mean((fired * fan).sum()),
    )


def test_pooling_and_means() -> None:
    net = encoded(x=(2, 4, 4))
    pool: dict[str, Attribute] = {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1)}
    net.fire("a", net.op("AveragePool", "pa", "x", **pool), window=1)
    net.fire("m", net.op("GlobalAveragePool", "pm", "x"), window=1)
    net.op("MaxPool", "first", "x", **pool, strides=(2, 2))
    energy, fired = metered(net, "a", "m", "first"), spikes(net, "x")
    reach = np.array([2, 3, 3, 2])
    fan = np.outer(reach, reach)
    check(layer(energy, "a"), 32, 2 * fan.sum(), mean((fired * fan).sum()))
    check(layer(energy, "m"), 2, 32, mean(fired.sum()))
    halved = np.array([1, 2, 1, 1])
    fan = np.outer(halved, halved)
    first = layer(energy, "first", "max")
    check(first, 8, 2 * fan.sum(), mean((fired * fan).sum()))
    assert first.spikes == mean(spikes(net, "first").sum()) and first.window == 0


# --- functions, sums, layout ----------------------------------------------------------------------


def test_a_function_of_single_spikes_is_on_their_synapses() -> None:
    net = encoded(x=(3, 4), u=(3, 4))
    net.op("Gelu", "gelu", "x")
    net.op("Mul", "gated", "gelu", net.op("Sigmoid", "gate", "x"))
    net.op("Add", "wave", "gated", "x")
    net.fire("f", "wave", window=1)
    net.op("Sub", "apart", "gated", "u")
    net.fire("d", net.op("Exp", "e", "apart"), window=1, low=0, high=3)
    energy = metered(net, "f", "d")
    x, u = spikes(net, "x").sum(), spikes(net, "u").sum()
    check(layer(energy, "f"), 12, 12, mean(x))
    check(layer(energy, "d"), 12, 24, mean(x + u))


def test_a_residual_sum_and_a_bias_that_broadcasts() -> None:
    net = encoded(x=(3, 4))
    net.consts |= {"w": np.eye(4, dtype=np.float32), "b": np.ones((2, 1, 1, 1), np.float32)}
    net.fire("y", net.op("MatMul", "h", "x", "w"), window=1)
    net.relay("late", "x", 2, 2)
    net.fire("z", net.op("Add", "s", "late", net.op("Neg", "n", "y")), window=3)
    net.fire("wide", net.op("Add", "t", "z", "b"), window=4)
    energy = metered(net, "wide")
    x, y, z = (spikes(net, v).sum() for v in ("x", "y", "z"))
    late = layer(energy, "late", "relay")
    check(late, 2 * 12, 2 * 12, mean(2 * x))
    assert late.spikes == late.events and late.window == 2
    check(layer(energy, "z"), 12, 24, mean(x + y))
    check(layer(energy, "wide"), 24, 24, mean(2 * z))
    summary = energy.summary()
    assert (summary["relay_neurons"], summary["relay_spikes"]) == (24, mean(2 * x))
    assert summary["neurons"] == 12 + 12 + 12 + 24


def test_layout_moves_spikes_with_their_entries() -> None:
    net = encoded(x=(3, 4))
    net.consts |= {
        "first": np.array(0, np.int64),
        "pads": np.array([0, 1, 0, 2], np.int64),
        "two": np.array(2.0, np.float32),
        "token": np.zeros((2, 1), np.float32),
        "w": np.ones((3, 5), np.float32),
    }
    net.op("Gather", "row", "x", "first", axis=1)
    net.fire("w2", net.op("Pad", "padded", "row", "pads", "two"), window=1)
    net.op("Concat", "joined", "row", "token", axis=1)
    net.fire("y", net.op("Transpose", "turned", "joined", perm=(1, 0)), window=1)
    net.op("Transpose", "columns", "x", perm=(0, 2, 1))
    net.fire("z", net.op("MatMul", "h", "columns", "w"), window=1, low=-9, high=9)
    energy, fired = metered(net, "w2", "y", "z"), spikes(net, "x")
    check(layer(energy, "w2"), 7, 4, mean(fired[:, 0].sum()))
    check(layer(energy, "y"), 5, 4, mean(fired[:, 0].sum()))
    check(layer(energy, "z"), 20, 60, mean(5 * fired.sum()))


# --- softmax, layer normalisation, products -------------------------------------------------------


def test_softmax_with_a_gate() -> None:
    net = encoded(scores=(4, 6))
    alive = np.arange(6) < 4
    net.consts |= {"alive": alive, "axis": np.array([-1], np.int64)}
    net.consts["factor"] = alive.astype(np.float32)
    net.fire("x", "scores", "alive", window=1)
    net.op("ReduceMax", "m", "x", "axis")
    net.fire("z", net.op("Sub", "less", "x", "m"), "alive", window=2, low=-2, high=0)
    net.op("Mul", "terms", net.op("Exp", "exp", "z"), "factor")
    net.op("Log", "log", net.op("ReduceSum", "sum", "terms", "axis"))
    net.fire("y", "log", window=3, low=0, high=2)
    net.relay("later", "z", 1, 3)
    net.op("Exp", "share", net.op("Sub", "difference", "later", "y"))
    net.fire("p", "share", "alive", window=4, low=0, high=1)
    energy = metered(net, "p")
    x, m = spikes(net, "x"), spikes(net, "m")
    z, y = spikes(net, "z", -2), spikes(net, "y", 0)
    assert not x[..., 4:].any() and not z[..., 4:].any()
    check(layer(energy, "m", "max"), 4, 24, mean(x.sum()))
    check(layer(energy, "z"), 24, 48, mean(x.sum() + 6 * m.sum()))
    check(layer(energy, "y"), 4, 24, mean(z.sum()))
    check(layer(energy, "later", "relay"), 24, 24, mean(z.sum()))
    check(layer(energy, "p"), 24, 48, mean(z.sum() + 6 * y.sum()))
    table3 = sum(layer(energy, v).operations for v in "zyp") + 24
    assert table3 == 4 * 6 * 6  # 6N a row, relays left out


def layer_norm(kind: str) -> Net:
    net = encoded(x=(3, 5))
    net.consts |= {
        "axis": np.array([-1], np.int64),
        "epsilon": np.array(1e-2, np.float32),
        "gamma": np.full(5, 0.5, np.float32),
    }
    net.fire("mean", net.op("ReduceMean", "centre", "x", "axis"), window=1)
    net.relay("x1", "x", 1, 1)
    net.fire("c", net.op("Sub", "less", "x1", "mean"), window=2)
    net.fire("v", net.op("ReduceMean", "var", net.op("Mul", "sq", "c", "c"), "axis"), window=3)
    net.op("Sqrt", "root", net.op("Add", "shifted", "v", "epsilon"))
    net.fire("r", net.op("Reciprocal", "inverse", "root"), window=4)
    net.relay("c4", "c", 2, 4)
    net.product(kind, "normal", "c4", "r", window=5)
    net.fire("y", net.op("Mul", "scaled", "normal", "gamma"), window=6)
    return net


@pytest.mark.parametrize(
    ("kind", "events"), [("LogExpMul", 9), ("QuarterSquareMul", 10), ("IdealMul", 10)]
)
def test_layer_norm(kind: str, events: int) -> None:
    energy = metered(layer_norm(kind), "y")
    rows, width = 3, 5
    without = sum(x.operations for x in energy.layers if x.kind != "relay")
    assert without == rows * (events * width + 1)
    if kind == "LogExpMul":  # Table 3
        made = sum(x.neurons for x in energy.layers if x.kind in ("neurons", "product"))
        assert made - rows * width == rows * (3 * width + 3)
        assert layer(energy, "c4", "relay").neurons == 2 * rows * width
        inside = [x for x in energy.layers if x.kind == "relay" and x.name == "/normal"]
        assert [x.neurons for x in inside] == [rows * width, rows]


@pytest.mark.parametrize(
    ("kind", "balance"), [("QuarterSquareMul", 1), ("QuarterSquareMul", 4), ("LogExpMul", 1)]
)
def test_neurons_of_a_product_fire_as_they_do_in_it(kind: str, balance: int) -> None:
    net = encoded(a=(3, 40), b=(3, 1))
    net.product(kind, "ab", "a", "b", window=1, balance=float(balance))
    net.fire("y", "ab", window=2)
    energy = metered(net, "y")
    values = [Session(net.graph("y"), taps=["a", "b"]).run(net.feeds(seed)) for seed in (1, 2)]
    a, b = (np.concatenate([run[v] for run in values]) for v in "ab")
    pairs = (a > -1).astype(int) + (b > -1)
    if kind == "LogExpMul":
        fired = MODEL.emit(np.log(a + 2) + np.log(b + 2), 0, 2 * float(np.log(np.float32(3)))) > 0
        layers, reached = 1, fired.sum() + pairs.sum()
    else:
        a, b, most = a * balance, b / balance, balance + 1 / balance
        signs = [MODEL.emit(x, -most, most) > -most for x in (a + b, a - b)]
        fired = np.add(*signs, dtype=np.int64)
        layers, reached = 2, fired.sum()
    assert 0 < fired.sum() < layers * a.size
    found = layer(energy, "ab", "product")
    check(found, layers * 120, layers * 240, mean(layers * pairs.sum()))
    assert found.spikes == mean(fired.sum()) and not found.assumed
    check(layer(energy, "y"), 120, (240 if layers == 2 else 360), mean(reached))


@pytest.mark.parametrize(("kind", "each"), [("QuarterSquare", 6), ("Ideal", 6), ("LogExp", 5)])
def test_products_of_matrices(kind: str, each: int) -> None:
    net = encoded(a=(2, 3, 4), b=(2, 4, 5))
    net.product(f"{kind}MatMul", "ab", "a", "b", window=1)
    net.fire("y", "ab", window=2, low=-4, high=4)
    energy = metered(net, "y")
    a, b = spikes(net, "a").sum(), spikes(net, "b").sum()
    size, layers = 2 * 3 * 4 * 5, 1 if kind == "LogExp" else 2
    found = layer(energy, "ab", "product")
    check(found, layers * size, 2 * layers * size, mean(layers * (5 * a + 3 * b)))
    assert found.assumed and found.spikes == found.neurons and found.window == 1
    without = sum(x.operations for x in energy.layers if x.kind != "relay")
    assert without == each * size
    relays = [x for x in energy.layers if x.kind == "relay"]
    assert [x.neurons for x in relays] == ([24, 40] if kind == "LogExp" else [])
    reached = layers * size + (mean(5 * a + 3 * b) if kind == "LogExp" else 0)
    assert layer(energy, "y").events == pytest.approx(reached)
    assert energy.silent_share == pytest.approx(
        1 - mean(a + b + spikes(net, "y", -4).sum()) / (24 + 40 + 30)
    )


# --- what comes out -------------------------------------------------------------------------------


def test_readouts() -> None:
    net = encoded(x=(6,))
    net.consts["w"] = np.ones((6, 5), np.float32)
    net.op("ArgMax", "class", "x", axis=1)
    net.op("MatMul", "potential", "x", "w")
    energy = metered(net, "class", "potential")
    assert layer(energy, "class", "readout").operations == 6
    assert layer(energy, "potential", "readout").operations == 30
    assert layer(energy, "potential", "readout").neurons == 0


def test_ratios_are_to_the_operations_of_the_trained_network() -> None:
    net = encoded(x=(6,))
    net.consts["w"] = np.ones((6, 5), np.float32)
    net.fire("y", net.op("MatMul", "h", "x", "w"), window=1)
    energy = metered(net, "y", paper=Operations(weighted=30, multiplied=10, products=5))
    fired = spikes(net, "x").sum()
    assert energy.ratio_operations == pytest.approx(30 * 0.9 / (40 * 4.6))
    assert energy.ratio_events == pytest.approx(mean(5 * fired) * 0.9 / (40 * 4.6))
    summary = energy.summary()
    assert summary["table3_operations"] == 30 + 30 + 10
    assert summary["ratio_table3"] == pytest.approx(70 * 0.9 / (40 * 4.6))
    assert summary["consistent_operations"] == 30 + 60
    assert [row["name"] for row in summary["layers"]] == ["/x", "/y"]


def test_work_that_no_spikes_drive_is_multiplied() -> None:
    net = Net(inputs={"x_in": (SAMPLES, 6)})
    net.consts["w"] = np.ones((6, 5), np.float32)
    net.fire("y", net.op("MatMul", "h", "x_in", "w"), window=0)
    energy = metered(net, "y")
    assert energy.analog_macs == 30 and energy.events == 0
    assert energy.ratio_events == pytest.approx(30 / 1000)


def test_analog_operations_read_spikes_as_numbers() -> None:
    net = encoded(a=(3, 4), b=(4, 5))
    net.fire("y", net.op("MatMul", "ab", "a", "b"), window=1)
    energy = metered(net, "y")
    assert energy.analog_macs == 60 and layer(energy, "y").operations == 0


def test_potentials_that_meet_without_neurons_are_refused() -> None:
    net = encoded(a=(4, 4), b=(4, 4))
    net.consts["w"] = np.ones((4, 4), np.float32)
    net.fire("y", net.op("Mul", "p", net.op("MatMul", "h", "a", "w"), "b"), window=1)
    with pytest.raises(CompileError, match="membrane potentials meet in a function"):
        SpikeTimeMeter(net.graph("y"))


def test_no_sample_no_energy() -> None:
    net = encoded(x=(6,))
    with pytest.raises(CompileError, match="no sample was run"):
        SpikeTimeMeter(net.graph("x")).energy(PAPER)
