"""horovod.numpy on two real ranks, under both controllers."""

from __future__ import annotations

import sys

import pytest
from launch import run_gloo
from rank_checks import LAUNCHERS, assert_passed, names_in

pytest.importorskip("numpy", reason="horovod.numpy needs it")
pytest.importorskip("horovod.numpy")

FILE = "checks_numpy.py"


@pytest.mark.ranks
@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("check", names_in(FILE))
def test_numpy(check: str, launcher: str) -> None:
    assert_passed(FILE, check, launcher)


_ONE_RANK_GIVES_UP = """
import horovod.numpy as hvd, numpy as np
hvd.init()
try:
    if hvd.rank() == 0:
        raise ValueError("a wrong argument, on this rank alone")
    hvd.allreduce(np.ones(2), name="x")
except ValueError:
    hvd.shutdown()
except hvd.HorovodInternalError as error:
    print(error)
"""


@pytest.mark.ranks
def test_a_rank_that_shuts_down_frees_the_others() -> None:
    first, second = run_gloo([sys.executable, "-c", _ONE_RANK_GIVES_UP])
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "Horovod has been shut down" in second.stdout
