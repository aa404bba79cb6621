"""The grammar of the stories: expanding its rules to text, and counting the entropy of each choice.

Its words and rules are in words.txt and rules.txt beside this file.
"""

from __future__ import annotations

import math
import random
import re
from abc import ABC, abstractmethod
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from itertools import accumulate
from typing import Any, TypeAlias, TypeVar

__all__ = [
    "Choice",
    "Chooser",
    "Grammar",
    "Spelled",
    "finish",
    "parse_rules",
    "rules",
    "words",
]

T = TypeVar("T")

_MARK = re.compile(r"<(\w+)>|\{(\w+)(?:\.(\w+))?\}|([\[|\]])")


@dataclass(frozen=True)
class Rule:
    """The mark `<name>`."""

    name: str


@dataclass(frozen=True)
class Slot:
    """The mark `{name}` or `{name.attribute}`."""

    name: str
    attribute: str | None


@dataclass(frozen=True)
class Choice:
    """The mark `[this|that]`."""

    options: tuple[Symbols, ...]


Symbols: TypeAlias = "tuple[str | Rule | Slot | Choice, ...]"


class Chooser:
    """Every random decision of a story goes through here.

    Attributes:
        bits: sum of -log2 p over the choices so far: the information in this derivation.
    """

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self.bits = 0.0

    def pick(self, options: Sequence[T]) -> T:
        """One of `options`, all equally likely."""
        self.bits += math.log2(len(options))
        return options[int(self._random.random() * len(options))]

    def pick_word(self, options: Sequence[T]) -> T:
        """One of `options`, the earlier the likelier: weights 1 / (rank + 4), as words are."""
        sums = _word_weights(len(options))
        rank = bisect(sums, self._random.random() * sums[-1])
        weight = sums[rank] - (sums[rank - 1] if rank else 0.0)
        self.bits -= math.log2(weight / sums[-1])
        return options[rank]

    def chance(self, probability: float) -> bool:
        """True with `probability`, which is above 0 and below 1."""
        happens = self._random.random() < probability
        self.bits -= math.log2(probability if happens else 1 - probability)
        return happens

    def sample(self, options: Sequence[T], count: int) -> list[T]:
        """`count` different ones of `options`, in the order drawn."""
        left = list(options)
        drawn = []
        for _ in range(count):
            drawn.append(self.pick(left))
            left.remove(drawn[-1])
        return drawn


@lru_cache
def _word_weights(count: int) -> tuple[float, ...]:
    return tuple(accumulate(1 / (rank + 4) for rank in range(count)))


class Spelled(ABC):
    """What is called now this, now that."""

    @abstractmethod
    def spell(self, chooser: Chooser) -> str:
        """One of its names."""


class Grammar:
    """Rules by name; an alternative may name others, itself among them.

    In an alternative, `<rule>` expands a rule, `[this|that]` is a choice on the spot, `{A}` is what
    was bound to A, and `{A.his}` that attribute of it.
    """

    def __init__(self, rules: Mapping[str, Choice], chooser: Chooser) -> None:
        self._rules = rules
        self._chooser = chooser

    def expand(self, rule: str, **bound: Any) -> str:
        """Text of one derivation of `rule`."""
        return self._fill(self._chooser.pick(self._rules[rule].options), bound)

    def _fill(self, sequence: Symbols, bound: Mapping[str, Any]) -> str:
        return "".join([self._text(symbol, bound) for symbol in sequence])

    def _text(self, symbol: str | Rule | Slot | Choice, bound: Mapping[str, Any]) -> str:
        if isinstance(symbol, str):
            return symbol
        if isinstance(symbol, Slot):
            value = bound[symbol.name]
            if symbol.attribute:
                return str(getattr(value, symbol.attribute))
            return value.spell(self._chooser) if isinstance(value, Spelled) else str(value)
        choice = self._rules[symbol.name] if isinstance(symbol, Rule) else symbol
        return self._fill(self._chooser.pick(choice.options), bound)


def parse_rules(text: str) -> dict[str, Choice]:
    """Rules from their written form: a name at the margin, its alternatives indented below."""
    rules: dict[str, list[Symbols]] = {}
    alternatives: list[Symbols] = []
    for line in filter(str.strip, text.splitlines()):
        if line.startswith(" "):
            alternatives.append(_parse_alternative(line.strip()))
        else:
            alternatives = rules.setdefault(line.strip(), [])
    return {name: Choice(tuple(options)) for name, options in rules.items()}


def _parse_alternative(text: str) -> Symbols:
    # One list of options for each bracket that is open; the last option is being written.
    open_choices: list[list[list[str | Rule | Slot | Choice]]] = [[[]]]
    end = 0
    for match in _MARK.finditer(text):
        written = open_choices[-1][-1]
        if text[end : match.start()]:
            written.append(text[end : match.start()])
        end = match.end()
        rule, slot, attribute, bracket = match.groups()
        if rule:
            written.append(Rule(rule))
        elif slot:
            written.append(Slot(slot, attribute))
        elif bracket == "[":
            open_choices.append([[]])
        elif bracket == "|":
            open_choices[-1].append([])
        else:
            options = open_choices.pop()
            open_choices[-1][-1].append(Choice(tuple(map(tuple, options))))
    if len(open_choices) != 1 or len(open_choices[0]) != 1:
        raise ValueError(f"brackets do not match in {text!r}")
    if text[end:]:
        open_choices[0][0].append(text[end:])
    return tuple(open_choices[0][0])


_ARTICLE = re.compile(r"\b([aA])_ (?=(\w+))")
_SILENT = ("hour", "honest", "heir")
_SPOKEN = ("one", "use", "uni", "eu", "ewe")
# A sentence goes on after a speech that ends in "?" or "!"; only one that ends in "." ends it.
_START = re.compile(r'(?:^|(?<=[.!?] )|(?<=\." ))("?)([a-z])|(?<=[:?!"] ")([a-z])')


def finish(text: str) -> str:
    """Settle "a_" into a or an, single blanks, and capitals where sentences and speeches begin."""

    def article(match: re.Match[str]) -> str:
        word = match.group(2).lower()
        vowel = word[0] in "aeiou" and not word.startswith(_SPOKEN)
        return match.group(1) + ("n " if vowel or word.startswith(_SILENT) else " ")

    def capital(match: re.Match[str]) -> str:
        quote, letter, spoken = match.groups()
        return (quote or "") + (letter or spoken).upper()

    text = re.sub(r" {2,}", " ", text).replace(" ,", ",").replace(" .", ".").strip()
    return _START.sub(capital, _ARTICLE.sub(article, text))


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
