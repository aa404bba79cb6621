"""Real jobs through horovodrun: arguments, output, exit codes, what is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hvdcore.errors import UserError
from hvdcore.launch.hosts.hosts import parse_hostfile
from hvdcore.launch.job.controllers import horovod_library, mpi_problem
from hvdcore.launch.launch import launch
from hvdcore.launch.supervisor.output import RankLog
from hvdcore.testing.ranks import run_ranks

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.skipif(horovod_library() is None, reason="Horovod is not installed"),
]
MPI = pytest.param(
    "mpi", marks=pytest.mark.skipif(mpi_problem() is not None, reason=str(mpi_problem()))
)
CONTROLLERS = [MPI, "gloo"]

NASTY = [
    "two words", "'", '"', "a'b\"c", ";", "$(touch /tmp/pwned)", "`id`", "$HOME", "*", "a\nb",
    "", " ", "\\", "--np", "-", "--", "=", "#x", "&", "|", "<>", "!", "~", "ü€𝄞", "%s", "{}",
]  # fmt: skip
ARGUMENTS = """
import os, sys
from hvdcore.testing.ranks import save_result
names = ["OMP_NUM_THREADS", "HVDCORE_EXPECTED_SIZE", "NASTY"]
save_result([[os.fsencode(a).hex() for a in sys.argv[1:]], [os.environ.get(n) for n in names]])
print("rank 0 says" if os.environ.get("HOROVOD_RANK", os.environ.get("OMPI_COMM_WORLD_RANK")) == "0"
      else "not for the user")
"""


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_arguments_arrive_byte_for_byte(tmp_path: Path, controller: str) -> None:
    script = tmp_path / "arguments.py"
    script.write_text(ARGUMENTS, encoding="utf-8")
    raw = os.fsdecode(b"\xff\xfe not UTF-8")
    command = [sys.executable, str(script), *NASTY, raw]
    result = run_ranks(
        command, 3, folder=tmp_path, controller=controller, env={"NASTY": "a b'\";\n$(id)"}
    ).check()
    expected = [os.fsencode(argument).hex() for argument in [*NASTY, raw]]
    assert sorted(result.results) == [0, 1, 2]
    for arguments, (threads, size, nasty) in result.results.values():
        assert arguments == expected
        assert (int(threads) >= 1, size, nasty) == (True, "3", "a b'\";\n$(id)")
    assert result.stdout == "rank 0 says\n"
    assert result.stderr == ""


def test_every_ranks_own_error_is_told_once(tmp_path: Path) -> None:
    script = """
import sys
from hvdcore.errors import UserError
from hvdcore.launch.supervisor.supervise import run_as_rank
def main():
    raise UserError("--data: no such path")
sys.exit(run_as_rank(main))
"""
    result = run_ranks(script, 2, folder=tmp_path, controller="gloo")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: --data: no such path\n"
    assert result.orphans == ()


def test_a_program_that_does_not_exist(tmp_path: Path) -> None:
    result = run_ranks(["/no/such/program"], 2, folder=tmp_path, controller="gloo")
    assert result.returncode == 2
    assert (
        result.stderr == "error: /no/such/program: cannot be started (No such file or directory)\n"
    )


def test_nothing_stays_in_the_temporary_folder(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    script = "import sys; print('x' * 300_000)"
    env = {"TMPDIR": str(tmp_path / "t")}
    result = run_ranks(script, 2, folder=tmp_path, env=env).check()
    assert result.stdout == "x" * 300_000 + "\n"
    assert list((tmp_path / "t").iterdir()) == []


def test_ranks_that_do_not_start_in_time(tmp_path: Path) -> None:
    """As from a slow file system: the ranks' Python takes a minute, horovodrun's does not."""
    slow = (
        "import sys, time\n"
        "if 'hvdcore.launch.supervisor.supervise' in sys.orig_argv:\n"
        "    time.sleep(60)\n"
    )
    (tmp_path / "sitecustomize.py").write_text(slow, encoding="utf-8")
    code = (
        "import sys; from hvdcore.launch.launch import launch;"
        "sys.exit(launch(['true'], 2, controller='gloo', start_timeout_seconds=3.0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "rank 0, 1 did not start within 3 s (--start-timeout)" in done.stderr


def test_a_host_that_lets_nobody_in(tmp_path: Path) -> None:
    """192.0.2.0/24 is for documentation: nobody answers there."""
    command = [sys.executable, "-c", "from hvdcore.cli import main; main()", "launch", "--np", "2"]
    done = subprocess.run(
        [*command, "--hosts", "192.0.2.77:2", "--start-timeout", "30", "true"],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: --hosts: 192.0.2.77 cannot be reached with ssh (")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"np": 0}, "--np: got 0"),
        ({"np": 3, "hosts": "localhost:2"}, "3 ranks do not fit"),
        ({"np": 2, "stall_timeout_seconds": 0.0}, "--stall-timeout: got 0"),
        ({"np": 2, "stall_timeout_seconds": float("inf")}, "--stall-timeout: got inf; give 1000"),
        ({"np": 2, "stall_timeout_seconds": float("nan")}, "--stall-timeout: got nan; give sec"),
        ({"np": 2, "start_timeout_seconds": -5.0}, "--start-timeout: got -5; give seconds above 0"),
        ({"np": 2, "start_timeout_seconds": float("nan")}, "--start-timeout: got nan"),
        ({"np": 10**20}, "--np: got 100000000000000000000; give 65536 or less"),
        ({"np": 2, "log_dir": Path("/dev/null")}, "/dev/null: cannot write: a file stands where"),
        ({"np": 2, "log_dir": Path("/dev/null/a")}, "/dev/null/a: cannot write: a part of"),
        ({"np": 2, "hosts": "no-such-host.invalid:2"}, "unknown host"),
    ],
)
def test_what_cannot_start_is_the_users_error(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        launch(["true"], **options)  # type: ignore[arg-type]


def test_an_endless_list_of_hosts() -> None:
    with pytest.raises(UserError, match="--hostfile: /dev/zero: more than 10 MB; give a list of"):
        parse_hostfile(Path("/dev/zero"))


def test_no_temporary_folder(tmp_path: Path) -> None:
    code = (
        "import sys, tempfile; from hvdcore.cli import main;"
        "tempfile._candidate_tempdir_list = lambda: ['/proc'];"
        "sys.argv = ['hvdcore', 'launch', '--np', '2', '--controller', 'gloo', 'true']; main()"
    )
    env = {**os.environ, "TMPDIR": "/proc"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: TMPDIR: no temporary file can be made (No usable temp")
    assert len(done.stderr.splitlines()) == 1


def test_a_rank_without_a_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc")  # as on another host
    with pytest.raises(UserError, match="TMPDIR: no temporary file can be made"):
        RankLog(1, None)
    with pytest.raises(UserError, match="give another --log-dir"):
        RankLog(1, Path("/dev/null"))


def test_the_command_line_passes_options_of_the_command_on(tmp_path: Path) -> None:
    script = "import sys; from hvdcore.testing.ranks import save_result; save_result(sys.argv[1:])"
    path = tmp_path / "show.py"
    path.write_text(script, encoding="utf-8")
    command = [sys.executable, str(path), "--np", "7", "--help", "--", "-x"]
    result = run_ranks(command, 1, folder=tmp_path, controller="gloo").check()
    assert result.results == {0: ["--np", "7", "--help", "--", "-x"]}


def test_help_loads_no_framework() -> None:
    code = (
        "import sys, json\n"
        "heavy = {'torch', 'tensorflow', 'horovod', 'numpy'}\n"
        "from hvdcore.cli import app\n"
        "try: app(['launch', '--help'])\n"
        "except SystemExit: pass\n"
        "print(json.dumps(sorted(heavy & sys.modules.keys())))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_what_rank_1_printed_is_not_lost_without_a_word(tmp_path: Path) -> None:
    """Sixteen ranks, whatever the number of cores: one line for all of them."""
    rank = [sys.executable, "-c", "print('hello')"]
    command = [sys.executable, "-m", "hvdcore", "launch", "--np", "16"]
    done = subprocess.run([*command, *rank], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr
    assert (
        done.stderr == "[rank 1] printed 1 line more; --log-dir DIR keeps what every rank prints\n"
    )
    logs = ["--log-dir", str(tmp_path)]
    done = subprocess.run([*command, *logs, *rank], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")
    assert (tmp_path / "rank-15.log").read_text() == "hello\n"
