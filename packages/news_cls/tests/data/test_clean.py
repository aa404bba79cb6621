"""Residue in every form seen in the wild: what becomes of it, and what is said about it."""

from __future__ import annotations

import re

import pytest

from news_cls.data.clean import RULES, Cleaning, clean
from news_cls.data.sample import write_news


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("Microsoft #39;s decision", "Microsoft's decision"),
        ("Microsoft&#39;s decision", "Microsoft's decision"),
        ("Microsoft&#x27;s &#X27;old&#x27; one", "Microsoft's 'old' one"),
        ("He said  quot;zombies quot; twice", 'He said "zombies" twice'),
        ("&quot;Yes&quot;", '"Yes"'),
        ("&amp;quot;Yes&amp;quot;", '"Yes"'),
        ("AT amp;T and S amp;P", "AT&T and S&P"),
        ("Marsh  amp; McLennan", "Marsh & McLennan"),
        ("&lt;b&gt;...&lt;/b&gt; went on", "... went on"),
        (" lt;b gt;bold lt;/b gt; word", "bold word"),
        ('<A HREF="http://x.y/z?a=b">MON.N</A> rose', "MON.N rose"),
        ("one<br/>two<BR />three", "one two three"),
        ("&lt;WMT.N&gt; and 3 < 4 > 2", "<WMT.N> and 3 < 4 > 2"),
        ("fellow\\Arabs\\\\Google", "fellow Arabs Google"),
        ("for \\$10 million, \\#1", "for $10 million, #1"),
        ("about  #36;1.25", "about $1.25"),
        ("first.\\nThen\\n\\nThis", "first. Then This"),
        ("off on\\nagging worries", "off on nagging worries"),
        ("restaurants  #151; but", "restaurants - but"),
        ("Elys eacute;e caf#233;", "Elysée café"),
        ("more   hellip;. and", "more .... and"),
        ("no nbsp;break\u00a0here\u200b\ufeff", "no break here"),
        ("NUL\x00 and\ttab\r\nline", "NUL and tab line"),
        ("odd &zwnj; &#8203; #98765; ones", "odd ones"),
        ("clamp; Up; 66; and 11; stay", "clamp; Up; 66; and 11; stay"),
        ("", ""),
        ("   ", ""),
        (" #39;", "'"),
    ],
)
def test_cleaned(raw: str, cleaned: str) -> None:
    assert clean(raw)[0] == cleaned
    assert clean(cleaned)[0] == cleaned


def test_the_counts_name_the_rules() -> None:
    text, counts = clean("AT amp;T #39;s &lt;b&gt;profit&lt;/b&gt; is \\$3 and #39;more #39;")
    assert text == "AT&T's profit is $3 and'more'"
    assert counts == {
        "ampersand": 1, "apostrophe": 3, "less than": 2, "greater than": 2, "tag": 2,
        "escaped sign": 1,
    }  # fmt: skip


def test_spaces_alone_are_no_residue() -> None:
    assert clean("  two   words ") == ("two words", {})


def test_a_signature_never_hides_a_rule() -> None:
    """The quick look for signs gives what the rules give without it."""
    for number in range(300):
        raw = text = write_news(number)[1]
        for rule in RULES:
            text = re.sub(rule.pattern, rule.replacement, text, flags=re.ASCII)
        assert re.sub(" +", " ", text).strip(" ") == clean(raw)[0]


def test_what_was_done_is_kept_with_examples() -> None:
    cleaning = Cleaning()
    texts = [
        "Ann #39;s cat",
        "Bob #39;s dog and Ann #39;s",
        "plain",
        "Cy #39;s",
        "Di #39;s",
        "\\$2",
    ]
    assert cleaning.clean(texts[0]) == "Ann's cat"
    for text in texts[1:]:
        cleaning.clean(text)
    assert cleaning.to_json() == {
        "texts": 5,
        "rules": {
            "apostrophe": {
                "count": 5, "examples": ["Ann #39;s cat", "Bob #39;s dog and An", "Cy #39;s"],
            },
            "escaped sign": {"count": 1, "examples": ["\\$2"]},
        },
    }  # fmt: skip


def test_many_open_tags_take_no_long_time() -> None:
    text = "<a " * 200_000
    assert clean(text)[0] == text.strip()
