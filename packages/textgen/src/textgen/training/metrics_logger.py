"""Logging of a run by rank 0: metrics.jsonl, TensorBoard, the progress bar and the log."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hvdcore.files.markdown_text import code_block
from hvdcore.metrics.metrics import max_over_ranks
from hvdcore.metrics.rank_times import RankTimes
from hvdcore.run.metrics_logger import RunLogger, StepTimes, Window
from hvdcore.torch import allreduce_sum, gather_objects, peak_memory_bytes
from hvdcore.tracking.logs import get_logger
from hvdcore.tracking.progress import Progress
from hvdcore.tracking.tensorboard import Board

if TYPE_CHECKING:
    import torch

    from hvdcore.run.run_dir import RunDir
    from hvdcore.runtime.world import World
    from textgen.config import TrainConfig
    from textgen.evaluation.evaluate import Score
    from textgen.model.cost import Utilization

logger = get_logger(__name__)

UNIT = "tokens"


@dataclass
class MetricsLogger(RunLogger):
    """Logs the steps and evaluations of a run. Every rank must call each method alike."""

    world: World = field(kw_only=True)
    device: torch.device = field(kw_only=True)
    utilization: Utilization = field(kw_only=True)
    total_steps: int = field(kw_only=True)
    log_every: int = field(kw_only=True)
    ranks: RankTimes = field(kw_only=True)

    @classmethod
    def create(
        cls,
        run: RunDir,
        config: TrainConfig,
        world: World,
        *,
        device: torch.device,
        utilization: Utilization,
        total_steps: int,
        resume_step: int | None,
    ) -> MetricsLogger:
        """The logger of a run.

        Args:
            resume_step: the step of the checkpoint that the run resumed from, if it did.
        """
        board = Board(run.tensorboard, enabled=world.is_root, resume_step=resume_step)
        if resume_step is None:
            shown = {"val/loss": "val loss", "val/bits_per_byte": "val bits per byte"}
            board.add_hparams(config.model_dump(mode="json"), shown)
        tokens_per_step = config.global_batch_size * config.context_length
        progress = Progress(
            total_steps * tokens_per_step,
            UNIT,
            world.is_root,
            initial=(resume_step or 0) * tokens_per_step,
        )
        return cls(
            run, board, progress, world.is_root, Window(UNIT),
            world=world, device=device, utilization=utilization,
            tracker=run.open_tracker(config, "textgen") if world.is_root else None,
            total_steps=total_steps, log_every=config.log_every,
            ranks=RankTimes(world, allreduce_sum, lambda: gather_objects(platform.node())),
        )  # fmt: skip

    def log_step(
        self,
        step: int,
        epoch: int,
        *,
        loss: float,
        gradient_norm: float,
        learning_rate: float,
        num_tokens: int,
        times: StepTimes,
    ) -> None:
        """Log an optimizer step. Every rank must call.

        Args:
            step: the number of steps made.
            loss: mean over the global batch, in nats per token.
            learning_rate: the one of this step.
            num_tokens: of the global batch.
        """
        self.speed.add(num_tokens, times)
        self.window.add({"loss": loss}, num_tokens, times)
        self.progress.advance(num_tokens, step=step, loss=loss)
        if step % self.log_every:
            return
        means = self.window.means()
        peak_mb = peak_memory_bytes(self.device) / 1e6
        figures = self.ranks.exchange(self.window.times, self.window.num_steps, peak_mb)
        self.log_ranks(figures)
        values = {
            "loss": means["loss"],
            "perplexity": _exp(means["loss"]),
            **means,
            "gradient_norm": gradient_norm,
            "learning_rate": learning_rate,
            "peak_memory_mb": max(figures.extra),
            "model_flop_utilization": self.utilization.of(means["tokens_per_second"]),
            **figures.to_json(),
        }
        self.write(step, epoch, "train", values)
        self.window = Window(UNIT)

    def log_evaluation(self, step: int, epoch: int, split: str, score: Score) -> None:
        """Log the score of a split."""
        values = score.to_json()
        self.write(step, epoch, split, values)
        if self.is_root:
            logger.info(
                "step %d of %d, epoch %d: %s loss %.4f, perplexity %.2f, %.3f bits per byte",
                step, self.total_steps, epoch, split,
                values["loss"], values["perplexity"], values["bits_per_byte"],
            )  # fmt: skip

    def log_sample(self, step: int, text: str) -> None:
        """Log a text that the model generated."""
        self.board.add_text("sample", code_block(text), step)

    def peak_memory_mb(self) -> float:
        """Peak memory of the rank with the highest, in 10^6 bytes. Every rank must call."""
        return max_over_ranks(peak_memory_bytes(self.device) / 1e6, self.world, allreduce_sum)

    def tokens_per_second(self) -> float | None:
        """Speed of all ranks over the run, by the slowest rank. Every rank must call."""
        seconds = max_over_ranks(self.speed.seconds, self.world, allreduce_sum)
        return self.speed.num_units / seconds if seconds else None


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
