from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from hvdcore.doctor.examination import Finding, _framework, environment_report
from hvdcore.errors import UserError
from hvdcore.launch.job.controllers import (
    choose_controller,
    find_program,
    horovod_library,
    launch_environment,
    mpi_problem,
    operations_available,
)

needs_horovod = pytest.mark.skipif(horovod_library() is None, reason="Horovod is not installed")


def test_a_framework_is_told_by_its_version_and_none_has_to_be_there() -> None:
    assert _framework("numpy") == Finding("numpy", metadata.version("numpy"))
    assert _framework("no-such-framework") == Finding("no-such-framework", "not installed")


def test_programs_of_this_environment_come_first(tmp_path: Path) -> None:
    own = str(Path(sys.executable).parent)
    assert launch_environment({"PATH": "/a:/b"})["PATH"] == f"{own}:/a:/b"
    assert launch_environment({"PATH": f"{own}:/b"})["PATH"] == f"{own}:/b"
    assert find_program("no-such-program") is None


def test_the_users_word_on_root_stands() -> None:
    env = launch_environment({"OMPI_ALLOW_RUN_AS_ROOT": "0"})
    assert env["OMPI_ALLOW_RUN_AS_ROOT"] == "0"


@needs_horovod
def test_what_is_there_is_asked_without_loading_a_framework() -> None:
    assert {"mpi", "gloo"} <= {*operations_available()}
    code = (
        "import sys, hvdcore.doctor.examination as examination\n"
        "examination.environment_report()\n"
        "print(sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'torch'" not in done.stdout
    assert "'horovod'" not in done.stdout


@needs_horovod
def test_the_controller_that_is_chosen() -> None:
    assert choose_controller("gloo") == "gloo"
    assert choose_controller("auto") == ("gloo" if mpi_problem() else "mpi")


@needs_horovod
def test_mpi_is_tried_here_whatever_hosts_open_mpi_would_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = mpi_problem()
    (tmp_path / "hostfile").write_text("nobody.invalid slots=1\n", encoding="utf-8")
    monkeypatch.setenv("OMPI_MCA_orte_default_hostfile", str(tmp_path / "hostfile"))
    assert mpi_problem() == before


@needs_horovod
@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("echo 'mpirun (Open MPI) 5.0.3'", "is not Open MPI 4 (mpirun (Open MPI) 5.0.3)"),
        ("echo 'HYDRA build details:'", "is not Open MPI 4 (HYDRA build details:)"),
        (
            "case $1 in --version) echo 'mpirun (Open MPI) 4.1.8';; *) echo no slots; exit 1; esac",
            "does not start a process here: no slots",
        ),
    ],
)
def test_an_mpirun_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, problem: str
) -> None:
    (tmp_path / "mpirun").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (tmp_path / "mpirun").chmod(0o755)
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert problem in str(mpi_problem())
    assert choose_controller("auto") == "gloo"
    with pytest.raises(UserError, match="--controller mpi: "):
        choose_controller("mpi")


def test_without_horovod_there_is_one_clear_line(tmp_path: Path) -> None:
    """An interpreter that sees hvdcore alone, without what is installed beside it."""
    import hvdcore

    (tmp_path / "hvdcore").symlink_to(Path(hvdcore.__file__).parent)
    code = (
        f"import sys; sys.path[:] = [{str(tmp_path)!r}, *sys.path]\n"
        "from hvdcore.launch.job.controllers import choose_controller\n"
        "choose_controller('auto')"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert "horovod: Horovod is not installed; pip install horovod from" in done.stderr


@pytest.mark.ranks
@needs_horovod
def test_two_ranks_run_here() -> None:
    code = "from hvdcore.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    names = {finding["name"]: finding for finding in report["findings"]}
    assert (done.returncode, report["works"]) == (0, True), report
    assert names["two-rank allreduce, gloo"]["value"].startswith("right")
    assert ("two-rank allreduce, mpi" in names) is (mpi_problem() is None)


def test_the_report_has_a_line_for_each_check() -> None:
    names = [finding.name for finding in environment_report()]
    assert names[:3] == ["python", "hvdcore", "cores"]
    assert "horovod" in names
