"""Run by both ranks, which do operations of different names; each says how its own ended."""

from __future__ import annotations

import ctypes
import sys

from core_abi import SUM, Core, Tensor


def main(library: str, cached: str) -> None:
    """`cached` is "cached" if the ranks have done one of the operations together before."""
    core = Core(library)
    core.init()
    tensor = Tensor([1.0])
    ones = (ctypes.c_double(1.0), ctypes.c_double(1.0))
    if cached == "cached":
        for _ in range(3):
            core.allreduce([tensor], "left out")
    # Each rank waits for the other to do the same.
    name = ["left out", "done instead"][core.rank]
    handle = core.start("allreduce", [tensor], name, SUM, *ones, 0)
    status = core.wait(handle, 60.0)
    print(f"status {status}: {core.last_error()}", flush=True)
    core.lib.horovod_shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
