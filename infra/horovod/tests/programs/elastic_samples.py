"""An elastic job that trains nothing: each worker writes down which samples it used, and when.

The one weight of its model is the number of samples that all workers have used together.

Arguments: folder, samples, epochs, batch size, steps between commits (0: never), then orders:
`SLOT=sync:N` kills the worker in its N-th `state.sync`, `SLOT=step:N` before its step N. A step is
taken only when the file `go` is in the folder, unless it is below the number in the file `free`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import horovod.torch as hvd
import torch

folder = Path(sys.argv[1])
num_samples, num_epochs, batch_size, commit_every = map(int, sys.argv[2:6])
orders = dict(word.split("=") for word in sys.argv[6:])
slot = f"{os.environ['HOROVOD_HOSTNAME']}:{os.environ['HOROVOD_LOCAL_RANK']}"


def write(event: str, **values: object) -> None:
    line = json.dumps({"event": event, "slot": slot, "size": hvd.size(), **values}) + "\n"
    with (folder / "events.jsonl").open("a") as file:
        file.write(line)


def obey(moment: str) -> None:
    died = folder / f"died-{slot}"
    if orders.get(slot) == moment and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def wait_for_step(step: int) -> None:
    free = int((folder / "free").read_text())
    while step >= free and not (folder / "go").exists():
        time.sleep(0.05)
        # What a user does who trains in small steps; a change of hosts must get through.
        state.check_host_updates()


class State(hvd.elastic.TorchState):
    """Writes down each synchronization."""

    num_syncs = 0

    def sync(self) -> None:
        obey(f"sync:{State.num_syncs}")
        State.num_syncs += 1
        super().sync()
        write("sync", epoch=self.epoch, steps=self.steps, weight=model.weight.item())


def used(indices: list[int]) -> float:
    """How many samples all workers have used in this step."""
    return hvd.allreduce(torch.tensor([float(len(indices))]), op=hvd.Sum, name="used").item()


@hvd.elastic.run
def train(state: State) -> None:
    while state.epoch < num_epochs:
        indices = list(sampler)
        for batch, start in enumerate(range(0, len(indices), batch_size)):
            take_step(batch, indices[start : start + batch_size])
        state.epoch += 1
        sampler.set_epoch(state.epoch)
        state.commit()


def take_step(batch: int, indices: list[int]) -> None:
    wait_for_step(state.steps)
    obey(f"step:{state.steps}")
    number = used(indices)
    write("step", epoch=state.epoch, step=state.steps, samples=indices)
    with torch.no_grad():
        model.weight += number
    sampler.record_batch(batch, batch_size)
    state.steps += 1
    if commit_every and state.steps % commit_every == 0:
        state.commit()
    else:
        state.check_host_updates()


if __name__ == "__main__":
    hvd.init()
    sampler = hvd.elastic.ElasticSampler(range(num_samples), shuffle=False)
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.zero_()
    state = State(model=model, sampler=sampler, epoch=0, steps=0)
    train(state)
    write("end", epoch=state.epoch, steps=state.steps, weight=model.weight.item())
