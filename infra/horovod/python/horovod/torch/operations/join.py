"""Join and barrier: what ranks wait for that is no tensor."""

from __future__ import annotations

import ctypes

from horovod.common import collectives
from horovod.common.process_sets import global_process_set
from horovod.torch.compiled import keep_out
from horovod.torch.operations.handles import set_id


def join(device=-1) -> int:
    """Says that this rank has no more data and waits until all ranks have said so.

    Meanwhile it takes part in the others' allreduces with zeros. `device` has no effect.

    Returns:
        The rank that joined last.
    """
    handle = collectives.join(-1, 0)
    collectives.wait(handle)
    data, _ = collectives.output(handle, 0)
    last = ctypes.c_int32.from_address(data).value
    collectives.release(handle)
    return last


def barrier(process_set=global_process_set):
    """Waits until all ranks of the process set have called it."""
    collectives.finish(collectives.barrier(set_id(process_set)))


keep_out(globals())
