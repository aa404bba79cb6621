"""Logging of the ranks: one write per line, rank 0 to the user, every rank to its log file."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from hvdcore.errors import printable
from hvdcore.files.atomic import writing
from hvdcore.runtime.environment import HEARTBEAT
from hvdcore.runtime.heartbeat import tell_log_path
from hvdcore.runtime.stacks import write_stacks_to
from hvdcore.runtime.world import World

__all__ = ["LOG_ONLY", "get_logger", "lines_go_above", "rank_log_path", "setup_logging"]

LOG_ONLY = "\x1e"
"""A line of a supervised rank that starts with this character goes to its log file alone."""


def get_logger(name: str) -> logging.Logger:
    """The logger of a module; `setup_logging` decides where its lines go.

    Other loggers are libraries', of which only warnings are for the user.
    """
    logger = logging.getLogger(name)
    logger.setLevel(logging.INFO)
    return logger


def rank_log_path(run_dir: Path, rank: int) -> Path:
    """`logs/rank-N.log` in the run directory."""
    return run_dir / "logs" / f"rank-{rank}.log"


_write_above: Callable[[str], None] | None = None


def lines_go_above(write: Callable[[str], None] | None) -> None:
    """While a bar is drawn: lines for the terminal go through `write`, which draws them above
    the bar. None ends that."""
    global _write_above
    _write_above = write


class _RankFormatter(logging.Formatter):
    """`text`, or `warning: text`: by the prefix a supervisor shows the warnings of every rank."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


class _OneWriteHandler(logging.Handler):
    """Writes each record with one system call: mpirun mixes the pieces of lines."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = printable(self.format(record)) + "\n"
            stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
            stream.flush()
            if _write_above is not None and stream.isatty():
                _write_above(text)
                return
            try:
                descriptor = stream.fileno()
            except (OSError, ValueError):  # a stream in memory: a notebook, a test
                stream.write(text)
            else:
                encoding = getattr(stream, "encoding", None) or "utf-8"
                os.write(descriptor, text.encode(encoding, "backslashreplace"))
        except BrokenPipeError:  # `train | head`: the reader has seen enough
            pass
        except (OSError, ValueError):
            self.handleError(record)


class _LogFile(logging.FileHandler):
    """A full disk must not end a run that could still save itself, nor fill the user's screen."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


def setup_logging(world: World, run_dir: Path | None) -> None:
    """Send our loggers' lines, and the warnings of libraries, to the console and, with
    `run_dir`, to this rank's log file.

    Every rank must call it. Rank 0's lines reach the user as they are; of the other ranks only
    warnings and errors do. A supervised rank writes no file itself: its supervisor does, so that
    a crash message of C++ code is in the log as well.

    Raises:
        UserError: the log's folder cannot be made, or its file not opened.
    """
    handlers: list[logging.Handler] = [logging.NullHandler()]
    supervised = HEARTBEAT in os.environ
    if world.is_root or supervised:
        console = _OneWriteHandler()
        console.setFormatter(_RankFormatter("%(message)s"))
        handlers.append(console)
    if run_dir is not None:
        path = rank_log_path(run_dir, world.rank)
        with writing(run_dir):
            path.parent.mkdir(parents=True, exist_ok=True)
        tell_log_path(path)
        if not supervised:
            with writing(run_dir):
                file = _LogFile(path, encoding="utf-8", errors="backslashreplace")
            file.setFormatter(_RankFormatter("%(asctime)s %(name)s: %(message)s"))
            handlers.append(file)
            write_stacks_to(path)
    logging.basicConfig(level=logging.WARNING, handlers=handlers, force=True)
