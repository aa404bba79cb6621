"""One prepared corpus for all ranks: one rank of the job prepares it, the others open it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hvdcore.heartbeat import beat
from hvdcore.torch import any_rank, broadcast_object
from textgen.prepare import Corpus, DataConfig, open_corpus, prepare

if TYPE_CHECKING:
    from hvdcore.world import World
    from textgen.config import DataFields


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
    )


def open_corpus_on_all_ranks(config: DataConfig, world: World) -> Corpus:
    """Prepare on one rank of each host, then open everywhere. Every rank must call.

    Raises:
        UserError: the data or the tokenizer is not what it should be.
    """
    path = ""
    if world.local_rank == 0:
        corpus = prepare(config, progress=lambda *_: beat("prepare"))
        path = str(corpus.path)
    any_rank(False)
    return open_corpus(Path(broadcast_object(path)), config.context_length)


def summary(corpus: Corpus) -> str:
    """One line: tokens of each part, and what was left out."""
    parts = ", ".join(f"{name} {count:,}" for name, count in corpus.num_tokens.items())
    skipped = corpus.meta.get("skipped", {})
    left_out = sum(len(v) if isinstance(v, list) else int(v) for v in dict(skipped).values())
    duplicates = corpus.meta.get("duplicates", 0)
    notes = [f"{left_out} files skipped"] * bool(left_out)
    notes += [f"{duplicates} duplicates left out"] * bool(duplicates)
    return f"tokens: {parts}" + (f" ({', '.join(notes)})" if notes else "")
