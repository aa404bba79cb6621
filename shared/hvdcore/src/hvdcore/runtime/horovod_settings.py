"""Settings of Horovod and OpenMP in the environment that cannot be.

Horovod reads them with `strtol` and the like: what is no number counts as 0, which is a stall check
that warns at every step, or no cycle at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from hvdcore.errors import Problems

__all__ = ["check_settings"]

_LEVELS = ("trace", "debug", "info", "warning", "error", "fatal")


def _whole(text: str) -> bool:
    return re.fullmatch(r"\s*\+?[0-9]{1,18}\s*", text) is not None


def _number(text: str) -> bool:
    try:
        return 0 <= float(text) < math.inf
    except ValueError:
        return False


def _level(text: str) -> bool:
    return text.lower() in _LEVELS


def _threads(text: str) -> bool:
    parts = text.split(",")  # one for each level of nested parallelism
    return all(_whole(part) and int(part) > 0 for part in parts)


_WHOLE = (_whole, "give a whole number of 0 or more")
_FORMS: dict[str, tuple[Callable[[str], bool], str]] = {
    "HOROVOD_CYCLE_TIME": (_number, "give milliseconds, 0 or more"),
    "HOROVOD_LOG_LEVEL": (_level, f"give one of {', '.join(_LEVELS)}"),
    "OMP_NUM_THREADS": (_threads, "give a number of threads, 1 or more"),
    **dict.fromkeys(
        (
            "HOROVOD_FUSION_THRESHOLD",
            "HOROVOD_CACHE_CAPACITY",
            "HOROVOD_STALL_CHECK_TIME_SECONDS",
            "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS",
            "HOROVOD_GLOO_TIMEOUT_SECONDS",
        ),
        _WHOLE,
    ),
}


def check_settings(env: Mapping[str, str]) -> None:
    """Check the settings that are set, and not empty.

    Raises:
        UserError: with a line for each that is not of its form.
    """
    problems = Problems()
    for name, (fits, fix) in _FORMS.items():
        text = env.get(name, "")
        if text and not fits(text):
            problems.add(name, f"got {text[:80]!r} in the environment; {fix}, or unset it")
    problems.raise_if_any()
