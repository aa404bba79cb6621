"""Owns the continuations: what a model writes after every prompt, under every decoding.

Owns numbered pieces of work that the ranks share out, and the bar that shows them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from hvdcore.runtime.heartbeat import beat
from hvdcore.sharding import eval_range
from hvdcore.torch import broadcast_object, gather_objects
from hvdcore.tracking.progress import Progress
from textgen.evaluation.quality.config import Decoding
from textgen.evaluation.quality.prompts import Prompt, first_words
from textgen.generation.generate import generate

if TYPE_CHECKING:
    from hvdcore.runtime.world import World
    from textgen.pretrained.load import OpenedModel

__all__ = [
    "BATCH",
    "num_batches",
    "shared_work",
    "write_continuations",
]

BATCH = 8
"""Texts in a piece of work. A piece is the same on any rank, so its results are the same, to the
bit, for any number of ranks."""

T = TypeVar("T")


def shared_work(
    world: World, count: int, work: Callable[[int], list[T]], description: str
) -> list[T]:
    """The results of all pieces 0 .. count - 1, in order, on every rank. Every rank must call.

    Args:
        work: does one piece; its results are made of JSON's types.
        description: what the bar on rank 0 calls it.
    """
    own = eval_range(count, world.rank, world.size)
    done: list[T] = []
    with Progress(len(own), "pieces", world.is_root, description=description) as progress:
        for piece in own:
            beat("evaluate")
            done += work(piece)
            progress.advance(1)
    results: list[T] = broadcast_object([one for part in gather_objects(done) for one in part])
    return results


def num_batches(num_texts: int) -> int:
    """Pieces of at most `BATCH` texts."""
    return -(-num_texts // BATCH)


def write_continuations(
    writer: OpenedModel,
    prompts: Sequence[Prompt],
    decodings: Sequence[Decoding],
    *,
    num_words: int,
    seed: int,
    world: World,
    description: str = "write",
) -> dict[str, list[str]]:
    """The texts of each decoding, one for each prompt. Every rank must call; all get all of them.

    A model writes as many tokens as the longest of the true continuations has in its tokenizer,
    and the text is cut after `num_words` words. It is shorter where the model ends it, or where
    its words take more tokens.
    """
    budget = max(len(writer.tokenizer.encode(prompt.human)) for prompt in prompts)
    batches = num_batches(len(prompts))
    starts = [prompt.text for prompt in prompts]

    def work(piece: int) -> list[str]:
        decoding, batch = divmod(piece, batches)
        texts = generate(
            writer.model, writer.tokenizer, starts, max_new_tokens=budget,
            seed=seed, batch_size=BATCH, share=(batch, batches), **decodings[decoding].options,
        )  # fmt: skip
        return [first_words(text, num_words) for text in texts]

    texts = shared_work(world, batches * len(decodings), work, description)
    size = len(prompts)
    return {d.name: texts[i * size : (i + 1) * size] for i, d in enumerate(decodings)}
