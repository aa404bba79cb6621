"""Preparing a corpus with all ranks, and showing the progress of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hvdcore.errors import UserError
from hvdcore.files.checksums import require_undamaged
from hvdcore.runtime.heartbeat import beat
from hvdcore.tracking.progress import Progress
from textgen.data import documents
from textgen.data.config import DataConfig
from textgen.data.corpus import Corpus
from textgen.data.prepare import prepare

if TYPE_CHECKING:
    from hvdcore.runtime.world import World
    from textgen.tokenizer.tokenizer import Tokenizer

__all__ = ["prepare_distributed", "shown_progress", "summary"]


def prepare_distributed(
    config: DataConfig, world: World, tokenizer: Tokenizer | None = None
) -> Corpus:
    """Prepare the corpus with all ranks, then open it on each. Every rank must call.

    Args:
        tokenizer: see `textgen.data.prepare.prepare`.

    Raises:
        UserError: data or tokenizer cannot be read, the prepared corpus is damaged, or hosts
            have different data.
    """
    from hvdcore.torch import broadcast_object  # textgen prepare needs no PyTorch

    with shown_progress(world.is_root) as progress:
        corpus = prepare(config, progress, tokenizer=tokenizer)
    if world.local_rank == 0:
        require_undamaged(corpus.path, corpus.meta, lambda: beat("prepare"))
    name = broadcast_object(corpus.path.name)
    if corpus.path.name != name:
        raise UserError(
            f"data: {config.data} on the host of rank {world.rank} differs from that on rank 0's; "
            "give all hosts the same files"
        )
    return corpus


@contextlib.contextmanager
def shown_progress(enabled: bool) -> Iterator[documents.Progress]:
    """A callback for `prepare`: one bar per stage, none for stages of unknown length.

    Args:
        enabled: whether bars are shown, usually `world.is_root`; the heartbeat is sent either way.
    """
    with contextlib.ExitStack() as shown:
        bars: dict[str, tuple[Progress, list[float]]] = {}

        def show(stage: str, done: float, total: float) -> None:
            beat("prepare")
            if not total:
                return
            if stage not in bars:
                bar = Progress(total, "bytes", enabled, description=stage)
                bars[stage] = (shown.enter_context(bar), [0.0])
            bar, before = bars[stage]
            bar.advance(done - before[0])
            before[0] = done

        yield show


def summary(corpus: Corpus) -> str:
    """One line: tokens of each split, and how many documents were left out or nearly the same."""
    counts = ", ".join(f"{name} {count:,}" for name, count in corpus.num_tokens.items())
    skipped = sum(corpus.meta["skipped"].values())
    duplicates = corpus.meta["duplicates"]
    near = corpus.meta["near_duplicates"]["documents"]
    notes = [f"{skipped:,} skipped as not text"] * bool(skipped)
    notes += [f"{duplicates:,} duplicates skipped"] * bool(duplicates)
    notes += [f"{near:,} near-duplicates"] * bool(near)
    licences = corpus.meta.get("licences", 0)
    notes += [f"Project Gutenberg's licence cut from {licences:,}"] * bool(licences)
    return f"tokens: {counts}" + (f" ({', '.join(notes)})" if notes else "")
