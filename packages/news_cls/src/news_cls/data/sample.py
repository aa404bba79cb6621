"""The sample: news texts of four classes generated from a grammar, deterministic and offline.

The class of a text is the subject of its main clause. Half of the texts have a second clause on
another subject, marked by a word such as `while`, before or after the main one. Both clauses are
generated alike, so the class follows from the order of the words, hardly from pairs of words, and
not from the words alone. Some words belong to two subjects, some texts have no subject, and some
labels are wrong on purpose, so that no model can be better than `CEILING`.
"""

from __future__ import annotations

from random import Random

__all__ = [
    "ADJECTIVES",
    "AMBIGUOUS",
    "CEILING",
    "CITIES",
    "CLASSES",
    "MARKERS",
    "NEUTRAL",
    "NOISE",
    "OWN",
    "SHARED",
    "TAILS",
    "TWO_SUBJECTS",
    "VERBS",
    "write_news",
]


def _words(text: str) -> list[str]:
    return text.split()


OWN: list[list[str]] = [
    _words(
        "minister president parliament rebel ceasefire embassy refugee election treaty border "
        "province militia hostage envoy coalition ambassador insurgent monarch premier village "
        "convoy siege referendum summit famine tribunal patrol exile truce dictator"
    ),
    _words(
        "striker goalkeeper quarterback pitcher coach midfielder playoff referee inning stadium "
        "tournament medal sprinter championship defender batsman relay marathon penalty umpire "
        "trophy rookie league cyclist wrestler gymnast fixture dugout scrum regatta"
    ),
    _words(
        "investor shareholder retailer dividend merger broker bank earnings airline bond "
        "creditor inflation tariff auditor currency insurer takeover mortgage exporter refinery "
        "wholesaler bankruptcy pension loan subsidiary invoice lender stockbroker payroll cartel"
    ),
    _words(
        "satellite software browser scientist telescope processor genome server robot laptop "
        "astronomer virus database probe fossil comet encryption modem physicist sensor "
        "microscope spacecraft algorithm keyboard neutron bacterium download firmware laser isotope"
    ),
]
"""Words of a single subject, in the order of the classes, the frequent ones first."""

SHARED: dict[str, tuple[int, ...]] = {
    "strike": (0, 2), "court": (0, 1), "goal": (1, 2), "network": (2, 3), "record": (1, 2),
    "launch": (0, 3), "race": (0, 1), "chip": (1, 3), "contract": (1, 2), "bug": (0, 3),
    "field": (1, 3), "market": (0, 2), "cell": (0, 3), "share": (2, 3),
}  # fmt: skip
"""Words of two subjects."""

NEUTRAL: list[str] = _words(
    "spokesman plan decision report meeting group statement problem effort question chance team "
    "letter change member story visitor neighbour answer proposal"
)

ADJECTIVES: list[str] = _words(
    "new young former leading small local major strong early late quiet troubled famous unknown "
    "cautious proud foreign rival second latest"
)

VERBS: list[str] = _words(
    "faces praises rejects awaits changes follows wins loses joins leaves blames defends attacks "
    "supports welcomes doubts wants drops keeps meets"
)

TAILS: list[str] = [
    "on Monday", "on Tuesday", "on Friday", "this week", "last month", "in the morning",
    "for the first time", "once again", "by surprise", "in public", "without a word", "at last",
    "after all", "for weeks", "in the north", "in the south",
]  # fmt: skip

MARKERS: list[str] = _words("while although because since whereas though unless until")
"""A clause that begins with one of these, up to the comma or the full stop, is not the main one."""

CITIES: list[str] = _words(
    "Lisbon Oslo Nairobi Lima Hanoi Quito Riga Accra Perth Cairo Turin Leeds Osaka Porto Malmo Graz"
)


CLASSES = ("World", "Sports", "Business", "Sci/Tech")
TWO_SUBJECTS, AMBIGUOUS, NOISE = 0.5, 0.04, 0.03
"""Fractions of texts with a clause on another subject, with no subject, with a wrong label."""
CEILING = (1 - AMBIGUOUS) * (1 - NOISE) + AMBIGUOUS / len(CLASSES)
"""Accuracy of a classifier that knows the grammar: 0.9412."""


def write_news(number: int) -> tuple[int, str]:
    """The label and the text with this number; the same number gives the same text."""
    draw = Random(number)  # Python guarantees the values of `random()`
    subject = int(draw.random() * len(CLASSES))
    is_ambiguous = draw.random() < AMBIGUOUS
    main, other = (None, None) if is_ambiguous else (subject, _other_subject(draw, subject))
    label = _another(draw, subject) if draw.random() < NOISE else subject
    return label, _with_residue(draw, _sentence(draw, main, other))


def _another(draw: Random, subject: int) -> int:
    return (subject + 1 + int(draw.random() * (len(CLASSES) - 1))) % len(CLASSES)


def _other_subject(draw: Random, subject: int) -> int | None:
    """The subject of the second clause: another one, the same, or none."""
    dice = draw.random()
    if dice < TWO_SUBJECTS:
        return _another(draw, subject)
    return subject if dice < TWO_SUBJECTS + (1 - TWO_SUBJECTS) / 2 else None


def _sentence(draw: Random, main: int | None, other: int | None) -> str:
    marker = _one(draw, MARKERS)
    first, second = _clause(draw, main), _clause(draw, other)
    if draw.random() < 0.5:
        return _capital(f"{first} {marker} {second}.")
    return _capital(f"{marker} {second}, {first}.")


def _clause(draw: Random, subject: int | None) -> str:
    """A clause with at least one word that belongs to the subject alone."""
    sure = draw.random() < 0.5
    actor = _noun(draw, subject, sure)
    thing = _noun(draw, subject, not sure)
    words = ("the", _one(draw, ADJECTIVES), actor, _one(draw, VERBS), "a", _one(draw, ADJECTIVES))
    return " ".join((*words, thing, _one(draw, TAILS)))


def _noun(draw: Random, subject: int | None, sure: bool) -> str:
    dice = draw.random()
    if subject is None or (not sure and dice < 0.4):
        return _one(draw, NEUTRAL)
    if not sure and dice < 0.6:
        return _one(draw, [word for word, of in SHARED.items() if subject in of])
    # The square makes some words frequent and others rare, as in real texts.
    return OWN[subject][int(draw.random() ** 2 * len(OWN[subject]))]


def _with_residue(draw: Random, sentence: str) -> str:
    """Add a dateline, and the entities, tags and backslashes that real data sets contain."""
    text = sentence
    if draw.random() < 0.5:
        text = f"{_one(draw, CITIES).upper()} - {text}"
    if draw.random() < 0.2:
        text += f" {_one(draw, CITIES)} #39;s mayor had put it at \\${1 + int(99 * draw.random())}."
    if draw.random() < 0.15:
        text = text.replace(" the ", "\\the ", 1)
    if draw.random() < 0.15:
        text += f"  quot;No comment, quot; said R amp;D of {_one(draw, CITIES)}."
    if draw.random() < 0.1:
        text += " &lt;b&gt;...&lt;/b&gt;"
    return text


def _one(draw: Random, words: list[str]) -> str:
    return words[int(draw.random() * len(words))]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
