"""The way from `--data` to prepared pictures, in a cache keyed by their content."""

from __future__ import annotations

from hvdcore.classifier.prepared import Progress, default_cache_dir, find_or_build, what_became
from image_cls.config import DataFields
from image_cls.data.build_data import DataRequest, build
from image_cls.data.dataset import ImageData, is_complete, open_data
from image_cls.data.sources import find_source

__all__ = ["prepare", "summary"]


def prepare(config: DataFields, tell: Progress | None = None) -> ImageData:
    """The data for a configuration: from the cache, or decoded, checked, cut and cached.

    With several ranks let one rank of a host call it and the others then `open_data`.

    Args:
        tell: called with (done, total) pictures; (0, 0) while another process prepares the same.

    Raises:
        UserError: anything wrong with the data or the cache's disk.
    """
    tell = tell or (lambda done, total: None)
    request = DataRequest(config.data, config.image_size, config.val_fraction, config.test_fraction)
    source, cache = find_source(config.data), default_cache_dir("image_cls")
    path = find_or_build(
        cache, "images", request.digest(source.signature()), is_complete=is_complete, tell=tell,
        build=lambda work: build(request, source, cache, work, tell),
    )  # fmt: skip
    return open_data(path)


def summary(data: ImageData) -> str:
    """One line: pictures of each part, and what was left out."""
    return what_became("pictures", data.meta, f"{len(data.classes)} classes")
