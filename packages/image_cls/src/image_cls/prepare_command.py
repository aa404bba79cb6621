"""What `image-cls prepare` prints: the parts, class by class, and what was odd."""

from __future__ import annotations

from rich.console import Console
from rich.table import Column, Table

from hvdcore.classifier.splits import PARTS
from hvdcore.tracking.progress import Progress
from image_cls.config import TrainConfig
from image_cls.data.dataset import ImageData
from image_cls.data.prepare import prepare, summary


def prepare_with_bar(config: TrainConfig) -> ImageData:
    """Prepare, with a bar on stderr while there is something to do."""
    bars: list[Progress] = []

    def tell(done: int, total: int) -> None:
        if total and not bars:
            bars.append(Progress(total, "pictures", description="prepare").__enter__())
        if total:
            bars[0].advance(1)

    try:
        return prepare(config, tell)
    finally:
        for bar in bars:
            bar.__exit__(None, None, None)


def prepare_and_show(config: TrainConfig) -> None:
    """Prepare the data and print its parts."""
    data = prepare_with_bar(config)
    table = Table("class", *(Column(name, justify="right") for name in PARTS), box=None)
    for name in data.classes:
        table.add_row(name, *(str(data.meta["classes_of_parts"][p][name]) for p in PARTS))
    console = Console()
    console.print(table)
    console.print(summary(data), highlight=False, soft_wrap=True)
    sizes = ", ".join(f"{size} ({count:,})" for size, count in data.meta["sizes"].items())
    console.print(f"sizes: {sizes}", highlight=False, soft_wrap=True)
    for reason, entry in {**data.meta["skipped"], **data.meta["notes"]}.items():
        examples = ", ".join(entry["examples"])
        console.print(f"{reason}: {examples}", highlight=False, soft_wrap=True, markup=False)
    console.print(f"cache: {data.path}", highlight=False, soft_wrap=True)
