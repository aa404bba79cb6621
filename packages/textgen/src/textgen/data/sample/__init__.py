"""The sample data: stories generated offline from a grammar of our own, always the same ones.

People in a village want, lose, trade and give things; what is said later agrees with what happened
before. Every random choice is counted, so the entropy of a story is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from textgen.data.documents import Document, Skipped, SourceShard, Unit
from textgen.data.sample.story import tell_story

__all__ = ["NUM_STORIES", "SampleSource", "tell_story"]

NUM_STORIES = 1000
_STORIES_PER_UNIT = 125
_VERSION = 1  # raise it when the stories change: it is part of the cache key


@dataclass(frozen=True)
class SampleSource:
    """`--data sample`: `num_stories` documents, the same on every machine."""

    num_stories: int = NUM_STORIES

    @property
    def name(self) -> str:
        return "sample"

    def signature(self) -> str:
        return f"sample {_VERSION} {self.num_stories}"

    def units(self, text_column: str) -> list[Unit]:
        """Groups of stories."""
        starts = range(0, self.num_stories, _STORIES_PER_UNIT)
        stops = [min(start + _STORIES_PER_UNIT, self.num_stories) for start in starts]
        return [(SourceShard("sample", a, b, a, 0),) for a, b in zip(starts, stops, strict=True)]

    def documents(self, unit: Unit, text_column: str, skipped: Skipped) -> Iterator[Document]:
        """Stories, with the entropy of the choices that made them."""
        for number in (number for shard in unit for number in range(shard.start, shard.stop)):
            text, bits = tell_story(f"story {number}")
            yield Document((text.encode(),), f"story {number}", bits)
