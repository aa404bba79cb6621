"""Horovod beside mpi4py in one process."""

from __future__ import annotations

import pytest
from rank_checks import assert_passed, names_in

pytest.importorskip("mpi4py", reason="mpi4py is not installed", exc_type=ImportError)
pytest.importorskip("horovod.numpy")

FILE = "checks_mpi4py.py"


@pytest.mark.ranks
@pytest.mark.parametrize("check", names_in(FILE))
def test_mpi4py(check: str) -> None:
    assert_passed(FILE, check, "mpi")
