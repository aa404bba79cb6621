"""A rank on a Ray node: the actor that holds its CPUs, and its child, the supervisor.

`python -m hvdcore.launch.ray.rank PARENT WORD` is that child. When the actor or its node is lost,
the kernel ends it, and with it the rank: Ray may have given the CPUs to somebody else.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from hvdcore.launch.hosts.remote_shell import decode_command, encode_command
from hvdcore.launch.supervisor.processes import end_with_parent
from hvdcore.runtime.environment import python_module

__all__ = ["RankActor"]


class RankActor:
    """Runs on the node of a rank."""

    def devices(self) -> list[str]:
        """The ids of the GPUs that Ray gave to this rank."""
        import ray

        return [str(number) for number in ray.get_gpu_ids()]

    def run(self, command: list[str], env: dict[str, str], folder: str) -> int:
        """The exit code of the supervisor of `command`, once it has ended."""
        word = encode_command(command)
        line = [*python_module("hvdcore.launch.ray.rank"), str(os.getpid()), word]
        done = subprocess.run(line, env=env, cwd=folder, stdin=subprocess.DEVNULL, check=False)
        return done.returncode


def main() -> int:
    """Become the supervisor of the rank that runs the encoded command."""
    from hvdcore.launch.supervisor.supervise import supervise
    from hvdcore.runtime.world import world_from_environment

    end_with_parent(int(sys.argv[1]), signal.SIGKILL)
    return supervise(decode_command(sys.argv[2]), world_from_environment())


if __name__ == "__main__":
    sys.exit(main())
