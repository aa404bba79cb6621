"""metrics.jsonl: one JSON object per line, appended so that it survives a kill."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvdcore.files.atomic import write_bytes_atomically, writing
from hvdcore.files.json_files import json_safe
from hvdcore.tracking.logs import get_logger

__all__ = ["MetricsLog", "Trimmed"]

_logger = get_logger(__name__)


@dataclass(frozen=True)
class Trimmed:
    """What `MetricsLog.trim` took away: whole lines after the step, and lines that were torn."""

    num_later: int
    num_torn: int


class MetricsLog:
    """A metrics.jsonl file. Rank 0 writes; anyone may read.

    Args:
        path: the file; made by the first append.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._checked_end = False

    def append(self, values: Mapping[str, Any]) -> None:
        """Append one line with a single write, so that a kill leaves whole lines or, at worst,
        one torn line at the very end. Non-finite numbers become null.

        Raises:
            UserError: when the disk is full or cannot be written.
        """
        text = json.dumps(json_safe(values), ensure_ascii=False, allow_nan=False)
        line = text.encode("utf-8", "backslashreplace") + b"\n"
        with writing(self.path):
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                if not self._checked_end:
                    self._end_torn_line(descriptor)
                written = 0
                while written < len(line):
                    written += os.write(descriptor, line[written:])
            finally:
                os.close(descriptor)

    def trim(self, after_step: int) -> Trimmed:
        """Drop the lines of steps after `after_step`, and torn ones: the resumed run will write
        them again. What was dropped is logged. Lines without a step stay.

        Args:
            after_step: the step of the checkpoint that the run resumes from; -1 drops all steps.

        Raises:
            UserError: when the disk is full or cannot be written.
        """
        kept: list[bytes] = []
        num_later = num_torn = 0
        for line, values in self._lines():
            if values is None:
                num_torn += 1
            elif isinstance(step := values.get("step"), int) and step > after_step:
                num_later += 1
            else:
                kept.append(line + b"\n")
        if num_torn or num_later:
            write_bytes_atomically(self.path, b"".join(kept))
            _logger.info(
                "%s: dropped %d lines after step %d and %d incomplete ones",
                self.path, num_later, after_step, num_torn,
            )  # fmt: skip
        return Trimmed(num_later, num_torn)

    def read(self) -> Iterator[dict[str, Any]]:
        """Every whole line as a dict, in the order written; torn lines are passed over."""
        return (values for _, values in self._lines() if values is not None)

    def _lines(self) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for raw in file:
                line = raw.rstrip(b"\n")
                if not line.strip():
                    continue
                try:
                    values = json.loads(line) if raw.endswith(b"\n") else None
                except (ValueError, RecursionError):
                    values = None
                yield line, values if isinstance(values, dict) else None

    def _end_torn_line(self, descriptor: int) -> None:
        num_bytes = os.fstat(descriptor).st_size
        if num_bytes and os.pread(descriptor, 1, num_bytes - 1) != b"\n":
            _logger.warning(
                "%s: its last line was cut off by a kill; appending below it", self.path
            )
            os.write(descriptor, b"\n")
        self._checked_end = True
