"""Training with horovod.torch on two real ranks, under both controllers."""

from __future__ import annotations

import pytest
from rank_checks import LAUNCHERS, assert_passed, names_in

pytest.importorskip("torch", reason="horovod.torch needs PyTorch")
pytest.importorskip("horovod.torch")

FILE = "checks_torch_training.py"


@pytest.mark.ranks
@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("check", names_in(FILE))
def test_training(check: str, launcher: str) -> None:
    assert_passed(FILE, check, launcher)
