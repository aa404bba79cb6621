"""Host discovery: asking the user's script which hosts there are now."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from hvdcore.errors import UserError
from hvdcore.launch.hosts.hosts import Hosts, parse_hosts

__all__ = ["HostScript"]

_OPTION = "--host-discovery-script"
_SECONDS = 20.0
_DEFAULT_SLOTS = "OMPI_MCA_orte_set_default_slots"


class HostScript:
    """A program that prints a host a line, `name:slots` or `name`, as Horovod's does.

    A host without a number has the slots of Open MPI's own variable for such hosts, which
    Kubeflow's MPI operator sets to the job's `slotsPerWorker`, else one.

    Args:
        seconds: within which it has to answer.

    Raises:
        UserError: there is no such program.
    """

    def __init__(self, path: Path, seconds: float = _SECONDS) -> None:
        # Not resolved: Kubernetes mounts the program as a link, and each change is another target.
        self.path = path.absolute()
        self.seconds = seconds
        if not self.path.is_file() or not os.access(self.path, os.X_OK):
            raise UserError(f"{_OPTION}: {path}: not a program; give one, and chmod +x it")

    def ask(self) -> Hosts:
        """The hosts there are now, possibly none.

        Raises:
            UserError: the script fails, hangs, or prints something else.
        """
        with self._start() as process:
            try:
                out, err = process.communicate(timeout=self.seconds)
            except subprocess.TimeoutExpired:
                raise self._error(f"gave no answer within {self.seconds:g} s") from None
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        if process.returncode:
            said = (err.strip().splitlines() or ["and says nothing"])[-1]
            raise self._error(f"failed with exit code {process.returncode} ({said})")
        lines = [line.strip() for line in out.splitlines() if line.strip()]
        try:
            return parse_hosts(",".join(lines), _default_slots()) if lines else Hosts({})
        except UserError:
            raise self._error(f"printed {lines[0]!r}, not one host per line (name:slots)") from None

    def _start(self) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(
                [str(self.path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise self._error(f"cannot be started ({error.strerror})") from None

    def _error(self, what: str) -> UserError:
        return UserError(f"{_OPTION}: {self.path} {what}")


def _default_slots() -> int:
    text = os.environ.get(_DEFAULT_SLOTS, "")
    return max(1, int(text)) if text.isdecimal() else 1  # Open MPI knows words here too
