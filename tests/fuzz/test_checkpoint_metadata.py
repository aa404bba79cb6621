"""The readers of checkpoints' and caches' metadata: read, refused in a line, or passed over."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvdcore.classifier.prepared import is_complete, read_meta
from hvdcore.errors import UserError
from hvdcore.files.checksums import require_undamaged
from hvdcore.run.checkpoint import best, clean_up, latest_valid, load, save
from hvdcore.run.lock import LOCK_FOLDER, RunLock
from hvdcore.tracking.metrics_log import MetricsLog

pytestmark = pytest.mark.fuzz

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


def contents(*names: str) -> st.SearchStrategy[bytes]:
    """Bytes, JSON, or an object with some of these fields."""
    fields = st.dictionaries(st.sampled_from(names) | st.text(), JSON, max_size=5)
    return st.binary() | (JSON | fields).map(lambda value: json.dumps(value).encode())


def refused(read: Callable[[], Any]) -> bool:
    """Whether it is; nothing but a UserError may be raised."""
    try:
        read()
    except UserError as error:
        problems = error.problems
    else:
        return False
    assert problems
    assert all(line.strip() for line in problems)
    return True


@settings(deadline=None)
@given(name=st.sampled_from(["manifest.json", "meta.json"]),
       content=contents("files", "step", "schema", "best"))  # fmt: skip
def test_checkpoints(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        for step in (1, 2):
            save(directory, step, lambda path: (path / "weights").write_text("1") and None)
        newest = max(directory.glob("step-*"))
        before = (newest / name).read_bytes()
        (newest / name).write_bytes(content)
        damaged = refused(lambda: load(newest))
        found = latest_valid(directory)
        assert found is not None
        assert damaged or content == before or name == "manifest.json"
        assert found.step == (1 if damaged else 2)
        best(directory)
        clean_up(directory)


@settings(deadline=None)
@given(content=contents("schema", "checksums", "parts", "names"))
def test_manifests_of_caches(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "meta.json").write_bytes(content)
        is_complete(path)
        refused(lambda: require_undamaged(path, read_meta(path, 1)))


ENTRY = st.fixed_dictionaries({"bytes": JSON, "sha256": JSON})


@settings(deadline=None)
@given(found=st.dictionaries(st.text(), ENTRY | JSON, max_size=3) | JSON)
def test_checksums(found: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        refused(lambda: require_undamaged(Path(folder), {"checksums": found}))


@settings(deadline=None)
@given(content=contents("host", "pid", "started", "space", "launch", "released"))
def test_locks(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / LOCK_FOLDER).mkdir()
        (Path(folder) / LOCK_FOLDER / "1").write_bytes(content)
        lock = RunLock(Path(folder), dead_seconds=0.0)
        lock.holder()
        refused(lock.take)
        lock.release()


@settings(deadline=None)
@given(content=contents("step", "epoch", "split") | st.lists(contents("step")).map(b"\n".join))
def test_metrics(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.jsonl"
        path.write_bytes(content)
        log = MetricsLog(path)
        list(log.read())
        log.trim(3)
        log.append({"step": 4})
        assert list(log.read())[-1] == {"step": 4}
