"""Fine-tuning a GPT-2: two ranks of ours against Hugging Face's `Trainer` under `torchrun`.

The same saved model, sequences, AdamW, clipping and precision in all; jobs take turns within each
round. The model has DistilGPT-2's depth and, by its vocabulary, its share of the logits in the
arithmetic, at half the width.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs import Job, Jobs, ranks, torch_ranks

from hvdcore.runtime.environment import prepare_environment
from hvdcore.runtime.world import World

RANK = Path(__file__).with_name("finetune_rank.py")
SEQUENCES, LENGTH = 8, 128
"""In a step over all ranks, and tokens of each."""
BURST_SECONDS = 3.0
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
MALLOC = "MALLOC_"
NAMES = ("two_ranks", "trainer", "trainer_our_environment")


def measure(rounds: int) -> dict[str, Any]:
    """Milliseconds a step and peak memory of a rank for each job, and our ratios."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        save_model(model)
        with Jobs(_jobs(model)) as jobs:
            steps = {name: _num_steps(jobs[name]) for name in NAMES}
            seconds: dict[str, list[float]] = {name: [] for name in NAMES}
            memory: dict[str, float] = {}
            for number in range(rounds):
                print(f"finetune: round {number + 1} of {rounds}", file=sys.stderr)
                for name in NAMES[number % 3 :] + NAMES[: number % 3]:
                    answers = jobs[name].run(steps=steps[name])
                    seconds[name].append(max(a["seconds"] for a in answers) / steps[name])
                    memory[name] = max(a["peak_memory_bytes"] for a in answers) / 1e6
    return {
        "ms_a_step": {name: 1e3 * statistics.median(times) for name, times in seconds.items()},
        "peak_memory_mb": memory,
        **ratios(seconds, memory),
    }


def save_model(folder: Path) -> None:
    """A GPT-2 of random weights, without dropout, which ours leaves out."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    config = GPT2Config(
        vocab_size=24_576, n_positions=LENGTH, n_embd=384, n_layer=6, n_head=6,
        bos_token_id=0, eos_token_id=0, **dropout,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)


def _jobs(model: Path) -> list[Job]:
    plain = {
        name: value
        for name, value in os.environ.items()
        if name not in THREAD_VARIABLES and not name.startswith(MALLOC)
    }
    plain |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    ours = dict(plain)
    prepare_environment(World(0, 1, 0, 1, "none"), ours)
    malloc = {name: value for name, value in ours.items() if name.startswith(MALLOC)}
    trainer = torch_ranks(RANK, 2, "trainer", str(model))
    return [
        Job("two_ranks", ranks(RANK, 2, "ours", str(model)), 2, plain),
        Job("trainer", trainer, 2, plain),
        Job("trainer_our_environment", trainer, 2, {**plain, **malloc}),
    ]


def _num_steps(job: Job) -> int:
    """Steps of a burst, by a first burst that also warms up."""
    answers = job.run(steps=3)
    return max(3, round(BURST_SECONDS / (max(a["seconds"] for a in answers) / 3)))


def ratios(seconds: Mapping[str, list[float]], memory: Mapping[str, float]) -> dict[str, float]:
    """How many times as many tokens a second two ranks train, medians of the rounds' ratios; and
    their peak memory over the Trainer's."""

    def times(other: str) -> float:
        pairs = zip(seconds[other], seconds["two_ranks"], strict=True)
        return statistics.median(theirs / ours for theirs, ours in pairs)

    return {
        "speed_against_trainer": times("trainer"),
        "speed_against_trainer_our_environment": times("trainer_our_environment"),
        "memory_against_trainer": memory["two_ranks"] / memory["trainer"],
    }
