"""horovod.jax on two real ranks, under both controllers."""

from __future__ import annotations

import pytest
from rank_checks import LAUNCHERS, assert_passed, names_in

pytest.importorskip("jax", reason="horovod.jax needs it")
pytest.importorskip("horovod.jax")

FILE = "checks_jax.py"


@pytest.mark.ranks
@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("check", names_in(FILE))
def test_jax(check: str, launcher: str) -> None:
    assert_passed(FILE, check, launcher)
