"""The way from `--data` to prepared texts, in a cache keyed by their content."""

from __future__ import annotations

from hvdcore.classifier.prepared import Progress, default_cache_dir, find_or_build, what_became
from news_cls.config import DataFields
from news_cls.data.build_data import DataRequest, build
from news_cls.data.dataset import TextData, is_complete, open_data
from news_cls.data.layouts import Columns
from news_cls.data.sources import find_source

__all__ = ["prepare", "summary"]


def prepare(config: DataFields, tell: Progress | None = None) -> TextData:
    """The data for a configuration: from the cache, or read, cleaned, cut, numbered and cached.

    With several ranks let one rank of a host call it and the others then `open_data`.

    Args:
        tell: called with (done, 0) texts now and then; (0, 0) while another process prepares the
            same.

    Raises:
        UserError: anything wrong with the data or the cache's disk.
    """
    tell = tell or (lambda done, total: None)
    request = DataRequest(
        config.val_fraction, config.test_fraction, config.vocab_size, config.max_length
    )
    cache = default_cache_dir("news_cls")
    source = find_source(config.data, Columns(config.text_column, config.label_column), cache)
    path = find_or_build(
        cache, "texts", request.digest(source.signature()), is_complete=is_complete, tell=tell,
        build=lambda work: build(request, source, cache, work, tell),
    )  # fmt: skip
    return open_data(path)


def summary(data: TextData) -> str:
    """One line: texts of each part, and what was left out."""
    classes = f"{len(data.classes)} classes (named by {data.meta['classes_from']})"
    return what_became("texts", data.meta, classes)
