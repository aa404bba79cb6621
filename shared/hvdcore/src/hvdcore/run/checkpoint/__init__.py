"""Checkpoints: directories that are complete or do not count, whenever a process is killed.

Framework-free. Rank 0 writes, every rank may read.
"""

from hvdcore.run.checkpoint.mirror import Mirror, check_mirror
from hvdcore.run.checkpoint.resume import (
    require_same,
    require_same_run,
    resolve_resume,
)
from hvdcore.run.checkpoint.store import (
    Checkpoint,
    best,
    clean_up,
    commit,
    discard_after,
    latest_valid,
    load,
    save,
    stage,
    staging_path,
)
from hvdcore.run.checkpoint.writer import CheckpointWriter

__all__ = [
    "Checkpoint",
    "CheckpointWriter",
    "Mirror",
    "best",
    "check_mirror",
    "clean_up",
    "commit",
    "discard_after",
    "latest_valid",
    "load",
    "require_same",
    "require_same_run",
    "resolve_resume",
    "save",
    "stage",
    "staging_path",
]
