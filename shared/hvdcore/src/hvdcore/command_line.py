"""The frame of every command line: panels in `--help`, `--version`, completion, one error style.

Help is printed as plain text under the names of the panels: Rich's boxes cost half a second of a
processor, and break lines at half the terminal's width.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from hvdcore.errors import (
    EXIT_USER_ERROR,
    UserError,
    show_problems,
    user_errors_exit,
    without_passwords,
)
from hvdcore.runtime.process_limit import advice, is_reached
from hvdcore.runtime.signals import own_process
from hvdcore.runtime.standard_streams import discard, open_closed_streams

__all__ = ["App", "create_app", "version_text"]

PANELS = (
    "Arguments", "Data", "Model", "Optimization", "Ranks and hosts", "Elastic", "Output",
)  # fmt: skip
"""The panels of `--help` in their order. Others follow in the order of their options; what stands
in no panel comes last."""

_LONGEST_NAME = 60
"""Characters of a name that are shown."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Without a file name: what a write says, and opening never does."""

FRAMEWORKS = ("torch", "tensorflow", "keras", "transformers")

# Newer releases of Typer carry their own Click, older ones import it: both call their common
# exception so, and Typer exports one of its children alone.
_ClickException: Any = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)


class App(typer.Typer):
    """A Typer application whose commands show their options in panels."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """As `typer.Typer.command`."""
        return super().command(name, cls=PanelCommand, **settings)


def create_app(command: str, help: str, package: str) -> App:
    """The application of one command line.

    Args:
        command: what is typed, `image-cls`.
        help: one sentence.
        package: the distribution whose version `--version` shows, `image_cls`.
    """
    app = App(
        name=command,
        cls=ErrorLineGroup,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    def show_version(wanted: bool) -> None:
        if wanted:
            typer.echo(version_text(command, package))
            raise typer.Exit()

    @app.callback(help=help)
    def options(
        version: bool = typer.Option(
            False, "--version", is_eager=True, callback=show_version,
            help="Show the versions of this program, Horovod and the frameworks, and exit.",
        ),
    ) -> None: ...  # fmt: skip

    return app


def version_text(command: str, package: str) -> str:
    """The versions that are installed, one a line; no framework is loaded to find out."""
    import platform

    from hvdcore.runtime.software import git_state, package_versions

    others = dict.fromkeys(["hvdcore", "horovod", *FRAMEWORKS])
    versions = package_versions([package, *others])
    state = git_state(package)
    commit = ""
    if state is not None:
        changed = ", with changes" if state["changed_files"] else ""
        commit = f" (commit {state['commit'][:12]}{changed})"
    lines = [f"{command} {versions.pop(package, 'not installed')}{commit}"]
    lines += [f"{name} {version}" for name, version in versions.items()]
    return "\n".join([*lines, f"Python {platform.python_version()}"])


class PanelCommand(TyperCommand):
    """A command whose help lists the options under the names of their panels."""

    def invoke(self, ctx: Any) -> Any:
        """Run it, in a working folder that is there: libraries and other ranks ask for its path.

        Raises:
            UserError: the folder was removed.
        """
        try:
            os.getcwd()
        except OSError as error:
            raise UserError(
                f"working folder: it cannot be found ({error.strerror}), as it was removed or "
                "unmounted; cd to one that exists"
            ) from None
        return super().invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one section a panel."""
        panels: dict[str, list[tuple[str, str]]] = {name: [] for name in PANELS}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                panels.setdefault(_panel(parameter), []).append(record)
        panels["Options"] = panels.pop("Options", [])
        for name, rows in panels.items():
            if rows:
                with formatter.section(name):
                    formatter.write_dl(rows)


def _panel(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return "Arguments"
    # Typer leaves its own --help without the attribute.
    return getattr(parameter, "rich_help_panel", None) or "Options"


class ErrorLineGroup(TyperGroup):
    """A command line that ends every usage error, Typer's or ours, in `error: ...` and code 2."""

    def main(self, *args: Any, **settings: Any) -> Any:
        """Run the command line and exit with its code."""
        if not settings.get("standalone_mode", True):
            return super().main(*args, **settings)
        open_closed_streams()
        write_any_text()
        sys.excepthook = print_traceback
        own_process()
        try:
            with user_errors_exit():
                code = self._run(*args, **{**settings, "standalone_mode": False})
            sys.stdout.flush()
        except BrokenPipeError:
            leave_closed_pipe()
        except (OSError, RuntimeError) as error:
            problem, code = _path_problem(error), EXIT_USER_ERROR
            if problem is None:
                problem, code = _machine_problem(error), 1
            if problem is None:
                raise
            discard(1)
            show_problems(problem)
        sys.exit(code if isinstance(code, int) else 0)

    def _run(self, *args: Any, **settings: Any) -> Any:
        try:
            return super().main(*args, **settings)
        except typer.Abort:
            show_problems("stopped by the user")
            return 1
        except _ClickException as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                error.show()
            else:
                show_problems(usage_problem(error))
            return EXIT_USER_ERROR


def _path_problem(error: OSError | RuntimeError) -> str | None:
    """What is wrong with a path that was given: no file of any system can be called so."""
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG and error.filename:
        name = os.fsdecode(error.filename)
        shown = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."
        return f"{shown}: too long for the name of a file; give a path (is it a text?)"
    return None


def _machine_problem(error: OSError | RuntimeError) -> str | None:
    """What is wrong with the machine, and not with the input or with us."""
    if is_reached(error):
        return advice()
    if isinstance(error, FileNotFoundError) and "usable temporary directory" in str(error):
        return "TMPDIR: no temporary file can be made; set it to a folder that can be written"
    if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
        return (
            f"{error.strerror}: standard output or the temporary folder (TMPDIR) cannot take "
            "more; free space there, or give another one"
        )
    return None


def print_traceback(
    kind: type[BaseException], error: BaseException, frames: TracebackType | None
) -> None:
    """Print what Python prints of an error that nobody caught, without the passwords of URLs:
    libraries put the address of a proxy or a server into their errors."""
    lines = traceback.format_exception(kind, error, frames)
    with suppress(OSError, ValueError):  # closed, or a full disk
        sys.stderr.write(without_passwords("".join(lines)))
        sys.stderr.flush()


def write_any_text() -> None:
    """What the terminal's encoding does not have is written as an escape, and ends nothing.

    Names of files may be no text at all, and a locale may know Latin-1 or ASCII alone.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def leave_closed_pipe() -> NoReturn:
    """End as a program whose reader has gone (`... | head -1`): silently, as SIGPIPE would."""
    discard(1)
    sys.exit(128 + signal.SIGPIPE)


def usage_problem(error: Any) -> str:
    """One of Click's errors as `name: what is wrong; what to do`."""
    ctx = getattr(error, "ctx", None)
    see = f"see {ctx.command_path} --help" if ctx is not None else "see --help"
    parameter = getattr(error, "param", None)
    if hasattr(error, "possibilities"):
        close = " or ".join(sorted(error.possibilities or ()))
        return f"{error.option_name}: no such option; {f'did you mean {close}?' if close else see}"
    if parameter is None:
        message = _lower_first(error.format_message())
        return (
            f"{message.replace('. Did', '; did')}" if "Did you" in message else f"{message}; {see}"
        )
    missing = hasattr(error, "param_type")
    return (
        f"{_shown_name(parameter)}: {'missing' if missing else _lower_first(error.message)}; {see}"
    )


def _lower_first(message: str) -> str:
    return message[:1].lower() + message[1:].rstrip(".")


def _shown_name(parameter: Any) -> str:
    if parameter.param_type_name == "option":
        return str(max(parameter.opts, key=len))
    return str(parameter.metavar or parameter.name).strip("[].")
