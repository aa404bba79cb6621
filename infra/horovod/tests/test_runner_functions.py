"""`horovod.run` of functions that return, raise, exit or vanish."""

from __future__ import annotations

import pytest
from runner_jobs import environment, has_mpirun, program, run

pytest.importorskip("horovod.runner")

pytestmark = [pytest.mark.ranks, pytest.mark.parametrize("controller", ["gloo", "mpi"])]


def call(name: str, controller: str, *args: object, **env: str) -> str:
    if controller == "mpi" and not has_mpirun():
        pytest.skip("mpirun is not installed")
    done = run(program("runner_functions.py", name, controller, *args), environment(**env))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_results_come_by_rank(controller: str) -> None:
    assert "[(0, 'x y'), (1, 'x y')]" in call("returns", controller, "x y")


def test_results_come_by_rank_where_another_job_left_its_variables(controller: str) -> None:
    said = call("returns", controller, "z", HOROVOD_RANK="3", HOROVOD_SIZE="9")
    assert "[(0, 'z'), (1, 'z')]" in said


def test_an_error_reaches_the_caller(controller: str) -> None:
    said = call("raises", controller, "no such file")
    assert "RuntimeError: " in said
    assert "On rank 1: Traceback" in said
    assert "Odd: of rank 1: no such file" in said


def test_an_exit_code_reaches_the_caller(controller: str) -> None:
    said = call("exits_with", controller, 3)
    assert "xit code" in said
    assert "On rank 1: sys.exit(3) was called" in said
    assert "3" in said.split("xit code")[1].split("\n")[0]


def test_an_exit_without_a_result_is_told(controller: str) -> None:
    said = call("exits_with", controller, 0)
    assert "RuntimeError: The function did not return on rank 1.\n" in said
    assert "On rank 1: sys.exit(0) was called" in said


def test_a_process_that_vanishes_is_told(controller: str) -> None:
    assert "did not return on rank 1" in call("vanishes", controller) or controller == "mpi"
