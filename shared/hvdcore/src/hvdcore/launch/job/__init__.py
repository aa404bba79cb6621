"""One job: N ranks of one command, from start to exit code."""
