"""Loads Horovod's core, libhorovod.so, once for all frameworks of a process.

`horovod/lib/horovod_c.h` documents the library. `HOROVOD_LIBRARY` names another build of it.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import struct
import sys
import sysconfig

ABI_VERSION = 1
"""HOROVOD_C_ABI_VERSION of the interface that this package was written for."""

_PROCESSORS = {3: "x86", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64", 21: "ppc64le"}
"""ELF's numbers for processors, by the names that `platform.machine()` gives them."""


def path() -> str:
    """Where the library is: `HOROVOD_LIBRARY`, or `lib/libhorovod.so` beside this package."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return os.environ.get("HOROVOD_LIBRARY") or os.path.join(package, "lib", "libhorovod.so")


@functools.cache
def load() -> ctypes.CDLL:
    """The library; its functions release the GIL while they run.

    Raises `ImportError`, in one line that names the fix, if it is missing, was built for another
    platform, or belongs to another version of this package.
    """
    file = path()
    if not os.path.isfile(file):
        raise ImportError(
            f"Horovod's core library is missing: {file}; reinstall Horovod"
            " (pip install --force-reinstall horovod), or name a build of it in HOROVOD_LIBRARY"
        )
    try:
        library = ctypes.CDLL(file, mode=ctypes.RTLD_LOCAL)
    except OSError as error:
        raise ImportError(why_not_loaded(file, str(error))) from None
    if not hasattr(library, "horovod_abi_version"):
        raise ImportError(f"{file} is no build of Horovod's core library: unset HOROVOD_LIBRARY")
    found = library.horovod_abi_version()
    if found != ABI_VERSION:
        raise ImportError(
            f"{file} has version {found} of Horovod's C interface and this package needs version"
            f" {ABI_VERSION}: reinstall Horovod (pip install --force-reinstall horovod)"
        )
    return library


@functools.cache
def load_holding_gil() -> ctypes.PyDLL:
    """The same library; the GIL is held, which is faster, for calls that never block."""
    return ctypes.PyDLL(path(), handle=load()._handle)


def is_there() -> bool:
    """Whether the library is there and can be loaded."""
    try:
        load()
    except ImportError:
        return False
    return True


def why_not_loaded(file: str, error: str) -> str:
    """One line on why `file` could not be loaded, given the dynamic linker's `error`."""
    if not sys.platform.startswith("linux"):
        return f"this wheel of Horovod is built for Linux, and this machine runs {sys.platform}"
    built_for, here = processor_of(file), platform.machine()
    if built_for not in (None, here):
        return (
            f"this wheel of Horovod is built for {built_for}, and this machine is {here}:"
            f" install the wheel for {here}"
        )
    if "musl" in f"{sysconfig.get_config_var('SOABI')} {error}" or "Error relocating" in error:
        return (
            "this wheel of Horovod is built for glibc, and this Python runs on musl: use a glibc"
            " image (Debian, Ubuntu, ...) or build from source here"
        )
    return f"Horovod's core library cannot be loaded: {error}"


def processor_of(file: str) -> str | None:
    """The processor that the ELF file was built for; None if that cannot be read."""
    try:
        with open(file, "rb") as elf:
            head = elf.read(20)
    except OSError:
        return None
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return None
    number = struct.unpack_from("<H" if head[5] == 1 else ">H", head, 18)[0]
    return _PROCESSORS.get(number, f"ELF machine {number}")
