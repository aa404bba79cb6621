"""The mirror: only what is whole is fetched, from a folder and from a real S3 server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hvdcore.errors import Problems, UserError
from hvdcore.run.checkpoint import (
    CheckpointWriter,
    Mirror,
    check_mirror,
    latest_valid,
    load,
    save,
)
from hvdcore.run.start import start_run
from hvdcore.runtime.world import World

pytest.importorskip("fsspec", reason="the extra hvdcore[mirror] is not installed")
SECRET = "not-to-be-printed-4711"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """URL of a bucket of a server on loopback."""
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    with pytest.MonkeyPatch.context() as patch:
        started = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        started.start()
        host, port = started.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="runs")
        yield "s3://runs"
        started.stop()


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return f"file://{tmp_path / 'mirror'}"
    bucket: str = request.getfixturevalue("s3")
    return f"{bucket}/{tmp_path.name}"


def put(checkpoints: Path, step: int, *, is_best: bool = False, keep: int = 2) -> Path:
    def write(folder: Path) -> None:
        (folder / "weights.bin").write_bytes(bytes([step]) * 1000)

    return save(checkpoints, step, write, keep, meta={"seed": 0}, is_best=is_best).path


def names(mirror: Mirror) -> list[str]:
    return mirror._names()


def test_fetched_on_an_empty_disk(tmp_path: Path, url: str) -> None:
    here, there, mirror = (
        tmp_path / "a" / "checkpoints",
        tmp_path / "b" / "checkpoints",
        Mirror(url),
    )
    mirror.check_writable()
    assert mirror.is_empty()
    for step in range(1, 6):
        mirror.copy(put(here, step, is_best=step == 2))
    # What is deleted here is deleted there; the best is kept.
    assert names(mirror) == ["step-00000005", "step-00000004", "step-00000002"]
    Mirror(url).fetch(there, {"seed": 0})
    assert sorted(path.name for path in there.iterdir()) == ["step-00000002", "step-00000005"]
    found = latest_valid(there)
    assert found is not None
    assert found.file("weights.bin").read_bytes() == bytes([5]) * 1000
    assert found.meta == load(here / "step-00000005").meta
    with pytest.raises(UserError, match="seed: the checkpoint was written with 0"):
        mirror.fetch(tmp_path / "c", {"seed": 1})
    assert not (tmp_path / "c").exists()
    mirror.discard_after(4)
    assert names(mirror) == ["step-00000004", "step-00000002"]


def test_half_an_upload_does_not_count(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there, mirror = (
        tmp_path / "a" / "checkpoints",
        tmp_path / "b" / "checkpoints",
        Mirror(url),
    )
    mirror.copy(put(here, 1))
    path = put(here, 2)

    put_file = mirror._put

    def break_off(path: Path, *rest: Any) -> None:
        if path.name == "manifest.json":
            raise InterruptedError("the network is gone")
        put_file(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(mirror, "_put", break_off)
        with pytest.raises(UserError, match=r"step 2 could not be copied \(the network is gone\)"):
            mirror.copy(path)
    assert "step-00000002" in names(mirror)
    mirror.fetch(there, {})
    assert [path.name for path in there.iterdir()] == ["step-00000001"]
    mirror.copy(path)  # again, over the half of it
    mirror.fetch(there, {})
    assert (there / "step-00000002").is_dir()


def test_damage_is_passed_over(tmp_path: Path, url: str) -> None:
    here, there, mirror = (
        tmp_path / "a" / "checkpoints",
        tmp_path / "b" / "checkpoints",
        Mirror(url),
    )
    mirror.copy(put(here, 1))
    mirror.copy(put(here, 2))
    mirror._fs.pipe_file(mirror._path("checkpoints/step-00000002/weights.bin"), b"\x02" * 999)
    mirror.fetch(there, {})
    assert [path.name for path in there.iterdir()] == ["step-00000001"]


def test_another_runs_mirror_is_refused(tmp_path: Path, url: str) -> None:
    Mirror(url).copy(put(tmp_path / "a" / "checkpoints", 1))
    for resuming, expected in ((True, 0), (False, 1)):
        problems = Problems()
        check_mirror(url, resuming=resuming, problems=problems)
        assert len(problems._lines) == expected
    assert "holds checkpoints of a run; give another --mirror" in problems._lines[0]


def test_a_bucket_that_does_not_exist(s3: str) -> None:
    problems = Problems()
    check_mirror("s3://no-such-bucket/run", resuming=False, problems=problems)
    (line,) = problems._lines
    assert line.startswith("mirror: s3://no-such-bucket/run: cannot be written (")
    assert SECRET not in line


def test_credentials_are_not_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_SECRET", SECRET)
    mirror = Mirror(f"file://{tmp_path}")
    with pytest.raises(UserError) as caught, mirror._reported("cannot be read"):
        raise OSError(f"signature of {SECRET} is wrong")
    assert "signature of *** is wrong" in str(caught.value)


def test_an_unknown_kind_of_url() -> None:
    with pytest.raises(UserError, match=r"mirror: nonsense://x: .*give a URL such as"):
        Mirror("nonsense://x")


def test_a_failed_copy_is_made_up_for(tmp_path: Path, url: str) -> None:
    """The first copy fails: a warning, and the second brings the newest; at the end it must."""
    mirror, fails = Mirror(url), [True]
    copy = mirror.copy

    def faulty(*arguments: Any) -> None:
        if fails.pop(0):
            raise UserError("mirror: the network is gone")
        copy(*arguments)

    mirror.copy = faulty  # type: ignore[method-assign]
    directory = tmp_path / "checkpoints"
    with CheckpointWriter(
        directory, mirror=mirror, is_root=True, broadcast=lambda value: value
    ) as writer:
        for step, failing in ((1, [True]), (2, [False]), (3, [True, True])):
            writer.begin()
            fails[:] = failing
            writer.save(step, lambda folder: None, meta={})
            writer.wait()
            assert not writer.failed
        assert names(mirror) == ["step-00000002", "step-00000001"]
        with pytest.raises(UserError, match="the network is gone"):
            writer.finish()
        fails[:] = [False]
        writer.finish()
    assert names(mirror) == ["step-00000003", "step-00000002"]


def test_start_on_an_empty_disk(tmp_path: Path, url: str) -> None:
    run, mirror, world = tmp_path / "run", Mirror(url), World(0, 1, 0, 1, "none")
    settings: dict[str, Any] = {
        "fingerprint": {"seed": 0},
        "world": world,
        "broadcast": lambda text: text,
        "mirror": mirror,
    }
    start_run(run, "hvdcore", {}, "never", **settings)
    lines = [{"step": step, "split": "train", "loss": 1.0} for step in (1, 2)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    mirror.copy(put(run / "checkpoints", 1))
    shutil.rmtree(run)
    again, found = start_run(run, "hvdcore", {}, "auto", **settings)
    assert found is not None
    assert found.step == 1
    assert again.read_metrics() == lines[:1]
