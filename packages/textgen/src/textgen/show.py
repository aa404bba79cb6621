"""What the short verbs print: the prepared corpus, generated text, the presets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hvdcore.progress import Progress
from textgen.config import TrainConfig
from textgen.open_corpus import data_config, summary
from textgen.presets import PRESETS


def prepare_and_show(config: TrainConfig) -> None:
    """Prepare the corpus and print its parts."""
    from textgen.prepare import prepare

    stages: dict[str, Progress] = {}

    def show(stage: str, done: float, total: float) -> None:
        if stage not in stages:
            stages[stage] = Progress(total, "bytes", description=stage).__enter__()
        progress = stages[stage]
        progress.advance(done - progress.done)

    try:
        corpus = prepare(data_config(config, config.context_length), progress=show)
    finally:
        for progress in stages.values():
            progress.__exit__(None, None, None)
    table = Table("part", "documents", "tokens", "bytes", box=None)
    for name, part in corpus.meta["parts"].items():
        cells = (f"{part[key]:,}" for key in ("documents", "tokens", "bytes"))
        table.add_row(name, *cells)
    console = Console()
    console.print(table)
    console.print(summary(corpus), highlight=False)
    console.print(f"cache: {corpus.path}", highlight=False, soft_wrap=True)


def generate_and_show(run_dir: Path, **settings: Any) -> int:
    """Print what the model writes."""
    from textgen.generate import generate_command

    return generate_command(run_dir, stdout=sys.stdout, **settings)


def show_models() -> None:
    """Print the presets."""
    table = Table("preset", "layers", "heads", "kv heads", "width", "mlp", box=None)
    for name, p in PRESETS.items():
        table.add_row(
            name, *map(str, (p.num_layers, p.num_heads, p.num_kv_heads, p.embed_dim, p.mlp_dim))
        )
    Console().print(table)
