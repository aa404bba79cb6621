"""Asking a host for its facts, without a password and in bounded time."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys

from hvdcore.errors import UserError
from hvdcore.launch.hosts.facts import MARK, HostFacts, facts_here
from hvdcore.launch.hosts.hosts import address_of, is_ipv6, is_ours
from hvdcore.launch.hosts.remote_shell import encode_command, remote_shell

__all__ = ["ask_host", "is_here"]

ANSWER_SECONDS = 60.0
_WITH_PATH = (
    'IFS= read -r path; [ -z "$path" ] || export PYTHONPATH="$path"; '
    'exec "$0" -m hvdcore.launch.hosts.facts "$1"'
)
_REFUSED = re.compile(r"Permission denied|Too many authentication failures")
_STRANGER = re.compile(r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED")


def is_here(name: str) -> bool:
    """Whether a host is this machine; no for a name that nobody knows."""
    try:
        return is_ours(address_of(name))
    except OSError:
        return False


def ask_host(name: str, package: str, peers: list[str]) -> HostFacts:
    """What host `name` has, for a job of `package` here with the hosts `peers`.

    Raises:
        UserError: one line: no such host, unreachable, it refuses us, no Python or no hvdcore.
    """
    try:
        address = address_of(name)
    except OSError:
        raise UserError(
            f"--hosts: unknown host {name!r}; check the name, or give an address"
        ) from None
    if is_ours(address):
        return facts_here(package, os.getcwd(), peers)
    if is_ipv6(address):
        raise UserError(
            f"--hosts: {name} has addresses of IPv6 alone ({address}), and ranks on several hosts "
            "need IPv4; give the hosts an IPv4 network, a private one is enough"
        )
    return _answer(name, *_run(name, _question(package, peers)))


def _question(package: str, peers: list[str]) -> str:
    """The remote command. Its only words of the user's are quoted paths of this Python.

    It reads PYTHONPATH from its input: what stands in a command line is there for all to see.
    """
    word = encode_command([package, os.getcwd(), *peers])
    return shlex.join(["sh", "-c", _WITH_PATH, sys.executable, word])


def _python_path() -> str:
    """The line for the command's input. A path of several lines cannot be sent."""
    path = os.environ.get("PYTHONPATH", "")
    return "\n" if "\n" in path else f"{path}\n"


def _run(name: str, command: str) -> tuple[int, str, str]:
    try:
        done = subprocess.run(
            [*remote_shell(name, os.environ), command],
            input=_python_path(),
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=ANSWER_SECONDS,
            start_new_session=True,  # Ctrl-C is for us
            check=False,
        )
    except FileNotFoundError:
        raise UserError("--hosts: ssh is not installed here; install an ssh client") from None
    except subprocess.TimeoutExpired:
        raise UserError(
            f"--hosts: {name} took the connection but did not answer within {ANSWER_SECONDS:g} s"
        ) from None
    return done.returncode, done.stdout, done.stderr


def _answer(name: str, code: int, out: str, err: str) -> HostFacts:
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    last = lines[-1] if lines else f"exit code {code}"
    if code == 255:
        raise UserError(f"--hosts: {name} {_refusal(name, err, last)}")
    if code in (126, 127):
        raise UserError(
            f"--hosts: {name} has no {sys.executable}; install the same environment at the same "
            f"path there ({last})"
        )
    for line in out.splitlines():
        if line.startswith(MARK):
            try:
                return HostFacts.from_json(json.loads(line.removeprefix(MARK)))
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
                raise UserError(
                    f"--hosts: {name} answers in another form; install the same release of hvdcore"
                    " there"
                ) from None
    raise UserError(
        f"--hosts: {name} cannot run hvdcore with {sys.executable} ({last}); install the same "
        "environment there"
    )


def _refusal(name: str, err: str, last: str) -> str:
    if _REFUSED.search(err):
        return f"refuses our key; make `ssh {name} true` work without a password"
    if _STRANGER.search(err):
        return f"has a host key that is not known here; run `ssh {name} true` once and look at it"
    return f"cannot be reached with ssh ({last})"
