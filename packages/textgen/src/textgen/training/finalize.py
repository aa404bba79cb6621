"""The end of a run: load the best weights, score them, save the model and write the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hvdcore.run.checkpoint import best, load
from hvdcore.run.closing import Headline, log_closing
from hvdcore.run.run_dir import RunDir
from hvdcore.run.splits import SPLITS
from hvdcore.torch import allreduce_sum, barrier, broadcast_object, check_same_weights
from hvdcore.tracking.logs import get_logger
from textgen.data.corpus import BlockSubset, TokenBlocks
from textgen.evaluation.evaluate import Score, evaluate
from textgen.evaluation.report import write_report
from textgen.generation.generate import generate
from textgen.model.causal_lm import CausalLM
from textgen.model.language_model import LanguageModel
from textgen.model.transformer import Transformer
from textgen.pretrained.hf_folder import save_causal_lm
from textgen.pretrained.saved_model import replace_folder, save_model
from textgen.tokenizer.tokenizer import Tokenizer
from textgen.training.checkpoints import load_weights
from textgen.training.metrics_logger import MetricsLogger
from textgen.training.state import TrainState

__all__ = ["evaluate_split", "finalize", "sample_text"]

BITS_PER_BYTE = Headline("bits_per_byte", "bits per byte", "{:.3f}", lower_is_better=True)
NEXT_COMMAND = 'textgen generate {run} --prompt "One morning"'
SAMPLE_TOKENS = 192
"""Length of the sample in report.json."""

logger = get_logger(__name__)


def finalize(state: TrainState, metrics: MetricsLogger) -> None:
    """Choose the weights by val, score test once, save the model and write the report.

    Every rank must call.
    """
    run, counters = metrics.run, state.counters
    chosen_step = load_best_checkpoint(state, run.checkpoints)
    digest = check_same_weights(state.model)
    scores = {split: evaluate_split(state, split) for split in SPLITS}
    speed, peak_memory = metrics.tokens_per_second(), metrics.peak_memory_mb()
    step_seconds = metrics.speed.mean_step(allreduce_sum)
    if scores["test"] is not None:
        metrics.log_evaluation(counters.step, counters.position.epoch, "test", scores["test"])
    if state.world.is_root:
        save(state.model, state.corpus.tokenizer, run, state.base)
        report = {
            "schema": 1,
            "package": "textgen",
            "model": state.model_name,
            "num_parameters": state.model.num_parameters,
            "num_trainable_parameters": state.model.num_trainable_parameters,
            "size": state.world.size,
            "global_batch_size": state.config.global_batch_size,
            "seed": state.config.seed,
            "epochs": counters.position.epoch,
            "steps": counters.step,
            "chosen_step": chosen_step,
            "seconds": counters.seconds,
            "tokens_per_second": speed,
            "step_seconds": step_seconds,
            "communication": state.optimizer.communication,
            "peak_memory_mb": peak_memory,
            **metrics.utilization.to_json(speed),
            "weights_sha256": digest,
            **{split: score.to_json() for split, score in scores.items() if score is not None},
            "sample": sample_text(state, SAMPLE_TOKENS),
        }
        run.write_json("report.json", report)
        write_report([run.path], run.report_html)
        log_closing(run, BITS_PER_BYTE, NEXT_COMMAND)
    barrier()


def load_best_checkpoint(state: TrainState, checkpoints: Path) -> int:
    """Load the weights with the lowest val loss, if they are not the last; return their step."""
    found = best(checkpoints) if state.world.is_root else None
    path = broadcast_object("" if found is None else str(found.path))
    if not path:
        return state.counters.step
    checkpoint = load(Path(path))
    if checkpoint.step != state.counters.step:
        logger.info("step %d had the lowest val loss; its weights are used", checkpoint.step)
        load_weights(state.model, checkpoint)
    return checkpoint.step


def evaluate_split(state: TrainState, split: str) -> Score | None:
    """The exact score on val or test, or on an even sample of train as large as val.

    None where the split is empty. Every rank must call.
    """
    corpus = state.corpus
    blocks: TokenBlocks | BlockSubset | None = corpus.split(split)
    if blocks is None:
        return None
    num_bytes, num_words = corpus.num_bytes[split], corpus.num_words[split]
    if split == "train":
        scored = replace(corpus.train, ignored=corpus.val.ignored)
        blocks = BlockSubset.of(scored, max(len(corpus.val), 1))
        share = len(blocks) / len(corpus.train)
        num_bytes, num_words = round(num_bytes * share), round(num_words * share)
    return evaluate(
        state.model,
        blocks,
        state.world,
        batch_size=state.config.eval_batch_size,
        num_bytes=num_bytes,
        num_words=num_words,
        device=state.device,
    )


def sample_text(state: TrainState, num_tokens: int) -> str:
    """A text that the model generates without a prompt, on rank 0; the same at every call."""
    if not state.world.is_root or num_tokens == 0:
        return ""
    texts = generate(
        state.model, state.corpus.tokenizer, [""], max_new_tokens=num_tokens,
        temperature=0.8, top_k=50, seed=state.config.seed,
    )  # fmt: skip
    state.model.train()
    return texts[0]


def save(model: LanguageModel, tokenizer: Tokenizer, run: RunDir, base: Path | None = None) -> None:
    """Write the run's ``model/``, and LoRA adapters by themselves to ``adapter/``.

    Args:
        base: the folder of the model that training started from.
    """
    if isinstance(model, Transformer):
        save_model(run.model, model, tokenizer, base)
        return
    assert isinstance(model, CausalLM)
    save_causal_lm(run.model, model, tokenizer, base)
    if model.adapter is not None:
        replace_folder(run.path / "adapter", model.adapter.save)
