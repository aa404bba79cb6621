"""This process's connection to a Ray cluster, made in bounded time; our signal handlers stay."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import socket
from collections.abc import Iterator

from hvdcore.errors import UserError

__all__ = ["connected", "own_signals", "why_unreachable"]

_TCP_SECONDS = 10.0
# Ray retries an address indefinitely; a cluster that exists answers within seconds.
_ANSWER_SECONDS = 60


class _Late(BaseException):
    """No answer in time. Ray swallows every `Exception`, and asks again."""


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """While open, Ray's functions mean the cluster at `address`: `HOST:PORT`, or 'auto'.

    Raises:
        UserError: Ray is not installed, or no cluster answers there.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError("--ray: Ray is not installed; pip install './shared/hvdcore[ray]'")
    import ray
    from ray.exceptions import RayError

    where = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    if where != "auto" and (why := why_unreachable(where)):
        raise _no_cluster(where, why)
    try:
        with own_signals(), _alarm():
            ray.init(address=where, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RayError, RuntimeError, ValueError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _no_cluster(where, said) from error
    except _Late:
        raise _no_cluster(where, f"no answer within {_ANSWER_SECONDS} s") from None
    try:
        yield
    finally:
        with own_signals():
            ray.shutdown()


def _no_cluster(address: str, why: str) -> UserError:
    return UserError(
        f"--ray: no Ray cluster at {address} ({why}); give HOST:PORT of its head as `ray start` "
        "printed it, on a node of the cluster; with RAY_AUTH_MODE=token if it needs a token"
    )


def why_unreachable(address: str) -> str:
    """Why nobody can be at `HOST:PORT`, '' when somebody listens. Ray itself would keep trying."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        return "not a HOST:PORT"
    try:
        socket.create_connection((host, int(port)), _TCP_SECONDS).close()
    except (OSError, OverflowError) as error:
        return str(error)
    return ""


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def late(*_: object) -> None:
        raise _Late

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(_ANSWER_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself; our launchers handle it and stop their jobs with it."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
