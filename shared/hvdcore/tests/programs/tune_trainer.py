"""A trainer without a framework whose best settings are known, with the verbs that `tune` needs.

Its val loss is (x - 0.3)^2 + 0.1 for kind b + 1 / point: the best is x = 0.3 with kind a.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import Field

from hvdcore.command_line import create_app
from hvdcore.config import Config
from hvdcore.options import takes
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.signals import StopFlag
from hvdcore.runtime.world import world_from_environment
from hvdcore.tune.command import tune_command
from hvdcore.tune.options import tune_options
from hvdcore.tune.space import Categorical, Float
from hvdcore.tune.tunable import Objective, Tunable

BEST_X = 0.3


class TrainerConfig(Config):
    data: str = "sample"
    seed: int = 0
    learning_rate: float = Field(0.5, ge=0, le=1)
    model: Literal["a", "b"] = "a"
    max_steps: int = Field(4, ge=1)
    """Val points."""
    epochs: int = 1
    eval_every: int | None = None
    checkpoint_every: int | None = None
    global_batch_size: int = 8
    seconds: float = 0.0
    """From one val point to the next."""
    fail_above: float = 9.0
    """Learning rate from which a run fails."""
    stubborn: bool = False
    """Takes no notice of a first signal."""


TUNABLE = Tunable(
    package="tune_trainer",
    config=TrainerConfig,
    space=lambda config: {"learning_rate": Float(0.0, 1.0), "model": Categorical(("a", "b"))},
    objectives={
        "loss": Objective("loss", "minimize", "val loss"),
        "accuracy": Objective("accuracy", "maximize", "val accuracy"),
    },
    program=(sys.executable, __file__),
)

ConfigFile = Annotated[Path, typer.Option("--config")]
OutputDir = Annotated[Path, typer.Option("--output-dir")]

app = create_app("tune-trainer", "A trainer.", "hvdcore")


def loss_at(rate: float, model: str, point: int) -> float:
    return (rate - BEST_X) ** 2 + (0.1 if model == "b" else 0.0) + 1 / point


@app.command()
def prepare(config: ConfigFile) -> None:
    data = json.loads(config.read_text(encoding="utf-8"))["data"]
    if data == "nowhere":
        sys.stderr.write("error: data: nowhere: no such path; give another\n")
        raise typer.Exit(2)


@app.command()
def train(config: ConfigFile, output_dir: OutputDir) -> None:
    values = json.loads(config.read_text(encoding="utf-8"))
    rate, model = values["learning_rate"], values["model"]
    if values["data"] == "odd":
        sys.stderr.write("error: data: odd: not for this model\n")
        raise typer.Exit(2)
    if rate > values["fail_above"]:
        raise RuntimeError(f"rate {rate:.3f} is too much")
    if world_from_environment().rank > 0:
        return
    with StopFlag() as stop:
        run = RunDir.create(output_dir, "hvdcore", values)
        run.write_json("threads.json", os.environ.get("OMP_NUM_THREADS"))
        run.append_metrics({"step": 0, "epoch": 0, "split": "val", "loss": -1.0, "accuracy": 2.0})
        for point in range(1, values["max_steps"] + 1):
            loss = loss_at(rate, model, point)
            scores = {"loss": loss, "accuracy": 1 - loss / 3}
            run.append_metrics({"step": point, "epoch": 0, "split": "val", **scores})
            deadline = time.monotonic() + values["seconds"]
            while time.monotonic() < deadline and not stop.requested:
                time.sleep(0.01)
            if stop.requested and values["stubborn"]:
                time.sleep(600)
            if stop.requested:
                (run.checkpoints / f"step-{point}").mkdir()
                raise typer.Exit(stop.exit_code)
        run.write_json("report.json", {"loss": loss})


@app.command()
@takes(tune_options(TrainerConfig))
def tune(**flags: Any) -> None:
    raise typer.Exit(tune_command(TUNABLE, flags))


if __name__ == "__main__":
    app()
