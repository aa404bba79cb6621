"""`hvdcore slurm`: a checked request and a trainer's command become a batch script.

The trainer's command line is checked for whether it can be requeued. No shell reads any of the
user's arguments.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from hvdcore.errors import Problems, UserError
from hvdcore.launch.sbatch.request import SAVE_SECONDS, Request

__all__ = [
    "TrainerCommand",
    "batch_script",
    "write_batch_script",
]

_SET_BY_THE_JOB = {
    "--np": "the job's ranks are those of --nodes and --ranks-per-node",
    "--hosts": "the job's hosts are those that Slurm gives it",
    "--hostfile": "the job's hosts are those that Slurm gives it",
    "--min-np": "the number of the job's ranks is fixed",
    "--max-np": "the number of the job's ranks is fixed",
    "--host-discovery-script": "the job's hosts are those that Slurm gives it",
}
_NEEDS_HVDCORE = re.compile(r"hvdcore(?![\w.-])")


@dataclass(frozen=True)
class TrainerCommand:
    """`PROGRAM train --option value ...`, as the user wrote it."""

    words: tuple[str, ...]

    @property
    def program(self) -> str:
        """The trainer's name."""
        return self.words[0]

    def value(self, option: str) -> str | None:
        """What an option was given, the last time it was; None where it was not."""
        found = None
        for word, after in zip(self.words, (*self.words[1:], ""), strict=True):
            name, equals, value = word.partition("=")
            if name == option:
                found = value if equals else after
        return found

    def without(self, option: str) -> TrainerCommand:
        """The same without an option and its value."""
        kept: list[str] = []
        words = iter(self.words)
        for word in words:
            if word == option:
                next(words, None)
            elif word.partition("=")[0] != option:
                kept.append(word)
        return TrainerCommand(tuple(kept))

    def check(self, problems: Problems, *, array: bool, elsewhere: bool) -> None:
        """Note what would make the job start wrongly, or not resume when it is requeued.

        Args:
            array: the script gives each job a seed.
            elsewhere: the program is in a container, and cannot be looked at here.
        """
        if self.words[1:2] != ("train",):
            problems.add("command", f"got {' '.join(self.words[:2])!r}; give PROGRAM train ...")
        elif not elsewhere and not _is_trainer(self.program):
            problems.add(
                "command", f"{self.program} is no trainer installed here; install it, or check it"
            )
        if not self.value("--output-dir"):
            problems.add("--output-dir", "give one: a requeued job resumes from there")
        for option, why in _SET_BY_THE_JOB.items():
            if self.value(option) is not None:
                problems.add(option, f"{why}; leave it out")
        if self.value("--resume") not in (None, "auto"):
            problems.add(
                "--resume", "the script passes auto, so that a requeued job resumes; leave it out"
            )
        if array and self.value("--seed") is not None:
            problems.add("--seed", "--array gives each job its own; leave it out")


def _is_trainer(program: str) -> bool:
    """Whether a program of this environment is built on hvdcore."""
    found = [script.dist for script in entry_points(group="console_scripts", name=program)]
    return any(
        dist is not None and any(map(_NEEDS_HVDCORE.match, dist.requires or [])) for dist in found
    )


_SCRIPT = """\
#!/bin/bash
{directives}

# {way}
{check}asked= queue_again=
stop() {{
    asked=1
    {stop}
}}
trap 'queue_again=1; stop' USR1  # the time limit is near
trap {at_term} TERM  # preempted or cancelled: Slurm itself knows whether to queue the job again

{command} &
trainer=$!
# A signal ends the waiting, not the trainer.
while :; do
    asked=
    wait "$trainer"
    code=$?
    [ "$asked" ] || break
done
# 143: saved and stopped. Requeued, the same command resumes from its newest checkpoint.
if [ "$code" = 143 ] && [ "$queue_again" ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""
_LAUNCHER = {
    "way": "The trainer starts a rank for each task of the allocation, by srun, and stops them.",
    "stop": 'kill -TERM "$trainer"',
    "at_term": "stop",
}
# srun takes SIGTERM as an order to kill, and at the end of a job Slurm signals the ranks itself.
_CONTAINERS = {
    "way": "Slurm starts a rank for each task, in a container; Slurm needs its PMIx plugin for it.",
    "stop": 'scancel --signal=TERM "$SLURM_JOB_ID"',
    "at_term": "asked=1",
}
_ON_PATH = """\
command -v {program} > /dev/null || {{
    echo "error: {program}: not on PATH; activate its environment before sbatch" >&2
    exit 2
}}
"""
_SRUN = ("srun", "--mpi=pmix", "--kill-on-bad-exit=1")


def batch_script(request: Request, trainer: TrainerCommand) -> str:
    """The script for sbatch; both arguments have been checked."""
    words = [*_container(request), *_trainer(request, trainer)]
    program = shlex.quote(trainer.program)
    return _SCRIPT.format(
        directives="\n".join(f"#SBATCH {option}" for option in _directives(request, trainer)),
        check="" if request.container else _ON_PATH.format(program=program),
        command=" \\\n    ".join(words),
        **(_CONTAINERS if request.container else _LAUNCHER),
    )


def _directives(request: Request, trainer: TrainerCommand) -> Iterator[str]:
    options = {
        "job-name": trainer.program,
        "nodes": request.nodes,
        "ntasks-per-node": request.tasks_per_node,
        "cpus-per-task": request.cpus_per_rank,
        "gpus-per-node": request.gpus_per_node,
        "time": request.time,
        "partition": request.partition,
        "account": request.account,
        "array": request.array,
    }
    yield from (f"--{name}={value}" for name, value in options.items() if value is not None)
    yield from ("--requeue", "--open-mode=append", f"--signal=B:USR1@{SAVE_SECONDS}")
    yield from request.more


def _container(request: Request) -> Iterator[str]:
    """srun and what makes its tasks run in the image, with the folder of the job in it."""
    if not request.container:
        return
    image = shlex.quote(request.container)
    if request.container.endswith(".sif"):
        yield shlex.join(_SRUN)
        gpus = "--nv " if request.gpus_per_node else ""
        yield f'apptainer exec {gpus}--bind "$PWD" --pwd "$PWD" {image}'
    else:  # pyxis, an option of srun's
        yield f"{shlex.join(_SRUN)} --container-image={image}"
        yield '--container-mounts="$PWD:$PWD" --container-workdir="$PWD"'


def _trainer(request: Request, trainer: TrainerCommand) -> Iterator[str]:
    """The trainer's command, an option a line, and what the job adds to it."""
    folder = shlex.quote(trainer.value("--output-dir") or "")
    yield from _lines(trainer.without("--output-dir").without("--resume").words)
    if request.array is None:
        yield f"--output-dir {folder}"
    else:
        yield f'--output-dir {folder}/seed-"$SLURM_ARRAY_TASK_ID"'
        yield '--seed "$SLURM_ARRAY_TASK_ID"'
    yield "--resume auto"


def _lines(words: tuple[str, ...]) -> Iterator[str]:
    line: list[str] = []
    for word in words:
        if word.startswith("--") and line:
            yield shlex.join(line)
            line = []
        line.append(word)
    yield shlex.join(line)


def write_batch_script(request: Request, command: list[str], output: Path | None) -> None:
    """Print the script, or write it to a file.

    Raises:
        UserError: Slurm or the trainer would refuse it; all problems at once. The file cannot be
            written.
    """
    trainer = TrainerCommand(tuple(command))
    problems = Problems()
    request.check(problems)
    trainer.check(
        problems, array=request.array is not None, elsewhere=request.container is not None
    )
    problems.raise_if_any()
    text = batch_script(request, trainer)
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"--output: cannot write {output} ({error.strerror}); give another"
        ) from None
