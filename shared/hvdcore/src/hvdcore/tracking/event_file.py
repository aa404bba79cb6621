"""Owns TensorBoard's event files: records of Event protos, written so that a kill leaves at most
one torn record at the end, and trimmed when a run goes back to an earlier step.

The format is TFRecord: length (uint64), its masked CRC-32C, the bytes, theirs; little-endian.
`tensorboard`'s own writer is not used because it opens files through TensorFlow when that is
installed.
"""

from __future__ import annotations

import os
import platform
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorboard.compat.proto import event_pb2
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from hvdcore.files.atomic import write_bytes_atomically, writing

__all__ = ["EventFile", "read_records", "trim_events"]


class EventFile:
    """A new event file that sorts after those already in the folder, as TensorBoard needs.

    Args:
        logdir: the folder; made when missing.

    Raises:
        UserError: when the disk is full or cannot be written.
    """

    def __init__(self, logdir: Path) -> None:
        with writing(logdir):
            logdir.mkdir(parents=True, exist_ok=True)
        newest = max((_start_seconds(path) for path in event_paths(logdir)), default=0)
        seconds = max(int(time.time()), newest + 1)
        self.path = logdir / (
            f"events.out.tfevents.{seconds:010d}.{platform.node()}.{os.getpid()}.hvdcore"
        )
        with writing(self.path):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
            self._descriptor = os.open(self.path, flags, 0o644)
        self.write(event_pb2.Event(wall_time=time.time(), file_version="brain.Event:2"))

    def write(self, event: Any) -> None:
        """Append an Event proto with one write; TensorBoard sees it at once."""
        data = _record(event.SerializeToString())
        with writing(self.path):
            written = 0
            while written < len(data):
                written += os.write(self._descriptor, data[written:])

    def sync(self) -> None:
        """Have the kernel put the file on the disk."""
        with writing(self.path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def event_paths(logdir: Path) -> list[Path]:
    """The event files of a folder, oldest first."""
    return sorted(logdir.glob("events.out.tfevents.*"))


def read_records(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """The whole records of an event file as (record as it stands in the file, Event's bytes); ends
    at the first torn or damaged one."""
    data = path.read_bytes()
    at = 0
    while at + 12 <= len(data):
        header, header_crc = data[at : at + 8], data[at + 8 : at + 12]
        end = at + 12 + int.from_bytes(header, "little") + 4
        if _crc(header) != header_crc or end > len(data):
            return
        contents = data[at + 12 : end - 4]
        # Only the last record can be torn, and the sum takes 0.3 s a megabyte.
        if end == len(data) and _crc(contents) != data[end - 4 : end]:
            return
        yield data[at:end], contents
        at = end


def trim_events(logdir: Path, after_step: int) -> int:
    """Drop events of steps after `after_step`, and torn records, from every file of a folder:
    the resumed run will write those steps again. Returns how many events were dropped.

    Raises:
        UserError: when the disk is full or cannot be written.
    """
    num_dropped = 0
    for path in event_paths(logdir):
        kept = []
        for record, contents in read_records(path):
            if event_pb2.Event.FromString(contents).step > after_step:
                num_dropped += 1
            else:
                kept.append(record)
        if sum(map(len, kept)) != path.stat().st_size:
            write_bytes_atomically(path, b"".join(kept))
    return num_dropped


def _record(contents: bytes) -> bytes:
    header = struct.pack("<Q", len(contents))
    return b"".join((header, _crc(header), contents, _crc(contents)))


def _crc(data: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(data))


def _start_seconds(path: Path) -> int:
    seconds = path.name.split(".")[3]
    return int(seconds) if seconds.isdigit() else 0
