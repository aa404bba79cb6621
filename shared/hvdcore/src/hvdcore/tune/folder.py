"""The directory of a study: its files, its settings, and the lock that keeps other tuners out."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError
from hvdcore.files.atomic import writing
from hvdcore.files.json_files import read_json_object, write_json_atomically
from hvdcore.launch.supervisor.processes import find_orphans, kill_orphans
from hvdcore.runtime.environment import STUDY

__all__ = ["StudyFolder"]

"""Variable that marks every process of a study's trials."""

_FIX = "copy it from a backup, or give another --output-dir"
_POLL_SECONDS = 0.2
# A launcher gives its ranks 30 s to reach a step boundary before it ends them.
_FORMER_TRIALS_SECONDS = 60.0


class StudyFolder:
    """Paths below `--output-dir` of `tune`. Making one touches no disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.study = path / "study.json"
        self.storage = path / "study.db"
        self.trials = path / "trials"
        self.figures = path / "figures"
        self.results = path / "tuning.json"
        self.best = path / "best.toml"
        self.report_html = path / "report.html"
        self.key = ""

    def trial(self, number: int) -> Path:
        """The run directory of a trial."""
        return self.trials / f"{number:04d}"

    @contextlib.contextmanager
    def taken(self, fingerprint: Mapping[str, Any]) -> Iterator[None]:
        """Make the folder or take it up; inside, no other tuner works in it.

        Raises:
            UserError: it holds a run or something else, another study, or a tuner is at work.
        """
        self.check(fingerprint)
        with writing(self.path):
            self.trials.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "lock").open("ab")
        with lock:  # the kernel gives it back, whatever ends us
            try:
                with writing(self.path):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                text = f"output_dir: {self.path}: another tune is running there; wait until it ends"
                raise UserError(f"{text}, or give another --output-dir") from None
            if not self.study.exists():
                made = {"schema": 1, "key": secrets.token_hex(8), **fingerprint}
                write_json_atomically(self.study, made)
            self.key = str(read_json_object(self.study).get("key", ""))
            if not self.key:  # by which processes of its trials are found and ended
                raise UserError(f"{self.study}: key is missing; {_FIX}")
            yield

    def check(self, fingerprint: Mapping[str, Any]) -> None:
        """Check that a study of this fingerprint may be created or resumed; nothing is written.

        Raises:
            UserError: it may not; one line.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"output_dir: {self.path} is a file; give a directory")
        if self.study.exists():
            self._check_same(fingerprint)
            return
        entries = {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()
        if not any(self.trials.glob("*")):  # a tuner that was killed at its very start
            entries = {e for e in entries if e not in ("lock", "trials") and ".study" not in e}
        if entries:
            what = "a run" if "config.json" in entries else f"{min(entries)} and no study"
            raise UserError(f"output_dir: {self.path} holds {what}; give another --output-dir")

    def _check_same(self, fingerprint: Mapping[str, Any]) -> None:
        theirs = read_json_object(self.study)
        changed = [key for key in ("package", "objective") if theirs.get(key) != fingerprint[key]]
        for key, prefix in (("space", "space of "), ("config", "")):
            before, now = theirs.get(key, {}), fingerprint[key]
            if not isinstance(before, Mapping):
                raise UserError(f"{self.study}: {key} is not an object; {_FIX}")
            names = sorted({*before, *now})
            changed += [prefix + name for name in names if before.get(name) != now.get(name)]
        if changed:
            raise UserError(
                f"output_dir: {self.path} holds a study with another {', '.join(changed)};"
                " give its settings, or another --output-dir"
            )

    def end_former_trials(self, tell: Callable[[str], None]) -> None:
        """Let the trials of a tuner that was killed come to their end; SIGKILL what does not."""
        deadline = time.monotonic() + _FORMER_TRIALS_SECONDS
        told = False
        while self._running() and time.monotonic() < deadline:
            if not told:
                tell("waiting for trials of a tuner that was killed to end")
            told = True
            time.sleep(_POLL_SECONDS)
        kill_orphans(STUDY, self.key)

    def _running(self) -> list[int]:
        return find_orphans(STUDY, self.key)

    def end_all(self) -> None:
        """SIGKILL every process of the study's trials on this host."""
        kill_orphans(STUDY, self.key)

    def environment(self, threads: int | None) -> dict[str, str]:
        """The environment of a trial's processes; `threads` for each rank, if not the user's."""
        env = {**os.environ, STUDY: self.key}
        if threads is not None:
            env.setdefault("OMP_NUM_THREADS", str(threads))
        return env
