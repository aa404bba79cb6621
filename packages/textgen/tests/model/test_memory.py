"""A model too large for the machine is refused; one that fits is accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvdcore.errors import UserError
from textgen.model.cost import check_memory, memory_bytes


def test_weights_and_gradients_of_each_rank_count() -> None:
    check_memory(1_000, 2, available=16_000)
    with pytest.raises(UserError, match=r"1,000 parameters .* 2 ranks of this machine"):
        check_memory(1_000, 2, available=15_999)


def test_a_container_may_have_less_than_the_machine(tmp_path: Path) -> None:
    machine = memory_bytes(tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_bytes(tmp_path) == machine > 1 << 20
    (tmp_path / "memory.max").write_text("4096\n")
    assert memory_bytes(tmp_path) == 4096
