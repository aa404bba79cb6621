"""A checkpoint of one number of ranks is taken up by another, through safetensors and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.ranks


@pytest.fixture(scope="module")
def checkpoint(start: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    start("resize", "mpi", 2, "save", str(folder))
    return folder


@pytest.mark.parametrize(("controller", "size"), [("none", 1), ("mpi", 3), ("gloo", 2)])
def test_goes_on_as_the_saving_ranks_would(
    start: Any, checkpoint: Path, controller: str, size: int
) -> None:
    never_resized = start("resize", "mpi", 2, "resume", str(checkpoint))[0]
    for result in start("resize", controller, size, "resume", str(checkpoint)):
        assert result["weights"] == pytest.approx(never_resized["weights"], abs=1e-6)
