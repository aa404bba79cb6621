"""TensorBoard's event files: scalars, texts, figures, hyperparameters. Rank 0 writes.

A kill leaves at most one torn record at the end, and a run that resumes from an earlier step trims
what came after it. The format is TFRecord: length (uint64), its masked CRC-32C, the bytes, theirs;
little-endian. Of `tensorboard` only the protos and the checksum are used (`tensorboard.compat`, as
PyTorch does; tried with 2.21): its writer opens files through TensorFlow when that is installed.
"""

from __future__ import annotations

import os
import platform
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

from hvdcore.files.atomic import write_bytes_atomically, writing

__all__ = [
    "Board",
    "EventFile",
    "hparams_summaries",
    "read_records",
    "trim_events",
]


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


def hparams_summaries(hparams: Mapping[str, Any], metrics: Mapping[str, str]) -> list[Any]:
    """The two Summary.Value protos of a run: what can vary and is measured, and this run's values.

    Args:
        hparams: name to value, may be nested.
        metrics: curve (tag) to display name.
    """
    values = dict(_flat(hparams))
    experiment = api_pb2.Experiment(
        time_created_secs=time.time(),
        hparam_infos=[
            api_pb2.HParamInfo(name=name, type=_data_type(value)) for name, value in values.items()
        ],
        metric_infos=[
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=display)
            for tag, display in metrics.items()
        ],
    )
    start = SessionStartInfo(start_time_secs=time.time())
    for name, value in values.items():
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, float):
            start.hparams[name].number_value = value
        else:
            start.hparams[name].string_value = value.encode("utf-8", "backslashreplace").decode()
    return [
        _summary("_hparams_/experiment", HParamsPluginData(experiment=experiment)),
        _summary("_hparams_/session_start_info", HParamsPluginData(session_start_info=start)),
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, bool | float | str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, (bool, str)):
            yield prefix + name, value
        elif isinstance(value, (int, float)):
            yield prefix + name, float(value)
        elif value is not None:
            yield prefix + name, str(value)


def _data_type(value: bool | float | str) -> int:
    if isinstance(value, bool):
        return int(api_pb2.DATA_TYPE_BOOL)
    return int(api_pb2.DATA_TYPE_FLOAT64 if isinstance(value, float) else api_pb2.DATA_TYPE_STRING)


def _summary(tag: str, content: Any) -> Any:
    data = summary_pb2.SummaryMetadata.PluginData(
        plugin_name="hparams", content=content.SerializeToString()
    )
    # The plugin reads the metadata alone; the tensor beside it must be there and may be empty.
    shape = tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=0)])
    return summary_pb2.Summary.Value(
        tag=tag,
        metadata=summary_pb2.SummaryMetadata(plugin_data=data),
        tensor=tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_shape=shape),
    )


class Board:
    """Writes a run's events while it trains; each call can be seen in TensorBoard at once.

    Args:
        logdir: the run's `tensorboard/`.
        enabled: give `world.is_root`; elsewhere every method does nothing.
        resume_step: the step of the checkpoint resumed from. What was logged for later steps is
            dropped from the files, and TensorBoard is told so (a SessionLog START event), in
            case it has read them already. Steps up to and including this one stay.

    Raises:
        UserError: when the disk is full or cannot be written.
    """

    def __init__(
        self, logdir: Path | str, *, enabled: bool = True, resume_step: int | None = None
    ) -> None:
        self._file: EventFile | None = None
        if not enabled:
            return
        if resume_step is not None:
            trim_events(Path(logdir), resume_step)
        self._file = EventFile(Path(logdir))
        if resume_step is not None:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(resume_step + 1, session_log=start)

    def add_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add a point to each of several curves, in one event."""
        self._add(
            step, *(summary_pb2.Summary.Value(tag=t, simple_value=v) for t, v in values.items())
        )

    def add_text(self, tag: str, text: str, step: int) -> None:
        """Add a text; TensorBoard reads it as Markdown."""
        tensor = tensor_pb2.TensorProto(
            dtype=types_pb2.DT_STRING, string_val=[text.encode("utf-8", "replace")]
        )
        self._add(step, summary_pb2.Summary.Value(tag=tag, tensor=tensor, metadata=_plugin("text")))

    def add_image(self, tag: str, png: bytes, step: int) -> None:
        """Add an image, given as the bytes of a PNG file.

        Raises:
            ValueError: when the bytes are no PNG file.
        """
        if png[:8] != b"\x89PNG\r\n\x1a\n" or png[12:16] != b"IHDR":
            raise ValueError(f"{tag}: these bytes are not a PNG file")
        width, height = struct.unpack(">II", png[16:24])
        image = summary_pb2.Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=png
        )
        self._add(step, summary_pb2.Summary.Value(tag=tag, image=image))

    def add_hparams(
        self, hparams: Mapping[str, Any], metrics: Mapping[str, str] | None = None
    ) -> None:
        """Show the run's hyperparameters in the HParams tab. Call once, at the start.

        Args:
            hparams: name to value; nested mappings become dotted names, None is left out, and
                what is neither number, text nor truth value is shown as text.
            metrics: curve to the name it is shown by in the table, such as
                {"val/loss": "val loss"}.
        """
        self._add(0, *hparams_summaries(hparams, metrics or {}))

    def flush(self) -> None:
        """Have the disk hold what was written: a kill loses nothing anyway, a power cut may."""
        if self._file is not None:
            self._file.sync()

    def close(self) -> None:
        """Flush and close. The board can be used as a context manager instead."""
        if self._file is not None:
            self._file.sync()
            self._file.close()
            self._file = None

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _add(self, step: int, *values: Any) -> None:
        self._write(step, summary=summary_pb2.Summary(value=values))

    def _write(self, step: int, **what: Any) -> None:
        if self._file is not None:
            self._file.write(event_pb2.Event(wall_time=time.time(), step=step, **what))


def _plugin(name: str, content: bytes = b"") -> Any:
    data = summary_pb2.SummaryMetadata.PluginData(plugin_name=name, content=content)
    return summary_pb2.SummaryMetadata(plugin_data=data)
