"""horovod.torch's operations on two real ranks, under both controllers."""

from __future__ import annotations

import pytest
from rank_checks import LAUNCHERS, assert_passed, names_in

pytest.importorskip("torch", reason="horovod.torch needs PyTorch")
pytest.importorskip("horovod.torch")

FILE = "checks_torch_operations.py"


@pytest.mark.ranks
@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("check", names_in(FILE))
def test_operation(check: str, launcher: str) -> None:
    assert_passed(FILE, check, launcher)
