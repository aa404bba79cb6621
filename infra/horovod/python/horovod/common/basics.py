"""What every framework's module offers beside the operations: init, rank, size, process sets, ...

After horovod/common/basics.py of Horovod 0.28.1, copyright 2019 Uber Technologies, Inc. and
Microsoft, Apache License 2.0. Here all frameworks load one library and share one Horovod.
"""

from __future__ import annotations

import atexit
import ctypes
import os
from collections.abc import Sequence

from horovod.common import fork, library, util
from horovod.common.process_sets import (
    ProcessSet,
    _init_process_sets,
    _setup,
    global_process_set,
)
from horovod.runner.common.util import env as launcher_env

_NOT_INITIALIZED = "Horovod has not been initialized; use hvd.init()."
_ELASTIC_TRIES = 10
_UNKNOWN_SET = "Process set does not exist or has not been registered."


class HorovodBasics:
    """The basic functions of Horovod, which do not depend on a framework."""

    HOROVOD_PROCESS_SET_ERROR_INIT = -1
    HOROVOD_PROCESS_SET_ERROR_DYNAMIC = -2
    HOROVOD_PROCESS_SET_ERROR_UNKNOWN_SET = -3
    HOROVOD_PROCESS_SET_ERROR_FOREIGN_SET = -4
    HOROVOD_PROCESS_SET_ERROR_SHUTDOWN = -5
    HOROVOD_PROCESS_SET_ERROR_EXISTING_SET = -6

    def __init__(self, *_unused):
        """Loads the library; raises ImportError if it cannot be. Arguments have no effect."""
        self.MPI_LIB_CTYPES = library.load()
        self.Average = self.MPI_LIB_CTYPES.horovod_reduce_op_average()
        self.Sum = self.MPI_LIB_CTYPES.horovod_reduce_op_sum()
        self.Adasum = self.MPI_LIB_CTYPES.horovod_reduce_op_adasum()
        self.Min = self.MPI_LIB_CTYPES.horovod_reduce_op_min()
        self.Max = self.MPI_LIB_CTYPES.horovod_reduce_op_max()
        self.Product = self.MPI_LIB_CTYPES.horovod_reduce_op_product()

    def init(self, comm=None, process_sets: Sequence[ProcessSet] | str | None = None):
        """Starts Horovod; does nothing if it runs already. All ranks must call it.

        Args:
            comm: None for all ranks, a list of ranks, or an mpi4py communicator, which is
                duplicated and used as Horovod's global one.
            process_sets: process sets to have from the start, or "dynamic" to allow
                `add_process_set` later (sets HOROVOD_DYNAMIC_PROCESS_SETS=1).

        Raises:
            ValueError: Horovod could not be started, for the reason given.
            RuntimeError: this process was forked from one in which Horovod runs.
        """
        fork.check()
        if hasattr(launcher_env, "check_leftover_variables"):
            launcher_env.check_leftover_variables()
        if isinstance(process_sets, str) and process_sets.lower() == "dynamic":
            process_sets = []
            os.environ["HOROVOD_DYNAMIC_PROCESS_SETS"] = "1"
        process_sets = list(process_sets or [])
        if comm is None or util.is_iterable(comm):
            started = self._init_ranks_until_complete(list(comm or []), process_sets)
        else:
            started = self._init_communicator(comm, process_sets)
        if not started:
            raise ValueError(f"Horovod could not be started: {_last_error()}")
        atexit.unregister(_shutdown_at_exit)
        atexit.register(_shutdown_at_exit)
        self._register(process_sets)

    def _init_ranks_until_complete(self, ranks: list[int], process_sets: list[ProcessSet]) -> bool:
        """Starts; in an elastic job again where another worker was lost in the middle of it.

        The library asks the launcher for its new rank each time, and waits for the new workers.
        """
        started = self._init_ranks(ranks, process_sets)
        for _ in range(_ELASTIC_TRIES if os.environ.get("HOROVOD_ELASTIC") == "1" else 0):
            if started or "has been removed from elastic job" in _last_error():
                break
            self.shutdown()
            started = self._init_ranks(ranks, process_sets)
        return started

    def _init_ranks(self, ranks: list[int], process_sets: list[ProcessSet]) -> bool:
        if any(ps.ranks is None and ps.mpi_comm is not None for ps in process_sets):
            raise NotImplementedError(
                "process sets defined by MPI communicators need hvd.init(comm=...) with a global"
                " MPI communicator; or define them by their ranks"
            )
        init = self.MPI_LIB_CTYPES.horovod_init
        init.restype = ctypes.c_bool
        return init(_ints(ranks), len(ranks), *_set_arguments(process_sets))

    def _init_communicator(self, comm, process_sets: list[ProcessSet]) -> bool:
        mpi4py = self._mpi4py()
        if not isinstance(comm, mpi4py.Comm):
            raise ValueError("comm must be None, a list of ranks or an mpi4py communicator")
        global_process_set.mpi_comm = comm
        by_comm = [ps.mpi_comm for ps in process_sets if ps.ranks is None and ps.mpi_comm]
        handles = [_comm_type(mpi4py).from_address(mpi4py._addressof(c)) for c in [comm, *by_comm]]
        comms = (_comm_type(mpi4py) * len(handles))(*handles)
        init = self.MPI_LIB_CTYPES.horovod_init_multi_comm
        init.restype = ctypes.c_bool
        return init(comms, len(handles), *_set_arguments(process_sets))

    def _register(self, process_sets: list[ProcessSet]) -> None:
        _setup(self)
        try:
            _init_process_sets(process_sets)
        except ValueError as error:
            if "Horovod has not been initialized properly" in str(error):
                return  # it is shutting down already
            raise
        for i, process_set in enumerate(process_sets):
            if process_set.process_set_id is None:
                raise ValueError(
                    "Horovod could not be initialized because process_sets entry number"
                    f" {i} is a duplicate: {process_set}"
                )

    def _mpi4py(self):
        if not self.mpi_built():
            raise ValueError(f"an MPI communicator needs MPI: {self.mpi_error()}")
        from mpi4py import MPI  # not at the head: importing it starts MPI

        return MPI

    def shutdown(self):
        """Stops Horovod; `init` may start it again. Does nothing in a forked process."""
        if not fork.forked():
            self.MPI_LIB_CTYPES.horovod_shutdown()

    def is_initialized(self) -> bool:
        """Whether Horovod runs."""
        return bool(fork.query("horovod_is_initialized"))

    def start_timeline(self, file_path: str, mark_cycles: bool = False):
        """Starts to record a timeline to `file_path`; needs HOROVOD_TIMELINE=DYNAMIC.

        `mark_cycles` marks the background thread's cycles. ValueError if it cannot be.
        """
        result = self.MPI_LIB_CTYPES.horovod_start_timeline(
            ctypes.c_char_p(file_path.encode()), ctypes.c_bool(mark_cycles)
        )
        if result == -2:
            raise ValueError("Set HOROVOD_TIMELINE=DYNAMIC to enable dynamic timeline usage.")
        _initialized(result)

    def stop_timeline(self):
        """Stops the timeline and closes its file; ValueError if Horovod does not run."""
        _initialized(self.MPI_LIB_CTYPES.horovod_stop_timeline())

    def size(self) -> int:
        """The number of ranks."""
        return _initialized(fork.query("horovod_size"))

    def local_size(self) -> int:
        """The number of ranks on this host."""
        return _initialized(fork.query("horovod_local_size"))

    def cross_size(self) -> int:
        """The number of hosts that have a rank with this one's local rank."""
        return _initialized(fork.query("horovod_cross_size"))

    def rank(self) -> int:
        """This process's rank, from 0 to size - 1."""
        return _initialized(fork.query("horovod_rank"))

    def local_rank(self) -> int:
        """This process's rank among those on its host."""
        return _initialized(fork.query("horovod_local_rank"))

    def cross_rank(self) -> int:
        """This host's place among the hosts that have a rank with this one's local rank."""
        return _initialized(fork.query("horovod_cross_rank"))

    def is_homogeneous(self) -> bool:
        """Whether every host has the same number of ranks."""
        return bool(fork.query("horovod_is_homogeneous") & 1)

    def mpi_threads_supported(self) -> bool:
        """Whether MPI runs with MPI_THREAD_MULTIPLE, so that mpi4py may be used beside Horovod.

        ValueError if Horovod does not use MPI or does not run.
        """
        if not self.mpi_enabled():
            raise ValueError(
                "Horovod does not use MPI here: start it by mpirun or horovodrun --mpi"
            )
        return bool(_initialized(self.MPI_LIB_CTYPES.horovod_mpi_threads_supported()))

    def mpi_enabled(self) -> bool:
        """Whether this process uses MPI as its controller."""
        return self._flag("horovod_mpi_enabled")

    def mpi_built(self) -> bool:
        """Whether MPI can be used here, that is, whether an MPI library is found and loads."""
        return self._flag("horovod_mpi_built")

    def mpi_error(self) -> str:
        """Why MPI cannot be used here, in one line with the fix; "" if it can."""
        return self._text("horovod_mpi_error")

    def mpi_name(self) -> str:
        """Which MPI it is: "Open MPI", "MPICH", "MPI ABI", or "" without one."""
        return self._text("horovod_mpi_name")

    def mpi_library(self) -> str:
        """The file name of the MPI library that is or would be used, "" without one."""
        return self._text("horovod_mpi_library")

    def gloo_enabled(self) -> bool:
        """Whether this process uses Gloo as its controller."""
        return self._flag("horovod_gloo_enabled")

    def gloo_built(self) -> bool:
        """Whether the library has Gloo."""
        return self._flag("horovod_gloo_built")

    def nccl_built(self) -> int:
        """NCCL's version code if the library has NCCL, else 0."""
        return int(self.MPI_LIB_CTYPES.horovod_nccl_built())

    def ddl_built(self) -> bool:
        """Whether the library has DDL."""
        return self._flag("horovod_ddl_built")

    def ccl_built(self) -> bool:
        """Whether the library has oneCCL."""
        return self._flag("horovod_ccl_built")

    def cuda_built(self) -> bool:
        """Whether the library has CUDA."""
        return self._flag("horovod_cuda_built")

    def rocm_built(self) -> bool:
        """Whether the library has ROCm."""
        return self._flag("horovod_rocm_built")

    def _flag(self, name: str) -> bool:
        function = getattr(self.MPI_LIB_CTYPES, name)
        function.restype = ctypes.c_bool
        return function()

    def _text(self, name: str) -> str:
        function = getattr(self.MPI_LIB_CTYPES, name)
        function.restype = ctypes.c_char_p
        return (function() or b"").decode(errors="replace")

    def _add_process_set_impl(self, ranks: Sequence[int]) -> int | None:
        """The id of a new process set; None if one of the same ranks exists."""
        ranks = list(ranks)
        result = self.MPI_LIB_CTYPES.horovod_add_process_set(_ints(ranks), len(ranks))
        if result == self.HOROVOD_PROCESS_SET_ERROR_EXISTING_SET:
            return None
        return self._changed_set(result)

    def _remove_process_set_impl(self, process_set_id: int) -> int | None:
        """The id that was removed; None if there is no such set, or it is the global one."""
        if process_set_id == 0:
            return None
        result = self.MPI_LIB_CTYPES.horovod_remove_process_set(process_set_id)
        if result == self.HOROVOD_PROCESS_SET_ERROR_UNKNOWN_SET:
            return None
        return self._changed_set(result)

    def _changed_set(self, result: int) -> int:
        if result == self.HOROVOD_PROCESS_SET_ERROR_SHUTDOWN:
            raise ValueError("Horovod is shutting down.")
        if result == self.HOROVOD_PROCESS_SET_ERROR_DYNAMIC:
            raise ValueError(
                "Set HOROVOD_DYNAMIC_PROCESS_SETS=1 to allow adding and removing process sets"
                " after Horovod initialization."
            )
        return _initialized(result)

    def _process_set_rank(self, process_set_id: int) -> int:
        """This process's rank in the process set."""
        result = self.MPI_LIB_CTYPES.horovod_process_set_rank(process_set_id)
        if result == self.HOROVOD_PROCESS_SET_ERROR_FOREIGN_SET:
            raise ValueError("Process is not part of provided process set.")
        return self._known_set(result)

    def _process_set_size(self, process_set_id: int) -> int:
        """The number of ranks in the process set."""
        return self._known_set(self.MPI_LIB_CTYPES.horovod_process_set_size(process_set_id))

    def _known_set(self, result: int) -> int:
        if result == self.HOROVOD_PROCESS_SET_ERROR_UNKNOWN_SET:
            raise ValueError(_UNKNOWN_SET)
        return _initialized(result)

    def _get_process_set_ids_and_ranks(self) -> dict[int, list[int]]:
        """The ranks of each process set, by its id.

        The table is not locked: there can be spurious failures while Horovod shuts down.
        """
        ids = (ctypes.c_int * self.MPI_LIB_CTYPES.horovod_number_of_process_sets())()
        self.MPI_LIB_CTYPES.horovod_process_set_ids(ids)
        return {process_set_id: self._process_set_ranks(process_set_id) for process_set_id in ids}

    def _process_set_ranks(self, process_set_id: int) -> list[int]:
        size = self.MPI_LIB_CTYPES.horovod_process_set_size(process_set_id)
        ranks = (ctypes.c_int * max(0, size))()
        result = self.MPI_LIB_CTYPES.horovod_process_set_ranks(process_set_id, ranks)
        if self.HOROVOD_PROCESS_SET_ERROR_INIT in (size, result):
            raise ValueError("Horovod has not been initialized properly; use hvd.init().")
        if size < 0 or result < 0:
            raise RuntimeError("the table of process sets was changed while it was read")
        return list(ranks)

    def _comm_process_set_id(self, comm) -> int:
        """The id of the process set that was registered for an mpi4py communicator."""
        mpi4py = self._mpi4py()
        function = self.MPI_LIB_CTYPES.horovod_comm_process_set
        function.argtypes = [_comm_type(mpi4py)]
        result = function(_comm_type(mpi4py).from_address(mpi4py._addressof(comm)))
        if result == self.HOROVOD_PROCESS_SET_ERROR_UNKNOWN_SET:
            raise ValueError("MPI communicator does not correspond to any registered process set.")
        return _initialized(result)


def _initialized(result: int) -> int:
    if result == -1:
        raise ValueError(_NOT_INITIALIZED)
    return result


def _ints(numbers: Sequence[int]) -> ctypes.Array:
    return (ctypes.c_int * len(numbers))(*numbers)


def _set_arguments(process_sets: list[ProcessSet]) -> tuple[ctypes.Array, ctypes.Array, int]:
    """The process sets that are defined by ranks, as horovod_init wants them."""
    by_ranks = [ps.ranks for ps in process_sets if ps.ranks is not None]
    flat = [rank for ranks in by_ranks for rank in ranks]
    return _ints(flat), _ints([len(ranks) for ranks in by_ranks]), len(by_ranks)


def _comm_type(mpi4py) -> type:
    """How this MPI has its communicators: MPICH as an int, Open MPI as a pointer."""
    is_int = mpi4py._sizeof(mpi4py.Comm) == ctypes.sizeof(ctypes.c_int)
    return ctypes.c_int if is_int else ctypes.c_void_p


def _last_error() -> str:
    function = library.load().horovod_last_error
    function.restype = ctypes.c_char_p
    return (function() or b"").decode(errors="replace") or "see the log above"


def _shutdown_at_exit() -> None:
    if not fork.forked():
        library.load().horovod_shutdown()
