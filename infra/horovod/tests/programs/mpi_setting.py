"""Starts Horovod over MPI, and prints what Open MPI was told about TCP, what stays set, and whether
a handler of SIGHUP that was there before is still called."""

import ctypes
import json
import os
import signal
from pathlib import Path

import horovod.numpy as hvd

hangups: list[int] = []
signal.signal(signal.SIGHUP, lambda number, _: hangups.append(number))
hvd.init()
os.kill(os.getpid(), signal.SIGHUP)
maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
mpi = ctypes.CDLL(next(line.split()[-1] for line in maps if "libmpi.so" in line))
number, handle, count, value = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_int(), ctypes.c_uint()
assert mpi.MPI_T_init_thread(0, ctypes.byref(ctypes.c_int())) == 0
assert mpi.MPI_T_cvar_get_index(b"btl_tcp_flags", ctypes.byref(number)) == 0
assert mpi.MPI_T_cvar_handle_alloc(number, None, ctypes.byref(handle), ctypes.byref(count)) == 0
assert mpi.MPI_T_cvar_read(handle, ctypes.byref(value)) == 0
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
left = libc.getenv(b"OMPI_MCA_btl_tcp_flags")
print(json.dumps({"flags": value.value, "left": left and left.decode(), "hangups": len(hangups)}))
hvd.shutdown()
