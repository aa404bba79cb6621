"""The words of the sample's grammar."""

from __future__ import annotations

__all__ = ["ADJECTIVES", "CITIES", "MARKERS", "NEUTRAL", "OWN", "SHARED", "TAILS", "VERBS"]


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
"""Words of one subject alone, in the order of the classes, the frequent ones first."""

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
"""What follows up to the comma or the full stop is not the main clause."""

CITIES: list[str] = _words(
    "Lisbon Oslo Nairobi Lima Hanoi Quito Riga Accra Perth Cairo Turin Leeds Osaka Porto Malmo Graz"
)
