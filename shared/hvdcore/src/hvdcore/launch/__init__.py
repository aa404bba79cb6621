"""Owns one job: hosts found fit, ranks started, supervised, heard, judged and ended.

`hvdcore.launch.launch` is the way in. Each rank has a supervisor (`supervise`, `supervisor`), a process of
its own that starts it, watches its heartbeat, and talks to the launcher (`channel`, `monitor`).
"""
