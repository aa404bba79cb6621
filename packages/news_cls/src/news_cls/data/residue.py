"""The residue that sets of news carry, as rules that Python's re and TensorFlow's RE2 both know.

AG News was taken from a feed: entities lost their ``&`` to a space (`` #39;``, `` quot;``), tags
stand escaped (``&lt;b&gt;``, `` lt;b gt;``), and a backslash stands for a line break or before a
dollar. The patterns have no look-around, no back-reference and no class (``\\w``, ``\\s``) that the
two engines read differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ODD_SPACES", "RULES", "Rule"]


@dataclass(frozen=True)
class Rule:
    """One replacement.

    Attributes:
        name: for people.
        pattern, replacement: in the syntax that ``re`` and RE2 share.
        signs: a text that holds none of them is not touched by the rule; none: it may always be.
    """

    name: str
    pattern: str
    replacement: str
    signs: tuple[str, ...] = ()


ODD_SPACES = (
    "\\x00-\\x1f\\x7f-\\xa0\\xad\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f"
    "\u3000\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff"
)
"""Control characters, spaces other than the plain one, joiners, direction marks and variation
selectors, as the inside of a character class."""


def _entity(names: Sequence[str], codes: Sequence[int] = ()) -> str:
    """An entity with its ``&``, or with the space that stands in its place."""
    forms = [rf"(?:&| |^)(?:{'|'.join(names)});"] if names else []
    if codes:
        decimal = "|".join(map(str, codes))
        hexadecimal = "|".join(f"{code:x}|{code:X}" for code in codes)
        forms.append(rf"[& ]?#(?:0*(?:{decimal})|[xX]0*(?:{hexadecimal}));")
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
"""Name for people, character, names and codes; 128 to 159 are what Windows means by them."""

_TAGS = (
    "a|abbr|b|big|blockquote|body|br|center|cite|code|dd|del|div|dl|dt|em|font|form|h[1-6]|head|hr"
    "|html|i|iframe|img|input|ins|li|link|meta|nobr|object|ol|p|param|pre|q|s|script|small|span"
    "|strike|strong|style|sub|sup|table|tbody|td|th|title|tr|tt|u|ul"
)
"""Only known ones: ``<WMT.N>`` is a share of Walmart's."""

_LESS, _GREATER = (("lt",), (60,)), (("gt",), (62,))

RULES: tuple[Rule, ...] = (
    Rule("odd space", f"[{ODD_SPACES}]+", " "),
    # First, and repeated: `&amp;quot;` has been escaped twice.
    Rule("ampersand", r"(?:&| |^)(?:(?:amp|#0*38);)+|[& ]?(?:#0*38;)+", "&", ("amp;", "38;")),
    *(Rule(name, _entity(n, c), to, _signs(n, c)) for name, to, n, c in _ENTITIES),
    Rule("less than", _entity(*_LESS), "<", _signs(*_LESS)),
    Rule("greater than", _entity(*_GREATER), ">", _signs(*_GREATER)),
    Rule("other entity", r"&#?[0-9A-Za-z]{2,8};|(?: |^)#[0-9]{2,6};", " ", (";",)),
    Rule("tag", rf"</?(?i:{_TAGS})(?:[ /][^<>]*)?>", " ", ("<",)),
    Rule("escaped line break", r"(?:\\n)+([A-Z])", r" \1", ("\\n",)),
    Rule("escaped sign", r"\\([$%&#\"'])", r"\1", ("\\",)),
    Rule("backslash", r"\\+", " ", ("\\",)),
)
"""In the order in which they are applied."""
