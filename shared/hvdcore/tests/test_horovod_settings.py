"""Settings in the environment: what Horovod would read as 0 is refused, in one line each."""

from __future__ import annotations

import pytest

from hvdcore.errors import UserError
from hvdcore.runtime.horovod_settings import check_settings

WRONG = {
    "HOROVOD_CYCLE_TIME": "abc",
    "HOROVOD_FUSION_THRESHOLD": "-1",
    "HOROVOD_LOG_LEVEL": "x",
    "HOROVOD_STALL_CHECK_TIME_SECONDS": "12s",
    "OMP_NUM_THREADS": "0",
}
RIGHT = {
    "HOROVOD_CYCLE_TIME": "0.5",
    "HOROVOD_FUSION_THRESHOLD": "67108864",
    "HOROVOD_LOG_LEVEL": "DEBUG",
    "HOROVOD_STALL_CHECK_TIME_SECONDS": "",
    "OMP_NUM_THREADS": "4,2",
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_number_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"^{name}: got '{WRONG[name]}' in the environment; give"):
        check_settings({**RIGHT, name: WRONG[name]})


def test_all_at_once_and_right_ones_pass() -> None:
    check_settings(RIGHT)
    with pytest.raises(UserError) as caught:
        check_settings(WRONG)
    assert len(caught.value.problems) == len(WRONG)
