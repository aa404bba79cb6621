"""Launching jobs: hosts checked, ranks started, supervised and ended.

`launch.launch` is the entry point. `hosts` finds and checks the hosts, `job` starts the ranks and
watches the job, and `supervisor` is the process beside each rank that starts it, watches its
heartbeat and talks to the launcher. `elastic` restarts jobs, `ray` runs them on a Ray cluster, and
`sbatch` writes scripts for Slurm.
"""
