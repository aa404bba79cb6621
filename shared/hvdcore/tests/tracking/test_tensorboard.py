"""What the board writes is read back by TensorBoard itself: its reader and its server."""

from __future__ import annotations

import io
import json
import math
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from hvdcore.errors import UserError
from hvdcore.tracking.tensorboard import Board, read_records

# TensorBoard reads files through TensorFlow where that is installed, and takes half a minute to
# load it; this is its own switch for doing without.
sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))


def read(logdir: Path) -> Any:
    reader = EventAccumulator(str(logdir), size_guidance={"tensors": 0, "images": 0, "scalars": 0})
    return reader.Reload()


def curve(logdir: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(logdir).Scalars(tag)]


def png(width: int, height: int) -> bytes:
    """A black image, made by hand."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes((width * 3 + 1) * height))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def test_curves_are_there_before_the_board_is_closed(tmp_path: Path) -> None:
    board = Board(tmp_path / "tensorboard")
    board.add_scalars({"val/loss": 2.5}, 10)
    board.add_scalars({"val/loss": 2.25, "learning_rate": 0.5}, 20)
    assert curve(tmp_path / "tensorboard", "val/loss") == [(10, 2.5), (20, 2.25)]
    assert curve(tmp_path / "tensorboard", "learning_rate") == [(20, 0.5)]
    board.add_scalars({"val/loss": math.nan}, 30)
    assert math.isnan(curve(tmp_path / "tensorboard", "val/loss")[-1][1])
    board.close()
    board.close()


def test_texts_and_images(tmp_path: Path) -> None:
    with Board(tmp_path) as board:
        board.add_text("sample", "Once *upon*\n a time é", 5)
        board.add_image("confusion", png(3, 2), 5)
        board.flush()
    reader = read(tmp_path)
    (text,) = reader.Tensors("sample")
    assert text.tensor_proto.string_val == ["Once *upon*\n a time é".encode()]
    assert reader.SummaryMetadata("sample").plugin_data.plugin_name == "text"
    (image,) = reader.Images("confusion")
    assert (image.step, image.width, image.height) == (5, 3, 2)
    assert image.encoded_image_string == png(3, 2)
    with pytest.raises(ValueError, match="confusion: these bytes are not a PNG file"):
        Board(tmp_path).add_image("confusion", b"JFIF", 1)


def test_hyperparameters(tmp_path: Path) -> None:
    with Board(tmp_path) as board:
        board.add_hparams(
            {
                "learning_rate": 0.5,
                "layers": 4,
                "tied": True,
                "data": "x",
                "no": None,
                "g": {"a": 1},
            },
            {"val/loss": "val loss"},
        )
    reader = read(tmp_path)
    metadata = reader.SummaryMetadata("_hparams_/session_start_info").plugin_data
    assert metadata.plugin_name == "hparams"
    values = HParamsPluginData.FromString(metadata.content).session_start_info.hparams
    assert set(values) == {"learning_rate", "layers", "tied", "data", "g.a"}
    assert values["learning_rate"].number_value == 0.5
    assert values["layers"].number_value == 4.0
    assert values["tied"].bool_value is True
    assert values["data"].string_value == "x"
    metadata = reader.SummaryMetadata("_hparams_/experiment").plugin_data
    experiment = HParamsPluginData.FromString(metadata.content).experiment
    assert [info.name.tag for info in experiment.metric_infos] == ["val/loss"]
    assert experiment.metric_infos[0].display_name == "val loss"


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    with Board(tmp_path / "tensorboard", enabled=False) as board:
        board.add_scalars({"a": 1.0}, 1)
        board.add_hparams({"a": 1})
        board.flush()
    assert not (tmp_path / "tensorboard").exists()


def write_and_resume(logdir: Path) -> None:
    """Steps 1..6 with losses step * 10; killed; resumed from step 4, which logs step 5 anew."""
    killed = Board(logdir)
    killed.add_hparams({"learning_rate": 0.5}, {"loss": "loss"})
    for step in range(1, 7):
        killed.add_scalars({"loss": step * 10}, step)
    killed.add_scalars({"only/later": 1.0}, 6)
    (path,) = logdir.iterdir()
    with path.open("ab") as file:
        file.write(b"\x40\x00\x00\x00\x00\x00\x00\x00torn")
    with Board(logdir, resume_step=4) as board:
        board.add_scalars({"loss": 51.0}, 5)


def test_a_resumed_run_has_no_curve_of_the_future_it_lost(tmp_path: Path) -> None:
    write_and_resume(tmp_path)
    assert curve(tmp_path, "loss") == [(1, 10), (2, 20), (3, 30), (4, 40), (5, 51)]
    assert "only/later" not in read(tmp_path).Tags()["scalars"]


def test_a_reader_that_has_seen_the_later_steps_forgets_them(tmp_path: Path) -> None:
    board = Board(tmp_path)
    for step in range(1, 7):
        board.add_scalars({"loss": step * 10}, step)
    reader = read(tmp_path)
    assert len(reader.Scalars("loss")) == 6
    with Board(tmp_path, resume_step=4) as resumed:
        resumed.add_scalars({"other": 1.0}, 5)
    reader.Reload()
    assert [event.step for event in reader.Scalars("loss")] == [1, 2, 3, 4]


def test_a_torn_end_is_noticed_wherever_it_is_torn(tmp_path: Path) -> None:
    with Board(tmp_path) as board:
        board.add_scalars({"loss": 1.0}, 1)
        board.add_scalars({"loss": 2.0}, 2)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    last = len(list(read_records(path))[-1][0])
    for missing in range(1, last + 1):
        path.write_bytes(whole[:-missing])
        assert len(list(read_records(path))) == 2  # the file's version and step 1
    path.write_bytes(whole[:-6] + b"\xff" + whole[-5:])
    assert len(list(read_records(path))) == 2


def test_full_and_read_only_disks(full_disk: Path, read_only_disk: Path) -> None:
    with (
        Board(full_disk) as board,
        pytest.raises(UserError, match=r"tfevents.*cannot write: the disk is full"),
    ):
        board.add_text("sample", "x" * (2 << 20), 1)
    with pytest.raises(UserError, match=r"read-only|no permission"):
        Board(read_only_disk / "tensorboard")


def test_loads_neither_torch_nor_tensorflow(tmp_path: Path) -> None:
    code = (
        "import sys, hvdcore.tracking.tensorboard\n"
        "board = hvdcore.tracking.tensorboard.Board(sys.argv[1])\n"
        "board.add_scalars({'a': 1.0}, 1)\n"
        "board.add_text('b', 'c', 1)\n"
        "board.add_hparams({'d': 1})\n"
        "print([m for m in ('torch', 'tensorflow', 'keras') if m in sys.modules])\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@contextmanager
def server(logdir: Path, log: Path) -> Iterator[str]:
    """A real `tensorboard` process on a port that it picks itself; its address."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir)]
    command += ["--host", "127.0.0.1", "--port", "0", "--reload_interval", "1"]
    with (
        log.open("w") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            deadline = time.monotonic() + 300
            while " at http://" not in log.read_text():
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"tensorboard did not start: {log.read_text()[-2000:]}")
                time.sleep(0.2)
            yield log.read_text().split(" at ")[1].split()[0].rstrip("/")
        finally:
            process.terminate()


def ask(address: str, route: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/data/{route}", data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(io.TextIOWrapper(answer, encoding="utf-8"))


def ask_until_there(address: str, route: str, num_points: int) -> Any:
    """The server reads the files on its own time; wait for the points, within bounds."""
    deadline = time.monotonic() + 60
    while True:
        try:
            got = ask(address, route)
        except urllib.error.HTTPError as error:
            got = []
            error.close()
        if len(got) >= num_points or time.monotonic() > deadline:
            return got
        time.sleep(0.2)


def test_a_real_tensorboard_serves_the_curves(tmp_path: Path) -> None:
    logdir = tmp_path / "run" / "tensorboard"
    write_and_resume(logdir)
    with server(tmp_path, tmp_path / "server.log") as address:
        query = urllib.parse.urlencode({"run": "run/tensorboard", "tag": "loss"})
        points = ask_until_there(address, f"plugin/scalars/scalars?{query}", 5)
        assert [(step, value) for _, step, value in points] == [
            (1, 10.0),
            (2, 20.0),
            (3, 30.0),
            (4, 40.0),
            (5, 51.0),
        ]
        tags = ask(address, "plugin/scalars/tags")
        assert set(tags["run/tensorboard"]) == {"loss"}
        experiment = ask(address, "plugin/hparams/experiment", {"experimentName": ""})
        assert [info["name"] for info in experiment["hparamInfos"]] == ["learning_rate"]
