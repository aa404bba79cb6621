"""A process that fine-tunes a saved model in bursts: `finetune_rank.py ours|trainer FOLDER`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from finetune import LENGTH, SEQUENCES
from jobs import commands, serve
from torch import Tensor

from hvdcore.metrics.metrics import peak_resident_bytes

NUM_SEQUENCES = 512
LEARNING_RATE, WEIGHT_DECAY, CLIP_NORM = 1e-4, 0.01, 1.0


def sequences(vocab_size: int) -> Tensor:
    """Token ids [NUM_SEQUENCES, LENGTH + 1], the same on every rank and side."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(vocab_size, (NUM_SEQUENCES, LENGTH + 1), generator=generator)


def ours(folder: Path) -> None:
    """A step as `textgen train --init-from` makes it."""
    import hvdcore.torch as hvt
    from textgen.pretrained.hf_folder import load_causal_lm
    from textgen.training.optimizer import (
        OptimizerConfig,
        build_optimizer,
        is_elementwise,
        update_cost,
    )

    world = hvt.init()
    model = load_causal_lm(folder)
    hvt.broadcast_parameters(model)
    settings = OptimizerConfig.of(
        "adamw", learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY, beta2=0.999
    )
    tables = model.table_names
    optimizer = hvt.ShardedOptimizer(
        model,
        lambda named: build_optimizer(named, settings, tables),
        clip_norm=CLIP_NORM,
        cost=update_cost(settings, tables),
        elementwise=is_elementwise(settings, tables),
    )
    data, share = sequences(model.config.vocab_size), SEQUENCES // world.size

    def step(number: int) -> None:
        start = (number * SEQUENCES + world.rank * share) % NUM_SEQUENCES
        rows = data[start : start + share]
        optimizer.scale_learning_rate(1.0)
        optimizer.zero_grad(backward_passes=1)
        loss = model.loss(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
        (loss / (SEQUENCES * LENGTH)).backward()
        optimizer.step(sums=(loss.item(),), wait=False)

    def burst(steps: int) -> dict[str, Any]:
        started = time.perf_counter()
        for number in range(steps):
            step(number)
        return answer(time.perf_counter() - started)

    step(0)
    serve(burst)
    hvt.shutdown()


def answer(seconds: float) -> dict[str, Any]:
    return {"seconds": seconds, "peak_memory_bytes": peak_resident_bytes()}


def trainer(folder: Path) -> None:
    """Hugging Face's own loop, as its users start it; it waits for its turn between two steps."""
    from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

    class Bursts(TrainerCallback):  # type: ignore[misc]
        """Lets the loop run for as many steps as it is told to, and times them."""

        def __init__(self) -> None:
            self.commands = commands()
            self.left = 1  # the first step warms up, and is nobody's
            self.reply: Any = None
            self.began = 0.0

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if self.left:
                return
            command, self.reply = next(self.commands, (None, None))
            if command is None:
                control.should_training_stop = True
                self.left = 1
                return
            self.left, self.began = command["steps"], time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.left -= 1
            if self.left == 0 and self.reply is not None:
                self.reply(answer(time.perf_counter() - self.began))

    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    rows = sequences(model.config.vocab_size)[:, :LENGTH]
    with tempfile.TemporaryDirectory() as scratch:
        settings = TrainingArguments(
            output_dir=scratch,
            per_device_train_batch_size=SEQUENCES // 2,
            max_steps=1_000_000,
            learning_rate=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            max_grad_norm=CLIP_NORM,
            lr_scheduler_type="constant",
            use_cpu=True,
            ddp_backend="gloo",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        data = [{"input_ids": row, "labels": row} for row in rows]
        Trainer(model, settings, train_dataset=data, callbacks=[Bursts()]).train()


if __name__ == "__main__":
    {"ours": ours, "trainer": trainer}[sys.argv[1]](Path(sys.argv[2]))
