"""Cleaning a text of its residue, and saying what was done."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from news_cls.data.residue import RULES, Rule

__all__ = ["Cleaning", "clean"]

_COMPILED: tuple[tuple[Rule, re.Pattern[str]], ...] = tuple(
    (rule, re.compile(rule.pattern, re.ASCII)) for rule in RULES
)
_ALWAYS = tuple((rule, pattern) for rule, pattern in _COMPILED if not rule.signs)
_ANY_SIGN = re.compile(r"[;<\\]")
"""One of them is in every replaced piece but odd spaces; most texts hold none."""
_SPACES = re.compile(" {2,}")
EXAMPLES = 3
"""Replacements shown for each rule."""
_CONTEXT = 12


def clean(text: str) -> tuple[str, dict[str, int]]:
    """The text without residue, and how often each rule was used.

    Runs of spaces become one, and the ends are bare; that is not counted.

    Example:
        >>> clean("AT amp;T #39;s &lt;b&gt;profit&lt;/b&gt; is \\\\$3")
        ("AT&T's profit is $3", {'ampersand': 1, 'apostrophe': 1, 'less than': 2, 'greater than': \
2, 'tag': 2, 'escaped sign': 1})
    """
    counts: dict[str, int] = {}
    for rule, pattern in _COMPILED if _ANY_SIGN.search(text) else _ALWAYS:
        if not rule.signs or any(sign in text for sign in rule.signs):
            text, count = pattern.subn(rule.replacement, text)
            if count:
                counts[rule.name] = counts.get(rule.name, 0) + count
    return _SPACES.sub(" ", text).strip(" "), counts


@dataclass
class Cleaning:
    """What cleaning did to many texts: counts by rule, and a few examples of each.

    Attributes:
        counts: replacements by the rule's name.
        texts: texts that were changed by a rule.
        examples: pieces of raw text around a replacement.
    """

    counts: dict[str, int] = field(default_factory=dict)
    texts: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)

    def clean(self, text: str) -> str:
        """Clean one text and remember what was done."""
        cleaned, counts = clean(text)
        if counts:
            self.texts += 1
            for name, count in counts.items():
                self.counts[name] = self.counts.get(name, 0) + count
                if len(self.examples.get(name, ())) < EXAMPLES:
                    self._keep(name, text)
        return cleaned

    def _keep(self, name: str, text: str) -> None:
        shown = next(_pieces(name, text), None)
        kept = self.examples.setdefault(name, [])
        if shown is not None and shown not in kept:
            kept.append(shown)

    def to_json(self) -> dict[str, object]:
        """For meta.json, most frequent first."""
        order = sorted(self.counts, key=lambda name: (-self.counts[name], name))
        return {
            "texts": self.texts,
            "rules": {n: {"count": self.counts[n], "examples": self.examples[n]} for n in order},
        }


def _pieces(name: str, text: str) -> Iterator[str]:
    """What a rule finds in a text, with a little around it; rules before it were applied."""
    for rule, pattern in _COMPILED:
        if rule.name == name and (found := pattern.search(text)):
            start, stop = max(found.start() - _CONTEXT, 0), found.end() + _CONTEXT
            yield text[start:stop] if stop - start <= 80 else f"{text[start : start + 77]}..."
        text = pattern.sub(rule.replacement, text)
