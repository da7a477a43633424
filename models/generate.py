# mypy: allow-subclassing-any, disable-error-code="import-untyped, import-not-found"
"""Train the example networks of this folder and write them with their data.

    python models/generate.py [--only mlp|cnn|vit|encoder] [--to DIR]

Everything is seeded, so the same versions of the libraries give the same files again. The script
needs the extra `generate`: torch, scikit-learn, skl2onnx, onnx and onnxscript.
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    import numpy as np
    import onnx
    import onnxscript  # noqa: F401  (torch's dynamo exporter needs it)
    import torch
    from numpy.typing import NDArray
    from onnx.reference import ReferenceEvaluator
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier
    from torch import Tensor, nn
except ImportError as error:
    sys.exit(f"models/generate.py needs the extra `generate`: pip install .[generate] ({error})")

Ints = NDArray[np.int64]
Feeds = dict[str, NDArray[Any]]
Encoding = Callable[[Ints], Feeds]

CLASSES = 10
SIDE = 8
LEVELS = 16
CALIBRATION_SIZE = 300
TEST_SIZE = 450
OPSET = 17
OPSET_DYNAMO = 18
BATCH = 64
SEED = 20


@dataclass(frozen=True)
class Digits:
    """The images (whole intensities 0..16, [n, 8, 8]) and labels of the three parts.

    No image is in two parts: a network is too sure of itself on images it was trained on, and
    would agree too easily with its spiking counterpart there.
    """

    train: tuple[Ints, Ints]
    calibration: tuple[Ints, Ints]
    test: tuple[Ints, Ints]


def load() -> Digits:
    """Read scikit-learn's digits and split them, keeping the classes balanced."""
    data = load_digits()
    images, labels = data.images.astype(np.int64), data.target.astype(np.int64)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=TEST_SIZE, stratify=labels, random_state=SEED
    )
    train_x, calibration_x, train_y, calibration_y = train_test_split(
        train_x, train_y, test_size=CALIBRATION_SIZE, stratify=train_y, random_state=SEED
    )
    return Digits((train_x, train_y), (calibration_x, calibration_y), (test_x, test_y))


def as_images(images: Ints) -> Feeds:
    """Scale to [0, 1] with one channel: [n, 1, 8, 8]."""
    return {"input": (images[:, None] / LEVELS).astype(np.float32)}


def as_rows(images: Ints) -> Feeds:
    """Scale to [0, 1] and flatten: [n, 64]."""
    return {"input": (images.reshape(len(images), -1) / LEVELS).astype(np.float32)}


def as_tokens(images: Ints) -> Feeds:
    """Read the intensities column by column as tokens; mask the zeros after the last ink."""
    tokens = np.ascontiguousarray(images.transpose(0, 2, 1)).reshape(len(images), -1)
    mask = np.maximum.accumulate(tokens[:, ::-1] > 0, axis=1)[:, ::-1]
    return {"input_ids": tokens, "attention_mask": mask.astype(np.int64)}


class Cnn(nn.Module):
    """Two conv + batch-norm stages, a residual block, a depthwise conv and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.residual = nn.Conv2d(32, 32, 3, padding=1)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.relu = nn.ReLU()
        self.pool = nn.AvgPool2d(2)
        self.head = nn.Linear(32 * (SIDE // 4) ** 2, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images [n, 1, 8, 8]."""
        x = self.stem(images)
        x = self.relu(x + self.residual(x))
        x = self.pool(self.relu(self.depthwise(x)))
        logits: Tensor = self.head(x.flatten(1))
        return logits


class VitBlock(nn.Module):
    """A pre-LayerNorm transformer block with one projection for query, key and value."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.project = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def attend(self, x: Tensor) -> Tensor:
        """Mix the tokens."""
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, dim // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        weights = ((query * self.scale) @ key.transpose(-2, -1)).softmax(-1)
        mixed: Tensor = self.project((weights @ value).transpose(1, 2).reshape(batch, tokens, dim))
        return mixed

    def forward(self, x: Tensor) -> Tensor:
        """Apply attention and the MLP, each behind a LayerNorm and a shortcut."""
        x = x + self.attend(self.norm1(x))
        result: Tensor = x + self.mlp(self.norm2(x))
        return result


class Vit(nn.Module):
    """A small vision transformer: 2x2 patches and a class token."""

    def __init__(self, dim: int = 64, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, dim, 2, stride=2)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 1 + (SIDE // 2) ** 2, dim))
        self.blocks = nn.Sequential(*(VitBlock(dim, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images [n, 1, 8, 8]."""
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), dim=1) + self.positions
        logits: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return logits


class EncoderLayer(nn.Module):
    """A post-LayerNorm transformer layer in BERT's manner, with an additive mask."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.root = math.sqrt(dim // heads)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.project = nn.Linear(dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.norm2 = nn.LayerNorm(dim)

    def split(self, x: Tensor) -> Tensor:
        """Turn [n, tokens, dim] into [n, heads, tokens, dim / heads]."""
        batch, tokens, dim = x.shape
        return x.reshape(batch, tokens, self.heads, dim // self.heads).transpose(1, 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Apply attention and the MLP, each followed by a shortcut and a LayerNorm."""
        query, key, value = self.split(self.query(x)), self.split(self.key(x)), self.value(x)
        scores = query @ key.transpose(-2, -1) / self.root
        mixed = (scores + mask).softmax(-1) @ self.split(value)
        x = self.norm1(x + self.project(mixed.transpose(1, 2).reshape(x.shape)))
        result: Tensor = self.norm2(x + self.mlp(x))
        return result


class Encoder(nn.Module):
    """A tiny BERT-like encoder with a classifier on the mean of the unmasked tokens."""

    place: Tensor

    def __init__(self, dim: int = 48, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.words = nn.Embedding(LEVELS + 1, dim)
        self.positions = nn.Embedding(SIDE * SIDE, dim)
        self.register_buffer("place", torch.arange(SIDE * SIDE)[None])
        for table in (self.words, self.positions):
            nn.init.normal_(table.weight, std=0.02)
        self.norm = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(EncoderLayer(dim, heads) for _ in range(depth))
        self.head = nn.Linear(dim, CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last hidden state and the logits of tokens [n, sequence]."""
        kept = attention_mask.to(torch.float32)
        dropped = 1.0 - kept[:, None, None, :]
        mask = dropped.masked_fill(dropped.to(torch.bool), torch.finfo(torch.float32).min)
        x = self.words(input_ids) + self.positions(self.place[:, : input_ids.shape[1]])
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x, mask)
        mean = (x * kept[:, :, None]).sum(1) / kept.sum(1, keepdim=True).clamp(min=1.0)
        return x, self.head(mean)


def shift(images: Ints, random: np.random.Generator) -> Ints:
    """Move each image by up to one pixel in each direction."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    first = random.integers(0, 3, size=(2, len(images), 1))
    rows, columns = first + np.arange(SIDE)
    moved: Ints = padded[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None]]
    return moved


def tensors(feeds: Feeds) -> tuple[Tensor, ...]:
    """Turn a network's inputs into tensors, in their order."""
    return tuple(torch.from_numpy(value) for value in feeds.values())


def logits_of(outputs: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Return the logits, which are a network's only or last output."""
    return outputs[-1] if isinstance(outputs, tuple) else outputs


def train(network: nn.Module, encode: Encoding, digits: Digits, epochs: int, rate: float) -> None:
    """Train with AdamW on shifted images and leave the network in evaluation mode."""
    random = np.random.default_rng(SEED)
    images, labels = digits.train
    steps = epochs * math.ceil(len(images) / BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    network.train()
    for _ in range(epochs):
        order = random.permutation(len(images))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            outputs = network(*tensors(encode(shift(images[batch], random))))
            loss = nn.functional.cross_entropy(
                logits_of(outputs), torch.from_numpy(labels[batch]), label_smoothing=0.05
            )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    network.eval()


def export(network: nn.Module, feeds: Feeds, outputs: list[str], path: Path) -> onnx.ModelProto:
    """Export with the tracing exporter, keeping batch normalisation as nodes of its own."""
    axes = {name: {0: "batch"} for name in [*feeds, *outputs]}
    for name in ("input_ids", "attention_mask", "last_hidden_state"):
        if name in axes:
            axes[name][1] = "sequence"
    with warnings.catch_warnings():
        # The exporter is deprecated, and folding constants is safe in evaluation mode.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        torch.onnx.export(
            network,
            tensors(feeds),
            path,
            input_names=list(feeds),
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=OPSET,
            training=torch.onnx.TrainingMode.PRESERVE,
            dynamo=False,
        )
    return onnx.load(path)


def export_dynamo(network: nn.Module, feeds: Feeds, outputs: list[str]) -> onnx.ModelProto:
    """Export with the dynamo exporter."""
    batch = torch.export.Dim("batch")
    program = torch.onnx.export(
        network,
        tensors(feeds),
        input_names=list(feeds),
        output_names=outputs,
        dynamic_shapes=tuple({0: batch} for _ in feeds),
        opset_version=OPSET_DYNAMO,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


def strip(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes (source lines and file names) from the model."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.value_info):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for value in (*graph.input, *graph.output):
        value.ClearField("metadata_props")


def save(model: onnx.ModelProto, path: Path, feeds: Feeds, labels: Ints, expected: Feeds) -> None:
    """Check the model, compare it with its source on the test images and write it."""
    strip(model)
    onnx.checker.check_model(model, full_check=True)
    outputs = dict(
        zip(
            [output.name for output in model.graph.output],
            ReferenceEvaluator(model).run(None, feeds),
            strict=True,
        )
    )
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
    last = list(outputs.values())[-1]
    path.write_bytes(model.SerializeToString(deterministic=True))
    accuracy = float((last.argmax(1) == labels).mean())
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB, test accuracy {accuracy:.2%}")


def save_data(prefix: str, encode: Encoding, digits: Digits, to: Path) -> None:
    """Write the calibration and the test data as one network reads them."""
    for part, (images, labels) in (("calibration", digits.calibration), ("test", digits.test)):
        arrays: Feeds = encode(images) | {"labels": labels}
        np.savez_compressed(to / f"{prefix}_{part}.npz", allow_pickle=False, **arrays)


def save_torch(
    name: str,
    network: nn.Module,
    encode: Encoding,
    digits: Digits,
    to: Path,
    outputs: tuple[str, ...] = ("logits",),
    dynamo: bool = True,
) -> None:
    """Export a trained torch network with the tracing and, if asked, the dynamo exporter."""
    images, labels = digits.test
    feeds = encode(images)
    example = encode(images[:2])
    with torch.no_grad():
        result = network(*tensors(feeds))
    values = result if isinstance(result, tuple) else (result,)
    expected = {key: value.numpy() for key, value in zip(outputs, values, strict=True)}
    path = to / f"{name}.onnx"
    save(export(network, example, list(outputs), path), path, feeds, labels, expected)
    if dynamo:
        path = to / f"{name}_dynamo.onnx"
        save(export_dynamo(network, example, list(outputs)), path, feeds, labels, expected)


def make_mlp(digits: Digits, to: Path) -> None:
    """Train scikit-learn's MLP and export it with skl2onnx."""
    images, labels = digits.train
    network = MLPClassifier((64, 32), alpha=1e-2, max_iter=300, random_state=SEED)
    network.fit(as_rows(images)["input"], labels)
    model = convert_sklearn(
        network,
        name="digits_mlp",
        initial_types=[("input", FloatTensorType([None, SIDE * SIDE]))],
        options={"zipmap": False},
        target_opset=OPSET,
    )
    images, labels = digits.test
    feeds = as_rows(images)
    expected = {
        "label": network.predict(feeds["input"]),
        "probabilities": network.predict_proba(feeds["input"]),
    }
    save(model, to / "digits_mlp.onnx", feeds, labels, expected)
    save_data("digits_mlp", as_rows, digits, to)


def make_cnn(digits: Digits, to: Path) -> None:
    """Train and export the convolutional network."""
    torch.manual_seed(SEED)
    network = Cnn()
    train(network, as_images, digits, epochs=40, rate=5e-3)
    save_torch("digits_cnn", network, as_images, digits, to)
    save_data("digits", as_images, digits, to)


def make_vit(digits: Digits, to: Path) -> None:
    """Train and export the vision transformer."""
    torch.manual_seed(SEED)
    network = Vit()
    train(network, as_images, digits, epochs=100, rate=2e-3)
    save_torch("digits_vit", network, as_images, digits, to)
    save_data("digits", as_images, digits, to)


def make_encoder(digits: Digits, to: Path) -> None:
    """Train and export the token encoder."""
    torch.manual_seed(SEED)
    network = Encoder()
    train(network, as_tokens, digits, epochs=160, rate=3e-3)
    outputs = ("last_hidden_state", "logits")
    save_torch("digits_encoder", network, as_tokens, digits, to, outputs, dynamo=False)
    save_data("digits_encoder", as_tokens, digits, to)


MAKERS = {"mlp": make_mlp, "cnn": make_cnn, "vit": make_vit, "encoder": make_encoder}


def main() -> None:
    """Make the networks that the command line asks for."""
    parser = argparse.ArgumentParser(description="Train and write the example networks.")
    parser.add_argument("--only", choices=list(MAKERS), help="make this network alone")
    parser.add_argument(
        "--to", type=Path, default=Path(__file__).parent, help="the folder to write into"
    )
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    digits = load()
    for name, make in MAKERS.items():
        if options.only in (None, name):
            make(digits, options.to)


if __name__ == "__main__":
    main()
