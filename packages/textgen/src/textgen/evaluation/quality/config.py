"""The settings of measuring generated text: prompts, lengths, and decoding methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hvdcore.errors import Problems

__all__ = [
    "DEFAULT_DECODINGS",
    "Decoding",
    "QualityConfig",
    "parse_decodings",
]

DEFAULT_DECODINGS = ("greedy", "temperature=0.8", "top-k=50", "top-p=0.95")
_FORMS = "greedy, temperature=T, top-k=K or top-p=P"


@dataclass(frozen=True)
class Decoding:
    """A decoding method.

    Attributes:
        name: as the user gave it.
        options: arguments of `textgen.generation.generate.generate`.
    """

    name: str
    options: dict[str, float | int | bool] = field(default_factory=dict)


def parse_decodings(names: Sequence[str], problems: Problems) -> list[Decoding]:
    """The decoding methods, each once, in order; invalid ones are added to `problems`."""
    found = []
    for name in dict.fromkeys(names):
        options = _options(name)
        if options is None:
            problems.add("decoding", f"got {name!r}; give {_FORMS}")
        else:
            found.append(Decoding(name, options))
    return found


def _options(name: str) -> dict[str, float | int | bool] | None:
    if name == "greedy":
        return {"greedy": True}
    kind, _, text = name.partition("=")
    try:
        value = int(text) if kind == "top-k" else float(text)
    except ValueError:
        return None
    fits = {
        "temperature": 0 < value < float("inf"), "top-k": value >= 1, "top-p": 0 < value <= 1,
    }.get(kind, False)  # fmt: skip
    return {kind.replace("-", "_"): value} if fits else None


@dataclass(frozen=True)
class QualityConfig:
    """How the quality of generated text is measured.

    Attributes:
        prompt_words: length of each prompt.
        continuation_words: length of the true continuations, and of the generated ones.
        seed: of the choice of prompts, the sampling, the clusters and the intervals.
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
    ) -> QualityConfig:
        """The settings, checked.

        Raises:
            UserError: naming all invalid values.
        """
        problems = Problems()
        counts = {
            "num_prompts": (num_prompts, 2),  # self-BLEU compares a text with the others
            "prompt_words": (prompt_words, 1),
            "continuation_words": (continuation_words, 1),
        }
        for name, (value, least) in counts.items():
            if value < least:
                problems.add(name, f"got {value}; give {least} or more")
        chosen = parse_decodings(decoding or DEFAULT_DECODINGS, problems)
        problems.raise_if_any()
        return cls(num_prompts, prompt_words, continuation_words, tuple(chosen), seed)
