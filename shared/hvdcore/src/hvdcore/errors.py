"""Errors that the user can fix, and how a command line shows them.

Imports nothing heavy: it is loaded by every `--help`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "EXIT_USER_ERROR",
    "Problems",
    "UserError",
    "printable",
    "printable_name",
    "show_problems",
    "user_errors_exit",
    "without_passwords",
]

EXIT_USER_ERROR = 2
"""Exit code of a command whose input is wrong."""


class UserError(ValueError):
    """The user's input is wrong. Each problem is one line that names the field and the fix.

    Args:
        *problems: one line each; line breaks inside one are folded into spaces.
    """

    def __init__(self, *problems: str) -> None:
        self.problems: tuple[str, ...] = tuple(" ".join(p.split()) for p in problems)
        super().__init__("\n".join(self.problems))


class Problems:
    """Collects problems so that the user sees all of them at once.

    Example:
        >>> problems = Problems()
        >>> problems.add("epochs", "got 0; give a whole number of 1 or more")
        >>> problems.raise_if_any()
        Traceback (most recent call last):
        ...
        hvdcore.errors.UserError: epochs: got 0; give a whole number of 1 or more
    """

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, field: str, message: str) -> None:
        """Note that `field` is wrong; `message` says what was got and what to do."""
        self._lines.append(f"{field}: {message}")

    def extend(self, error: UserError) -> None:
        """Take over the problems of an error that was caught."""
        self._lines.extend(error.problems)

    @contextmanager
    def catching(self) -> Iterator[None]:
        """A UserError raised in the block is collected, and execution continues after the block."""
        try:
            yield
        except UserError as error:
            self.extend(error)

    def __bool__(self) -> bool:
        return bool(self._lines)

    def raise_if_any(self) -> None:
        """Raise one UserError with every problem collected, or do nothing.

        Raises:
            UserError: when at least one problem was added.
        """
        if self._lines:
            raise UserError(*dict.fromkeys(self._lines))


@contextmanager
def user_errors_exit() -> Iterator[None]:
    """A UserError in the block is printed on stderr, and the process exits with code 2.

    Raises:
        SystemExit: with code 2, in place of a UserError.
    """
    try:
        yield
    except UserError as error:
        show_problems(*error.problems)
        raise SystemExit(EXIT_USER_ERROR) from None


_CONTROL = re.compile("[\x00-\x08\x0b-\x1d\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab, line feed and the record separator, which marks lines of a log; and
those that turn the direction of what follows in the line."""
_BREAKS = re.compile("[\t\n\x1e\u2028\u2029]")


_PASSWORD = re.compile(r"(://[^:/@\s]*):[^/\s'\"]*@")
"""Of a URL, the password; it ends at the last @ before the path."""
_SIGNATURE = re.compile(
    r"([?&][\w-]*(?:token|password|secret|signature|key|sig)=)[^&\s'\"]+", re.IGNORECASE
)
"""Of a URL, the value of a query's field that lets anybody in who has it."""


def without_passwords(text: str) -> str:
    """The text with `***` for the passwords and signatures of its URLs. Libraries put the address
    of a tracking server, a proxy or a bucket into their errors, which end up in logs."""
    if "://" not in text:
        return text
    return _SIGNATURE.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))


def printable(text: str) -> str:
    """The text for a terminal or a log: control characters, which names of files and classes may
    contain, as the escapes of Python, so that they cannot move the cursor or change colors;
    without the passwords of URLs."""
    return _CONTROL.sub(_escape, without_passwords(text))


def printable_name(name: str) -> str:
    """A name for a terminal, on one line whatever it contains; see `printable`."""
    return _BREAKS.sub(_escape, printable(name))


def _escape(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode()


def show_problems(*problems: str) -> None:
    """Print one line a problem on stderr."""
    problems = tuple(map(printable, problems))
    # One write: under mpirun the pieces of a line written in parts mix with other ranks'.
    try:
        sys.stderr.write("".join(f"error: {problem}\n" for problem in problems))
        sys.stderr.flush()
    except OSError:  # a full disk; the exit code still says what it was
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
