"""The options of restarts and elastic runs, as the agent uses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hvdcore.errors import UserError
from hvdcore.launch.elastic.discovery import HostScript
from hvdcore.launch.elastic.membership import Membership
from hvdcore.launch.hosts.hosts import Hosts, named_hosts
from hvdcore.launch.options import StartOptions

__all__ = ["Plan", "make_plan"]

DEFAULT_ELASTIC_RESTARTS = 10
DEFAULT_ELASTIC_TIMEOUT_SECONDS = 600.0
_NO_MAXIMUM = 1 << 20


@dataclass(frozen=True)
class Plan:
    """What the agent works by.

    Attributes:
        ask: the hosts there are now; raises UserError.
        asks_again: whether that answer can change.
        is_elastic: hosts may come and go while the job runs.
        timeout: seconds to wait for enough hosts.
    """

    ask: Callable[[], Hosts]
    asks_again: bool
    membership: Membership
    is_elastic: bool
    max_restarts: int
    timeout: float


def make_plan(
    start: StartOptions,
    env: Mapping[str, str],
    global_batch_size: int | None = None,
    ask: Callable[[], Hosts] | None = None,
) -> Plan:
    """The plan that the options mean.

    Args:
        env: with Slurm's variables, where there are some.
        global_batch_size: the number of ranks must divide it; None asks for nothing.
        ask: the hosts there are now, of a cluster that knows them; None takes the options' own.

    Raises:
        UserError: hosts that cannot be read, or a number of ranks that cannot share the batch.
    """
    asks_again = start.host_discovery_script is not None or ask is not None
    ask = ask or _asker(start, env)

    def fits(np: int) -> bool:
        # The number that was asked for is the trainer's to refuse.
        return global_batch_size is None or np == start.np or global_batch_size % np == 0

    if start.is_elastic:
        least, most = start.min_np or 1, start.max_np or _NO_MAXIMUM
        if not any(map(fits, range(least, min(most, global_batch_size or most) + 1))):
            raise UserError(
                f"--min-np: no number of ranks from {least} on divides --global-batch-size "
                f"{global_batch_size}"
            )
        membership = Membership(least, least, most, fits)
    else:
        np = start.np or ask().num_slots
        membership = Membership(1, np, np, fits)
    default = DEFAULT_ELASTIC_RESTARTS if start.is_elastic else 0
    return Plan(
        ask,
        asks_again,
        membership,
        start.is_elastic,
        default if start.max_restarts is None else start.max_restarts,
        start.elastic_timeout or DEFAULT_ELASTIC_TIMEOUT_SECONDS,
    )


def _asker(start: StartOptions, env: Mapping[str, str]) -> Callable[[], Hosts]:
    if start.host_discovery_script is not None:
        return HostScript(start.host_discovery_script).ask
    named = named_hosts(start.np or start.max_np, start.hosts, start.hostfile, env)
    return lambda: named
