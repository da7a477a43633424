"""A study: trials of scale factors that processes and machines share, and that outlive a kill."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from snnc.errors import CompileError
from snnc.search.objective import Point
from snnc.search.outcome import Trial
from snnc.search.storage import Storage

START = 6
"""Log-spaced scale factors from the largest to the smallest that every study tries first."""

LAMBDA, KEY, WORKER, IDENTITY = "lambda", "steps", "worker", "snnc"

POLL = 0.1
"""Seconds between looks at the last trials of other processes."""

LEASE_SECONDS, LEASE_TRIALS = 60.0, 10.0
"""A running trial counts for the longer of a minute and ten times the longest trial so far."""

CLAIM_SECONDS = 10.0
"""A running trial without a worker, killed or not yet named, counts no longer than this."""


class Study:
    """Trials of lambda in [low, high], kept under `name` in `storage`.

    identity: what makes two searches the same; a study of another one is refused. metered: trials
    have two values, metric and energy. The same seed gives the same trials.
    """

    def __init__(
        self,
        identity: Mapping[str, str],
        scale_range: tuple[float, float],
        storage: Storage,
        name: str | None,
        *,
        metered: bool = False,
        seed: int = 0,
    ) -> None:
        self._range = scale_range
        self._storage = storage
        directions = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE][: 1 + metered]
        with storage.guarded():
            self._study = optuna.create_study(
                storage=storage.backend,
                study_name=name,
                sampler=_StartThenTpe(scale_range, seed),
                directions=directions,
                load_if_exists=True,
            )
        self._identify(dict(identity), directions, name)

    def _identify(
        self, identity: dict[str, str], directions: list[StudyDirection], name: str | None
    ) -> None:
        with self._storage.guarded():
            found = self._study.user_attrs.get(IDENTITY)
            fresh = not self._study.get_trials(deepcopy=False)
            if found is None and fresh and self._study.directions == directions:
                self._study.set_user_attr(IDENTITY, identity)
                found = self._study.user_attrs[IDENTITY]
        if not isinstance(found, dict):
            raise CompileError(
                f"study '{name}' was not made by snnc tune", help="choose another --study"
            )
        differing = [key for key, value in identity.items() if found.get(key) != value]
        if differing:
            raise CompileError(
                f"study '{name}' was made with another {', '.join(differing)}",
                help="choose another --study, or search with what it was made with",
            )

    def trials(self) -> list[Trial]:
        """Every finished trial, of all processes, in the order they began."""
        return [Trial(t.params[LAMBDA], *t.values) for t in self._of(TrialState.COMPLETE)]

    def work(
        self,
        count: int,
        objective: Callable[[float], Point],
        told: Callable[[Trial], None] = lambda trial: None,
    ) -> None:
        """Tries scale factors until the study has `count` finished trials, those of others too."""
        while len(self._of(TrialState.COMPLETE)) < count:
            trial = self._claimed(count)
            if trial is None:  # others are at the last ones
                time.sleep(POLL)
            else:
                told(self._run(trial, objective))

    def _claimed(self, count: int) -> optuna.Trial | None:
        """A new trial, unless finished and running ones are `count` already.

        Trials are numbered in turn by the storage: of two processes that claim the last one at
        the same time the second sees the first, and withdraws.
        """
        if self._taken() >= count:
            return None
        with self._storage.guarded():
            trial = self._study.ask()
            trial.set_user_attr(WORKER, _me())
        if self._taken(before=trial.number) < count:
            return trial
        self._fail(trial.number)
        return None

    def _taken(self, before: int | None = None) -> int:
        """Finished and running trials (of a lower number); the dead of this machine are failed."""
        seen = self._of(TrialState.COMPLETE, TrialState.RUNNING)  # at once: one may just finish
        counted = [t for t in seen if t.state is TrialState.COMPLETE]
        longest = max((t.duration.total_seconds() for t in counted if t.duration), default=0.0)
        lease = max(LEASE_SECONDS, LEASE_TRIALS * longest)
        for trial in (t for t in seen if t.state is TrialState.RUNNING):
            if _was_killed(trial):
                self._fail(trial.number)
            elif _age(trial) < (lease if WORKER in trial.user_attrs else CLAIM_SECONDS):
                counted.append(trial)
        return sum(before is None or trial.number < before for trial in counted)

    def _run(self, trial: optuna.Trial, objective: Callable[[float], Point]) -> Trial:
        try:
            with self._storage.guarded():
                scale = trial.suggest_float(LAMBDA, *self._range, log=True)
            point = objective(scale)
            with self._storage.guarded():
                trial.set_user_attr(KEY, point.key)
            values = self._known(point.key) or point.score()
            with self._storage.guarded():
                self._study.tell(trial, values)
        except BaseException:  # interrupted, too: not counted, and its turn is taken again
            with contextlib.suppress(CompileError):  # the storage may be what failed
                self._fail(trial.number)
            raise
        return Trial(scale, *values)

    def _known(self, key: str) -> tuple[float, ...] | None:
        """The values of the same network, if a trial met it."""
        met = (t for t in self._of(TrialState.COMPLETE) if t.user_attrs.get(KEY) == key)
        return next((tuple(t.values) for t in met), None)

    def _fail(self, number: int) -> None:
        with self._storage.guarded():
            self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def _of(self, *states: TrialState) -> list[FrozenTrial]:
        with self._storage.guarded():
            return self._study.get_trials(deepcopy=False, states=states)


def _me() -> list[Any]:
    return [socket.gethostname(), os.getpid()]


def _was_killed(trial: FrozenTrial) -> bool:
    """Whether a running trial belonged to a process of this machine that is no more."""
    host, process = trial.user_attrs.get(WORKER, (None, None))
    return host == _me()[0] and not _process_exists(process)


def _age(trial: FrozenTrial) -> float:
    """Seconds since the trial began (or the difference of two machines' clocks)."""
    began = trial.datetime_start or datetime.now()
    return abs((datetime.now() - began).total_seconds())


def _process_exists(process: int) -> bool:
    if os.name != "posix":  # elsewhere signal 0 is no question but Ctrl-C
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


class _StartThenTpe(BaseSampler):
    """The start points in turn, then optuna's TPE, seeded anew by the number of the trial.

    So neither a resumed study nor processes side by side repeat one another's random numbers.
    """

    def __init__(self, scale_range: tuple[float, float], seed: int) -> None:
        low, high = scale_range
        self._start = tuple(float(s) for s in np.geomspace(high, low, START))
        self._seed = seed

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        counted = (TrialState.COMPLETE, TrialState.RUNNING)
        others = study.get_trials(deepcopy=False, states=counted)
        turn = sum(other.number < trial.number for other in others)
        if turn < START:
            return self._start[turn]
        seed = int(np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0])
        tpe = TPESampler(seed=seed, n_startup_trials=START)
        return tpe.sample_independent(study, trial, param_name, param_distribution)
