"""What a run tells while it trains: metrics.jsonl, TensorBoard, the bar and the log, by rank 0."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hvdcore.logs import get_logger
from hvdcore.progress import Progress
from hvdcore.tensorboard import Board

if TYPE_CHECKING:
    from types import TracebackType

    from hvdcore.run_dir import RunDir
    from textgen.evaluate import Score
    from textgen.training import Training

logger = get_logger(__name__)

WARM_UP_STEPS = 5
"""First steps of a process, left out of the speed: caches are cold and memory is being mapped."""


@dataclass(frozen=True)
class StepTimes:
    """Seconds of one step on this rank."""

    data: float
    communicate: float
    """Waiting for other ranks and moving gradients and weights."""
    total: float

    @property
    def compute(self) -> float:
        return self.total - self.data - self.communicate


@dataclass
class Window:
    """Sums over the steps since the last point of the train curves."""

    num_steps: int = 0
    loss: float = 0.0
    num_tokens: int = 0
    data: float = 0.0
    communicate: float = 0.0
    total: float = 0.0

    def add(self, loss: float, num_tokens: int, times: StepTimes) -> None:
        self.num_steps += 1
        self.loss += loss
        self.num_tokens += num_tokens
        self.data += times.data
        self.communicate += times.communicate
        self.total += times.total

    def means(self) -> dict[str, float]:
        """Of one step: loss in nats a token, seconds by kind; and tokens a second, all ranks'."""
        n = self.num_steps
        return {
            "loss": self.loss / n,
            "perplexity": _exp(self.loss / n),
            "tokens_per_second": self.num_tokens / self.total,
            "data_seconds": self.data / n,
            "compute_seconds": (self.total - self.data - self.communicate) / n,
            "communicate_seconds": self.communicate / n,
        }


@dataclass
class Speed:
    """Tokens of all ranks and seconds of this one, without the first steps."""

    num_steps: int = 0
    num_tokens: int = 0
    seconds: float = 0.0

    def add(self, num_tokens: int, times: StepTimes) -> None:
        self.num_steps += 1
        if self.num_steps > WARM_UP_STEPS:
            self.num_tokens += num_tokens
            self.seconds += times.total


@dataclass
class Record:
    """Writes on rank 0 and is silent elsewhere; every rank holds one and calls it alike."""

    run: RunDir
    board: Board
    progress: Progress
    is_root: bool
    window: Window = field(default_factory=Window)
    speed: Speed = field(default_factory=Speed)

    @classmethod
    def of(cls, training: Training, run: RunDir, resume_step: int | None) -> Record:
        """A record of the run; with ``resume_step``, going on after that step."""
        is_root = training.world.is_root
        board = Board(run.tensorboard, enabled=is_root, resume_step=resume_step)
        if resume_step is None:
            shown = {"val/loss": "val loss", "val/bits_per_byte": "val bits per byte"}
            board.add_hparams(training.config.model_dump(mode="json"), shown)
        tokens_per_step = training.config.global_batch_size * training.config.context_length
        progress = Progress(
            training.total_steps * tokens_per_step,
            "tokens",
            is_root,
            initial=training.step * tokens_per_step,
        )
        return cls(run, board, progress, is_root)

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
        """One update was made. ``loss`` is the mean over the global batch, in nats a token;
        ``learning_rate`` is what the update was made with."""
        self.speed.add(num_tokens, times)
        self.window.add(loss, num_tokens, times)
        self.progress.advance(num_tokens, step=training.step, loss=loss)
        if training.step % training.config.log_every == 0:
            values = {
                **self.window.means(),
                "gradient_norm": gradient_norm,
                "learning_rate": learning_rate,
            }
            self._write(training, "train", values)
            self.window = Window()

    def evaluation(self, training: Training, split: str, score: Score) -> None:
        """A part was scored by all ranks."""
        values = score.to_json()
        self._write(training, split, values)
        if self.is_root:
            logger.info(
                "step %d of %d, epoch %d: %s loss %.4f, perplexity %.2f, %.3f bits a byte",
                training.step, training.total_steps, training.position.epoch, split,
                values["loss"], values["perplexity"], values["bits_per_byte"],
            )  # fmt: skip

    def sample(self, training: Training, text: str) -> None:
        """The model wrote this."""
        self.board.add_text("sample", f"```\n{text}\n```", training.step)

    def _write(self, training: Training, split: str, values: dict[str, float]) -> None:
        if not self.is_root:
            return
        row = {"step": training.step, "epoch": training.position.epoch, "split": split}
        self.run.append_metrics({**row, **values})
        scalars = {f"{split}/{name}": value for name, value in values.items()}
        self.board.add_scalars(scalars, training.step)

    def __enter__(self) -> Record:
        self.progress.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.__exit__(kind, error, trace)
        self.board.close()


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
