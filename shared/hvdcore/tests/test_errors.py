"""User errors: one line each, all at once, exit code 2, no traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hvdcore.errors import Problems, UserError, show_problems, user_errors_exit


def test_problems_come_all_at_once_and_each_once() -> None:
    problems = Problems()
    problems.raise_if_any()
    assert not problems
    problems.add("epochs", "got 0; give 1 or more")
    problems.add("epochs", "got 0; give 1 or more")
    with problems.catching():
        raise UserError("a: wrong", "b: wrong\n  too")
    with pytest.raises(UserError) as caught:
        problems.raise_if_any()
    assert caught.value.problems == ("epochs: got 0; give 1 or more", "a: wrong", "b: wrong too")
    assert str(caught.value).count("\n") == 2
    assert isinstance(caught.value, ValueError)


def test_exit_prints_one_line_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, user_errors_exit():
        raise UserError("data: no such path", "np: too many")
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: data: no such path\nerror: np: too many\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:s3cret@host:5000/api failed", "http://me:***@host:5000/api failed"),
        ("to 'http://:s3@cret@host/x' (a@b)", "to 'http://:***@host/x' (a@b)"),
        ("s3://b/f?X-Amz-Signature=s3cret&part=1", "s3://b/f?X-Amz-Signature=***&part=1"),
        ("http://host:80/a@b?part=1, me:you@here", "http://host:80/a@b?part=1, me:you@here"),
    ],
)
def test_passwords_of_urls_are_not_shown(
    text: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Libraries put the address of a server into their errors; the last has no password."""
    show_problems(text)
    assert capsys.readouterr().err == f"error: {shown}\n"


def test_other_errors_pass() -> None:
    with pytest.raises(ValueError, match="a defect"), user_errors_exit():
        raise ValueError("a defect")


def test_a_process_exits_with_2_and_no_traceback() -> None:
    code = (
        "from hvdcore.errors import UserError, user_errors_exit\n"
        "with user_errors_exit():\n"
        "    raise UserError('data: no such path; check it')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: data: no such path; check it\n"
