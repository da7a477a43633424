"""Accuracy and time of SpikingJelly's converters on an ONNX network: runs where SpikingJelly lives.

usage: PEER_PYTHON -m benchmarks.spikingjelly_peer MODEL.onnx --calibration C.npz --test T.npz
           [--recipes NAME ...] [--samples K] [--only accuracy|times] [--threads N] [--json F]

PEER_PYTHON is an interpreter with `pip install spikingjelly==2.0.0 onnx2torch`, without snnc. Run
it from the repository's root, as a module: beside this file lies another spikingjelly.py.

The network becomes torch modules by onnx2torch, whose outputs must be those of onnx.reference.
Every recipe is calibrated on all of C.npz, then run once for 64 steps with the image as constant
input: the prediction at T is the argmax of the sum of its first T outputs (`accuracy`), or of those
from the step on that SpikingJelly's own estimate_delay_start says for this T (`delayed`).

All recipes on 5,000 images of 28 x 28 take about two hours of one core: --samples 500 shows which
are worth it. Rows go to stderr as they are found.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference
import torch
from onnx2torch import convert
from spikingjelly.activation_based import ann2snn, functional, neuron

TIMESTEPS = (1, 2, 4, 8, 16, 32, 64)
TIMED_STEPS = 32
BATCHES = (1, 64)
"""Samples a run for the times."""

EVALUATED, CALIBRATED = 100, 64
"""Samples a batch: when measuring accuracy, when calibrating."""

CHECKED, TOLERANCE = 16, 1e-4

PACKAGES = ("spikingjelly", "torch", "onnx2torch", "onnx", "numpy")

Batches = list[torch.Tensor]
Build = Callable[[Batches], Any]


@dataclass(frozen=True)
class Recipe:
    """build: SpikingJelly's recipe from calibration batches; prepare: changes the network first."""

    build: Build
    prepare: Callable[[torch.nn.Module], torch.nn.Module] = copy.deepcopy


def half_threshold(scale: float) -> torch.nn.Module:
    """A neuron whose potential starts at half its threshold, as rounding asks for."""
    del scale  # SpikingJelly scales around the neuron
    return neuron.HalfThresholdIFNode()


def rate(mode: str | float, **options: Any) -> Build:
    """A rate-coding recipe; mode: 'max', a percentile, or a share of the largest activation."""
    return partial(ann2snn.RateCodingRecipe, mode=mode, **options)


def channels(mode: str | float, half: bool = True, early_pool: bool = False) -> Build:
    """A rate-coding recipe with a threshold for each channel; half: start at half of it.

    early_pool: max pooling of currents before the neuron, not of spikes behind it. SpikingJelly's
    ImageNet example has half and early_pool.
    """
    options = {"channel_wise": True, "half_threshold": half, "pre_spike_maxpool": early_pool}
    return rate(mode, **options)


def balanced(batch: int = CALIBRATED, passes: int = 1) -> Build:
    """Local threshold balancing; thresholds only grow, with every batch."""
    return lambda batches: ann2snn.LocalThresholdBalancingRecipe(
        list(torch.cat(batches).split(batch)) * passes
    )


def late_pool(ann: torch.nn.Module) -> torch.nn.Module:
    """The network with a Dropout of 0 in front of each max pooling.

    Local threshold balancing pools before it spikes where ReLU and max pooling are neighbours, and
    has no option for the other order.
    """
    late = copy.deepcopy(ann)
    modules = dict(late.named_modules())
    for node in list(late.graph.nodes):
        if node.op == "call_module" and isinstance(modules[node.target], torch.nn.MaxPool2d):
            late.add_submodule(f"{node.target}_drop", torch.nn.Dropout(0.0))
            with late.graph.inserting_before(node):
                dropped = late.graph.call_module(f"{node.target}_drop", (node.args[0],))
            node.replace_input_with(node.args[0], dropped)
    late.recompile()
    return late.eval()


MODES: dict[str, str | float] = {
    "max": "max",
    "99.9%": "99.9%",
    "99%": "99%",
    "97%": "97%",
    "1/2": 1 / 2,
    "1/3": 1 / 3,
    "1/4": 1 / 4,
    "1/5": 1 / 5,
}
"""Those of SpikingJelly's examples, and two more percentiles."""

BALANCED: dict[str, Build] = {
    "balancing": balanced(),
    "balancing, 64 updates": balanced(8),
    "balancing, 384 updates": balanced(8, 6),
    "balancing, 4096 updates": balanced(8, 64),
    "balancing, 25600 updates": balanced(8, 400),
}

HALF: dict[str, Any] = {"neuron_factory": half_threshold}

RECIPES: dict[str, Recipe] = {
    **{f"rate {name}": Recipe(rate(mode)) for name, mode in MODES.items()},
    **{f"rate {name}, half": Recipe(rate(mode, **HALF)) for name, mode in MODES.items()},
    **{f"channel rate {name}": Recipe(channels(mode, half=False)) for name, mode in MODES.items()},
    **{f"channel rate {name}, half": Recipe(channels(mode)) for name, mode in MODES.items()},
    "channel rate 99.9%, half, pool then spike": Recipe(channels("99.9%", early_pool=True)),
    "channel rate 99%, half, pool then spike": Recipe(channels("99%", early_pool=True)),
    **{name: Recipe(build, late_pool) for name, build in BALANCED.items()},
    **{f"{name}, pool then spike": Recipe(build) for name, build in BALANCED.items()},
    "STA": Recipe(ann2snn.STATransformerRecipe),
    "TD-equivalent": Recipe(lambda batches: ann2snn.TransformerTDEquivalentRecipe()),
}
"""All that SpikingJelly 2.0 offers for an ANN that is not quantised: SpikeZIPTFQANNRecipe and
Qwen2SNNRecipe are for quantised transformers and Qwen2. Those that refuse the network say so."""


def network(path: Path, images: torch.Tensor) -> torch.nn.Module:
    """The ONNX network as torch modules; its outputs on `images` are those of onnx.reference."""
    model = onnx.load(path)
    ann = convert(model).eval()
    (found,) = onnx.reference.ReferenceEvaluator(model).run(
        None, {model.graph.input[0].name: images.numpy()}
    )
    with torch.inference_mode():
        error = float(np.abs(ann(images).numpy() - found).max())
    if not error <= TOLERANCE:
        sys.exit(f"{path}: the torch network differs from the ONNX network by {error:.3g}")
    return ann


def load(path: Path, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples of the model's input `name`, and their labels."""
    with np.load(path) as arrays:
        return torch.from_numpy(arrays[name]), torch.from_numpy(arrays["labels"])


def spiking(ann: torch.nn.Module, recipe: Recipe, batches: Batches) -> torch.nn.Module:
    """A converted copy of the network."""
    return ann2snn.Converter(recipe.build(batches)).convert(recipe.prepare(ann)).eval()


def sums(net: torch.nn.Module, images: torch.Tensor, steps: int) -> torch.Tensor:
    """Sums of the outputs of the first 0, 1, ..., steps steps: [steps + 1, batch, classes]."""
    functional.reset_net(net)
    outputs = torch.stack([net(images) for _ in range(steps)])
    return torch.cat([torch.zeros_like(outputs[:1]), outputs.cumsum(0)])


def correct(scores: torch.Tensor, labels: torch.Tensor) -> int:
    """How many of the samples have their largest score at their label."""
    return int((scores.argmax(1) == labels).sum())


def delays(net: torch.nn.Module, batches: Batches) -> dict[int, int]:
    """For each T the step from which on SpikingJelly would read the outputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # "time_steps is too small": it says 0
        return {t: ann2snn.estimate_delay_start(net, batches, "cpu", t) for t in TIMESTEPS}


def accuracy(
    net: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, starts: dict[int, int]
) -> dict[str, dict[int, Any]]:
    """Shares of correct predictions at each T, read from the first step and from `starts`."""
    hits = {kind: dict.fromkeys(TIMESTEPS, 0) for kind in ("accuracy", "delayed")}
    for batch, expected in zip(images.split(EVALUATED), labels.split(EVALUATED), strict=True):
        found = sums(net, batch, max(TIMESTEPS))
        for t in TIMESTEPS:
            hits["accuracy"][t] += correct(found[t], expected)
            hits["delayed"][t] += correct(found[t] - found[starts[t]], expected)
    shares = {
        kind: {t: count / len(labels) for t, count in counts.items()}
        for kind, counts in hits.items()
    }
    return {**shares, "delay": starts}


def seconds(run: Callable[[], object], batch: int, least: float) -> float:
    """Seconds a sample, median of at least 5 runs that take `least` seconds together."""
    run()
    times: list[float] = []
    while len(times) < 5 or sum(times) < least:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times) / batch


def simulate(net: torch.nn.Module, images: torch.Tensor, mode: str) -> torch.Tensor:
    """The summed output of a simulation, step by step ('s') or all steps layer by layer ('m')."""
    functional.reset_net(net)
    if mode == "m":
        return net(images.expand(TIMED_STEPS, *images.shape)).sum(0)
    total = net(images)
    for _ in range(TIMED_STEPS - 1):
        total += net(images)
    return total


def times(net: torch.nn.Module, images: torch.Tensor, least: float) -> dict[str, dict[int, float]]:
    """Seconds a sample of the spiking network, for each step mode and batch."""
    found: dict[str, dict[int, float]] = {}
    for mode in ("s", "m"):
        functional.set_step_mode(net, mode)
        found[mode] = {
            b: seconds(partial(simulate, net, images[:b], mode), b, least) for b in BATCHES
        }
    functional.reset_net(net)
    functional.set_step_mode(net, "s")
    return found


@dataclass(frozen=True)
class Task:
    """What recipes are measured on. least: seconds that a time is measured for at least."""

    ann: torch.nn.Module
    batches: Batches
    images: torch.Tensor
    labels: torch.Tensor
    least: float
    only: str | None

    def of_ann(self) -> dict[str, Any]:
        """Accuracy and seconds a sample of the network itself, in torch."""
        scores = torch.cat([self.ann(batch) for batch in self.images.split(EVALUATED)])
        return {
            "accuracy": correct(scores, self.labels) / len(self.labels),
            "seconds": {
                b: seconds(partial(self.ann, self.images[:b]), b, self.least) for b in BATCHES
            },
        }

    def of_spiking(self, net: torch.nn.Module) -> dict[str, Any]:
        """Accuracy and seconds a sample of a converted network, or one of the two."""
        row: dict[str, Any] = {}
        if self.only != "accuracy":
            row["seconds"] = times(net, self.images, self.least)
        if self.only != "times":
            starts = delays(net, self.batches)
            row |= accuracy(net, self.images, self.labels, starts)
        return row


def rows(task: Task, recipes: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """What was found by recipe, and why recipes refused the network."""
    found: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for recipe in recipes:
        try:
            net = spiking(task.ann, RECIPES[recipe], task.batches)
        except (ValueError, TypeError, RuntimeError) as error:
            refused[recipe] = f"{type(error).__name__}: {error}"
            continue
        with torch.inference_mode():
            found[recipe] = task.of_spiking(net)
        print(recipe, json.dumps(found[recipe]), file=sys.stderr, flush=True)
    return found, refused


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The document: versions, sizes, the network itself, each recipe."""
    name = onnx.load(options.model, load_external_data=False).graph.input[0].name
    images, labels = (a[: options.samples] for a in load(options.test, name))
    calibration, _ = load(options.calibration, name)
    ann = network(options.model, images[:CHECKED])
    batches = list(calibration.split(CALIBRATED))
    task = Task(ann, batches, images, labels, options.seconds, options.only)
    with torch.inference_mode():
        of_ann = task.of_ann()
    recipes, refused = rows(task, options.recipes)
    return {
        "versions": {"Python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "threads": options.threads,
        "samples": len(labels),
        "calibration_samples": len(calibration),
        "ann": of_ann,
        "recipes": recipes,
        "refused": refused,
    }


def main() -> None:
    """Measures and writes JSON, to stdout or a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--samples", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", choices=["accuracy", "times"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    document = json.dumps(measure(options), indent=1) + "\n"
    if options.json:
        options.json.write_text(document)
    else:
        print(document, end="")


if __name__ == "__main__":
    main()
