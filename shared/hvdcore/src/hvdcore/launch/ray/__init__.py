"""Jobs on a Ray cluster: Ray reserves the CPUs and GPUs and starts the ranks' supervisors.

Horovod's own `RayExecutor` (0.28.1) still starts ranks on today's Ray. But it runs functions in
Ray's workers, not commands under a supervisor; when a node is lost it raises and leaves the other
ranks waiting; and a placement group that came too late stays queued and takes what becomes free.
So only its rendezvous is used here. `hvdcore.launch.launch.run_on_ray` is the entry point.
"""
