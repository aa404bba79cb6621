"""Generating one story: which episodes, in which order, and how they change the world."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from textgen.data.sample.grammar import Chooser, Grammar, finish, rules, words
from textgen.data.sample.world import NEXT_WEATHER, Person, Place, Thing, World, make_world

__all__ = ["tell_story"]

_SEASONS = ("spring", "summer", "autumn", "winter", "harvest time", "Lent", "Advent", "May")
_MAX_DEPTH = 3  # of a wish that waits for another wish


def tell_story(seed: str) -> tuple[str, float]:
    """A story and the bits of all choices made for it; the same for the same seed."""
    teller = _Teller(Chooser(seed))
    return teller.tell(), teller.chooser.bits


class _Teller:
    def __init__(self, chooser: Chooser) -> None:
        self.chooser = chooser
        self.grammar = Grammar(rules(), chooser)
        self.world: World = make_world(chooser)
        self.hero = self.world.people[0]
        self.paragraphs: list[str] = []
        self.sentences: list[str] = []

    def tell(self) -> str:
        self.opening()
        episodes: list[Callable[[], None]] = [
            self.quest,
            self.loss,
            self.storm,
            self.letter,
            self.tale,
            self.market,
        ]
        for episode in self.chooser.sample(episodes, 2 + self.chooser.pick(range(3))):
            self.weather()
            episode()
            self.interlude()
            self.end_paragraph()
        self.closing()
        return "\n\n".join(self.paragraphs) + "\n"

    # What every sentence goes through.

    def say(self, rule: str, **bound: Any) -> None:
        """Add the text of a rule; A is the hero, P their home, unless bound otherwise."""
        self.sentences.append(self.expand(rule, **bound))
        for person in bound.values():
            if isinstance(person, Person) and person.name not in self.world.met:
                self.introduce(person)

    def expand(self, rule: str, **bound: Any) -> str:
        defaults = {"A": self.hero, "P": self.hero.home, "V": self.world.village}
        return self.grammar.expand(rule, **(defaults | bound))

    def introduce(self, person: Person) -> None:
        """The first time that a name is read it says who that is."""
        named = f"{person.name} the {person.role}"
        if named not in self.sentences[-1] and f"{person.name}, " not in self.sentences[-1]:
            self.sentences[-1] = re.sub(rf"\b{person.name}\b", named, self.sentences[-1], count=1)
        self.world.met.add(person.name)

    def end_paragraph(self) -> None:
        if self.sentences:
            self.paragraphs.append(finish(" ".join(self.sentences)))
        self.sentences = []

    def some_place(self) -> Place:
        return self.chooser.pick(self.world.places)

    def someone(self, *but: Person) -> Person:
        return self.chooser.pick(self.world.others(self.hero, *but))

    # The frame.

    def opening(self) -> None:
        thing = self.hero.holds[0]
        season = self.chooser.pick(_SEASONS)
        self.say("title", X=thing, season=season)
        self.end_paragraph()
        self.say("opening")
        self.say("own", X=thing, P=self.some_place())
        self.say("season_line", season=season)
        friend = self.world.people[1]
        self.say("friend", B=friend)
        self.world.met |= {self.hero.name, friend.name}
        self.end_paragraph()

    def closing(self) -> None:
        self.say("inventory_start")
        lines = []
        for person in self.world.people:
            if person.name not in self.world.met:
                continue
            rule = "inventory" if person.holds else "inventory_nothing"
            held = _enumerate([str(thing) for thing in person.holds])
            lines.append(self.expand(rule, A=person, list=held))
        self.sentences[-1] += " " + "; ".join(lines) + "."
        thing = self.hero.holds[0] if self.hero.holds else "all the rest"
        self.say("closing", X=thing)
        self.end_paragraph()

    def weather(self) -> None:
        self.world.weather = self.chooser.pick(NEXT_WEATHER[self.world.weather])
        if self.chooser.chance(0.6):
            self.say(f"weather_{self.world.weather}", P=self.some_place())

    def interlude(self) -> None:
        """A look back at something given earlier, a mood, a dream, or a saying."""
        while self.chooser.chance(0.55):
            self.say("aside", P=self.some_place())
        gifts = [gift for gift in self.world.true_transfers() if gift.taker is not self.hero]
        if gifts and self.chooser.chance(0.5):
            gift = self.chooser.pick(gifts)
            self.end_paragraph()
            asker = self.someone(gift.taker)
            self.say("recall", A=asker, B=gift.taker, C=gift.giver, X=gift.thing)
        elif self.chooser.chance(0.4):
            self.say("saying")
        elif self.chooser.chance(0.5):
            self.say("feel", B=self.someone())

    # Steps that episodes are made of.

    def visit(self, person: Person) -> None:
        self.say("go", P=person.home)
        self.sentences[-1] += self.expand("way")
        rule = "met" if person.name in self.world.met else "meet_new"
        self.say(rule, B=person)
        if self.chooser.chance(0.4):
            self.end_paragraph()
            self.say("chatter", B=person)

    # Episodes.

    def quest(self) -> None:
        """The hero wants a thing; whoever has it may want another first, and so on."""
        holders = [person for person in self.world.others(self.hero) if person.holds]
        if not holders:
            return
        holder = self.chooser.pick(holders)
        thing = self.chooser.pick(holder.holds)
        self.say("day")
        self.sentences[-1] += ", " + self.expand("need", X=thing)
        self.obtain(thing, holder, [])
        self.say("got", X=thing, B=holder)

    def obtain(self, thing: Thing, holder: Person, asked: list[Person]) -> None:
        teller = self.someone(holder)
        self.say("rumour", B=holder, C=teller, X=thing, P=holder.home)
        self.end_paragraph()
        self.visit(holder)
        self.say("ask", B=holder, X=thing)
        others = [
            person
            for person in self.world.others(self.hero, holder, *asked)
            if any(held is not thing for held in person.holds)
        ]
        if others and len(asked) < _MAX_DEPTH and self.chooser.chance(0.6):
            other = self.chooser.pick(others)
            price = self.chooser.pick(other.holds)
            self.say("condition", B=holder, X=thing, Y=price)
            self.end_paragraph()
            self.obtain(price, other, [*asked, holder])
            self.say("back", B=holder, P=holder.home, Y=price)
            self.say("exchange", B=holder, X=thing, Y=price)
            self.world.give(self.hero, holder, price)
        else:
            self.plain_price(thing, holder)
        self.world.give(holder, self.hero, thing)

    def plain_price(self, thing: Thing, holder: Person) -> None:
        way = self.chooser.pick(("kind", "chore", "coins"))
        if way == "coins" and self.hero.coins > 1:
            price = 1 + self.chooser.pick(range(self.hero.coins - 1))
            left = self.hero.coins - price
            number = words("numbers")
            bound = {"n": number[price], "m": number[self.hero.coins], "r": number[left]}
            self.say("coins", B=holder, X=thing, **bound)
            self.hero.coins = left
            holder.coins += price
        else:
            self.say("chore" if way == "chore" else "kind", B=holder, X=thing)

    def loss(self) -> None:
        """A thing is gone, the wrong one is suspected, a third one knows where it is."""
        if not self.hero.holds:
            return
        thing = self.chooser.pick(self.hero.holds)
        blamed = self.someone()
        self.say("lose", X=thing)
        self.say("suspect", B=blamed, X=thing)
        self.visit(blamed)
        self.say("deny", B=blamed, X=thing)
        self.end_paragraph()
        *wrong, right = self.chooser.sample(self.world.places, 2 + self.chooser.pick(range(2)))
        for place in wrong:
            self.say("search", P=place, X=thing)
        helper = self.someone(blamed)
        self.say("witness", C=helper, P=right, X=thing)
        self.say("found", P=right, X=thing)
        self.say("sorry", B=blamed)

    def storm(self) -> None:
        """Someone is in danger; what the hero holds may help; there is a gift of thanks."""
        saved = self.someone()
        place = self.some_place()
        self.say("storm", B=saved, P=place)
        if self.hero.holds and self.chooser.chance(0.6):
            thing = self.chooser.pick(self.hero.holds)
            self.say("rescue", B=saved, P=place, X=thing)
        else:
            self.say("rescue_plain", B=saved, P=place)
        if saved.holds:
            gift = self.chooser.pick(saved.holds)
            self.say("thanks", B=saved, Y=gift)
            self.world.give(saved, self.hero, gift)

    def letter(self) -> None:
        """One person writes to another, and says what is true."""
        writer = self.someone()
        reader = self.someone(writer)
        self.say("letter_start", B=writer, C=reader, P=reader.home)
        self.visit(reader)
        kept = [gift for gift in self.world.true_transfers() if gift.taker is writer]
        self.say("letter_read", B=writer, C=reader)
        if kept:
            gift = self.chooser.pick(kept)
            fact = self.expand("letter_fact", X=gift.thing, D=gift.giver)
            signature = f" Your {writer}."
            self.sentences[-1] = self.sentences[-1].replace(signature, f" {fact}{signature}")
        self.say("letter_end", B=writer, C=reader)

    def tale(self) -> None:
        """A fable inside the story."""
        teller = self.someone()
        place = self.some_place()
        first, second, third = self.chooser.sample(words("animals"), 3)
        self.say("tale_start", B=teller, P=place)
        self.end_paragraph()
        self.say(
            "tale",
            a1=_Animal(first, self.chooser.pick_word(words("traits"))),
            a2=_Animal(second, self.chooser.pick_word(words("traits"))),
            a3=third,
        )
        self.end_paragraph()
        self.say("tale_after", B=teller, a2=second)

    def market(self) -> None:
        """Two things change hands."""
        sellers = [person for person in self.world.others(self.hero) if person.holds]
        if not sellers or not self.hero.holds:
            return
        seller = self.chooser.pick(sellers)
        mine = self.chooser.pick(self.hero.holds)
        theirs = self.chooser.pick(seller.holds)
        self.say("market", B=seller, X=mine, Y=theirs, P=self.some_place())
        self.world.give(self.hero, seller, mine)
        self.world.give(seller, self.hero, theirs)


class _Animal(str):
    """An animal with a trait: "{a1}" is its kind."""

    trait: str

    def __new__(cls, kind: str, trait: str) -> _Animal:
        animal = super().__new__(cls, kind)
        animal.trait = trait
        return animal


def _enumerate(names: list[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return ", ".join(names[:-1]) + " and " + names[-1]
