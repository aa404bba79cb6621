"""What ranks print arrives whole, in bounded memory, whatever it is and wherever it goes."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import psutil
import pytest
from runner_jobs import environment, horovodrun, run, running

pytest.importorskip("horovod.runner")

from horovod.runner.common.util import safe_shell_exec

ONE = ("-np", "1", "--disable-cache", "--gloo")
MB = 1 << 20


def forward(said: bytes, target: io.TextIOBase, index: int | None = 3) -> None:
    """Lets a real process say something, and forwards it to `target`."""
    code = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
    # Its standard input stays open for as long as we live, so that it is told the length.
    code = code.replace("read()", f"read({len(said)})")
    command = [sys.executable, "-c", code]
    assert safe_shell_exec.execute(command, stdout=target, index=index, stdin=said) == 0


class Pieces(io.StringIO):
    """Keeps the length of each piece that is written."""

    def __init__(self) -> None:
        super().__init__()
        self.lengths: list[int] = []

    def write(self, text: str) -> int:
        self.lengths.append(len(text))
        return super().write(text)


CASES = {
    "lines": (b"a\nb\n", "[3]<stdout>:a\n[3]<stdout>:b\n"),
    "no end": (b"a\nb", "[3]<stdout>:a\n[3]<stdout>:b"),
    "a progress bar": (b"1%\r2%\rdone\n", "[3]<stdout>:1%\r[3]<stdout>:2%\r[3]<stdout>:done\n"),
    "empty lines": (b"\n\n", "[3]<stdout>:\n[3]<stdout>:\n"),
    "nothing": (b"", ""),
    "Latin-1": (b"caf\xe9\n", "[3]<stdout>:caf\ufffd\n"),
    "a character that is cut": (b"caf\xc3", "[3]<stdout>:caf\ufffd"),
    "zeros": (b"\0\0\n", "[3]<stdout>:\0\0\n"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_said_arrives(case: str) -> None:
    said, expected = CASES[case]
    target = io.StringIO(newline="")
    forward(said, target)
    assert target.getvalue() == expected


def test_characters_over_the_borders_of_reads() -> None:
    said = "\u20ac" * 100_000 + "\n" + "x\u00e9" * 100_000
    target = io.StringIO(newline="")
    forward(said.encode(), target, index=None)
    assert target.getvalue() == said


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_line_of_20_megabytes_is_one_line_in_pieces(end: str) -> None:
    said = "0123456789" * (2 * MB) + end
    target = Pieces()
    forward(said.encode(), target)
    assert target.getvalue() == "[3]<stdout>:" + said
    assert max(target.lengths) < MB


def test_control_short_lines_come_in_pieces_of_whole_lines() -> None:
    target = Pieces()
    forward(b"short\n" * 1000, target)
    assert target.getvalue() == "[3]<stdout>:short\n" * 1000
    assert all(length % len("[3]<stdout>:short\n") == 0 for length in target.lengths)


@pytest.mark.ranks
@pytest.mark.parametrize("number_of_mb", [20, 80])
def test_a_rank_that_never_ends_its_line(number_of_mb: int, tmp_path: Path) -> None:
    code = "import sys, time; "
    code += f"[sys.stdout.write('x' * {MB}) for _ in range({number_of_mb})]"
    with running(horovodrun(*ONE, sys.executable, "-c", code)) as process:
        assert process.stdout is not None
        launcher, count, most = psutil.Process(process.pid), 0, 0
        while part := os.read(process.stdout.fileno(), MB):
            count += part.count(b"x")
            if process.poll() is None:
                most = max(most, launcher.memory_info().rss)
        assert process.wait(240) == 0
    assert count == number_of_mb * MB
    # Python and its modules take some 40 MB.
    assert most < 80 * MB


@pytest.mark.ranks
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_knows_fewer_characters(encoding: str) -> None:
    code = "import sys; sys.stdout.buffer.write('\u00e9\u20ac\\n'.encode() * 20000)"
    env = environment(PYTHONIOENCODING=encoding)
    done = run(horovodrun(*ONE, sys.executable, "-c", code), env, encoding="latin-1")
    assert done.returncode == 0, done.stderr
    line = "\u00e9\u20ac".encode(encoding, "backslashreplace").decode("latin-1")
    assert done.stdout == f"[0]<stdout>:{line}\n" * 20000


@pytest.mark.ranks
def test_files_of_ranks(tmp_path: Path) -> None:
    words = ("-np", "2", "--gloo", "--output-filename", str(tmp_path / "out"))
    code = "import os, sys; print('rank', os.environ['HOROVOD_RANK']); sys.stderr.write('caf\\xe9')"
    env = environment(PYTHONIOENCODING="latin-1")
    done = run(horovodrun(*words, sys.executable, "-c", code), env)
    assert done.returncode == 0, done.stderr
    for rank in range(2):
        folder = tmp_path / "out" / f"rank.{rank}"
        assert (folder / "stdout").read_text() == f"[{rank}]<stdout>:rank {rank}\n"
        assert (folder / "stderr").read_text() == f"[{rank}]<stderr>:caf\ufffd"
