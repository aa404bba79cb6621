"""The end of a run: the best weights, their exact scores, the saved model and the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvdcore.metrics.metrics import max_over_ranks
from hvdcore.run.checkpoint import best, load
from hvdcore.run.run_dir import RunDir
from hvdcore.torch import allreduce_sum, any_rank, broadcast_object, check_same_weights
from hvdcore.tracking.logs import get_logger
from textgen.data.corpus import TokenBlocks
from textgen.evaluation.evaluate import Score, evaluate
from textgen.evaluation.report import write_report
from textgen.generation.generate import generate
from textgen.model.causal_lm import CausalLM
from textgen.model.transformer import Transformer
from textgen.pretrained.hf_folder import save_causal_lm
from textgen.pretrained.saved_model import replace_folder, save_model
from textgen.training.checkpoints import restore_weights
from textgen.training.metrics_logger import Record, peak_memory_mb
from textgen.training.state import Training

logger = get_logger(__name__)


def finish(training: Training, record: Record) -> None:
    """Choose by val, read test once, save the model and write the report. Every rank must call."""
    chosen_step = take_best_weights(training, record)
    digest = check_same_weights(training.model)
    scores = {split: score_part(training, split) for split in ("train", "val", "test")}
    seconds = max_over_ranks(record.speed.seconds, training.world, allreduce_sum)
    speed = record.speed.num_units / seconds if seconds else None
    peak_memory, step_seconds = peak_memory_mb(training), record.speed.mean_step(allreduce_sum)
    run = record.run
    if training.world.is_root:
        if scores["test"] is not None:
            record.evaluation(training, "test", scores["test"])
        save(training, run)
        report = {
            "schema": 1,
            "package": "textgen",
            "model": training.model_name,
            "num_parameters": training.model.num_parameters,
            "num_trainable_parameters": training.model.num_trainable_parameters,
            "size": training.world.size,
            "global_batch_size": training.config.global_batch_size,
            "seed": training.config.seed,
            "epochs": training.position.epoch,
            "steps": training.step,
            "chosen_step": chosen_step,
            "seconds": training.seconds,
            "tokens_per_second": speed,
            "step_seconds": step_seconds,
            "communication": training.optimizer.communication,
            "peak_memory_mb": peak_memory,
            **record.utilization.to_json(speed),
            "weights_sha256": digest,
            **{split: score.to_json() for split, score in scores.items() if score is not None},
            "sample": sample_text(training, 3 * 64),
        }
        run.write_json("report.json", report)
        write_report([run.path], run.report_html)
        logger.info("report: %s", run.report_html)
    any_rank(False)


def save(training: Training, run: RunDir) -> None:
    """Write the run's ``model/``, and the LoRA adapters by themselves into ``adapter/``."""
    model, tokenizer = training.model, training.corpus.tokenizer
    if isinstance(model, Transformer):
        save_model(run.model, model, tokenizer)
        return
    assert isinstance(model, CausalLM)
    save_causal_lm(run.model, model, tokenizer)
    if model.adapter is not None:
        replace_folder(run.path / "adapter", model.adapter.save)


def take_best_weights(training: Training, record: Record) -> int:
    """Load the checkpoint with the lowest val loss, if it is not the last; return its step."""
    found = best(record.run.checkpoints) if training.world.is_root else None
    path = broadcast_object("" if found is None else str(found.path))
    if not path:
        return training.step
    checkpoint = load(Path(path))
    if checkpoint.step != training.step:
        logger.info("the weights of step %d had the lowest val loss", checkpoint.step)
        restore_weights(training, checkpoint)
    return checkpoint.step


def score_part(training: Training, split: str) -> Score | None:
    """The exact score on val or test, or on an even sample of train as large as val.

    None where the part is empty. Every rank must call.
    """
    part: TokenBlocks | Sampled | None = training.corpus.part(split)
    num_bytes, num_words = training.corpus.num_bytes[split], training.corpus.num_words[split]
    if part is None:
        return None
    if split == "train":
        part = Sampled.of(part, max(len(training.corpus.val), 1))
        share = len(part) / len(part.blocks)
        num_bytes, num_words = round(num_bytes * share), round(num_words * share)
    return evaluate(
        training.model,
        part,
        training.world,
        batch_size=training.config.eval_batch_size,
        num_bytes=num_bytes,
        num_words=num_words,
        device=training.device,
    )


@dataclass(frozen=True)
class Sampled:
    """Some blocks of a part, evenly spaced."""

    blocks: TokenBlocks
    chosen: npt.NDArray[np.int64]

    @classmethod
    def of(cls, blocks: TokenBlocks, count: int) -> Sampled:
        """``count`` of the blocks, or all if there are no more."""
        count = min(count, len(blocks))
        return cls(blocks, np.arange(count, dtype=np.int64) * len(blocks) // count)

    @property
    def context_length(self) -> int:
        return self.blocks.context_length

    def __len__(self) -> int:
        return len(self.chosen)

    def batch(self, indices: range) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """As ``TokenBlocks.batch``."""
        return self.blocks.batch(self.chosen[np.asarray(indices, dtype=np.int64)])


def sample_text(training: Training, num_tokens: int | None = None) -> str:
    """Text that the model writes from an empty page, on rank 0; the same at every call."""
    length = training.config.sample_tokens if num_tokens is None else num_tokens
    if not training.world.is_root or length == 0:
        return ""
    texts = generate(
        training.model, training.corpus.tokenizer, [""], max_new_tokens=length,
        temperature=0.8, top_k=50, seed=training.config.seed,
    )  # fmt: skip
    training.model.train()
    return texts[0]
