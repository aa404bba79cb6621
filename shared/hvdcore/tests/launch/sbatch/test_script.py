"""`hvdcore slurm`: what it refuses, and its script, read by bash with a trainer of the test's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hvdcore.cli import app

NASTY = ["--a", "it's $HOME", '--b=`id` "x" $(id)', "--c", "two\nlines #SBATCH --x", "*", "\\", ""]
TRAIN = ("trainer", "train", "--output-dir", "runs/a b")
# In place of the trainer: prints its arguments, and saves for a moment when it is asked to stop.
TRAINER = """#!{python}
import json, os, signal, sys, time
def stop(*_):
    time.sleep(0.3)
    os._exit(143)
signal.signal(signal.SIGTERM, stop)
with open("arguments", "w") as file:
    json.dump(sys.argv[1:], file)
os.rename("arguments", "started")
if "--wait" in sys.argv:
    time.sleep(60)
sys.exit(7)
"""


def slurm(*words: str) -> Result:
    return CliRunner().invoke(app, ["slurm", *words])


def script(*options: str, command: tuple[str, ...] = TRAIN) -> str:
    done = slurm("--time", "1:00:00", *options, "--", *command)
    assert done.exit_code == 0, done.output
    return done.stdout


def start(folder: Path, text: str, **env: str) -> subprocess.Popen[str]:
    """The script, with programs of the test's in place of the trainer and of Slurm's."""
    programs = {
        "trainer": TRAINER.format(python=sys.executable),
        "scontrol": '#!/bin/sh\necho "scontrol $*" >> asked\n',
    }
    for name, content in programs.items():
        (folder / name).write_text(content, encoding="utf-8")
        (folder / name).chmod(0o755)
    variables = {"PATH": f"{folder}:{os.environ['PATH']}", "SLURM_JOB_ID": "11", **env}
    (folder / "job.sh").write_text(text, encoding="utf-8")
    return subprocess.Popen(
        ["bash", "job.sh"], cwd=folder, env=variables, stderr=subprocess.PIPE, text=True
    )


def arguments(folder: Path) -> list[str]:
    """What the trainer was started with."""
    deadline = time.monotonic() + 60
    while not (folder / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    given: list[str] = json.loads((folder / "started").read_text("utf-8"))
    return given


def test_the_options_that_slurm_reads() -> None:
    text = script(
        "--nodes=2", "--ranks-per-node=4", "--cpus-per-rank=8", "--gpus-per-node=a100:4",
        "--partition=gpu", "--account=me", "--array=0-4%2", "--sbatch=--mem=64G",
    )  # fmt: skip
    assert [line for line in text.splitlines() if line.startswith("#SBATCH")] == [
        "#SBATCH --job-name=trainer", "#SBATCH --nodes=2", "#SBATCH --ntasks-per-node=4",
        "#SBATCH --cpus-per-task=8", "#SBATCH --gpus-per-node=a100:4", "#SBATCH --time=1:00:00",
        "#SBATCH --partition=gpu", "#SBATCH --account=me", "#SBATCH --array=0-4%2",
        "#SBATCH --requeue", "#SBATCH --open-mode=append", "#SBATCH --signal=B:USR1@120",
        "#SBATCH --mem=64G",
    ]  # fmt: skip


def test_no_shell_reads_the_users_arguments(tmp_path: Path) -> None:
    process = start(tmp_path, script(command=(*TRAIN, *NASTY)))
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 7
    assert arguments(tmp_path) == ["train", *NASTY, "--output-dir", "runs/a b", "--resume", "auto"]


def test_an_array_gives_each_job_a_seed_and_a_folder(tmp_path: Path) -> None:
    process = start(tmp_path, script("--array=0-4"), SLURM_ARRAY_TASK_ID="3")
    process.communicate(timeout=60)
    own = ["--output-dir", "runs/a b/seed-3", "--seed", "3", "--resume", "auto"]
    assert arguments(tmp_path) == ["train", *own]


@pytest.mark.parametrize(
    ("number", "asked"), [(signal.SIGUSR1, "scontrol requeue 11\n"), (signal.SIGTERM, "")]
)
def test_it_waits_for_the_trainer_to_save_and_at_the_limit_asks_to_go_on(
    tmp_path: Path, number: signal.Signals, asked: str
) -> None:
    process = start(tmp_path, script(command=(*TRAIN, "--wait")))
    arguments(tmp_path)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 143
    file = tmp_path / "asked"
    assert (file.read_text("utf-8") if file.exists() else "") == asked


def test_a_trainer_that_is_not_there_is_told(tmp_path: Path) -> None:
    process = start(tmp_path, script().replace("command -v trainer", "command -v no-trainer"))
    assert process.communicate(timeout=60)[1].startswith("error: trainer: not on PATH")
    assert process.returncode == 2


def test_containers() -> None:
    pyxis = script("--container", "nvcr.io#my image", command=("absent", *TRAIN[1:]))
    assert "--container-image='nvcr.io#my image'" in pyxis
    assert "command -v" not in pyxis
    apptainer = script("--container", "my image.sif")
    assert 'apptainer exec --bind "$PWD" --pwd "$PWD" \'my image.sif\' \\\n' in apptainer
    assert "apptainer exec --nv --bind" in script("--container=x.sif", "--gpus-per-node=1")
    for text in (pyxis, apptainer):
        assert "srun --mpi=pmix --kill-on-bad-exit=1" in text
        assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        (("trainer", "evaluate", "--output-dir", "x"), ["command"]),
        (("trainer",), ["command", "--output-dir"]),
        (("stranger", "train", "--output-dir=x"), ["command"]),
        (("absent", "train", "--output-dir=x"), ["command"]),
        (("trainer", "train"), ["--output-dir"]),
        ((*TRAIN, "--hosts", "a:1", "--np=2"), ["--np", "--hosts"]),
        ((*TRAIN, "--min-np", "2"), ["--min-np"]),
        ((*TRAIN, "--resume", "never"), ["--resume"]),
        ((*TRAIN, "--resume", "auto"), []),
        ((*TRAIN, "--seed", "1"), ["--seed"]),
    ],
)
def test_commands_that_could_not_go_on(command: tuple[str, ...], fields: list[str]) -> None:
    done = slurm("--time", "1:00:00", "--array", "0-1", "--", *command)
    lines = done.stderr.splitlines()
    assert [line.removeprefix("error: ").split(":")[0] for line in lines] == fields
    assert done.exit_code == (2 if fields else 0)


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    done = slurm("--time=10", "--output", str(tmp_path / "none" / "x.sh"), "--", *TRAIN)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: --output: cannot write")
    assert slurm("--time=10", "--output", str(tmp_path / "x.sh"), "--", *TRAIN).stdout == ""
    assert (tmp_path / "x.sh").read_text("utf-8") == slurm("--time=10", "--", *TRAIN).stdout
