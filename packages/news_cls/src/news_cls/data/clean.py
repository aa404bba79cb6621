"""Removing markup residue from texts, with counts of what was removed.

AG News was taken from a feed: entities have lost their ``&`` to a space (`` #39;``, `` quot;``),
tags are escaped (``&lt;b&gt;``, `` lt;b gt;``), and a backslash stands for a line break or before a
dollar sign. The rules are regular expressions that Python's re and TensorFlow's RE2 read alike:
they have no look-around, no back-reference, and no class (``\\w``, ``\\s``) that differs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

__all__ = [
    "ODD_SPACES",
    "RULES",
    "Cleaning",
    "Rule",
    "clean",
]


@dataclass(frozen=True)
class Rule:
    """One replacement.

    Attributes:
        name: for display.
        pattern, replacement: in the syntax that ``re`` and RE2 share.
        signs: the rule changes no text that contains none of them; empty if it may change any.
    """

    name: str
    pattern: str
    replacement: str
    signs: tuple[str, ...] = ()


ODD_SPACES = (
    "\\x00-\\x1f\\x7f-\\xa0\\xad\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f"
    "\u3000\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff"
)
"""Control characters, spaces other than U+0020, joiners, direction marks and variation selectors,
as the inside of a character class."""


def _entity(names: Sequence[str], codes: Sequence[int] = ()) -> str:
    """An entity with its ``&``, or with a space in its place."""
    forms = [rf"(?:&| |^)(?:{'|'.join(names)});"] if names else []
    if codes:
        decimal = "|".join(map(str, codes))
        hexadecimal = "|".join(f"{code:x}|{code:X}" for code in codes)
        forms.append(rf"[& ]?#(?:0{{0,8}}(?:{decimal})|[xX]0{{0,8}}(?:{hexadecimal}));")
    return "|".join(forms)


def _signs(names: Sequence[str], codes: Sequence[int]) -> tuple[str, ...]:
    hexadecimal = ("#x", "#X") if codes else ()
    return (*(f"{name};" for name in names), *(f"{code};" for code in codes), *hexadecimal)


_ENTITIES: tuple[tuple[str, str, tuple[str, ...], tuple[int, ...]], ...] = (
    ("apostrophe", "'", ("apos", "lsquo", "rsquo"), (39, 145, 146, 8216, 8217)),
    ("quotation mark", '"', ("quot", "ldquo", "rdquo"), (34, 147, 148, 8220, 8221)),
    ("dash", " - ", ("ndash", "mdash"), (150, 151, 8211, 8212)),
    ("dots", "...", ("hellip",), (133, 8230)),
    ("hard space", " ", ("nbsp", "bull", "middot"), (149, 160, 183, 8226)),
    ("sign", "$", (), (36,)),
    ("sign", "%", (), (37,)),
    ("sign", "£", ("pound",), (163,)),
    ("sign", "€", ("euro",), (128, 8364)),
    ("sign", "™", ("trade",), (153, 8482)),
    ("sign", "®", ("reg",), (174,)),
    ("accent", "á", ("aacute",), (225,)),
    ("accent", "ä", ("auml",), (228,)),
    ("accent", "ç", ("ccedil",), (231,)),
    ("accent", "è", ("egrave",), (232,)),
    ("accent", "é", ("eacute",), (233,)),
    ("accent", "ê", ("ecirc",), (234,)),
    ("accent", "í", ("iacute",), (237,)),
    ("accent", "ñ", ("ntilde",), (241,)),
    ("accent", "ó", ("oacute",), (243,)),
    ("accent", "ö", ("ouml",), (246,)),
    ("accent", "ü", ("uuml",), (252,)),
)
"""Rule name, character, names and codes; 128 to 159 are those of Windows-1252."""

_TAGS = (
    "a|abbr|b|big|blockquote|body|br|center|cite|code|dd|del|div|dl|dt|em|font|form|h[1-6]|head|hr"
    "|html|i|iframe|img|input|ins|li|link|meta|nobr|object|ol|p|param|pre|q|s|script|small|span"
    "|strike|strong|style|sub|sup|table|tbody|td|th|title|tr|tt|u|ul"
)
"""Only known ones: ``<WMT.N>`` is the ticker symbol of Walmart."""

_LESS, _GREATER = (("lt",), (60,)), (("gt",), (62,))

RULES: tuple[Rule, ...] = (
    Rule("odd space", f"[{ODD_SPACES}]+", " "),
    # First, and repeated: `&amp;quot;` was escaped twice.
    Rule(
        "ampersand", r"(?:&| |^)(?:(?:amp|#0{0,8}38);)+|[& ]?(?:#0{0,8}38;)+", "&", ("amp;", "38;")
    ),
    *(Rule(name, _entity(n, c), to, _signs(n, c)) for name, to, n, c in _ENTITIES),
    Rule("less than", _entity(*_LESS), "<", _signs(*_LESS)),
    Rule("greater than", _entity(*_GREATER), ">", _signs(*_GREATER)),
    Rule("other entity", r"&#?[0-9A-Za-z]{2,8};|(?: |^)#[0-9]{2,6};", " ", (";",)),
    Rule("tag", rf"</?(?i:{_TAGS})(?:[ /][^<>]*)?>", " ", ("<",)),
    # Bounded: without an end, `re` would try each of a long run's beginnings to its end.
    Rule("escaped line break", r"(?:\\n){1,16}([A-Z])", r" \1", ("\\n",)),
    Rule("escaped sign", r"\\([$%&#\"'])", r"\1", ("\\",)),
    Rule("backslash", r"\\+", " ", ("\\",)),
)
"""In the order in which they are applied."""


_COMPILED: tuple[tuple[Rule, re.Pattern[str]], ...] = tuple(
    (rule, re.compile(rule.pattern, re.ASCII)) for rule in RULES
)
_ALWAYS = tuple((rule, pattern) for rule, pattern in _COMPILED if not rule.signs)
_ANY_SIGN = re.compile(r"[;<\\]")
"""All replaced strings but odd spaces contain one of these; most texts contain none."""
_SPACES = re.compile(" {2,}")
EXAMPLES = 3
"""Examples kept per rule."""
_CONTEXT = 12


def clean(text: str) -> tuple[str, dict[str, int]]:
    """The text without residue, and how often each rule was applied.

    Runs of spaces become one, and those at the ends are removed; that is not counted.

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
    """The effect of cleaning on many texts: counts by rule, and a few examples of each.

    Attributes:
        counts: replacements by the name of the rule.
        texts: number of texts that a rule changed.
        examples: excerpts of raw text around a replacement.
    """

    counts: dict[str, int] = field(default_factory=dict)
    texts: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)

    def clean(self, text: str) -> str:
        """Clean one text and count what was replaced."""
        cleaned, counts = clean(text)
        if counts:
            self.texts += 1
            for name, count in counts.items():
                self.counts[name] = self.counts.get(name, 0) + count
                if len(self.examples.get(name, ())) < EXAMPLES:
                    self._keep(name, text)
        return cleaned

    def _keep(self, name: str, text: str) -> None:
        shown = next(_excerpts(name, text), None)
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


def _excerpts(name: str, text: str) -> Iterator[str]:
    """What a rule matches in a text, with some context, after the rules before it."""
    for rule, pattern in _COMPILED:
        if rule.name == name and (found := pattern.search(text)):
            start, stop = max(found.start() - _CONTEXT, 0), found.end() + _CONTEXT
            yield text[start:stop] if stop - start <= 80 else f"{text[start : start + 77]}..."
        text = pattern.sub(rule.replacement, text)
