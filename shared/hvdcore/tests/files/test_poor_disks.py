"""File systems without locks, homes that cannot exist, JSON without end: one line each."""

from __future__ import annotations

import errno
import fcntl
import signal
from collections import deque
from pathlib import Path

import pytest

from hvdcore.errors import UserError
from hvdcore.files.cache import CacheLock
from hvdcore.files.json_files import read_json_object
from hvdcore.launch.supervisor.outcome import read_outcome
from hvdcore.run.pages import Column, report_runs, run_table
from hvdcore.tracking.metrics_log import MetricsLog


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with CacheLock(tmp_path, "request"):
        pass  # control

    def flock(*_: object) -> None:
        raise OSError(number, "no locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UserError, match=r"no file locks.*set XDG_CACHE_HOME"):
        CacheLock(tmp_path, "request").__enter__()


def test_a_home_that_cannot_exist() -> None:
    for home in ("/proc/nobody", "/dev/null/home"):
        with pytest.raises(UserError, match="set XDG_CACHE_HOME"):
            CacheLock(Path(home) / ".cache", "request").__enter__()


def test_json_without_end(tmp_path: Path) -> None:
    deep = '{"a": ' * 100_000 + "1" + "}" * 100_000
    (tmp_path / "report.json").write_text(deep, encoding="utf-8")
    with pytest.raises(UserError, match="nested too deeply"):
        read_json_object(tmp_path / "report.json")
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1}}\n{deep}\n', encoding="utf-8")
    assert list(MetricsLog(tmp_path / "metrics.jsonl").read()) == [{"step": 1}]


@pytest.mark.parametrize("value", ["many", [1, 2], {"a": 1}])
def test_a_report_with_other_values_is_an_error_of_one_line(tmp_path: Path, value: object) -> None:
    column = Column("parameters", "num_parameters", "{:,}")

    def write(paths: object, page: Path) -> None:
        run_table({"run": {"num_parameters": value}}, [column])

    with pytest.raises(UserError, match="holds what no run of ours writes") as caught:
        report_runs([tmp_path], None, write)
    assert len(caught.value.problems) == 1


def test_sigbus_says_what_it_means() -> None:
    end = read_outcome(0, -signal.SIGBUS, deque(), log="log", asked_to_stop=None)
    assert "is /dev/shm, TMPDIR or a disk with mapped files full?" in end.reason
