"""`hvdcore.launch.run`: functions on real ranks, from a script and from a notebook's cell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from hvdcore.errors import UserError
from hvdcore.launch import RankError, run
from hvdcore.launch.job.controllers import horovod_library
from hvdcore.launch.supervisor.processes import find_orphans

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.skipif(horovod_library() is None, reason="Horovod is not installed"),
]


def place_and_sum(factor: int, *, offset: int = 0) -> tuple[int, int, float]:
    import numpy as np

    import hvdcore.torch

    world = hvdcore.torch.init()
    print(f"rank {world.rank} of {world.size} speaks", flush=True)
    total = hvdcore.torch.allreduce_sum(np.array([factor * (world.rank + 1.0) + offset]))
    return world.rank, world.size, float(total[0])


def fail_on_rank_1() -> None:
    import numpy as np

    import hvdcore.torch

    world = hvdcore.torch.init()
    if world.rank == 1:
        raise KeyError("no such batch")
    hvdcore.torch.allreduce_sum(np.ones(3))  # waits for rank 1, and fails as a consequence


def end_hard_on_rank_1() -> None:
    import hvdcore.torch

    if hvdcore.torch.init().rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    hvdcore.torch.barrier()


def test_values_come_back_in_rank_order(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    values = run(place_and_sum, (10,), {"offset": 1}, np=3, controller="gloo")
    # 10 (1 + 2 + 3) + 3 * 1
    assert values == [(0, 3, 63.0), (1, 3, 63.0), (2, 3, 63.0)]
    assert capsys.readouterr().out == "rank 0 of 3 speaks\n"


def test_the_exception_of_the_rank_that_failed_is_raised() -> None:
    pytest.importorskip("torch")
    with pytest.raises(RankError, match="rank 1 failed: KeyError") as caught:
        run(fail_on_rank_1, controller="gloo")
    assert caught.value.rank == 1
    assert isinstance(caught.value.__cause__, KeyError)
    assert 'raise KeyError("no such batch")' in str(caught.value)
    assert "function_rank.py" not in str(caught.value)


def test_a_rank_that_is_killed_is_named() -> None:
    pytest.importorskip("torch")
    with pytest.raises(RankError, match="rank 1 was killed by SIGKILL") as caught:
        run(end_hard_on_rank_1, controller="gloo")
    assert (caught.value.rank, caught.value.traceback) == (1, "")


def test_what_cannot_be_sent_is_told_in_one_line(tmp_path: Path) -> None:
    lock = threading.Lock()
    with pytest.raises(UserError, match=r"^fn: .* cannot be sent to the ranks \(TypeError"):
        run(lambda: lock)
    with pytest.raises(UserError, match="fn: got str; give a function"):
        run("train")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="work_dir: got none; with hosts"):
        run(print, hosts="a:1,b:1")
    assert run(len, ("abc",), np=1) == [3]  # the control


NOTEBOOK_CELLS = [
    "scale = 7\ndef train(step):\n    print('the loss falls', flush=True)\n"
    "    if step < 0:\n        raise ValueError('before the first step')\n"
    "    return step * scale",
    "from hvdcore.launch import run\nprint(run(train, (6,), np=2, controller='gloo'))",
    "try:\n    run(train, (-1,), np=2, controller='gloo')\n"
    "except RuntimeError as error:\n    print(error)",
]


def test_from_a_cell_of_a_notebook(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    book = nbformat.v4.new_notebook()
    book.cells = [nbformat.v4.new_code_cell(text) for text in NOTEBOOK_CELLS]
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(book, timeout=300, resources=where).execute()
    printed = ["".join(out.get("text", "") for out in cell.outputs) for cell in book.cells]
    assert printed[1] == "the loss falls\n[42, 42]\n"
    assert "ValueError: before the first step" in printed[2]
    assert "    raise ValueError('before the first step')\n" in printed[2]  # the cell's own line


INTERRUPTED = """
import os, time
from hvdcore.launch import run

def wait_for_ever():
    print("begun", flush=True)
    time.sleep(10_000)

try:
    run(wait_for_ever, np=2, controller="gloo")
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_an_interrupt_ends_the_ranks(tmp_path: Path) -> None:
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED, encoding="utf-8")
    env = {**os.environ, "RUN_TEST_MARKER": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, str(script)], env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        assert len(find_orphans("RUN_TEST_MARKER", str(tmp_path))) > 3  # the control: they run
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "interrupted\n"
        assert process.wait(60) == 0
    deadline = time.monotonic() + 60
    while left := find_orphans("RUN_TEST_MARKER", str(tmp_path)):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def test_the_files_are_for_this_user_alone(tmp_path: Path) -> None:
    def look(folder: str) -> Any:
        found = sorted(Path(folder).rglob("*"))
        return [(p.name, oct(p.stat().st_mode & 0o077)) for p in found]

    (seen,) = run(look, (str(tmp_path),), np=1, work_dir=tmp_path)
    assert {mode for _, mode in seen} == {"0o0"}
    assert {"call.pickle", "call.json", "job.json"} <= {name for name, _ in seen}
    assert list(tmp_path.iterdir()) == []
    assert json.dumps(seen)
