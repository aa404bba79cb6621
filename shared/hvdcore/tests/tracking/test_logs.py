from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

SPEAK = """
import logging, sys
from pathlib import Path
from hvdcore.tracking.logs import get_logger, setup_logging
from hvdcore.launch.supervisor.supervise import run_as_rank
from hvdcore.runtime.world import World, world_from_environment
def main():
    setup_logging(world_from_environment(), Path(sys.argv[1]))
    log = get_logger("some.module")
    log.debug("details")
    log.info("loss %.1f", 1.5)
    log.warning("slow")
    logging.getLogger("a.library").info("chatter")
sys.exit(run_as_rank(main))
"""


def speak(folder: Path, rank: int, size: int) -> tuple[str, str, str]:
    """Console output, console errors and the log of a rank."""
    world = {"RANK": rank, "SIZE": size, "LOCAL_RANK": rank, "LOCAL_SIZE": size}
    env = {**os.environ, **{f"HOROVOD_{k}": str(v) for k, v in world.items() if size > 1}}
    with socket.create_server(("127.0.0.1", 0)) as launcher:
        place = dict(zip(("ADDR", "PORT"), launcher.getsockname(), strict=True))
        env.update({f"HOROVOD_GLOO_RENDEZVOUS_{k}": str(v) for k, v in place.items()})
        done = subprocess.run(
            [sys.executable, "-c", SPEAK, str(folder)],
            env=env,
            capture_output=True,
            text=True,
            check=True,
            cwd=folder,
        )
    log = (folder / "logs" / f"rank-{rank}.log").read_text(encoding="utf-8")
    return done.stdout, done.stderr, log


def test_one_rank_alone_speaks_and_writes_its_log(tmp_path: Path) -> None:
    out, err, log = speak(tmp_path, 0, 1)
    assert (out, err) == ("loss 1.5\n", "warning: slow\n")
    assert [line.split(" ", 2)[2] for line in log.replace("warning: ", "").splitlines()] == [
        "some.module: loss 1.5",
        "some.module: slow",
    ]


def test_rank_0_of_many_speaks_and_its_supervisor_writes_the_log(tmp_path: Path) -> None:
    out, err, log = speak(tmp_path, 0, 2)
    assert (out, err) == ("loss 1.5\n", "warning: slow\n")
    assert sorted(log.splitlines()) == ["loss 1.5", "warning: slow"]


def test_the_others_only_warn(tmp_path: Path) -> None:
    out, err, log = speak(tmp_path, 1, 2)
    assert (out, err) == ("", "[rank 1] warning: slow\n")
    assert sorted(log.splitlines()) == ["loss 1.5", "warning: slow"]


def test_each_line_is_one_write(tmp_path: Path) -> None:
    """Two processes write 2,000 long lines into one pipe; no line is torn."""
    code = (
        "from hvdcore.tracking.logs import *; from hvdcore.runtime.world import World\n"
        "import sys\n"
        "setup_logging(World(0, 1, 0, 1, 'none'), None)\n"
        "for _ in range(1000): get_logger('x').info(sys.argv[1] * 1000)"
    )
    read, write = os.pipe()
    writers = [
        subprocess.Popen([sys.executable, "-c", code, letter], stdout=write) for letter in "ab"
    ]
    os.close(write)
    with os.fdopen(read, encoding="ascii") as pipe:
        lines = pipe.read().splitlines()
    assert [writer.wait() for writer in writers] == [0, 0]
    assert sorted(set(lines)) == ["a" * 1000, "b" * 1000]
    assert len(lines) == 2000
