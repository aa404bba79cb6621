"""The process of a trial: a launcher that ends when the tuner that started it does.

`python -m hvdcore.tune.job SETTINGS COMMAND ...` does what `hvdcore launch` does. When the tuner is
killed by a signal that it cannot catch, the kernel sends SIGTERM here: the ranks save and stop.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hvdcore.errors import user_errors_exit
from hvdcore.launch.launch import launch
from hvdcore.launch.supervisor.processes import end_with_parent
from hvdcore.runtime.environment import python_module

if TYPE_CHECKING:
    from hvdcore.tune.plan import Limits

__all__ = ["job_command"]


def job_command(command: list[str], limits: Limits, log_dir: Path) -> list[str]:
    """The command line that launches `command` on ranks as a child of this process.

    Args:
        log_dir: for the logs of ranks, also of those that fail before they know their run.
    """
    settings = limits.model_dump(include={"np", "hosts", "stall_timeout"})
    text = json.dumps({**settings, "log_dir": str(log_dir), "parent": os.getpid()})
    return [*python_module("hvdcore.tune.job"), text, *command]


def main(argv: list[str]) -> int:
    """Launch the command; the exit code is `launch`'s."""
    settings = json.loads(argv[0])
    end_with_parent(settings["parent"], signal.SIGTERM)
    with user_errors_exit():
        return launch(
            argv[1:],
            settings["np"],
            settings["hosts"],
            stall_timeout_seconds=settings["stall_timeout"],
            log_dir=Path(settings["log_dir"]),
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
