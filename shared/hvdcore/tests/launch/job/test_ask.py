"""Asking a host: PYTHONPATH arrives there and stands in no command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hvdcore.errors import UserError
from hvdcore.launch.hosts import ask

# In ssh's place: notes its arguments, and runs the line that they end with, as sshd does.
SSH = """#!/bin/sh
echo "$@" > "$(dirname "$0")/arguments"
for line; do :; done
exec env -i PATH="$PATH" sh -c "$line"
"""


def test_the_python_path_goes_by_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ssh").write_text(SSH, encoding="utf-8")
    (tmp_path / "ssh").chmod(0o755)
    secret = tmp_path / "a secret 'place'"
    folder = secret / "hvdcore_seen"
    folder.mkdir(parents=True)
    # Python runs it at its start, wherever PYTHONPATH leads.
    (secret / "sitecustomize.py").write_text(
        f"import os\nopen({str(tmp_path / 'seen')!r}, 'w').write(os.environ['PYTHONPATH'])\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(secret))
    code, out, err = ask._run("elsewhere", ask._question("hvdcore", []))
    assert (code, ask.MARK in out) == (0, True), err
    assert (tmp_path / "seen").read_text(encoding="utf-8") == str(secret)
    arguments = (tmp_path / "arguments").read_text(encoding="utf-8")
    assert "secret" not in arguments
    assert sys.executable in arguments, "control: the line is the one that was sent"


@pytest.mark.parametrize(
    "answer", ["{}", "[]", "nonsense", '{"route": 7, "python": "3"}', "[" * 99999]
)
def test_the_answer_of_another_release_is_an_error_of_one_line(answer: str) -> None:
    with pytest.raises(UserError, match="another form; install the same release") as caught:
        ask._answer("elsewhere", 0, f"welcome\n{ask.MARK}{answer}\n", "")
    assert len(caught.value.problems) == 1
