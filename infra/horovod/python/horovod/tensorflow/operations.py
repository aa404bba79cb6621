"""Loads the TensorFlow operations: the compiled ones where they work, else ones made of Python.

The compiled library, `horovod/lib/libhorovod_tensorflow.so`, is one file for all releases of
TensorFlow. `HOROVOD_TENSORFLOW_OPERATIONS=python` (or `compiled`) chooses by hand. They are tested
when the first of them is needed, and not before: a script may choose its GPUs and threads by
`tf.config` as long as nothing has run.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

from horovod.common import library

import tensorflow as tf

__all__ = ["OPERATIONS", "why_python"]

_VERIFIED = range(16, 22)
"""Minor releases of TensorFlow 2 with which the compiled operations have been run."""

_SELF_TEST = "from horovod.tensorflow import operations as o; o.load_compiled(); o.check_compiled()"

why_python: str | None = None
"""Why the operations are those in Python; None if they are the compiled ones."""

_compiled: Any = None


def path() -> Path:
    """Where the compiled ones are: `HOROVOD_TENSORFLOW_LIBRARY`, or `lib/` of this package."""
    chosen = os.environ.get("HOROVOD_TENSORFLOW_LIBRARY")
    return Path(chosen or Path(library.path()).parent / "libhorovod_tensorflow.so")


def load_compiled() -> Any:
    """The module of compiled operations, connected with Horovod's core.

    Raises:
        ImportError: the library is missing, or does not fit this TensorFlow; in one line.
    """
    global _compiled
    if _compiled is not None:
        return _compiled
    library.load()
    if not path().is_file():
        raise ImportError(f"{path()} is missing; reinstall Horovod")
    try:
        module = tf.load_op_library(str(path()))
    except (tf.errors.OpError, OSError) as error:
        raise ImportError(f"{path()}: {error}") from None
    native = ctypes.CDLL(str(path()))
    for function in (native.horovod_tensorflow_error, native.horovod_tensorflow_connect):
        function.restype = ctypes.c_char_p
    problem = native.horovod_tensorflow_error()
    problem = problem or native.horovod_tensorflow_connect(os.fsencode(library.path()))
    if problem:
        raise ImportError(f"{path()}: {problem.decode()}")
    _compiled = module
    return module


def check_compiled() -> None:
    """Run one operation that ends later, eagerly and in a graph.

    Raises:
        ImportError: it fails, or answers wrong.
    """
    operation = load_compiled().horovod_self_test
    numbers = tf.constant([1.0, 2.0])
    try:
        with tf.device("CPU:0"):
            answers = [operation(numbers), _in_graph(operation, numbers)]
    except tf.errors.OpError as error:
        raise ImportError(f"{path()}: {error.message}") from None
    if any(answer.numpy().tolist() != [1.0, 2.0] for answer in answers):
        raise ImportError(f"{path()}: the self-test's answer is {answers}")


def _in_graph(operation: Any, numbers: Any) -> Any:
    graph = tf.function(lambda x: operation(x), autograph=False)
    return graph.get_concrete_function(tf.TensorSpec([2], tf.float32))(numbers)


class _TestedWhenNeeded:
    """The compiled operations; those in Python if the test fails, at the first that is needed."""

    def __init__(self, compiled: Any, must_work: bool) -> None:
        self._compiled, self._must_work = compiled, must_work

    def __getattr__(self, name: str) -> Any:
        if "_module" not in self.__dict__:
            self._module = self._tested()
        return getattr(self._module, name)

    def _tested(self) -> Any:
        try:
            with tf.init_scope():  # not in a graph that is being made
                if tf.executing_eagerly():
                    check_compiled()
            return self._compiled
        except ImportError as error:
            if self._must_work:
                raise
            return _in_python(error)


def _load() -> Any:
    global why_python
    wish = os.environ.get("HOROVOD_TENSORFLOW_OPERATIONS", "")
    if wish not in ("", "compiled", "python"):
        raise ImportError(
            f"HOROVOD_TENSORFLOW_OPERATIONS: got {wish!r}; give 'compiled' or 'python', or unset it"
        )
    if wish != "python":
        try:
            return _TestedWhenNeeded(_compiled_that_fit(), must_work=wish == "compiled")
        except ImportError as error:
            if wish == "compiled":
                raise
            return _in_python(error)
    why_python = "HOROVOD_TENSORFLOW_OPERATIONS=python"
    return _python_operations()


def _in_python(error: ImportError) -> Any:
    global why_python
    why_python = str(error)
    warnings.warn(
        f"horovod.tensorflow uses its slower operations in Python: {why_python}",
        RuntimeWarning,
        stacklevel=5,
    )
    return _python_operations()


def _python_operations() -> Any:
    library.load()
    from horovod.tensorflow import python_operations

    return python_operations


def _compiled_that_fit() -> Any:
    """The compiled operations.

    A release that is not known is tried in another process first, for a layout that differs could
    end the process; once for each release and user.
    """
    if not path().is_file():
        raise ImportError(f"{path()} is missing; reinstall Horovod")
    if not _known_release() and not _works_elsewhere():
        raise ImportError(f"the compiled operations do not work with TensorFlow {tf.__version__}")
    return load_compiled()


def _known_release() -> bool:
    major, minor = (int(part) for part in tf.__version__.split(".")[:2])
    return major == 2 and minor in _VERIFIED


def _works_elsewhere() -> bool:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "horovod"
    stamp = path().stat().st_mtime_ns
    record = cache / f"tensorflow-{tf.__version__}-{stamp}.json"
    try:
        return bool(json.loads(record.read_text())["works"])
    except (OSError, ValueError, KeyError):
        works = _run_self_test()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({"works": works}))
    except OSError:
        pass  # a home that cannot be written to costs a test at each import
    return works


def _run_self_test() -> bool:
    environment = {**os.environ, "HOROVOD_TENSORFLOW_OPERATIONS": "python"}
    for name in ("PMIX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK"):
        environment.pop(name, None)
    try:
        test = subprocess.run(
            [sys.executable, "-c", _SELF_TEST], env=environment, capture_output=True, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return test.returncode == 0


OPERATIONS = _load()
