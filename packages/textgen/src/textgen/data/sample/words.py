"""Owns the words and rules of the stories as they lie beside it, in words.txt and rules.txt."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from textgen.data.sample.grammar import Choice, parse_rules

__all__ = ["rules", "words"]


@cache
def rules() -> dict[str, Choice]:
    """The rules of all sentences."""
    return parse_rules(_read("rules.txt"))


@cache
def words(name: str) -> tuple[str, ...]:
    """A list of words; lists with commas hold names of several words."""
    return _lists()[name]


@cache
def _lists() -> dict[str, tuple[str, ...]]:
    texts: dict[str, str] = {}
    name = ""
    for line in _read("words.txt").splitlines():
        if line.startswith(" "):
            texts[name] += line
        else:
            name = line
            texts[name] = ""
    return {
        name: tuple(word.strip() for word in (text.split(",") if "," in text else text.split()))
        for name, text in texts.items()
    }


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
