"""What the short verbs print: the prepared corpus, the presets."""

from __future__ import annotations

import contextlib

from rich.console import Console
from rich.table import Column, Table

from hvdcore.progress import Progress
from textgen.config import TrainConfig
from textgen.gpt2 import Gpt2Shape
from textgen.open_corpus import data_config, summary
from textgen.presets import PRESETS

SHOWN_VOCAB_SIZE = 1024
"""What bpe learns by default."""


def prepare_and_show(config: TrainConfig) -> None:
    """Prepare the corpus and print its parts."""
    from textgen.open_model import find_place
    from textgen.prepare import prepare
    from textgen.starting_model import starting_tokenizer

    place = None if config.init_from is None else find_place(config.init_from)
    data = data_config(config, config.context_length, starting_tokenizer(config, place))
    with contextlib.ExitStack() as shown:
        bars: dict[str, tuple[Progress, list[float]]] = {}

        def show(stage: str, done: float, total: float) -> None:
            if stage not in bars:
                bar = shown.enter_context(Progress(total, "bytes", description=stage))
                bars[stage] = (bar, [0.0])
            bar, before = bars[stage]
            bar.advance(done - before[0])
            before[0] = done

        corpus = prepare(data, progress=show)
    table = Table("part", *right("documents", "tokens", "bytes"), box=None)
    for name, part in corpus.meta["parts"].items():
        cells = (f"{part[key]:,}" for key in ("documents", "tokens", "bytes"))
        table.add_row(name, *cells)
    console = Console()
    console.print(table)
    console.print(summary(corpus), highlight=False)
    console.print(f"cache: {corpus.path}", highlight=False, soft_wrap=True)


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
