"""Homes, names, encodings, readers and working folders as containers and pipelines have them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hvdcore.errors import UserError
from hvdcore.files import cache
from hvdcore.files.cache import default_cache_dir, expand_user
from hvdcore.files.json_files import read_json_object, write_json_atomically
from hvdcore.launch.job.controllers import _first_sentence
from hvdcore.runtime.environment import python_module
from hvdcore.tracking.metrics_log import MetricsLog

RAW = os.fsdecode(b"caf\xe9")
"""A name that is no UTF-8."""

APP = """
import sys
from hvdcore.command_line import create_app
from hvdcore.errors import UserError
from hvdcore.runtime.world import World
from hvdcore.tracking.logs import get_logger, setup_logging
import typer

app = create_app("app", "An app.", "hvdcore")

@app.command()
def say(text: str, times: int = 1) -> None:
    setup_logging(World(0, 1, 0, 1, "none"), None)
    for _ in range(times):
        typer.echo(f"echo {text}")
        get_logger("app").info("log %s", text)
    if times == 1:
        raise UserError(f"field: {text}")

@app.command()
def other() -> None: ...

app()
"""


def run(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    script = folder / "app.py"
    script.write_text(APP, encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(script), "say", *arguments],
        env={**os.environ, **env},
        capture_output=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("text", ["日本", RAW, "plain"], ids=["other", "raw", "plain"])
def test_no_text_and_no_encoding_ends_a_program(tmp_path: Path, text: str, encoding: str) -> None:
    done = run(tmp_path, text, PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: field: ")
    assert b"Traceback" not in done.stderr
    assert done.stdout.startswith(b"echo ")
    assert done.stdout.splitlines()[1].startswith(b"log ")
    if text == "plain":
        assert done.stdout == b"echo plain\nlog plain\n"


def test_a_reader_that_leaves_ends_a_program_silently(tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text(APP, encoding="utf-8")
    line = f"'{sys.executable}' '{script}' say hello --times 20000 | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=False, timeout=120)
    assert (done.stdout, done.stderr) == (b"echo hello\n", b"")


@pytest.mark.parametrize(
    ("words", "streams", "code", "told"),
    [
        ("say hello --times 3", ">&-", 0, ""),
        ("say hello", ">&-", 2, "error: field: hello"),
        ("say hello", "2>&-", 2, ""),
        ("say hello", "<&- >&- 2>&-", 2, ""),
        ("say hello", "2>/dev/full", 2, ""),
        ("--help", ">&-", 0, ""),
        ("--help", ">/dev/full", 1, "error: No space left on device: standard output or"),
        ("say hello --times 3", ">/dev/full", 1, "error: No space left on device: standard output"),
    ],
)
def test_closed_and_full_streams(
    tmp_path: Path, words: str, streams: str, code: int, told: str
) -> None:
    script = tmp_path / "app.py"
    script.write_text(APP, encoding="utf-8")
    line = f"exec '{sys.executable}' '{script}' {words} {streams}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=False, timeout=120)
    assert done.returncode == code
    errors = [e for e in done.stderr.decode().splitlines() if not e.startswith(("echo", "log"))]
    assert [e for e in errors if not e.startswith("error: ")] == []
    assert told in "".join(errors)


@pytest.mark.parametrize("opens", [True, False], ids=["opened", "control"])
def test_no_file_takes_the_number_of_a_closed_stream(tmp_path: Path, opens: bool) -> None:
    script = tmp_path / "app.py"
    code = "import sys\nfrom hvdcore.runtime.standard_streams import open_closed_streams\n"
    code += "open_closed_streams()\n" if opens else ""
    script.write_text(code + "sys.exit(open('data', 'w').fileno())\n", encoding="utf-8")
    line = f"cd '{tmp_path}'; exec '{sys.executable}' app.py <&- >&- 2>&-"
    number = subprocess.run(["bash", "-c", line], check=False, timeout=120).returncode
    assert (number > 2) == opens


def test_names_that_are_no_utf8_go_through_json(tmp_path: Path) -> None:
    write_json_atomically(tmp_path / "a.json", {"name": RAW})
    assert read_json_object(tmp_path / "a.json") == {"name": RAW}
    assert (tmp_path / "a.json").read_bytes().isascii()
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"step": 1, "name": RAW})
    assert json.loads((tmp_path / "metrics.jsonl").read_text("utf-8"))["name"] == RAW


def no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unknown(path: str) -> str:
        return path

    for name in ("HOME", "XDG_CACHE_HOME", "TEXTGEN_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", unknown)  # as for a user without an entry
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))


def test_without_a_home_the_cache_is_a_private_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_home(monkeypatch, tmp_path)
    expected = tmp_path / f"hvdcore-cache-{os.getuid()}"
    assert default_cache_dir("textgen") == expected / "textgen"
    assert expected.stat().st_mode & 0o777 == 0o700
    assert expand_user("~/data") == Path("~/data")
    expected.rmdir()
    expected.symlink_to(tmp_path)
    with pytest.raises(UserError, match="not a folder of ours; set XDG_CACHE_HOME"):
        default_cache_dir("textgen")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    assert default_cache_dir("textgen") == tmp_path / "own" / "textgen", "control"


@pytest.mark.parametrize("version", [sys.version_info, (3, 10)])
def test_a_file_of_the_working_folder_is_no_module_of_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...]
) -> None:
    """By -P, and as Python 3.10 has to do without it."""
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.chdir(tmp_path)
    Path("random.py").write_text("raise SystemExit('the wrong random')", encoding="utf-8")
    command = python_module("hvdcore")
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    plain = [sys.executable, "-c", "import random"]
    assert subprocess.run(plain, capture_output=True, check=False).returncode == 1, "control"
    Path("mine.py").write_text("print('found')", encoding="utf-8")
    done = subprocess.run(python_module("mine"), capture_output=True, text=True, check=False)
    assert done.stdout == "found\n", "a module of the user's own is run from here"


def test_a_working_folder_that_was_removed(tmp_path: Path) -> None:
    """Libraries and other ranks ask for its path: MKL then says that it cannot load itself."""
    script = 'cd "$1" && rmdir "$1" && shift && exec "$0" -m hvdcore "$@"'
    for verb, code in (("runs", 2), ("--help", 0)):
        (tmp_path / "gone").mkdir()
        command = ["sh", "-c", script, sys.executable, str(tmp_path / "gone"), verb]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        line = "error: working folder: it cannot be found (No such file or directory)"
        assert done.stderr.startswith(line if code else "")
        assert done.stderr.count("\n") == (1 if code else 0)


def test_of_open_mpis_message_the_words_are_shown() -> None:
    rule = "=" * 60
    text = f"{rule}\nmpirun has detected an attempt\nto run as root.\n\nMore text.\n{rule}\n"
    assert _first_sentence(text) == "mpirun has detected an attempt to run as root."
    assert _first_sentence(rule) == ""
