"""The commands ``prepare`` and ``models``: the prepared corpus and the presets as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Column, Table

from hvdcore.errors import printable
from hvdcore.runtime.terminal import console
from hvdcore.runtime.world import world_from_environment
from textgen.data.distributed import shown_progress, summary
from textgen.model.config import PRESETS, Gpt2Shape

if TYPE_CHECKING:
    from textgen.config import TrainConfig
    from textgen.data.corpus import Corpus

__all__ = ["prepare_and_print", "print_presets"]

PRESET_VOCAB_SIZE = 1024
"""For the numbers of parameters: the default of bpe."""


def prepare_and_print(config: TrainConfig) -> int:
    """Prepare the corpus with all ranks, and print a summary of it on rank 0; the exit code.

    Horovod is not needed: the ranks share the work through the cache.
    """
    from textgen.data.prepare import prepare

    tokenizer = None
    if config.init_from is not None and config.tokenizer is None:
        from textgen.pretrained.load import resolve_model

        tokenizer = resolve_model(config.init_from).tokenizer
    world = world_from_environment()
    with shown_progress(world.is_root) as progress:
        corpus = prepare(config, progress, tokenizer=tokenizer)
    if world.is_root:
        print_corpus(corpus)
    return 0


def print_corpus(corpus: Corpus) -> None:
    """Print the splits, the skipped documents and the near-duplicates, with examples."""
    table = Table("split", *_right("documents", "tokens", "bytes"), box=None)
    for name, counts in corpus.meta["parts"].items():
        cells = (f"{counts[key]:,}" for key in ("documents", "tokens", "bytes"))
        table.add_row(name, *cells)
    printer = console()
    printer.print(table)
    for line in [summary(corpus), *_remarks(corpus), f"cache: {corpus.path}"]:
        printer.print(printable(line), highlight=False, soft_wrap=True, markup=False)


def _remarks(corpus: Corpus) -> list[str]:
    """A line for each reason that documents were skipped, and one about near-duplicates."""
    lines = [
        f"skipped: {count:,} {reason}: {', '.join(corpus.meta['skipped_examples'][reason])}"
        + (", ..." if count > len(corpus.meta["skipped_examples"][reason]) else "")
        for reason, count in corpus.meta["skipped"].items()
    ]
    near = corpus.meta["near_duplicates"]
    if near["groups"]:
        pairs = "; ".join(" and ".join(pair) for pair in near["examples"])
        lines.append(
            f"near-duplicates: {near['documents']:,} documents in {near['groups']:,} groups, each "
            f"kept in one split: {pairs}"
            + ("; ..." if near["groups"] > len(near["examples"]) else "")
        )
    return lines


def _right(*titles: str) -> list[Column]:
    """Right-aligned columns."""
    return [Column(title, justify="right") for title in titles]


def print_presets() -> None:
    """Print the presets, with their parameters for `PRESET_VOCAB_SIZE` tokens."""
    titles = ("layers", "attention", "heads", "kv heads", "width", "mlp", "parameters")
    table = Table(Column("preset", no_wrap=True), *_right(*titles), box=None)
    for name, p in PRESETS.items():
        shape = p.config(vocab_size=PRESET_VOCAB_SIZE)
        is_gpt2 = isinstance(shape, Gpt2Shape)
        cells = (
            p.num_layers,
            shape.num_layers if is_gpt2 else shape.num_attention_layers,
            p.num_heads,
            shape.num_heads if is_gpt2 else shape.num_kv_heads,
            p.embed_dim,
            p.mlp_dim,
            f"{shape.num_parameters:,}",
        )
        table.add_row(name, *map(str, cells))
    console().print(table)
