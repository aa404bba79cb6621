"""The command `tune`, from the user's options to the exit code."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from hvdcore.config import dump_json
from hvdcore.errors import EXIT_USER_ERROR, UserError
from hvdcore.launch.supervisor.outcome import EXIT_FAILED
from hvdcore.run.run_dir import default_run_dir
from hvdcore.runtime.signals import SignalInbox, wait_readable
from hvdcore.runtime.world import world_from_environment
from hvdcore.tune.folder import StudyFolder
from hvdcore.tune.plan import Limits, Plan, make_plan
from hvdcore.tune.tunable import Tunable

__all__ = ["tune_command"]

_LIMITS = tuple(Limits.model_fields)


def tune_command(tunable: Tunable, flags: Mapping[str, Any]) -> int:
    """Search, and write tuning.json, best.toml, figures and report.html.

    Args:
        flags: all options of the command by name, None where not given: the fields of `Limits`,
            objective, space, output_dir and config; every other one is a field of the training
            configuration.

    Returns:
        0 done, though trials may have failed; 1 all failed; 143 or 130 stopped by a signal, after
        the running trials were stopped in an orderly way. The same call resumes.

    Raises:
        UserError: the input is wrong, the folder is another's, or Optuna or Ray is not installed.
    """
    _require("optuna", "Optuna", tunable.package, "tune")
    if world_from_environment().controller != "none":
        raise UserError(
            "tune: starts its trials' ranks itself; run it without a launcher, with --np"
        )
    given = dict(flags)
    limits = {name: given.pop(name) for name in _LIMITS}
    output_dir = given.pop("output_dir")
    others = {name: given.pop(name) for name in ("config", "objective", "space")}
    plan = make_plan(tunable, given, limits=limits, **others)
    if plan.limits.engine == "ray":
        _require("ray", "Ray", tunable.package, "tune,ray")
    folder = StudyFolder(output_dir or default_run_dir(tunable.package, "runs/tune"))
    folder.check(plan.fingerprint())
    with SignalInbox() as inbox:
        code = _prepare(plan, inbox)
        if code:
            return code
        tunable.check(plan.base, plan.limits.np)
        with folder.taken(plan.fingerprint()):
            return _search(plan, folder, inbox)


def _require(library: str, name: str, package: str, extras: str) -> None:
    if importlib.util.find_spec(library) is None:
        where = f"./packages/{package}[{extras}]"
        raise UserError(f"tune: {name} is not installed; pip install '{where}'")


def _prepare(plan: Plan, inbox: SignalInbox) -> int:
    """Prepare the data once for all trials; 0, or the exit code of what went wrong or stopped it.

    `prepare` itself reports what is wrong with the data.
    """
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "config.json"
        file.write_text(dump_json(plan.base), encoding="utf-8")
        command = plan.tunable.command("prepare", file)
        # Its tables are not what was asked for; its bar and its errors are on stderr.
        with subprocess.Popen(command, stdin=DEVNULL, stdout=DEVNULL) as process:
            while (code := process.poll()) is None:
                wait_readable([inbox.fd], 0.1)
                if (number := inbox.take_stop_signal()) is not None:
                    process.terminate()
                    return 128 + number
    return code if code in (0, EXIT_USER_ERROR) else EXIT_FAILED


def _search(plan: Plan, folder: StudyFolder, inbox: SignalInbox) -> int:
    from hvdcore.tune.results import failure_text
    from hvdcore.tune.session import Session
    from hvdcore.tune.storage_errors import check_complete, storage_errors

    with storage_errors(folder.storage), Session(plan, folder) as session:
        check_complete(folder, len(session.study.trials()))
        number = session.run(inbox)
        best = session.write_report()
        if number is not None:
            return 128 + number
        if best is None:
            failed = next((row for row in session.rows() if row.reason), None)
            if failed is not None:
                line = f"no trial completed; trial {failed.number}: {failure_text(failed)}"
                print(line, file=sys.stderr)
                return EXIT_FAILED
        return 0
