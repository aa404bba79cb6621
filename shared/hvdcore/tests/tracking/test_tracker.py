"""Trackers: MLflow's folder and server, and Weights & Biases offline, by their own clients."""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from hvdcore.errors import UserError
from hvdcore.run.metrics_logger import RunLogger, Window
from hvdcore.run.run_dir import RunDir
from hvdcore.tracking.progress import Progress
from hvdcore.tracking.tensorboard import Board
from hvdcore.tracking.tracker.backend import Point, RunInfo, Status
from hvdcore.tracking.tracker.fields import TrackingFields, check_tracker
from hvdcore.tracking.tracker.tracker import Tracker, open_tracker, point_of

START_SECONDS = 120
LOG_BLOCK = 1 << 15


class Config(TrackingFields):
    """A configuration with one setting."""

    epochs: int = 2


@pytest.fixture
def folder_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    pytest.importorskip("mlflow", reason="mlflow is an extra")
    uri = (tmp_path / "mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MLflow's server on loopback, on a folder: making the tables of a database takes a minute."""
    pytest.importorskip("flask", reason="MLflow's server comes with mlflow, not mlflow-skinny")
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--backend-store-uri", str(folder / "runs"), "--workers", "1",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        env = {**os.environ, "MLFLOW_ALLOW_FILE_STORE": "true"}
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
    try:
        wait_for_port(port, process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(log.read_text(errors="replace"))


def train(path: Path, steps: Sequence[int], resume_step: int | None = None) -> RunDir:
    """What a training does: losses of 1/step for train, and for val at even steps."""
    run = RunDir.create(path, "hvdcore", Config(tracker="mlflow"), resuming=resume_step is not None)
    if resume_step is not None:
        run.trim_metrics(resume_step)
    board, bar = Board(run.tensorboard), Progress(1, "images", False)
    tracker = run.open_tracker(Config(tracker="mlflow"), "hvdcore")
    with RunLogger(run, board, bar, True, Window("images"), tracker=tracker) as logger:
        for step in steps:
            logger.write(step, 1, "train", {"loss": 1 / step, "num_samples": 8})
            if step % 2 == 0:
                logger.write(step, 1, "val", {"loss": 2 / step})
    return run


def curve(run: RunDir, name: str) -> list[tuple[int, float]]:
    from mlflow.tracking import MlflowClient

    run_id = json.loads((run.path / "tracker.json").read_text())["mlflow"]["run_id"]
    history = MlflowClient().get_metric_history(run_id, name)
    return sorted((metric.step, metric.value) for metric in history)


def statuses(project: str = "hvdcore") -> list[str]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name(project)
    assert experiment is not None
    return [run.info.status for run in client.search_runs([experiment.experiment_id])]


def test_a_resumed_run_continues_in_mlflows_folder(tmp_path: Path, folder_store: str) -> None:
    path = tmp_path / "run"
    train(path, range(1, 6))
    assert statuses() == ["KILLED"]  # no report
    run = train(path, range(4, 8), resume_step=3)
    # Steps 4 and 5 were made twice, and stand there once.
    assert curve(run, "train/loss") == [(step, 1 / step) for step in range(1, 8)]
    assert curve(run, "val/loss") == [(2, 1.0), (4, 0.5), (6, 2 / 6)]
    assert statuses() == ["KILLED"]  # one run, not two
    # The control: without its file the run is another one.
    (path / "tracker.json").unlink()
    train(path, [8], resume_step=7)
    assert len(statuses()) == 2


def test_the_server_gets_settings_points_and_the_report(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    run = RunDir.create(tmp_path / "run", "hvdcore", Config())
    run.write_json("report.json", {"test": {"loss": 0.5}})
    train(run.path, [1, 2], resume_step=0)
    from mlflow.tracking import MlflowClient

    run_id = json.loads((run.path / "tracker.json").read_text())["mlflow"]["run_id"]
    found = MlflowClient().get_run(run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"tracker": "mlflow", "epochs": "2"}
    assert found.data.metrics == {"train/loss": 0.5, "val/loss": 1.0}
    assert [file.path for file in MlflowClient().list_artifacts(run_id)] == ["report.json"]


def test_a_server_that_is_not_there_is_told_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="mlflow is an extra")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"^tracker: mlflow: no run can be opened: .*; check its"):
        train(tmp_path / "run", [1])


def test_wandb_offline_keeps_one_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is an extra")
    from hvdcore.tracking.tracker.wandb_backend import WandbBackend

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    info = RunInfo("hvdcore", tmp_path, {"epochs": 2})
    for steps in ([1, 2], [2, 3]):
        tracker = Tracker(WandbBackend(info), tmp_path)
        for step in steps:
            tracker.add(Point("train", step, {"train/loss": 1 / step}))
        tracker.close("stopped")
    expected, deadline = [[(1, 1.0), (2, 0.5)], [(3, 1 / 3)]], time.monotonic() + 60
    while (written := all_wandb_points(tmp_path)) != expected and time.monotonic() < deadline:
        time.sleep(0.05)  # wandb's own process writes the file after `finish` has returned
    assert written == expected
    ids = {path.stem for path in tmp_path.glob("wandb/offline-run-*/*.wandb")}
    state = json.loads((tmp_path / "tracker.json").read_text())["wandb"]
    assert ids == {f"run-{state['run_id']}"}
    assert state["sent"] == {"train": 3}


def test_a_start_waits_for_wandb_no_longer_than_it_should(tmp_path: Path) -> None:
    """90 s by wandb's own settings, behind a proxy that is dead; the user's own are kept."""
    pytest.importorskip("wandb", reason="wandb is an extra")
    code = (
        "import os, pathlib, sys\n"
        "from hvdcore.tracking.tracker.backend import RunInfo\n"
        "from hvdcore.tracking.tracker.tracker import open_tracker\n"
        "from hvdcore.tracking.tracker.wandb_backend import WandbBackend\n"
        "info = RunInfo('hvdcore', pathlib.Path(sys.argv[1]), {})\n"
        "WandbBackend(info)\n"
        "print(os.environ.pop('WANDB_INIT_TIMEOUT'))\n"
        "os.environ['WANDB_INIT_TIMEOUT'] = '1'\n"
        "open_tracker('wandb', info, [])\n"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    dead = f"http://me:pass-7781@127.0.0.1:{free_port()}"
    own = {"WANDB_API_KEY": "a" * 40, "https_proxy": dead, "HTTPS_PROXY": dead}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env={**env, **own}, capture_output=True,
        text=True, timeout=80, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines()[0] == "20"
    assert "UserError: tracker: wandb: no run can be opened: " in done.stderr


def test_a_start_that_waits_says_for_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("hvdcore.tracking.tracker.tracker._SILENT_SECONDS", 0.0)
    service = Away()
    told = threading.Event()
    monkeypatch.setattr(service, "start", lambda _: told.wait(60) and "1")
    caplog.handler.addFilter(lambda record: told.set() or True)
    Tracker(service, tmp_path).close("finished")
    assert "tracker: waiting for an answer of away" in caplog.text


def all_wandb_points(folder: Path) -> list[list[tuple[int, float]]]:
    return sorted(map(wandb_points, folder.glob("wandb/offline-run-*/*.wandb")))


def wandb_points(path: Path) -> list[tuple[int, float]]:
    """(step, train/loss) of each line of a run's history."""
    from wandb.proto import wandb_internal_pb2

    points = []
    for data in wandb_records(path.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            line = {item.key or ".".join(item.nested_key): item.value_json for item in items}
            points.append((int(line["step"]), float(line["train/loss"])))
    return points


def wandb_records(data: bytes) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format behind 7 bytes."""
    at, record = 7, b""
    while at + 7 <= len(data):
        if (left := LOG_BLOCK - at % LOG_BLOCK) < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield record
            record = b""


class Away:
    """A service that does not answer until told to."""

    name = "away"

    def __init__(self) -> None:
        self.answers = True
        self.points: list[Point] = []
        self.status = ""

    def start(self, run_id: str | None) -> str:
        return run_id or "1"

    def send(self, points: Sequence[Point]) -> None:
        if not self.answers:
            raise ConnectionError("nobody there")
        self.points += points

    def finish(self, status: Status, files: Sequence[Path]) -> None:
        self.status = status


def test_what_a_service_missed_comes_with_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    points = [Point("train", step, {"train/loss": 1.0}) for step in (1, 2, 3)]
    service = Away()
    service.answers = False
    tracker = Tracker(service, tmp_path)
    with caplog.at_level(logging.WARNING):
        tracker.add(points[0])
        tracker.add(points[1])
        tracker.close("failed")
    assert [record.message.split(";")[0] for record in caplog.records] == [
        "tracker: away: ConnectionError: nobody there"
    ]
    assert service.points == []
    service.answers = True
    again = Tracker(service, tmp_path, points[:2])
    again.add(points[2])
    again.close("finished")
    assert service.points == points
    assert service.status == "finished"


def test_points_are_numbers_of_a_step() -> None:
    line = {"step": 4, "epoch": 1, "split": "val", "loss": 0.5, "num_samples": 8, "mode": "x"}
    assert point_of(line) == Point("val", 4, {"val/loss": 0.5})
    assert point_of({"loss": 0.5}) is None


def test_a_tracker_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="tracker: wandb is not installed; pip install wandb"):
        check_tracker("wandb")
    check_tracker(None)


class Unreachable:
    """A service whose client names the address that it was given."""

    name = "mlflow"

    def start(self, run_id: str | None) -> str:
        raise ConnectionError(f"request to http://me:s3cret@host/{'x' * 400} failed")

    def send(self, points: Sequence[Point]) -> None: ...

    def finish(self, status: Status, files: Sequence[Path]) -> None: ...


def test_a_password_in_the_address_is_not_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"http://me:\*\*\*@host") as caught:
        Tracker(Unreachable(), tmp_path)
    assert "s3cret" not in str(caught.value)


def test_a_tracker_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one is whose own dependencies are not there."""
    broken = tmp_path / "wandb.py"
    broken.write_text("import a_module_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("wandb", "hvdcore.tracking.tracker.wandb_backend"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(UserError, match=r"wandb cannot be imported \(ModuleNotFoundError: No mod"):
        open_tracker("wandb", RunInfo("p", tmp_path, {}), [])
