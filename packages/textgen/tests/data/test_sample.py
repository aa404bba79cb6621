"""The sample: the same everywhere, its information counted exactly, its facts consistent."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter

import pytest

from textgen.data.documents import Skipped
from textgen.data.sample import SampleSource, tell_story
from textgen.data.sample.grammar import Choice, Chooser, Grammar, Rule, finish, parse_rules, rules

STORIES = [tell_story(f"story {number}") for number in range(150)]


def test_the_stories_never_change_unnoticed() -> None:
    # Cached corpora and published figures go by these bytes: raise _VERSION when they change.
    text = "".join(text for text, _ in STORIES)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "3fed6ee03ec1c848"
    assert tell_story("story 3") == STORIES[3]
    assert tell_story("story 3")[0] != tell_story("story 4")[0]


def test_bits_are_those_of_the_choices() -> None:
    written = parse_rules("a\n  [x|y] <b>\n  z\nb\n  1\n  2\n  3\n  4\n")
    for seed in range(20):
        chooser = Chooser(str(seed))
        text = Grammar(written, chooser).expand("a")
        assert chooser.bits == (1 if text == "z" else 1 + 1 + 2)


def test_bits_of_words_and_chances() -> None:
    chooser = Chooser("x")
    total = sum(1 / (rank + 4) for rank in range(3))
    word = chooser.pick_word("abc")
    assert chooser.bits == pytest.approx(-math.log2(1 / ("abc".index(word) + 4) / total))
    before = chooser.bits
    happened = chooser.chance(0.25)
    assert chooser.bits - before == pytest.approx(2 if happened else -math.log2(0.75))


def test_choices_come_as_often_as_counted() -> None:
    chooser = Chooser("y")
    drawn = Counter(chooser.pick_word("abc") for _ in range(6000))
    total = sum(1 / (rank + 4) for rank in range(3))
    for rank, word in enumerate("abc"):
        assert drawn[word] / 6000 == pytest.approx(1 / (rank + 4) / total, abs=0.03)


def test_every_rule_that_is_named_exists() -> None:
    def named(symbol: object) -> set[str]:
        if isinstance(symbol, Rule):
            return {symbol.name}
        if isinstance(symbol, Choice):
            return {name for option in symbol.options for inner in option for name in named(inner)}
        return set()

    for choice in rules().values():
        assert named(choice) <= set(rules())


def test_rules_with_brackets_that_do_not_match() -> None:
    with pytest.raises(ValueError, match="brackets do not match"):
        parse_rules("a\n  [x|y\n")


def test_articles_and_capitals() -> None:
    assert finish("a_ owl and a_ useful hour, a_ honest ewe") == (
        "An owl and a useful hour, an honest ewe"
    )
    assert finish('he left. "why?" she asked. she said, "go." he went.') == (
        'He left. "Why?" she asked. She said, "go." He went.'
    )


def test_stories_are_clean_text() -> None:
    for text, bits in STORIES:
        assert bits > 100
        assert not re.search(r"[\[\]<>{}|_]|  |\.\.| [,.;]", text), text
        assert text.endswith("\n")
        assert text.count('"') % 2 == 0


def test_what_is_given_is_where_it_was_given() -> None:
    looked_at = 0
    for text, _ in STORIES:
        ends = re.search(r"(?:in the end:|at last:|was done,) (.*?)\. ", text)
        assert ends is not None
        held = dict(re.findall(r"(\w+) had (?!nothing)(.*?)(?:;|$)", ends.group(1)))
        things = [thing for list_ in held.values() for thing in re.split(r", | and ", list_)]
        assert len(things) == len(set(things))  # nothing is in two hands
        last = re.findall(r"So now (\w+) had (the [\w -]+?), and", text.split("\n\n")[-2])
        looked_at += len(last)
        for owner, thing in last:
            assert thing in held[owner] or thing.split()[-1] in held[owner]
    assert looked_at > 5


def test_the_source_says_how_much_there_is_to_know() -> None:
    source = SampleSource(50)
    units = source.units("text")
    documents = [d for unit in units for d in source.documents(unit, "text", Skipped())]
    texts = [b"".join(document.raw) for document in documents]
    assert len(documents) == len(set(texts)) == 50
    bits = sum(document.bits or 0.0 for document in documents)
    assert 0.15 < bits / sum(map(len, texts)) < 0.4
