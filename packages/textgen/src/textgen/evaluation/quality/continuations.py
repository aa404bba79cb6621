"""Generating the continuations of all prompts, under each decoding method, on all ranks."""

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
    from textgen.pretrained.load import LoadedModel

__all__ = [
    "BATCH",
    "num_batches",
    "run_tasks",
    "write_continuations",
]

BATCH = 8
"""Texts per task. A task is the same on any rank, so the results are the same, to the bit, for any
number of ranks."""

T = TypeVar("T")


def run_tasks(
    world: World, count: int, work: Callable[[int], list[T]], description: str
) -> list[T]:
    """The results of tasks 0 .. count - 1, in order, on every rank. Every rank must call.

    Args:
        work: runs one task; its results are of JSON's types.
        description: of the progress bar on rank 0.
    """
    own = eval_range(count, world.rank, world.size)
    done: list[T] = []
    with Progress(len(own), "tasks", world.is_root, description=description) as progress:
        for task in own:
            beat("evaluate")
            done += work(task)
            progress.advance(1)
    results: list[T] = broadcast_object([one for share in gather_objects(done) for one in share])
    return results


def num_batches(num_texts: int) -> int:
    """Number of tasks of at most `BATCH` texts."""
    return -(-num_texts // BATCH)


def write_continuations(
    writer: LoadedModel,
    prompts: Sequence[Prompt],
    decodings: Sequence[Decoding],
    *,
    num_words: int,
    seed: int,
    world: World,
    description: str = "generate",
) -> dict[str, list[str]]:
    """The texts of each decoding, one per prompt. Every rank must call; all get all texts.

    A model generates as many tokens as the longest true continuation has in its tokenizer, and the
    text is cut after `num_words` words. It is shorter where the model ends it, or where its words
    have more tokens.
    """
    budget = max(len(writer.tokenizer.encode(prompt.human)) for prompt in prompts)
    batches = num_batches(len(prompts))
    starts = [prompt.text for prompt in prompts]

    def work(task: int) -> list[str]:
        decoding, batch = divmod(task, batches)
        texts = generate(
            writer.model, writer.tokenizer, starts, max_new_tokens=budget,
            seed=seed, batch_size=BATCH, share=(batch, batches),
            end_tokens=writer.source.end_tokens, **decodings[decoding].options,
        )  # fmt: skip
        return [first_words(text, num_words) for text in texts]

    texts = run_tasks(world, batches * len(decodings), work, description)
    size = len(prompts)
    return {d.name: texts[i * size : (i + 1) * size] for i, d in enumerate(decodings)}
