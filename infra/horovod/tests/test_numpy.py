"""horovod.numpy on two real ranks, under both controllers."""

from __future__ import annotations

import pytest
from rank_checks import LAUNCHERS, assert_passed, names_in

pytest.importorskip("numpy", reason="horovod.numpy needs it")
pytest.importorskip("horovod.numpy")

FILE = "checks_numpy.py"


@pytest.mark.ranks
@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("check", names_in(FILE))
def test_numpy(check: str, launcher: str) -> None:
    assert_passed(FILE, check, launcher)
