"""Target files: the chips that come with snnc, users' own, and files that describe no chip."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from snnc.cli import main
from snnc.errors import CompileError
from snnc.targets import OPERATIONS, load_target, target_names
from snnc.targets.target import NANOSECONDS, PICOJOULES
from tests.test_cli import GOLDEN

FOLDER = Path(__file__).parent.parent / "snnc" / "targets"
LOIHI = (FOLDER / "loihi1.toml").read_text()
NAMES = ("akida2", "generic", "loihi1", "loihi2", "speck", "spinnaker2", "truenorth")


def test_the_known_targets() -> None:
    assert target_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_has_a_source(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    assert target.operations <= set(OPERATIONS)
    assert set(target.picojoules) == set(PICOJOULES)
    assert set(target.nanoseconds) == set(NANOSECONDS)
    named = {f"{group}.{key}" for group in ("picojoules", "nanoseconds") for key in PICOJOULES}
    assert all(target.sources.values())
    assert {f"picojoules.{key}" for key in PICOJOULES} <= target.sources.keys()
    assert target.unverified <= target.sources.keys() | named | {
        f"operations.{operation}" for operation in target.operations
    }
    for figure, source in target.sources.items():
        if name != "generic" and re.match("assumed|derived", source):
            assert figure in target.unverified or "derived" in source, figure


def test_published_figures() -> None:
    loihi, truenorth = load_target("loihi1"), load_target("truenorth")
    assert loihi.picojoules["synop"] == 23.6 and loihi.picojoules["neuron_update"] == 81
    assert loihi.total_cores == 128 * 768
    assert (truenorth.cores, truenorth.cells_per_core, truenorth.payload_bits) == (4096, 256, 1)
    # four axons an input make its weights of four bits: they fill the crossbar
    assert truenorth.fan_in is not None and truenorth.weight_bits is not None
    assert truenorth.fan_in * truenorth.weight_bits * 256 == truenorth.synapse_bits_per_core


def test_generic_has_no_limit() -> None:
    target = load_target("generic")
    assert target.operations == set(OPERATIONS)
    assert target.weight_bits is None and target.total_cores is None
    assert (target.fan_in, target.fan_out, target.synapse_bits_per_core) == (None, None, None)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf" + LOIHI.replace("cores = 128", "cores = 64").encode())
    target = load_target(path)
    assert (target.name, target.cores) == ("mine", 64)
    assert load_target(str(path)) == target


def test_one_source_for_all_the_rest(tmp_path: Path) -> None:
    head, _ = LOIHI.split("[sources]")
    path = tmp_path / "mine.toml"
    path.write_text(head + '[sources]\n"Paper, 2030" = ["cores"]\n"guess" = ["*"]\n')
    target = load_target(path)
    assert target.sources["cores"] == "Paper, 2030"
    assert target.sources["picojoules.synop"] == target.sources["operations"] == "guess"


def changed(old: str, new: str) -> Callable[[], bytes]:
    assert old in LOIHI
    return lambda: LOIHI.replace(old, new, 1).encode()


BAD: dict[str, Callable[[], bytes]] = {
    "unknown_key": changed("cores = 128", "cores = 128\ncore = 3"),
    "missing_key": changed("cores = 128\n", ""),
    "text_for_number": changed("cores = 128", 'cores = "many"'),
    "boolean_for_number": changed("cores = 128", "cores = true"),
    "fraction": changed("cores = 128", "cores = 1.5"),
    "negative": changed("cells_per_core = 1024", "cells_per_core = -1"),
    "zero": changed("chips = 768", "chips = 0"),
    "huge": changed("chips = 768", "chips = 99999999999999999999"),
    "one_bit_weights": changed("weight_bits = 8", "weight_bits = 1"),
    "no_flag": changed("partial_sums = false", "partial_sums = 0"),
    "nan": changed("synop = 23.6", "synop = nan"),
    "negative_energy": changed("synop = 23.6", "synop = -1.0"),
    "no_tick": changed("tick_nanoseconds = 465.0", "tick_nanoseconds = 0"),
    "missing_energy": changed("packet = 1.7\n", ""),
    "unknown_energy": changed("packet = 1.7", "packet = 1.7\npackets = 2"),
    "columns": changed("columns = 16", "columns = 129"),
    "columns_unlimited": changed("columns = 16", 'columns = "unlimited"'),
    "sign_of_a_bit": changed("signed_payload = false", "signed_payload = true"),
    "unknown_operation": changed('"scale"', '"scales"'),
    "no_synapses": changed('"synapses", ', ""),
    "operations_no_list": lambda: re.sub(
        r"operations = .*", 'operations = "synapses"', LOIHI, count=1
    ).encode(),
    "no_source": changed('"operations", "cores", ', '"operations", '),
    "source_of_nothing": changed('"operations", "cores", ', '"operations", "cores", "corse", '),
    "unverified_nothing": changed('unverified = ["weight', 'unverified = ["corse", "weight'),
    "group_no_table": lambda: (
        "picojoules = 3\n" + re.sub(r"\[picojoules\][^\[]*", "", LOIHI)
    ).encode(),
    "source_no_list": changed('NICE 2019" = ["idle_watts"]', 'NICE 2019" = "idle_watts"'),
    "no_title": changed('title = "Intel Loihi (2018)"', 'title = " "'),
    "no_text": lambda: b'title = "\xff\xfe"',
    "empty": lambda: b"",
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_of_no_possible_chip_gets_one_clear_error(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_bytes(BAD[case]())
    result = CliRunner().invoke(main, ["targets", "mine.toml"])
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr == (GOLDEN / "errors" / f"target_{case}.txt").read_text()
    assert "mine.toml" in result.stderr


@pytest.mark.parametrize(
    "line", ["cores = = 128", "cores = 128\ncores = 128", "cores = " + "[" * 9999]
)
def test_corrupt_files(line: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(changed("cores = 128", line)())
    with pytest.raises(CompileError, match=r"mine\.toml is no valid TOML: .+") as caught:
        load_target(path)
    assert "docs/targets.md" in caught.value.render()


def test_what_is_no_file(tmp_path: Path) -> None:
    for given, message in (
        (tmp_path, "is a directory"),
        (tmp_path / "none.toml", "No such file or directory"),
        (str(tmp_path / "none.toml"), "No such file or directory"),
        ("loihi3", "unknown target 'loihi3'; did you mean 'loihi"),
    ):
        with pytest.raises(CompileError) as caught:
            load_target(given)
        assert message in caught.value.render() and caught.value.help


def test_listing() -> None:
    result = CliRunner().invoke(main, ["targets"])
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()[2:]] == list(NAMES)
    listed = json.loads(CliRunner().invoke(main, ["targets", "--json"]).stdout)["targets"]
    assert [target["name"] for target in listed] == list(NAMES)


def test_one_target_with_its_sources() -> None:
    shown = CliRunner().invoke(main, ["targets", "loihi2"]).stdout
    assert "normalisation (unverified)" in shown and "technology brief, 2021" in shown
    listed = json.loads(CliRunner().invoke(main, ["targets", "loihi2", "--json"]).stdout)
    figures = listed["targets"][0]["figures"]
    assert figures["payload_bits"]["value"] == 32 and figures["payload_bits"]["verified"]
    assert not figures["picojoules.synop"]["verified"]
    assert "assumed" in figures["picojoules.synop"]["source"]


def test_documentation_names_every_key() -> None:
    text = (FOLDER.parent.parent / "docs" / "targets.md").read_text()
    for key in load_target("generic").sources:
        assert f"`{key.rpartition('.')[2]}`" in text, key
    for name in (*NAMES, *OPERATIONS):
        assert f"`{name}`" in text, name
