"""What the core library is compiled from: upstream's core, Gloo, and our C interface.

Upstream's CMake files are not used: they look for frameworks, CUDA and an installed MPI, and need
CMake itself. The core is a list of files and four definitions.
"""

from __future__ import annotations

from pathlib import Path

GLOO = "third_party/gloo/gloo"
GLOO_CONFIG = f"{GLOO}/config.h"

_COMMON = """
common controller fusion_buffer_manager group_table half logging message operations
parameter_manager process_set response_cache stall_inspector thread_pool timeline tensor_queue
ops/collective_operations ops/operation_manager optim/bayesian_optimization optim/gaussian_process
utils/env_parser
mpi/mpi_context mpi/mpi_controller ops/mpi_operations ops/adasum/adasum_mpi
ops/adasum_mpi_operations
gloo/gloo_context gloo/gloo_controller gloo/http_store gloo/memory_store ops/gloo_operations
"""

_GLOO = """
algorithm allgather allgatherv allreduce allreduce_local alltoall alltoallv barrier broadcast
context gather gatherv reduce scatter types common/linux common/logging mpi/context
rendezvous/context rendezvous/file_store rendezvous/hash_store rendezvous/prefix_store
rendezvous/store transport/address transport/buffer transport/context transport/device
transport/pair transport/unbound_buffer
"""

_BOOST = """
assert config core detail iterator lockfree mpl parameter predef preprocessor static_assert
type_traits utility
"""

_INCLUDES = [
    ".",
    "third_party/HTTPRequest/include",
    *(f"third_party/boost/{part}/include" for part in _BOOST.split()),
    "third_party/lbfgs/include",
    "third_party/eigen",
    "third_party/flatbuffers/include",
    "third_party/gloo",
]

DEFINES = ["HAVE_MPI=1", "HAVE_GLOO=1", "EIGEN_MPL2_ONLY=1", "NDEBUG"]

_CONFIG = """#pragma once
#define GLOO_VERSION_MAJOR 0
#define GLOO_VERSION_MINOR 5
#define GLOO_VERSION_PATCH 0
#define GLOO_VERSION 500
#define GLOO_USE_CUDA 0
#define GLOO_USE_NCCL 0
#define GLOO_USE_ROCM 0
#define GLOO_USE_RCCL 0
#define GLOO_USE_REDIS 0
#define GLOO_USE_IBVERBS 0
#define GLOO_USE_MPI 1
#define GLOO_USE_AVX 0
#define GLOO_USE_LIBUV 0
#define GLOO_HAVE_TRANSPORT_TCP 1
#define GLOO_HAVE_TRANSPORT_TCP_TLS 0
#define GLOO_HAVE_TRANSPORT_IBVERBS 0
#define GLOO_HAVE_TRANSPORT_UV 0
"""


def core_sources(tree: Path, core: Path) -> list[Path]:
    """Every file to compile: of the source `tree`, and of our folder `core`."""
    sources = [tree / f"horovod/common/{name}.cc" for name in _COMMON.split()]
    sources += [tree / f"{GLOO}/{name}.cc" for name in _GLOO.split()]
    tcp = sorted((tree / f"{GLOO}/transport/tcp").glob("*.cc"))
    return [*sources, *tcp, *sorted(core.rglob("*.cc"))]


def include_folders(tree: Path, core: Path) -> list[Path]:
    """Ours come first: `mpi.h` is the one in `core/mpi`."""
    return [core / "mpi", core, *(tree / folder for folder in _INCLUDES)]


def write_gloo_config(tree: Path) -> None:
    """The header that Gloo's CMake files would write."""
    (tree / GLOO_CONFIG).write_text(_CONFIG, encoding="utf-8")
