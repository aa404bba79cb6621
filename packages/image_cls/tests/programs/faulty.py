"""`image-cls` as a rank that misbehaves: FAULT RANK STEP, and then the command's arguments."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from hvdcore.world import world_from_environment


def main(fault: str, rank: int, step: int) -> None:
    """Run the command, with the fault in the given step of the given rank."""
    from image_cls import cli

    if world_from_environment().rank == rank:
        put_in(fault, step)
    cli.main()


def put_in(fault: str, step: int) -> None:
    """Make reading the batch of that step go wrong."""
    from image_cls.batches import BatchReader

    read, number = BatchReader.read, iter(range(10_000))

    def faulty(self: BatchReader, *arguments: Any) -> Any:
        if next(number) == step:
            if fault == "exception":
                raise ValueError("this batch is broken")
            os.kill(os.getpid(), getattr(signal, fault))
        return read(self, *arguments)

    BatchReader.read = faulty  # type: ignore[method-assign]


if __name__ == "__main__":
    fault, rank, step, *rest = sys.argv[1:]
    sys.argv = [sys.argv[0], *rest]
    main(fault, int(rank), int(step))
