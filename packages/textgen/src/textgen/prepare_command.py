"""What the short verbs print: the prepared corpus, the presets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Column, Table

from hvdcore.runtime.world import world_from_environment
from textgen.config import TrainConfig
from textgen.data.distributed import data_config, shown_progress, summary
from textgen.model.config import PRESETS, Gpt2Shape

if TYPE_CHECKING:
    from textgen.data.prepare import Corpus

SHOWN_VOCAB_SIZE = 1024
"""What bpe learns by default."""


def prepare_and_show(config: TrainConfig) -> int:
    """Prepare the corpus with all ranks, and print on rank 0 what is in it; the exit code.

    The ranks need no Horovod for it: what they share is the cache.
    """
    from textgen.data.prepare import prepare
    from textgen.pretrained.load import find_place
    from textgen.training.init_model import starting_tokenizer

    place = None if config.init_from is None else find_place(config.init_from)
    data = data_config(config, config.context_length, starting_tokenizer(config, place))
    world = world_from_environment()
    with shown_progress(world.is_root) as progress:
        corpus = prepare(data, progress)
    if world.is_root:
        show_corpus(corpus)
    return 0


def show_corpus(corpus: Corpus) -> None:
    """Print the parts, what was left out, and the near-duplicates, with examples."""
    table = Table("part", *right("documents", "tokens", "bytes"), box=None)
    for name, part in corpus.meta["parts"].items():
        cells = (f"{part[key]:,}" for key in ("documents", "tokens", "bytes"))
        table.add_row(name, *cells)
    console = Console()
    console.print(table)
    for line in [summary(corpus), *remarks(corpus), f"cache: {corpus.path}"]:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def remarks(corpus: Corpus) -> list[str]:
    """A line for each reason to leave documents out, and one for near-duplicates, by example."""
    lines = [
        f"left out: {count:,} {reason}: {', '.join(corpus.meta['skipped_examples'][reason])}"
        + (", ..." if count > len(corpus.meta["skipped_examples"][reason]) else "")
        for reason, count in corpus.meta["skipped"].items()
    ]
    near = corpus.meta["near_duplicates"]
    if near["groups"]:
        pairs = "; ".join(" and ".join(pair) for pair in near["examples"])
        lines.append(
            f"near-duplicates: {near['documents']:,} documents in {near['groups']:,} groups, each "
            f"kept in one part: {pairs}"
            + ("; ..." if near["groups"] > len(near["examples"]) else "")
        )
    return lines


def right(*titles: str) -> list[Column]:
    """Columns of numbers."""
    return [Column(title, justify="right") for title in titles]


def show_models() -> None:
    """Print the presets, with their parameters at `SHOWN_VOCAB_SIZE` tokens."""
    titles = ("layers", "attend", "heads", "kv heads", "width", "mlp", "parameters")
    table = Table(Column("preset", no_wrap=True), *right(*titles), box=None)
    for name, p in PRESETS.items():
        shape = p.config(vocab_size=SHOWN_VOCAB_SIZE)
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
    Console().print(table)
