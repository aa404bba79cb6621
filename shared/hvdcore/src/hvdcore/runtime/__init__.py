"""The process that a rank runs in: its place in the job, environment, signals and heartbeat."""
