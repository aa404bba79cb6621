"""A rank that starts and stops Horovod again and again: each start needs the rendezvous server."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import horovod.torch as hvd
import torch


def main(folder: Path, meetings: int) -> None:
    for meeting in range(meetings):
        hvd.init()
        total = hvd.allreduce(torch.tensor([float(hvd.rank() + 1)]), op=hvd.Sum, name="sum")
        assert total.item() == hvd.size() * (hvd.size() + 1) / 2
        if meeting == 0:
            part = folder / f"rank-{hvd.rank()}.part"
            part.write_text(json.dumps({"env": dict(os.environ)}))
            part.rename(folder / f"rank-{hvd.rank()}.json")
        hvd.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
