"""The launcher of `hvdcore.launch.run`: `python -m hvdcore.launch.function_job FOLDER PARENT`.

A process of its own, since a launcher needs its main thread, its signals and its streams.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from hvdcore.errors import user_errors_exit
from hvdcore.launch.launch import launch
from hvdcore.launch.supervisor.processes import end_with_parent
from hvdcore.launch.supervisor.supervisor import FUNCTION_RANK
from hvdcore.runtime.environment import python_module


def main() -> int:
    """Launch the ranks of the call in the folder that the arguments name."""
    folder, parent = Path(sys.argv[1]), int(sys.argv[2])
    end_with_parent(parent, signal.SIGTERM)
    settings = json.loads((folder / "job.json").read_bytes())
    np, hosts = settings.pop("np"), settings.pop("hosts")
    command = [*python_module(FUNCTION_RANK), str(folder)]
    with user_errors_exit():
        return launch(command, np, hosts, **settings)


if __name__ == "__main__":
    sys.exit(main())
