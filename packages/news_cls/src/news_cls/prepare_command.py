"""The command ``prepare``: prepares the texts and prints what was found."""

from __future__ import annotations

from hvdcore.classifier.prepare_command import prepare_with_progress, print_prepared
from hvdcore.errors import printable_name
from news_cls.config import SAMPLE_NAMES, TrainConfig
from news_cls.data.dataset import TextData
from news_cls.data.prepare import prepare, summary

__all__ = ["prepare_and_print"]


def prepare_and_print(config: TrainConfig) -> None:
    """Prepare the data and print the splits, the vocabulary, what was cleaned and skipped."""
    data = prepare_with_progress(lambda progress: prepare(config, progress), SAMPLE_NAMES.samples)
    print_prepared(data, [summary(data), *statistics(data)])


def statistics(data: TextData) -> list[str]:
    """Lines about lengths, vocabulary and cleaning."""
    meta = data.meta
    lengths = ", ".join(f"{share} up to {n}" for share, n in meta["lengths"].items())
    cut = ", ".join(f"{name} {n:,}" for name, n in meta["cut"].items())
    unknown = ", ".join(f"{name} {share:.2%}" for name, share in meta["unknown"].items())
    rules = [
        f"  {name} {entry['count']:,}: {' | '.join(map(printable_name, entry['examples']))}"
        for name, entry in meta["cleaned"]["rules"].items()
    ]
    return [
        f"tokens per text: {lengths}; cut at {data.max_length}: {cut}",
        f"vocabulary: {data.vocab_size:,} ids; unknown tokens: {unknown}",
        f"cleaned: {meta['cleaned']['texts']:,} texts",
        *rules,
    ]
