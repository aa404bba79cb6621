"""`hvdcore runs`: the runs below a folder, their state, newest scores, and how to resume."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hvdcore.errors import UserError
from hvdcore.files.json_files import read_json_object
from hvdcore.run.checkpoint import latest_valid
from hvdcore.run.lock import RunLock
from hvdcore.run.report import Table, print_table
from hvdcore.run.run_dir import RunDir

__all__ = ["FoundRun", "find_runs", "print_runs", "state_of"]

State = Literal["running", "done", "stopped", "failed"]
_MAX_DEPTH = 4
_TAIL_BYTES = 1 << 18
_SCORES = ("loss", "accuracy", "macro_f1", "perplexity", "bits_per_byte")
_BEAT_SECONDS = 60.0


@dataclass(frozen=True)
class FoundRun:
    """A run as the list shows it.

    Attributes:
        state: running; done (it has its report); stopped (by request, a checkpoint was saved);
            failed (by an error, or killed).
        scores: of the newest evaluation, as text.
        resume: the command that resumes it; empty when it is done or runs.
    """

    path: str
    state: State
    step: int | None
    scores: str
    started: str
    resume: str


def print_runs(folder: Path, *, as_json: bool = False) -> int:
    """Print the runs below a folder, the newest first.

    Raises:
        UserError: there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the one that holds your runs")
    found = find_runs(folder)
    if not found:
        raise UserError(f"{folder}: no run is below it (no config.json); give another folder")
    if as_json:
        print(json.dumps([asdict(run) for run in found], indent=2))
        return 0
    rows = [[r.path, r.state, _text(r.step), r.scores, r.started] for r in found]
    print_table(Table(["run", "state", "step", "newest scores", "started"], rows))
    for run in found:
        if run.resume:
            print(f"resume {run.path}: {run.resume}")
    return 0


def _text(step: int | None) -> str:
    return "-" if step is None else str(step)


def find_runs(folder: Path) -> list[FoundRun]:
    """The runs below a folder, and the folder itself if it is one; the newest first."""
    found = [_look(RunDir(path)) for path in _run_dirs(folder, _MAX_DEPTH)]
    return sorted(found, key=lambda run: run.started, reverse=True)


def _run_dirs(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / "config.json").is_file() and (folder / "env.json").is_file():
        yield folder
        return
    if depth:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                yield from _run_dirs(folder / entry.name, depth - 1)


def _look(run: RunDir) -> FoundRun:
    state = state_of(run)
    env = _read(run.env)
    step, scores = _newest_scores(run)
    resume = "" if state in ("running", "done") else _resume_command(run, env)
    started = str(env.get("time", ""))[:16].replace("T", " ")
    return FoundRun(str(run.path), state, step, scores, started, resume)


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json_object(path)
    except UserError:
        return {}


def state_of(run: RunDir) -> State:
    """Whether a run goes on, and how it ended otherwise."""
    lock = RunLock(run.path)
    holder = lock.last_holder()
    if holder is not None and _goes_on(lock, holder.is_alive()):
        return "running"
    if run.report.is_file():
        return "done"
    if holder is not None or lock.outcome() == "failed":
        return "failed"  # a holder that is not there any more was killed
    return "stopped"


def _goes_on(lock: RunLock, alive: bool | None) -> bool:
    """A holder on another host touches the lock every few seconds."""
    if alive is not None:
        return alive
    changed = lock.changed_at()
    return changed is not None and time.time() - changed < _BEAT_SECONDS


def _newest_scores(run: RunDir) -> tuple[int | None, str]:
    """The newest step, and the scores of the newest evaluation."""
    step: int | None = None
    scored: Mapping[str, Any] = {}
    for row in _last_rows(run.metrics):
        step = row["step"] if type(row.get("step")) is int else step
        if row.get("split") in ("val", "test"):
            scored = row
    shown = [f"{name} {scored[name]:.4g}" for name in _SCORES if _is_number(scored.get(name))]
    return step, f"{scored['split']} {', '.join(shown)}" if shown else "-"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float))


def _last_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """The last lines of metrics.jsonl: it may be long."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().split(b"\n")
    except OSError:
        return
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue  # the first is cut, the last may be torn
        if isinstance(row, dict):
            yield row


def _resume_command(run: RunDir, env: Mapping[str, Any]) -> str:
    """The command line that started it, with --resume auto; as typed where it was started."""
    argv = env.get("argv")
    if not isinstance(argv, list) or not argv:
        return ""
    program = Path(str(argv[0]))
    if program.name == "function_rank.py":
        return "call the function again, with resume='auto'"
    name = program.name
    if name == "__main__.py":
        name = f"python -m {program.parent.name}"
    words = _without([str(word) for word in argv[1:]], "--resume")
    if not any(word.split("=")[0] == "--output-dir" for word in words):
        words += ["--output-dir", str(run.path)]
    if latest_valid(run.checkpoints) is None:
        return f"{name} {shlex.join([*words, '--resume', 'auto'])} (from the start: no checkpoint)"
    return f"{name} {shlex.join([*words, '--resume', 'auto'])}"


def _without(words: list[str], option: str) -> list[str]:
    """The words without an option and its value."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word == option:
            skip = True
        elif not word.startswith(f"{option}="):
            kept.append(word)
    return kept
