"""horovod.torch's ElasticSampler on four real ranks."""

from __future__ import annotations

import pytest
from rank_checks import assert_passed, names_in

pytest.importorskip("torch", reason="horovod.torch needs PyTorch")
pytest.importorskip("horovod.torch")

FILE = "checks_torch_sampler.py"


@pytest.mark.ranks
@pytest.mark.parametrize("check", names_in(FILE))
def test_sampler(check: str) -> None:
    assert_passed(FILE, check, "mpi", ranks=4)
