"""Owns the continuations: what a model writes after every prompt, under every decoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textgen.evaluation.quality.decoding import Decoding
from textgen.evaluation.quality.prompts import Prompt
from textgen.evaluation.quality.shared_work import BATCH, num_batches, shared_work
from textgen.evaluation.quality.words import first_words
from textgen.generation.generate import generate

if TYPE_CHECKING:
    from hvdcore.runtime.world import World
    from textgen.pretrained.load import OpenedModel

__all__ = ["write_continuations"]


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
