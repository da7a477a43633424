"""Files of statistics: saved, reused, merged from shards, refused where they do not belong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import snnc
from snnc.calibrated import calibrate_sites
from snnc.data import Feeds, samples_of
from snnc.identity import identity_of, require_same
from snnc.ir.node import Array
from snnc.ir.text import format_graph
from snnc.npz import STATISTICS, write_npz
from snnc.prepare import prepare
from tests.conftest import calibration_path, held_out_path, model_path

MASKS = {"digits_encoder": "attention_mask"}


def calibrated(name: str, shard: str = "1/1", **options: Any) -> snnc.CalibratedNetwork:
    options = {"calibration": calibration_path(name), "mask_input": MASKS.get(name)} | options
    return snnc.calibrate(model_path(name), shard=shard, **options)


@cache
def saved(name: str, shard: str = "1/1") -> bytes:
    """The bytes of a file of statistics."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "s.npz"
        calibrated(name, shard).save_statistics(path)
        return path.read_bytes()


@pytest.fixture
def stats(tmp_path: Path) -> Callable[..., Path]:
    """Writes the statistics of an included network, or of a shard, and gives their path."""

    def write(name: str, shard: str = "1/1") -> Path:
        path = tmp_path / f"{name}.{shard.replace('/', 'of')}.npz"
        path.write_bytes(saved(name, shard))
        return path

    return write


def numbers(network: snnc.CalibratedNetwork) -> str:
    """All statistics of all sites, as text; percentiles of all kinds."""
    return "".join(format_graph(network.graph(p)) for p in (0.0, 0.1, 1.0, 10.0))


def compiled(directory: Path, name: str, **options: Any) -> tuple[bytes, snnc.SpikingNetwork]:
    network = snnc.compile(model_path(name), **options)
    network.save(directory / "out.onnx")
    return (directory / "out.onnx").read_bytes(), network


# --- saved and reused ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn"])
def test_the_same_network_comes_from_statistics_and_from_samples(tmp_path: Path, name: str) -> None:
    """Bit for bit, with the choice of lambda."""
    path = tmp_path / "s.npz"
    samples = {"calibration": calibration_path(name), "mask_input": MASKS.get(name)}
    direct = compiled(tmp_path, name, save_statistics=path, **samples)
    again = compiled(tmp_path, name, statistics=path)
    assert again[0] == direct[0]
    assert again[1].report == direct[1].report


@pytest.mark.parametrize(
    "options",
    [
        {"percentile": 5.0, "scale": 0.3, "polarity": "shared"},
        {"neuron": snnc.make_neuron("sfn", rule="eq11", levels="sformer")},
        {"fidelity": 0.9},
    ],
)
def test_one_file_serves_every_choice(
    stats: Callable[..., Path], tmp_path: Path, options: dict[str, Any]
) -> None:
    path, samples = stats("digits_mlp"), calibration_path("digits_mlp")
    found = compiled(tmp_path, "digits_mlp", statistics=path, **options)[0]
    assert found == compiled(tmp_path, "digits_mlp", calibration=samples, **options)[0]
    assert found != compiled(tmp_path, "digits_mlp", statistics=path)[0]


@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn"])
def test_what_is_read_is_what_was_written(stats: Callable[..., Path], name: str) -> None:
    path = stats(name)
    again = calibrated(name, calibration=None, statistics=path)
    assert numbers(again) == numbers(calibrated(name))
    written = path.with_name("again.npz")
    again.save_statistics(written)
    assert written.read_bytes() == path.read_bytes()


def test_the_file_does_not_depend_on_the_process(tmp_path: Path) -> None:
    code = (
        "import sys, snnc; snnc.calibrate(sys.argv[1], calibration=sys.argv[2])"
        ".save_statistics(sys.argv[3])"
    )
    files = [str(model_path("digits_mlp")), str(calibration_path("digits_mlp"))]
    subprocess.run(
        [sys.executable, "-c", code, *files, str(tmp_path / "s.npz")],
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "1"},
        cwd=Path(__file__).parent.parent,
    )
    assert (tmp_path / "s.npz").read_bytes() == saved("digits_mlp")


def test_the_name_of_the_model_does_not_matter(stats: Callable[..., Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(model_path("digits_mlp").read_bytes())
    network = snnc.calibrate(copy, statistics=stats("digits_mlp"))
    assert network.calibration.reservoir.seen == 300


def test_numbers_that_mean_nothing_are_told_after_saving(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    calibrated("digits_mlp", calibration="random").save_statistics(path)
    network = snnc.compile(model_path("digits_mlp"), statistics=path, scale=0.5)
    assert "calibrated on random numbers: the thresholds are meaningless" in network.report.warnings


def test_an_input_is_never_overwritten(stats: Callable[..., Path], tmp_path: Path) -> None:
    data = tmp_path / "x.npz"
    data.write_bytes(calibration_path("digits_mlp").read_bytes())
    network = calibrated("digits_mlp", calibration=data)
    first, second = stats("digits_mlp", "1/2"), stats("digits_mlp", "2/2")
    with pytest.raises(snnc.CompileError, match="would be overwritten"):
        network.save_statistics(data)
    with pytest.raises(snnc.CompileError, match="would be overwritten"):
        snnc.compile(model_path("digits_mlp"), calibration=data, save_statistics=data)
    with pytest.raises(snnc.CompileError, match="would be overwritten"):
        snnc.compile(model_path("digits_mlp"), statistics=first).save(first)
    with pytest.raises(snnc.CompileError, match="would be overwritten"):
        snnc.merge_statistics([first, second], second)
    assert data.read_bytes() == calibration_path("digits_mlp").read_bytes()
    assert second.read_bytes() == saved("digits_mlp", "2/2")


@pytest.mark.parametrize("both", [True, False])
def test_samples_or_statistics(stats: Callable[..., Path], both: bool) -> None:
    options: dict[str, Any] = {}
    if both:
        options = {
            "calibration": calibration_path("digits_mlp"),
            "statistics": stats("digits_mlp"),
        }
    for verb in (snnc.compile, snnc.calibrate):
        with pytest.raises(snnc.CompileError, match="one of the two"):
            verb(model_path("digits_mlp"), **options)


# --- shards -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn"])
def test_four_shards_are_exactly_the_whole(
    stats: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    merged = snnc.merge_statistics([stats(name, f"{i}/4") for i in (3, 1, 4, 2)], tmp_path / "m")
    assert [part.samples for part in merged.parts] == [108, 64, 64, 64]
    assert [k.place for k in merged.reservoir.kept()] == list(range(300))
    whole = snnc.calibrate(model_path(name), statistics=stats(name))
    assert numbers(snnc.calibrate(model_path(name), statistics=tmp_path / "m")) == numbers(whole)
    found = compiled(tmp_path, name, statistics=tmp_path / "m")[0]
    assert found == compiled(tmp_path, name, calibration=calibration_path(name))[0]


def test_masked_shards_and_sites_that_see_more_than_can_be_exact(
    stats: Callable[..., Path], tmp_path: Path
) -> None:
    shards = [stats("digits_encoder", f"{i}/3") for i in (1, 2, 3)]
    merged = snnc.merge_statistics(shards, tmp_path / "m.npz")
    whole = calibrated("digits_encoder").calibration
    sketched = 0
    for value, accumulator in whole.accumulators.items():
        wanted, found = accumulator.state(), merged.accumulators[value].state()
        assert found.counts == wanted.counts
        assert found.numbers == pytest.approx(wanted.numbers, rel=1e-9)
        assert bool(found.sketch) == bool(wanted.sketch)
        if not wanted.sketch:
            np.testing.assert_array_equal(found.waiting, wanted.waiting)
            continue
        sketched += 1
        for q in (0.01, 0.99):
            bounds = [accumulator.quantiles([q + error])[0] for error in (-0.0002, 0.0002)]
            assert bounds[0] <= merged.accumulators[value].quantiles([q])[0] <= bounds[1]
    assert 0 < sketched < len(whole.accumulators)


@pytest.mark.parametrize("of", [1, 2, 3, 7, 70])
def test_shards_cover_every_sample_once(of: int) -> None:
    """Also where there are fewer full batches than shards: then the batches are smaller."""
    ann, sited = prepare(model_path("digits_mlp"))
    images = np.load(calibration_path("digits_mlp"))["input"][:70]
    held, counts = [], []
    for i in range(1, of + 1):
        network = calibrate_sites(ann, sited, samples_of(images, ann), shard=snnc.Shard(i, of))
        held += [kept.place for kept in network.calibration.reservoir.kept()]
        counts.append(network.calibration.reservoir.seen)
    assert sorted(held) == list(range(70))
    assert 0 < min(counts) <= max(counts) <= 2 * 70 / of
    with pytest.raises(snnc.CompileError, match="use at most 70 shards"):
        calibrate_sites(ann, sited, samples_of(images, ann), shard=snnc.Shard(1, 71))


def test_merging_is_associative(stats: Callable[..., Path], tmp_path: Path) -> None:
    a, b, c, d = (stats("digits_mlp", f"{i}/4") for i in (1, 2, 3, 4))
    ab, cd, left, right = (tmp_path / f"{n}.npz" for n in ("ab", "cd", "left", "right"))
    snnc.merge_statistics([a, b], ab)
    snnc.merge_statistics([d, c], cd)
    snnc.merge_statistics([cd, ab], left)
    snnc.merge_statistics([a, b, c, d], right)
    one, other = (
        numbers(calibrated("digits_mlp", calibration=None, statistics=p)) for p in (left, right)
    )
    assert one == other


def test_files_of_different_samples_merge(tmp_path: Path) -> None:
    paths = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for path, data in zip(paths, (calibration_path, held_out_path), strict=True):
        calibrated("digits_mlp", calibration=data("digits_mlp")).save_statistics(path)
    both = snnc.merge_statistics(paths, tmp_path / "both.npz")
    assert both.reservoir.seen == sum(part.samples for part in both.parts) == 750
    assert len(both.reservoir) == 512
    assert len({part.data for part in both.parts}) == 2
    arrays = [np.load(path("digits_mlp"))["input"] for path in (calibration_path, held_out_path)]
    whole = calibrated("digits_mlp", calibration=np.concatenate(arrays)).calibration
    for value, accumulator in both.accumulators.items():
        assert accumulator.statistics(1.0).count == whole.accumulators[value].statistics(1.0).count
        assert accumulator.quantiles([0.9])[0] == pytest.approx(
            whole.accumulators[value].quantiles([0.9])[0], rel=1e-5
        )


def test_compile_says_that_shards_are_missing(stats: Callable[..., Path]) -> None:
    network = snnc.compile(
        model_path("digits_mlp"), statistics=stats("digits_mlp", "2/4"), scale=0.3
    )
    assert network.report.warnings == ("the statistics lack shards of the samples: 1/4, 3/4, 4/4",)
    assert network.report.calibration_samples == 64


def test_a_stream_is_dealt_out_by_the_batch() -> None:
    images = np.load(calibration_path("digits_mlp"))["input"]

    def stream() -> Iterator[Feeds]:
        yield from ({"input": images[i : i + 50]} for i in range(0, 300, 50))

    seen = [
        calibrated("digits_mlp", f"{i}/6", calibration=stream()).calibration.reservoir.seen
        for i in range(1, 7)
    ]
    assert seen == [50] * 6
    with pytest.raises(snnc.CompileError, match="in 6 batches cannot be dealt out to 7 shards"):
        calibrated("digits_mlp", "1/7", calibration=stream())


@pytest.mark.parametrize("shape", ["2,4", "4"])
def test_batches_that_the_model_fixes_are_not_cut(tmp_path: Path, shape: str) -> None:
    """Also a model without a sample axis, which takes one sample at a time."""
    text = (
        f'<ir_version: 8, opset_import: ["" : 17]> g (float[{shape}] x) => (float[{shape}] y) '
        "<float[4,4] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7}> "
        "{ h = MatMul (x, w) r = Relu (h) y = MatMul (r, w) }"
    )
    model = parser.parse_model(text)
    rows = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    whole = snnc.calibrate(model, calibration=rows)
    for i in (1, 2, 3):
        network = snnc.calibrate(model, calibration=rows, shard=snnc.Shard(i, 3))
        network.save_statistics(tmp_path / f"{i}.npz")
        assert network.calibration.reservoir.seen == 4
    paths = [tmp_path / f"{i}.npz" for i in (2, 3, 1)]
    merged = snnc.merge_statistics(paths, tmp_path / "m.npz")
    again = snnc.calibrate(model, statistics=tmp_path / "m.npz")
    assert numbers(again) == numbers(whole)
    for mine, theirs in zip(
        merged.reservoir.batches(9), whole.calibration.reservoir.batches(9), strict=True
    ):
        np.testing.assert_array_equal(mine["x"], theirs["x"])
    with pytest.raises(snnc.CompileError, match="use at most"):
        snnc.calibrate(model, calibration=rows, shard="1/13")


def test_samples_of_different_lengths_are_kept(tmp_path: Path) -> None:
    data = np.load(calibration_path("digits_encoder"))

    def stream() -> Iterator[Feeds]:
        for i in range(0, 60, 20):
            yield {k: data[k][i : i + 20, : 40 + i] for k in ("input_ids", "attention_mask")}

    network = calibrated("digits_encoder", calibration=stream())
    network.save_statistics(tmp_path / "s.npz")
    again = calibrated("digits_encoder", calibration=None, statistics=tmp_path / "s.npz")
    for mine, theirs in zip(again.samples.batches(7), network.samples.batches(7), strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine:
            np.testing.assert_array_equal(mine[name], theirs[name])


# --- refused ------------------------------------------------------------------------------------


def test_samples_that_would_count_twice_are_refused(
    stats: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.npz"
    one, two, half, whole = (stats("digits_mlp", s) for s in ("1/4", "2/4", "1/2", "1/1"))
    snnc.merge_statistics([one, two], partial := tmp_path / "partial.npz")
    for files, message in (
        ([one, two, one], "holds shard 1/4, which others hold already"),
        ([partial, two], "holds shard 2/4, which others hold already"),
        ([whole, whole], "holds these samples, which others hold already"),
        ([one, half], "they overlap"),
        ([whole, one], "they overlap"),
    ):
        with pytest.raises(snnc.CompileError, match=message):
            snnc.merge_statistics(files, out)
    assert not out.exists()


def reweighted(path: Path, factor: float) -> None:
    """The MLP with its first weights times `factor`."""
    model = onnx.load(str(model_path("digits_mlp")))
    weight = next(t for t in model.graph.initializer if t.dims)
    weight.CopyFrom(
        numpy_helper.from_array(
            (numpy_helper.to_array(weight) * np.float32(factor)).astype(np.float32), weight.name
        )
    )
    onnx.save(model, str(path))


def test_statistics_of_another_network_are_refused(
    stats: Callable[..., Path], tmp_path: Path
) -> None:
    mlp, vit = stats("digits_mlp"), stats("digits_vit")
    reweighted(tmp_path / "other.onnx", 1.001)
    vits, mlps = model_path("digits_vit"), model_path("digits_mlp")
    cases: list[tuple[Path, Path, dict[str, Any], str]] = [
        (mlps, vit, {}, "are of another network than 'digits_mlp.onnx'"),
        (tmp_path / "other.onnx", mlp, {}, "are of other weights than 'other.onnx'"),
        (vits, vit, {"keep": "*mlp*"}, "they have also '"),
        (vits, vit, {"encode_input": True}, "they lack '"),
        (mlps, mlp, {"mask_input": "input"}, "was calibrated with no mask"),
    ]
    for model, path, options, message in cases:
        with pytest.raises(snnc.CompileError, match=message):
            snnc.compile(model, statistics=path, **options)
    with pytest.raises(snnc.CompileError, match="of another network than"):
        snnc.merge_statistics([mlp, vit], tmp_path / "out.npz")
    other = snnc.calibrate(tmp_path / "other.onnx", calibration=calibration_path("digits_mlp"))
    other.save_statistics(tmp_path / "other.npz")
    with pytest.raises(snnc.CompileError, match="other weights than"):
        snnc.merge_statistics([mlp, tmp_path / "other.npz"], tmp_path / "out.npz")


def test_another_normalisation_of_the_same_network_is_told_apart() -> None:
    ann, sited = prepare(model_path("digits_mlp"))
    now = identity_of(ann, sited)
    require_same(now, identity_of(ann, sited), "'s.npz'", "'mlp.onnx'")
    with pytest.raises(snnc.CompileError, match="another version of snnc"):
        require_same(replace(now, sited="before"), now, "'s.npz'", "'mlp.onnx'")


def test_masks_must_agree(tmp_path: Path) -> None:
    with np.load(calibration_path("digits_encoder")) as arrays:
        few = {name: arrays[name][:8] for name in ("input_ids", "attention_mask")}
    files = [tmp_path / "masked.npz", tmp_path / "unmasked.npz"]
    for shard, (path, mask) in enumerate(zip(files, ("attention_mask", None), strict=True), 1):
        network = calibrated("digits_encoder", f"{shard}/2", calibration=few, mask_input=mask)
        network.save_statistics(path)
    with pytest.raises(snnc.CompileError, match=r"with no mask, .* with mask input"):
        snnc.merge_statistics(files, tmp_path / "out.npz")
    options: dict[str, Any] = {"calibration": None, "mask_input": "attention_mask"}
    assert calibrated("digits_encoder", statistics=files[0], **options).calibration.parts
    with pytest.raises(snnc.CompileError, match="was calibrated with no mask"):
        calibrated("digits_encoder", statistics=files[1], **options)


def rewritten(
    path: Path, change: Callable[[dict[str, Any], dict[str, Array]], None]
) -> snnc.CompileError:
    """What is raised for a file whose header or arrays were changed and written whole."""
    with np.load(path) as loaded:
        arrays = dict(loaded)
    header = json.loads(arrays[STATISTICS].item())
    change(header, arrays)
    arrays[STATISTICS] = np.array(json.dumps(header).encode())
    write_npz(path, arrays)
    with pytest.raises(snnc.CompileError) as raised:
        snnc.calibrate(model_path("digits_mlp"), statistics=path)
    return raised.value


def test_a_file_of_another_version_is_refused(stats: Callable[..., Path]) -> None:
    error = rewritten(stats("digits_mlp"), lambda header, arrays: header.update(version=2))
    assert "has version 2 of the format" in error.message
    assert error.help == "calibrate again"


WRONG: dict[str, Callable[[dict[str, Any], dict[str, Array]], object]] = {
    "no parts": lambda header, arrays: header.pop("parts"),
    "parts of another kind": lambda header, arrays: header.update(parts=[1]),
    "shard out of range": lambda header, arrays: header["parts"][0]["shard"].update(number=0),
    "more sites": lambda header, arrays: header["identity"]["sites"].append("x"),
    "no sites": lambda header, arrays: header["identity"].update(sites=None),
    "more groups": lambda header, arrays: header.update(groups=2),
    "no samples": lambda header, arrays: header.update(groups=0),
    "counts": lambda header, arrays: arrays.update(counts=-arrays["counts"]),
    "counts of another type": lambda header, arrays: arrays.update(counts=arrays["counts"] / 2),
    "nan": lambda header, arrays: arrays.update(numbers=arrays["numbers"] * np.nan),
    "values": lambda header, arrays: arrays.update({"values/0": arrays["values/0"] * 2}),
    "no values": lambda header, arrays: arrays.pop("values/0"),
    "sketch": lambda header, arrays: arrays.update({"sketch/0": np.arange(9, dtype=np.uint8)}),
    "samples": lambda header, arrays: arrays.update(
        {"samples/0/0": np.full_like(arrays["samples/0/0"], np.nan)}
    ),
    "fewer samples": lambda header, arrays: arrays.update(
        {"samples/0/0": arrays["samples/0/0"][1:]}
    ),
    "places": lambda header, arrays: arrays.update({"places/0": -arrays["places/0"]}),
    "samples of another type": lambda header, arrays: arrays.update(
        {"samples/0/0": arrays["samples/0/0"].astype(np.float64)}
    ),
    "seen": lambda header, arrays: header["parts"][0].update(samples=5),
    "seen in words": lambda header, arrays: header["parts"][0].update(samples="many"),
    "largest": lambda header, arrays: header.update(largest="much"),
    "input": lambda header, arrays: header.update(inputs=["imput"]),
    "single": lambda header, arrays: header.update(single=True),
    "mask": lambda header, arrays: header.update(mask_input=7),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_contradicts_itself_is_refused(stats: Callable[..., Path], case: str) -> None:
    rewritten(stats("digits_mlp"), WRONG[case])  # type: ignore[arg-type]


def test_a_damaged_file_gives_one_error_or_the_same_numbers(tmp_path: Path) -> None:
    """Any byte of the file, and mostly those of its structure at the end and of the header."""
    whole = saved("digits_mlp")
    model = snnc.load(model_path("digits_mlp"))
    expected = numbers(snnc.calibrate(model, calibration=calibration_path("digits_mlp")))
    rng = np.random.default_rng(0)
    places = [*rng.integers(len(whole), size=150), *(len(whole) - 1 - rng.integers(900, size=150))]
    path = tmp_path / "s.npz"
    refused = 0
    for place in [*places, *rng.integers(3000, size=50)]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damaged))
        try:
            assert numbers(snnc.calibrate(model, statistics=path)) == expected
        except snnc.CompileError:
            refused += 1
    assert refused > 150


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_cut_file_is_refused(tmp_path: Path, share: float) -> None:
    whole = saved("digits_mlp")
    (tmp_path / "s.npz").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(snnc.CompileError, match="not a readable file of statistics"):
        snnc.calibrate(model_path("digits_mlp"), statistics=tmp_path / "s.npz")
