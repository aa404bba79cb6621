"""Owns what TensorBoard shows of a run: curves, texts, figures, hyperparameters. Rank 0 writes.

Needs the `tensorboard` package's protos alone, neither TensorFlow nor PyTorch.
"""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2

from hvdcore.tracking.event_file import EventFile, trim_events
from hvdcore.tracking.tensorboard_hparams import hparams_summaries

__all__ = ["Board"]


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

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Add a point to the curve `tag`, such as `val/loss`."""
        self.add_scalars({tag: value}, step)

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
        """Add a picture, given as the bytes of a PNG file.

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

    def add_figure(self, tag: str, figure: Any, step: int) -> None:
        """Add a matplotlib figure (anything with its `savefig`); the figure stays open."""
        if self._file is None:
            return
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", bbox_inches="tight")
        self.add_image(tag, buffer.getvalue(), step)

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _add(self, step: int, *values: Any) -> None:
        self._write(step, summary=summary_pb2.Summary(value=values))

    def _write(self, step: int, **what: Any) -> None:
        if self._file is not None:
            self._file.write(event_pb2.Event(wall_time=time.time(), step=step, **what))


def _plugin(name: str, content: bytes = b"") -> Any:
    data = summary_pb2.SummaryMetadata.PluginData(plugin_name=name, content=content)
    return summary_pb2.SummaryMetadata(plugin_data=data)
