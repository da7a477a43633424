"""Studies in storages: resumed after a kill, shared between processes, refused when foreign."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

import snnc
from snnc.ir.node import Array
from snnc.search import study as study_module
from snnc.search.storage import Storage
from tests.conftest import calibration_path, held_out_path, model_path

ROOT = Path(__file__).parent.parent
DATA = held_out_path("digits_mlp")
STORAGES = ["sqlite:///{}/study.db", "journal:{}/study.log"]


def calibrated() -> snnc.CalibratedNetwork:
    return snnc.calibrate(model_path("digits_mlp"), calibration=calibration_path("digits_mlp"))


@pytest.fixture(scope="module")
def network() -> snnc.CalibratedNetwork:
    return calibrated()


@pytest.fixture
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A journal, or the kinds that a test names (a journal is the fastest)."""
    url: str = getattr(request, "param", STORAGES[1]).format(tmp_path)
    return url


def kept(storage: str) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=Storage(storage).backend)


def states(storage: str) -> Counter[str]:
    return Counter(trial.state.name for trial in kept(storage).trials)


CHILD = """
import os, signal, sys, time
from pathlib import Path
import snnc
from tests.test_study import DATA, calibrated

storage, trials, fatal, here, there = sys.argv[1:]
calls = 0

def metric(outputs, labels):
    global calls
    calls += 1
    if calls == int(fatal):
        os.kill(os.getpid(), signal.SIGKILL)
    if calls == 2:
        Path(here).touch()
        until = time.monotonic() + 60
        while not Path(there).exists():
            assert time.monotonic() < until
            time.sleep(0.01)
    time.sleep(0.02)
    return float((outputs["label"] == labels).mean())

found = snnc.tune(calibrated(), data=DATA, metric=metric, trials=int(trials), storage=storage,
                  study="s")
print(found.scale, found.evaluations, len(found.trials))
"""


def child(storage: str, trials: int, fatal: int, here: Path, there: Path) -> subprocess.Popen[str]:
    """A process that tunes. It dies in evaluation number `fatal`; in its first trial it waits for
    the file `there`, so that of two processes each makes one."""
    words = [storage, str(trials), str(fatal), str(here), str(there)]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def metric(outputs: dict[str, Array], labels: Array | None) -> float:
    return float((outputs["label"] == labels).mean())


def resumed(network: snnc.CalibratedNetwork, storage: str, trials: int) -> snnc.Tuned:
    return snnc.tune(network, data=DATA, metric=metric, trials=trials, storage=storage, study="s")


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("storage", STORAGES, indirect=True)
def test_a_killed_study_goes_on(
    network: snnc.CalibratedNetwork, storage: str, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    killed = child(storage, 9, 6, mark, mark)
    killed.communicate(timeout=120)
    assert killed.returncode == -9
    assert states(storage) == {"COMPLETE": 4, "RUNNING": 1}  # the first evaluation is the ANN's
    found = resumed(network, storage, 9)
    assert (len(found.trials), found.evaluations) == (9, 6)
    assert states(storage) == {"COMPLETE": 9, "FAIL": 1}
    again = resumed(network, storage, 9)
    assert (again.scale, again.trials, again.evaluations) == (found.scale, found.trials, 1)


@pytest.mark.parametrize("storage", STORAGES, indirect=True)
def test_two_processes_share_the_trials(storage: str, tmp_path: Path) -> None:
    marks = tmp_path / "first", tmp_path / "second"
    both = [child(storage, 10, 0, *marks), child(storage, 10, 0, *reversed(marks))]
    said = [process.communicate(timeout=120) for process in both]
    assert [error for _, error in said] == ["", ""]
    scales, evaluations, trials = zip(*(out.split() for out, _ in said), strict=True)
    assert scales[0] == scales[1]
    assert trials == ("10", "10")
    assert states(storage)["COMPLETE"] == 10
    counts = [int(n) - 1 for n in evaluations]
    assert sum(counts) == 10
    assert min(counts) >= 1
    finished = [t for t in kept(storage).trials if t.state.name == "COMPLETE"]
    assert len({trial.params["lambda"] for trial in finished}) == 10


def test_an_interruption_is_passed_on_and_leaves_the_study_whole(
    network: snnc.CalibratedNetwork, storage: str
) -> None:
    calls = 0

    def interrupted(outputs: dict[str, Array], labels: Array | None) -> float:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        return metric(outputs, labels)

    interrupted.__name__ = "metric"
    with pytest.raises(KeyboardInterrupt):
        snnc.tune(network, data=DATA, metric=interrupted, storage=storage, study="s")
    assert states(storage) == {"COMPLETE": 3, "FAIL": 1}
    found = resumed(network, storage, 6)
    start = np.geomspace(1.0, 0.02, 6)
    assert [trial.scale for trial in found.trials] == pytest.approx(start)


def leave_running(storage: str, worker: list[Any] | None, seconds: float) -> None:
    """A running trial that began `seconds` ago."""
    study = kept(storage)
    named = {} if worker is None else {study_module.WORKER: worker}
    trial = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs=named)
    assert trial.datetime_start is not None
    trial.datetime_start -= timedelta(seconds=seconds)
    study.add_trial(trial)


def test_a_trial_that_runs_elsewhere_counts(
    network: snnc.CalibratedNetwork, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed(network, storage, 2)
    leave_running(storage, ["elsewhere", 1], seconds=30)
    waited: list[float] = []

    def others_finish(seconds: float) -> None:
        waited.append(seconds)
        study = kept(storage)
        last = study.trials[-1]
        assert last.state is TrialState.RUNNING  # no trial too many was begun meanwhile
        with Storage(storage).guarded():
            study._storage.set_trial_state_values(last._trial_id, TrialState.FAIL)

    monkeypatch.setattr("time.sleep", others_finish)
    assert len(resumed(network, storage, 3).trials) == 3
    assert waited == [study_module.POLL]


@pytest.mark.parametrize(
    ("worker", "seconds"),
    [(["elsewhere", 1], 3600), ([study_module._me()[0], 2**22 + 1], 1), (None, 30)],
)
def test_a_dead_trial_neither_counts_nor_blocks(
    network: snnc.CalibratedNetwork, storage: str, worker: list[Any] | None, seconds: float
) -> None:
    resumed(network, storage, 2)
    leave_running(storage, worker, seconds)
    found = resumed(network, storage, 4)
    assert (len(found.trials), found.evaluations) == (4, 3)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"neuron": snnc.SFN(M=6)}, "neuron"),
        ({"percentile": 2.0}, "percentile"),
        ({"polarity": "shared"}, "polarity"),
        ({"subsample": 100}, "data"),
        ({"output": "label"}, "output"),
        ({"objective": "pareto"}, "objective"),
        ({"metric": None}, "metric"),
    ],
)
def test_a_study_of_something_else_is_refused(
    network: snnc.CalibratedNetwork, tmp_path: Path, options: dict[str, Any], named: str
) -> None:
    where: dict[str, Any] = {"storage": STORAGES[1].format(tmp_path), "study": "s"}
    snnc.tune(network, data=DATA, metric=metric, trials=1, **where)
    with pytest.raises(snnc.CompileError) as raised:
        snnc.tune(network, data=DATA, trials=2, **where, **({"metric": metric} | options))
    assert raised.value.message == f"study 's' was made with another {named}"


def test_a_study_of_another_network_or_calibration_is_refused(
    network: snnc.CalibratedNetwork, storage: str
) -> None:
    resumed(network, storage, 1)
    calibration = calibration_path("digits_mlp")
    fewer = np.load(calibration)["input"][:200]
    with pytest.raises(snnc.CompileError, match="with another calibration\n"):
        resumed(snnc.calibrate(network.ann, calibration=fewer), storage, 2)
    fewer_sites = snnc.calibrate(network.ann, calibration=calibration, keep="MatMul1")
    with pytest.raises(snnc.CompileError, match="with another calibration\n"):
        resumed(fewer_sites, storage, 2)
    bias = {"intercepts": network.ann.consts["intercepts"] + np.float32(0.1)}
    biased = replace(network.ann, consts=dict(network.ann.consts) | bias)
    with pytest.raises(snnc.CompileError, match="with another model\n"):
        resumed(snnc.calibrate(biased, calibration=calibration), storage, 2)
    renamed = replace(network.ann, source="copy.onnx")
    assert resumed(snnc.calibrate(renamed, calibration=calibration), storage, 2).study == "s"


def test_a_study_made_by_something_else_is_refused(
    network: snnc.CalibratedNetwork, tmp_path: Path
) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    with Storage(storage).guarded():
        optuna.create_study(study_name="s", storage=storage).ask()
    with pytest.raises(snnc.CompileError, match="was not made by snnc tune"):
        resumed(network, storage, 1)


BAD_STORAGES = {
    "nowhere": "'nowhere' is no storage",
    "bogus://x": "the storage 'bogus://x' cannot be used: Can't load plugin",
    "sqlite:///none/x.db": "the storage 'sqlite:///none/x.db' cannot be used: unable to open",
    "sqlite:///folder": "the storage 'sqlite:///folder' cannot be used: unable to open",
    "sqlite:///text": "the storage 'sqlite:///text' cannot be used: file is not a database",
    "journal:text": "'text' is not a journal of optuna",
    "journal:folder": "'folder' is a directory, not a journal file",
    "journal:": "'.' is a directory, not a journal file",
    "journal:none/x.log": "the storage 'journal:none/x.log' cannot be used: [Errno 2]",
    "bogus://user:secret@host:port/x": "the storage 'bogus://...' cannot be used: invalid literal",
    "bogus://user:secret@host/x": "the storage 'bogus://user:***@host/x' cannot be used: Can't",
}


@pytest.mark.parametrize("url", BAD_STORAGES)
def test_a_bad_storage_gets_one_clear_error(
    network: snnc.CalibratedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("text").write_text("no storage, and no newline at the end" * 100)
    before = Path("text").read_bytes()
    with pytest.raises(snnc.CompileError) as raised:
        resumed(network, url, 1)
    assert raised.value.message.startswith(BAD_STORAGES[url])
    assert "secret" not in raised.value.render()
    assert Path("text").read_bytes() == before
    assert sorted(f.name for f in tmp_path.iterdir()) == ["folder", "text"]


def test_a_storage_that_fails_on_the_way_gets_one_clear_error(
    network: snnc.CalibratedNetwork, tmp_path: Path
) -> None:
    file = tmp_path / "study.db"

    def destroying(trial: snnc.Trial) -> None:
        file.write_bytes(b"no database any more" * 500)

    with pytest.raises(snnc.CompileError, match=r"the storage 'sqlite:.*' cannot be used"):
        snnc.tune(network, data=DATA, storage=f"sqlite:///{file}", study="s", told=destroying)


def test_a_database_is_begun_by_many_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        opened = pool.map(Storage, [f"sqlite:///{tmp_path}/study.db"] * 6)
        assert all(storage.backend.get_all_studies() == [] for storage in opened)


@pytest.mark.parametrize("storage", STORAGES, indirect=True)
def test_optuna_is_silent_and_left_as_it_was(
    network: snnc.CalibratedNetwork, storage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    level = optuna.logging.get_verbosity()
    resumed(network, storage, 7)
    assert optuna.logging.get_verbosity() == level
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
