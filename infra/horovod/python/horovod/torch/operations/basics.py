"""Horovod in this process, for PyTorch: its start and end, ranks, sizes and reductions."""

from __future__ import annotations

from horovod.common.basics import HorovodBasics
from horovod.common.process_sets import _setup as _setup_process_sets
from horovod.torch.compiled import keep_out
from horovod.torch.operations import handles

basics = HorovodBasics()

is_initialized = basics.is_initialized
start_timeline = basics.start_timeline
stop_timeline = basics.stop_timeline
size = basics.size
local_size = basics.local_size
cross_size = basics.cross_size
rank = basics.rank
local_rank = basics.local_rank
cross_rank = basics.cross_rank
mpi_threads_supported = basics.mpi_threads_supported
mpi_enabled = basics.mpi_enabled
mpi_built = basics.mpi_built
gloo_enabled = basics.gloo_enabled
gloo_built = basics.gloo_built
nccl_built = basics.nccl_built
ddl_built = basics.ddl_built
ccl_built = basics.ccl_built
cuda_built = basics.cuda_built
rocm_built = basics.rocm_built
is_homogeneous = basics.is_homogeneous

Average = basics.Average
Sum = basics.Sum
Adasum = basics.Adasum
AdaSum = Adasum  # so it is called in upstream's user guide
Min = basics.Min
Max = basics.Max
Product = basics.Product


_setup_process_sets(basics)

_starts = 0


def init(*args, **kwargs):
    """Starts Horovod; see `horovod.common.basics.HorovodBasics.init`."""
    global _starts
    if not basics.is_initialized():
        handles.forget_all()
        _starts += 1
    basics.init(*args, **kwargs)
    _setup_process_sets(basics)


def number_of_starts() -> int:
    """How often Horovod was started in this process; names are counted anew after each start."""
    return _starts


def shutdown(*args, **kwargs):
    """Stops Horovod. Operations under way fail; `init` may start it again."""
    return basics.shutdown(*args, **kwargs)


keep_out(globals())
