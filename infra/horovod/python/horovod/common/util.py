"""What is installed and built, and small functions that several frameworks share.

After horovod/common/util.py of Horovod 0.28.1, copyright 2016 The TensorFlow Authors, 2019 Uber
Technologies, Inc. and Microsoft, Apache License 2.0. Here no question loads a framework.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import sysconfig
import warnings
from contextlib import contextmanager

from horovod.common import library

EXTENSIONS = ["tensorflow", "torch", "mxnet"]
"""Frameworks that upstream has; mxnet, which has no release for today's Python, is never there."""


def get_ext_suffix() -> str:
    """The ending of an extension module's file name under this Python."""
    return sysconfig.get_config_var("EXT_SUFFIX") or ".so"


def get_extension_full_path(pkg_path, *args) -> str:
    """The path of the library that all frameworks share, in place of an extension of their own."""
    return library.path()


def check_extension(ext_name, ext_env_var=None, pkg_path=None, *args) -> None:
    """Raises ImportError, with the fix in one line, if `ext_name` cannot be used here."""
    library.load()
    if ext_name.rsplit(".", 1)[-1] == "mxnet":
        raise ImportError(
            "this build of Horovod has no MXNet, which has had no release since 2022; there are"
            " horovod.numpy, horovod.torch, horovod.tensorflow, horovod.keras and horovod.jax"
        )


def check_installed_version(name, version, exception=None) -> None:
    """Raises `exception` if there is one: Horovod is bound to no version of a framework."""
    if exception is not None:
        raise exception


def _cache(f):
    cache = {}

    @functools.wraps(f)
    def wrapper(*args, **kwargs):
        key = (args, frozenset(kwargs.items()))
        if key not in cache:
            cache[key] = f(*args, **kwargs)
        return cache[key]

    return wrapper


def extension_available(ext_base_name, verbose=False) -> bool:
    """Whether `horovod.EXT_BASE_NAME` can be imported: the framework and the library are there."""
    module = f"horovod.{ext_base_name}"
    there = (
        ext_base_name != "mxnet"
        and library.is_there()
        and _findable(ext_base_name)
        and _findable(module)
    )
    return _told(there, f"Extension {ext_base_name}", "built", verbose)


def _findable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _told(answer: bool, subject: str, what: str, verbose: bool) -> bool:
    if verbose:
        print(f"{subject} {'was' if answer else 'was NOT'} {what}.")
    return answer


@_cache
def gpu_available(ext_base_name, verbose=False) -> bool:
    """Whether Horovod can use a GPU here: never, as this build communicates between CPUs."""
    return _told(False, f"Extension {ext_base_name}", "running with GPU", verbose)


def _library_says(function: str, what: str, verbose: bool) -> bool | None:
    if not library.is_there():
        return None
    built = getattr(library.load(), function)
    built.restype = ctypes.c_int if "nccl" in function else ctypes.c_bool
    return _told(bool(built()), "Horovod", f"built with {what}", verbose)


@_cache
def mpi_built(verbose=False) -> bool | None:
    """Whether an MPI library is found and loads; None if Horovod's own is missing."""
    return _library_says("horovod_mpi_built", "MPI", verbose)


@_cache
def gloo_built(verbose=False) -> bool | None:
    """Whether the library has Gloo; None if the library is missing."""
    return _library_says("horovod_gloo_built", "Gloo", verbose)


@_cache
def nccl_built(verbose=False) -> bool | None:
    """Whether the library has NCCL; None if the library is missing."""
    return _library_says("horovod_nccl_built", "NCCL", verbose)


@_cache
def ddl_built(verbose=False) -> bool | None:
    """Whether the library has DDL; None if the library is missing."""
    return _library_says("horovod_ddl_built", "DDL", verbose)


@_cache
def ccl_built(verbose=False) -> bool | None:
    """Whether the library has oneCCL; None if the library is missing."""
    return _library_says("horovod_ccl_built", "CCL", verbose)


@contextmanager
def env(**kwargs):
    """Sets environment variables, those that are not None, inside a with block."""
    values = {name: value for name, value in kwargs.items() if value is not None}
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def get_average_backwards_compatibility_fun(reduce_ops):
    """A function (op, average) -> op that still understands the old `average` parameter.

    Both together are a ValueError; neither means Average.
    """

    def impl(op, average):
        if op is not None:
            if average is not None:
                raise ValueError(
                    "The op parameter supersedes average. Please provide only one of them."
                )
            return op
        if average is None:
            return reduce_ops.Average
        warnings.warn(
            "Parameter `average` has been replaced with `op` and will be removed in v1.0",
            DeprecationWarning,
            stacklevel=2,
        )
        return reduce_ops.Average if average else reduce_ops.Sum

    return impl


def num_rank_is_power_2(num_rank: int) -> bool:
    """Whether the number of ranks is a power of two, which Adasum asks for."""
    return num_rank != 0 and (num_rank & (num_rank - 1)) == 0


def split_list(l, n):  # noqa: E741
    """The list in n parts whose lengths differ by at most one, the longer ones first."""
    d, r = divmod(len(l), n)
    return [l[i * d + min(i, r) : (i + 1) * d + min(i + 1, r)] for i in range(n)]


def is_iterable(x) -> bool:
    """Whether `iter(x)` works."""
    try:
        iter(x)
    except TypeError:
        return False
    return True


@_cache
def is_version_greater_equal_than(ver: str, target: str) -> bool:
    """Whether version `ver` is at least `target`, which is written major.minor.patch."""
    from packaging import version

    if not isinstance(ver, str) or not isinstance(target, str):
        raise ValueError(f"This function only accepts string arguments, not {ver!r}, {target!r}")
    if len(target.split(".")) != 3:
        raise ValueError(f"target must be written major.minor.patch, not {target!r}")
    return version.parse(ver) >= version.parse(target)
