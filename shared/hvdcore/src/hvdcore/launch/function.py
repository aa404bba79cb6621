"""`hvdcore.launch.run`: a Python function on N ranks, from a notebook's cell or a script.

The ranks are real ones, under the launcher in a process of its own. The function goes to them, and
what it returns comes back, by cloudpickle through files that only this user can read.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import linecache
import os
import pickle  # of what our own ranks wrote, in a folder that only this user can read
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

from hvdcore.errors import EXIT_USER_ERROR, UserError
from hvdcore.launch.job.controllers import ControllerChoice
from hvdcore.launch.job.horovodrun import clean_environment
from hvdcore.launch.job.job import DEFAULT_START_TIMEOUT_SECONDS
from hvdcore.launch.supervisor.outcome import lost_another_rank
from hvdcore.runtime.environment import python_module

__all__ = ["RankError", "run"]

T = TypeVar("T")
_INTERRUPT_SECONDS = 10.0
_END_SECONDS = 15.0
_SHOWN_CHARACTERS = 200
_NAMED_RANK = re.compile(r"^rank (\d+) ")


class RankError(RuntimeError):
    """A rank failed. The message holds its traceback, where it is a Python exception.

    Attributes:
        rank: the rank to blame; -1 when none is known.
        traceback: the traceback's text; empty when the process ended in another way.
    """

    def __init__(self, rank: int, reason: str, traceback: str = "") -> None:
        self.rank = rank
        self.traceback = traceback
        super().__init__(f"{reason}\n\n{traceback}".rstrip())


def run(
    fn: Callable[..., T],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    np: int = 2,
    *,
    hosts: str | None = None,
    controller: ControllerChoice = "auto",
    stall_timeout_seconds: float | None = None,
    start_timeout_seconds: float = DEFAULT_START_TIMEOUT_SECONDS,
    env: Mapping[str, str] | None = None,
    work_dir: Path | str | None = None,
) -> list[T]:
    """Call ``fn(*args, **kwargs)`` on `np` ranks and return what it returned, in rank order.

    Rank 0's output and the warnings of all ranks appear here as they come. The function starts
    Horovod itself (`hvdcore.torch.init`, `hvdcore.keras.init` or `hvd.init`). A function of the
    notebook or script goes to the ranks by value, with what it refers to; one of a module is
    imported there. Interrupting ends the ranks; a second interrupt does so at once.

    Args:
        fn: any function that cloudpickle can send.
        args: its positional arguments.
        kwargs: its keyword arguments.
        np: number of ranks. More than there are cores is allowed.
        hosts: `name:slots,name:slots`; None means this machine.
        controller: 'auto' takes MPI where it works, else Gloo.
        stall_timeout_seconds: see `hvdcore.launch.launch.launch`.
        start_timeout_seconds: all ranks must have started by then.
        env: environment variables for the ranks, on top of this process's.
        work_dir: a folder that all of `hosts` share, for what goes to the ranks and comes back.

    Raises:
        UserError: `fn` or an argument cannot be sent, or np or the hosts cannot work here.
        RankError: a rank failed.
        KeyboardInterrupt: interrupted; the ranks have ended.

    Example:
        >>> def rank_and_size():
        ...     import hvdcore.torch
        ...     world = hvdcore.torch.init()
        ...     return world.rank, world.size
        >>> run(rank_and_size, np=2)  # doctest: +SKIP
        [(0, 2), (1, 2)]
    """
    if hosts is not None and work_dir is None:
        raise UserError("work_dir: got none; with hosts, give a folder that all of them share")
    content = _packed(fn, args, dict(kwargs or {}))
    folder = Path(tempfile.mkdtemp(prefix="hvdcore-run-", dir=work_dir)).resolve()
    try:
        _write(folder / "call.pickle", content)
        _write(folder / "call.json", json.dumps(_surroundings(fn)).encode())
        job = {
            "np": np, "hosts": hosts, "controller": controller,
            "stall_timeout_seconds": stall_timeout_seconds,
            "start_timeout_seconds": start_timeout_seconds,
        }  # fmt: skip
        _write(folder / "job.json", json.dumps(job).encode())
        command = [*python_module("hvdcore.launch.function_job"), str(folder), str(os.getpid())]
        code, errors = _follow(command, {**clean_environment(os.environ), **(env or {})})
        if code != 0:
            raise _failure(folder, code, errors)
        return [_result(folder, rank) for rank in range(np)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _packed(fn: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> bytes:
    import cloudpickle

    if not callable(fn):
        raise UserError(f"fn: got {type(fn).__name__}; give a function")
    try:
        content: bytes = cloudpickle.dumps((fn, tuple(args), kwargs))
    except Exception as error:  # whatever an object's own __reduce__ raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_SHOWN_CHARACTERS]
        name = getattr(fn, "__qualname__", repr(fn))
        raise UserError(
            f"fn: {name} or what it is given cannot be sent to the ranks ({reason}); create locks,"
            " files, sessions and the like inside the function"
        ) from None
    return content


def _surroundings(fn: Callable[..., Any]) -> dict[str, Any]:
    """What the ranks need beside the call: where to import from, and the files and lines of the
    functions here, so that a traceback there shows them; cloudpickle leaves the names out."""
    main = sys.modules.get("__main__")
    known = [fn, *vars(main).values()] if main is not None else [fn]
    codes = [f.__code__ for f in known if isinstance(f, FunctionType)]
    files = {f"{code.co_name}:{code.co_firstlineno}": code.co_filename for code in codes}
    sources = {name: lines for name in files.values() if (lines := linecache.getlines(name))}
    return {"path": sys.path, "files": files, "sources": sources}


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _follow(command: list[str], env: dict[str, str]) -> tuple[int, list[str]]:
    """Run the launcher, show its output as it comes; its exit code and last lines on stderr."""
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        try:
            tail = _show_output(process)
        except KeyboardInterrupt:
            _interrupt(process)
            raise
        return process.wait(), tail
    finally:
        _end(process)


def _show_output(process: subprocess.Popen[bytes], seconds: float | None = None) -> list[str]:
    """Until both streams have ended, which they do with the launcher, or `seconds` have passed.

    Returns:
        The last lines on stderr.
    """
    tail: deque[str] = deque(maxlen=200)
    until = None if seconds is None else time.monotonic() + seconds
    decoder = codecs.getincrementaldecoder("utf-8")
    with selectors.DefaultSelector() as selector:
        for pipe, shown in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
            assert pipe is not None
            selector.register(pipe, selectors.EVENT_READ, (shown, decoder("replace")))
        while selector.get_map() and (until is None or time.monotonic() < until):
            for key, _ in selector.select(None if until is None else 0.1):
                shown, decode = key.data
                raw = os.read(key.fd, 1 << 16)
                text = decode.decode(raw, final=not raw)
                shown.write(text)
                shown.flush()
                if key.fileobj is process.stderr:
                    tail.extend(text.splitlines())
                if not raw:
                    selector.unregister(key.fileobj)
    return list(tail)


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """Ask the ranks to stop; those that have not after some seconds, or at the next interrupt, are
    ended."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(KeyboardInterrupt):
        _show_output(process, _INTERRUPT_SECONDS)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)  # the launcher takes a second one as: at once
        _show_output(process, _END_SECONDS)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the launcher, if it still runs; its ranks end with it."""
    try:
        process.wait(0 if process.poll() is not None else 1)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdout, process.stderr):
        assert pipe is not None
        pipe.close()


def _failure(folder: Path, code: int, lines: list[str]) -> Exception:
    """What to raise: of the ranks that left an exception, the first that is no consequence."""
    found = [json.loads(path.read_bytes()) for path in folder.glob("error-*.json")]
    found.sort(key=lambda error: (lost_another_rank(error["traceback"]), error["time"]))
    named = [line for line in lines if _NAMED_RANK.match(line)]
    if found and (not named or not lost_another_rank(found[0]["traceback"])):
        first = found[0]
        reason = f"rank {first['rank']} failed: {first['reason']}"
        error = RankError(first["rank"], reason, first["traceback"])
        error.__cause__ = _exception(folder, first["rank"])
        return error
    wrong = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if code == EXIT_USER_ERROR and wrong:
        return UserError(*wrong)
    if named:
        match = _NAMED_RANK.match(named[-1])
        assert match is not None
        return RankError(int(match[1]), named[-1])
    text = " ".join(lines[-3:]) or "its output says no more"
    return RankError(-1, f"the job ended with exit code {code}: {text}")


def _exception(folder: Path, rank: int) -> BaseException | None:
    """The exception itself, where it can be sent and loaded."""
    try:
        with (folder / f"error-{rank}.pickle").open("rb") as file:
            error = pickle.load(file)  # noqa: S301
    except Exception:  # whatever a class's own constructor raises
        return None
    return error if isinstance(error, BaseException) else None


def _result(folder: Path, rank: int) -> Any:
    path = folder / f"result-{rank}.pickle"
    if not path.exists():
        raise RankError(rank, f"rank {rank} ended without an error and returned nothing: it left"
                        " by os._exit or sys.exit")  # fmt: skip
    with path.open("rb") as file:
        return pickle.load(file)  # noqa: S301
