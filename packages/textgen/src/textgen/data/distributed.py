"""One prepared corpus for all ranks: they prepare it together, and each opens it.

Owns what is seen while a corpus is prepared: on rank 0 a bar for each stage, on all a beat.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hvdcore.errors import UserError
from hvdcore.runtime.heartbeat import beat
from hvdcore.tracking.progress import Progress
from textgen.data import documents
from textgen.data.config import DataConfig
from textgen.data.prepare import Corpus, prepare

if TYPE_CHECKING:
    from hvdcore.runtime.world import World
    from textgen.data.config import DataFields

__all__ = [
    "shown_progress",
]


@contextlib.contextmanager
def shown_progress(enabled: bool) -> Iterator[documents.Progress]:
    """What `prepare` reports to. Stages whose end is not known show no bar.

    Args:
        enabled: give `world.is_root`; the others only tell that they are alive.
    """
    with contextlib.ExitStack() as shown:
        bars: dict[str, tuple[Progress, list[float]]] = {}

        def show(stage: str, done: float, total: float) -> None:
            beat("prepare")
            if not total:
                return
            if stage not in bars:
                bar = Progress(total, "bytes", enabled, description=stage)
                bars[stage] = (shown.enter_context(bar), [0.0])
            bar, before = bars[stage]
            bar.advance(done - before[0])
            before[0] = done

        yield show


def data_config(
    config: DataFields, context_length: int, tokenizer: str | None = None
) -> DataConfig:
    """The part of a configuration that decides what the tokens are.

    Args:
        tokenizer: in place of the configuration's.
    """
    return DataConfig(
        data=config.data,
        tokenizer=tokenizer or config.tokenizer or "bpe",
        vocab_size=config.vocab_size,
        context_length=context_length,
        val_fraction=config.val_fraction,
        test_fraction=config.test_fraction,
        text_column=config.text_column,
        near_duplicate_threshold=config.near_duplicate_threshold,
    )


def open_corpus_on_all_ranks(config: DataConfig, world: World) -> Corpus:
    """Prepare with all ranks, then open everywhere. Every rank must call.

    Raises:
        UserError: the data or the tokenizer is not what it should be, or not the same everywhere.
    """
    from hvdcore.torch import broadcast_object  # textgen prepare does without PyTorch

    with shown_progress(world.is_root) as progress:
        corpus = prepare(config, progress)
    name = broadcast_object(corpus.path.name)
    if corpus.path.name != name:
        raise UserError(
            f"data: {config.data} on the host of rank {world.rank} is not what it is on rank 0's; "
            "give all hosts the same files"
        )
    return corpus


def summary(corpus: Corpus) -> str:
    """One line: tokens of each part, what was left out, what is nearly the same."""
    parts = ", ".join(f"{name} {count:,}" for name, count in corpus.num_tokens.items())
    left_out = sum(corpus.meta["skipped"].values())
    duplicates = corpus.meta["duplicates"]
    near = corpus.meta["near_duplicates"]["documents"]
    notes = [f"{left_out:,} left out as no text"] * bool(left_out)
    notes += [f"{duplicates:,} duplicates left out"] * bool(duplicates)
    notes += [f"{near:,} near-duplicates"] * bool(near)
    return f"tokens: {parts}" + (f" ({', '.join(notes)})" if notes else "")
