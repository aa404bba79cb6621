"""Horovod on Spark, as upstream has it; it needs PySpark, which Horovod does not install.

After horovod/spark/__init__.py of Horovod 0.28.1, copyright 2020 Uber Technologies, Inc., Apache
License 2.0.
"""

import importlib.util

if importlib.util.find_spec("pyspark") is None:
    raise ImportError(
        "horovod.spark needs PySpark: pip install pyspark. Without Spark, ranks are started by "
        "horovodrun, mpirun, horovod.run or horovod.ray"
    )

# ruff: noqa: F401 (names for users, after the check)
import horovod.spark.common._namedtuple_fix
from horovod.spark.runner import run, run_elastic
