"""Owns the decoding methods that text is judged under, and how they are spelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hvdcore.errors import Problems

__all__ = ["DEFAULT_DECODINGS", "Decoding", "parse_decodings"]

DEFAULT_DECODINGS = ("greedy", "temperature=0.8", "top-k=50", "top-p=0.95")
_FORMS = "greedy, temperature=T, top-k=K or top-p=P"


@dataclass(frozen=True)
class Decoding:
    """A way of choosing tokens.

    Attributes:
        name: as it was spelled.
        options: arguments of `textgen.generation.generate.generate`.
    """

    name: str
    options: dict[str, float | int | bool] = field(default_factory=dict)


def parse_decodings(names: Sequence[str], problems: Problems) -> list[Decoding]:
    """The methods named, each once, in order; what cannot be is noted in `problems`."""
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
