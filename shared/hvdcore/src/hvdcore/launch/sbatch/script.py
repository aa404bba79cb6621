"""Owns the text of a batch script. Of the user's arguments no shell reads anything."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from hvdcore.launch.sbatch.request import SAVE_SECONDS, Request
from hvdcore.launch.sbatch.trainer import TrainerCommand

__all__ = ["batch_script"]

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
# 143: saved and stopped. Queued again, the same command goes on from its newest checkpoint.
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
