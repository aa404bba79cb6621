"""The settings of a judgement: how many prompts, how long, which decodings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hvdcore.errors import Problems
from textgen.evaluation.quality.decoding import DEFAULT_DECODINGS, Decoding, parse_decodings

__all__ = ["JudgeConfig"]


@dataclass(frozen=True)
class JudgeConfig:
    """What is asked of a judgement.

    Attributes:
        prompt_words: length of each prompt.
        continuation_words: length of the true continuation; models' texts are cut there.
        seed: of the prompts' places, the sampling, the clusters and the intervals.
    """

    num_prompts: int
    prompt_words: int
    continuation_words: int
    decodings: tuple[Decoding, ...]
    seed: int

    @classmethod
    def of(
        cls,
        num_prompts: int,
        prompt_words: int,
        continuation_words: int,
        decoding: Sequence[str] | None,
        seed: int,
    ) -> JudgeConfig:
        """Checked settings.

        Raises:
            UserError: every value that cannot be.
        """
        problems = Problems()
        counts = {
            "num_prompts": (num_prompts, 2),  # one text has no others to be like
            "prompt_words": (prompt_words, 1),
            "continuation_words": (continuation_words, 1),
        }
        for name, (value, least) in counts.items():
            if value < least:
                problems.add(name, f"got {value}; give {least} or more")
        chosen = parse_decodings(decoding or DEFAULT_DECODINGS, problems)
        problems.raise_if_any()
        return cls(num_prompts, prompt_words, continuation_words, tuple(chosen), seed)
