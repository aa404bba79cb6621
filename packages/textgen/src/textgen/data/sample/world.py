"""The state of a story: its people, places, things, weather, and who holds what."""

from __future__ import annotations

from dataclasses import dataclass, field

from textgen.data.sample.grammar import Chooser, Spelled, words

__all__ = ["Person", "Place", "Thing", "Transfer", "World", "make_world"]


@dataclass(frozen=True, eq=False)
class Place:
    """Somewhere to be: `text` "the old mill", `preposition` "at"."""

    text: str
    preposition: str

    def __str__(self) -> str:
        return self.text

    @property
    def at(self) -> str:
        return f"{self.preposition} {self.text}"


@dataclass(frozen=True, eq=False)
class Thing(Spelled):
    """An object: `text` "brass lantern", `noun` "lantern", `plural` for a pair of something."""

    text: str
    noun: str
    plural: bool = False

    def __str__(self) -> str:
        return f"the {self.text}"

    def spell(self, chooser: Chooser) -> str:
        """In full, or the bare noun, which no other thing of the story has."""
        return f"the {self.noun if chooser.chance(0.5) else self.text}"

    @property
    def a(self) -> str:
        return f"{'a pair of' if self.plural else 'a_'} {self.text}"

    @property
    def it(self) -> str:
        return "them" if self.plural else "it"

    @property
    def they(self) -> str:
        return "they" if self.plural else "it"

    @property
    def was(self) -> str:
        return "were" if self.plural else "was"

    @property
    def are(self) -> str:
        return "are" if self.plural else "is"

    @property
    def this(self) -> str:
        return "these" if self.plural else "this"

    @property
    def has(self) -> str:
        return "have" if self.plural else "has"


@dataclass(eq=False)
class Person:
    """Someone: what they are never changes, where they are and what they hold does."""

    name: str
    woman: bool
    role: str
    trait: str
    home: Place
    holds: list[Thing] = field(default_factory=list)
    coins: int = 0

    def __str__(self) -> str:
        return self.name

    @property
    def he(self) -> str:
        return "she" if self.woman else "he"

    @property
    def him(self) -> str:
        return "her" if self.woman else "him"

    @property
    def his(self) -> str:
        return "her" if self.woman else "his"

    @property
    def hers(self) -> str:
        return "hers" if self.woman else "his"

    @property
    def himself(self) -> str:
        return "herself" if self.woman else "himself"

    @property
    def man(self) -> str:
        return "woman" if self.woman else "man"

    @property
    def at(self) -> str:
        return self.home.at

    @property
    def the(self) -> str:
        return f"the {self.role}"


@dataclass(frozen=True)
class Transfer:
    """That `giver` gave `thing` to `taker`: stories come back to these."""

    giver: Person
    taker: Person
    thing: Thing


@dataclass
class World:
    """One story's facts."""

    village: str
    people: list[Person]
    places: list[Place]
    weather: str
    spare: list[Thing]  # things that nobody holds yet
    transfers: list[Transfer] = field(default_factory=list)
    met: set[str] = field(default_factory=set)  # names that the reader knows

    def give(self, giver: Person, taker: Person, thing: Thing) -> None:
        """Move `thing`, and remember it."""
        giver.holds.remove(thing)
        taker.holds.append(thing)
        self.transfers.append(Transfer(giver, taker, thing))

    def others(self, *but: Person) -> list[Person]:
        """Everyone else, in a fixed order."""
        return [person for person in self.people if person not in but]

    def true_transfers(self) -> list[Transfer]:
        """Gifts whose taker still holds the thing."""
        return [gift for gift in self.transfers if gift.thing in gift.taker.holds]


def make_world(chooser: Chooser) -> World:
    """Four to six people, one home each, and the things they hold."""
    count = 4 + chooser.pick(range(3))
    places = _places(chooser, count + 3)
    things = _things(chooser, count + 4)
    people: list[Person] = []
    roles = chooser.sample(words("roles"), count)
    traits = chooser.sample(words("traits"), count)
    for number in range(count):
        woman = chooser.chance(0.5)
        taken = {person.name for person in people}
        names = [name for name in (words("women" if woman else "men")) if name not in taken]
        person = Person(
            name=chooser.pick_word(names),
            woman=woman,
            role=roles[number],
            trait=traits[number],
            home=places[number],
            holds=[things[number]],
            coins=3 + chooser.pick(range(10)),
        )
        people.append(person)
    village = chooser.pick(words("village starts")) + chooser.pick(words("village ends"))
    weather = chooser.pick(sorted(NEXT_WEATHER))
    return World(village, people, places, weather, things[count:])


NEXT_WEATHER = {
    "sun": ("sun", "sun", "heat", "cloud"),
    "heat": ("heat", "sun", "thunder"),
    "cloud": ("cloud", "rain", "sun", "wind", "fog"),
    "rain": ("rain", "cloud", "wind", "sun"),
    "wind": ("wind", "cloud", "rain", "thunder"),
    "thunder": ("rain", "sun", "wind"),
    "fog": ("fog", "sun", "cloud"),
    "snow": ("snow", "frost", "cloud"),
    "frost": ("frost", "snow", "sun"),
}
"""What the weather may turn into."""


def _places(chooser: Chooser, count: int) -> list[Place]:
    kinds = [(kind, name) for kind in ("at", "in", "on") for name in words(f"places {kind}")]
    return [
        Place(f"the {chooser.pick_word(words('place qualities'))} {name}", preposition)
        for preposition, name in chooser.sample(kinds, count)
    ]


def _things(chooser: Chooser, count: int) -> list[Thing]:
    """Things with different nouns, so that "the lantern" is always one of them."""
    kinds = [
        (kind, noun) for kind in ("things of a material", "things", "pairs") for noun in words(kind)
    ]
    made = []
    for kind, noun in chooser.sample(kinds, count):
        described = [chooser.pick_word(words("qualities"))]
        if kind == "things of a material":
            described.append(chooser.pick_word(words("materials")))
            if chooser.chance(0.5):
                del described[0]
        made.append(Thing(" ".join([*described, noun]), noun, kind == "pairs"))
    return made
