"""Launching jobs: hosts checked, ranks started, supervised and ended.

`launch.launch` is the entry point for commands, and `run` for a function of a notebook or a script.
`hosts` finds and checks the hosts, `job` starts the ranks and watches the job, and `supervisor` is
the process beside each rank that starts it, watches its heartbeat and talks to the launcher.
`elastic` restarts jobs, `ray` runs them on a Ray cluster, and `sbatch` writes scripts for Slurm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hvdcore.launch.function import RankError, run

__all__ = ["RankError", "run"]


def __getattr__(name: str) -> Any:
    """`run` and `RankError`, loaded on first use: every `--help` comes by here."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hvdcore.launch import function

    return getattr(function, name)
