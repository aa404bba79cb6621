"""What `news-cls prepare` prints: the parts, class by class, what was cleaned, and what was odd."""

from __future__ import annotations

from rich.console import Console
from rich.table import Column, Table

from hvdcore.classifier.splits import PARTS
from news_cls.config import DataFields
from news_cls.data.dataset import TextData
from news_cls.data.prepare import prepare, summary


def prepare_and_show(config: DataFields) -> None:
    """Prepare the data and print its parts."""
    data = prepare(config)
    table = Table("class", *(Column(name, justify="right") for name in PARTS), box=None)
    for name in data.classes:
        table.add_row(name, *(str(data.meta["classes_of_parts"][p][name]) for p in PARTS))
    console = Console()
    console.print(table, markup=False)
    for line in lines(data):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def lines(data: TextData) -> list[str]:
    """All that is said below the table."""
    meta = data.meta
    lengths = ", ".join(f"{share} up to {n}" for share, n in meta["lengths"].items())
    cut = ", ".join(f"{name} {n:,}" for name, n in meta["cut"].items())
    unknown = ", ".join(f"{name} {share:.2%}" for name, share in meta["unknown"].items())
    said = [
        summary(data),
        f"tokens a text: {lengths}; cut at {data.max_length}: {cut}",
        f"vocabulary: {data.vocab_size:,} ids; unknown tokens: {unknown}",
        f"cleaned: {meta['cleaned']['texts']:,} texts",
    ]
    for name, entry in meta["cleaned"]["rules"].items():
        said.append(f"  {name} {entry['count']:,}: {' | '.join(entry['examples'])}")
    for reason, entry in {**meta["skipped"], **meta["notes"]}.items():
        said.append(f"{reason}: {', '.join(entry['examples'])}")
    return [*said, f"cache: {data.path}"]
