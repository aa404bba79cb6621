"""What a run tells while it trains: metrics.jsonl, TensorBoard, the bar and the log, by rank 0."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hvdcore.metrics.metrics import max_over_ranks
from hvdcore.run.metrics_logger import RunRecord, StepTimes, Window
from hvdcore.torch import allreduce_sum, peak_memory_bytes
from hvdcore.tracking.logs import get_logger
from hvdcore.tracking.progress import Progress
from hvdcore.tracking.tensorboard import Board

if TYPE_CHECKING:
    from hvdcore.run.run_dir import RunDir
    from textgen.evaluation.evaluate import Score
    from textgen.model.cost import Utilization
    from textgen.training.state import Training

logger = get_logger(__name__)

UNIT = "tokens"


@dataclass
class Record(RunRecord):
    """What a step and a score of textgen are."""

    utilization: Utilization = field(kw_only=True)

    @classmethod
    def of(
        cls, training: Training, run: RunDir, resume_step: int | None, utilization: Utilization
    ) -> Record:
        """A record of the run; with ``resume_step``, going on after that step."""
        is_root = training.world.is_root
        board = Board(run.tensorboard, enabled=is_root, resume_step=resume_step)
        if resume_step is None:
            shown = {"val/loss": "val loss", "val/bits_per_byte": "val bits per byte"}
            board.add_hparams(training.config.model_dump(mode="json"), shown)
        tokens_per_step = training.config.global_batch_size * training.config.context_length
        progress = Progress(
            training.total_steps * tokens_per_step,
            UNIT,
            is_root,
            initial=training.step * tokens_per_step,
        )
        return cls(run, board, progress, is_root, Window(UNIT), utilization=utilization)

    def step(
        self,
        training: Training,
        *,
        loss: float,
        gradient_norm: float,
        learning_rate: float,
        num_tokens: int,
        times: StepTimes,
    ) -> None:
        """One update was made. Every rank must call.

        Args:
            loss: the mean over the global batch, in nats a token.
            learning_rate: what the update was made with.
        """
        self.speed.add(num_tokens, times)
        self.window.add({"loss": loss}, num_tokens, times)
        self.progress.advance(num_tokens, step=training.step, loss=loss)
        if training.step % training.config.log_every == 0:
            means = self.window.means()
            values = {
                "loss": means["loss"],
                "perplexity": _exp(means["loss"]),
                **means,
                "gradient_norm": gradient_norm,
                "learning_rate": learning_rate,
                "peak_memory_mb": peak_memory_mb(training),
                "model_flop_utilization": self.utilization.of(means["tokens_per_second"]),
            }
            self.write(training.step, training.position.epoch, "train", values)
            self.window = Window(UNIT)

    def evaluation(self, training: Training, split: str, score: Score) -> None:
        """A part was scored by all ranks."""
        values = score.to_json()
        self.write(training.step, training.position.epoch, split, values)
        if self.is_root:
            logger.info(
                "step %d of %d, epoch %d: %s loss %.4f, perplexity %.2f, %.3f bits a byte",
                training.step, training.total_steps, training.position.epoch, split,
                values["loss"], values["perplexity"], values["bits_per_byte"],
            )  # fmt: skip

    def sample(self, training: Training, text: str) -> None:
        """The model wrote this."""
        self.board.add_text("sample", f"```\n{text}\n```", training.step)


def peak_memory_mb(training: Training) -> float:
    """Of the rank that has held the most so far, in 10^6 bytes. Every rank must call."""
    own = peak_memory_bytes(training.device) / 1e6
    return max_over_ranks(own, training.world, allreduce_sum)


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
