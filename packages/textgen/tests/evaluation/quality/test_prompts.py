"""Prompts are cut from the text itself: exact, apart, and the same for everyone."""

from __future__ import annotations

import numpy as np
import pytest

from hvdcore.errors import Problems, UserError
from textgen.evaluation.quality.config import QualityConfig, parse_decodings
from textgen.evaluation.quality.prompts import Prompt, cut_prompts, first_words, ngrams


def encoded(*documents: str) -> tuple[np.ndarray, list[int]]:
    """Documents as the byte tokenizer lays them: a zero before each."""
    raw = b"".join(b"\0" + text.encode() for text in documents)
    starts = [0]
    for text in documents[:-1]:
        starts.append(starts[-1] + 1 + len(text.encode()))
    return np.frombuffer(raw, dtype=np.uint8), starts


def book(name: str, count: int) -> str:
    """Words that say where they stand, and a line break here and there."""
    return "".join(f"{name}{i}" + ("\n" if i % 7 == 6 else " ") for i in range(count))


def cut(num_prompts: int, *documents: str, seed: int = 0, words: tuple[int, int] = (3, 4)):
    tokens, starts = encoded(*documents)
    return cut_prompts(
        tokens, starts, num_prompts=num_prompts, prompt_words=words[0], continuation_words=words[1],
        seed=seed,
    )  # fmt: skip


def test_the_only_stretch_there_is() -> None:
    # Five words: the first is passed over, and one must follow, so only 'b c d' can be taken.
    tokens, starts = encoded("a b c  d e")
    for seed in range(5):
        (found,) = cut_prompts(
            tokens, starts, num_prompts=1, prompt_words=2, continuation_words=1, seed=seed
        )
        assert found == Prompt("b c", "  d", 3)


def test_prompts_lie_within_a_document_and_do_not_overlap() -> None:
    documents = [book("ä", 60), book("b", 90), book("c", 12)]
    found = cut(8, *documents)
    joined = "\0" + "\0".join(documents)
    raw = joined.encode()
    ends = [0]
    for one in found:
        span = one.text + one.human
        assert raw[one.offset :].startswith(span.encode())  # the text as it stands
        assert len(one.text.split()) == 3
        assert len(one.human.split()) == 4
        assert one.human[0] in " \n"  # the prompt ends with its word
        assert "\0" not in span
        assert one.offset >= ends[-1]
        ends.append(one.offset + len(span.encode()))


def test_the_seed_decides() -> None:
    text = book("w", 500)
    assert cut(5, text, seed=1) == cut(5, text, seed=1)
    assert cut(5, text, seed=1) != cut(5, text, seed=2)


def test_too_little_text_is_told() -> None:
    with pytest.raises(UserError, match=r"num_prompts: the test split \(1 documents, 31 bytes\)"):
        cut(1, "only seven words stand in here", words=(4, 4))
    with pytest.raises(UserError, match="not for 100; lower --num-prompts"):
        cut(100, book("w", 200))
    with pytest.raises(UserError, match="has room for about 0"):
        cut_prompts(
            np.empty(0, np.uint8), [], num_prompts=2, prompt_words=1, continuation_words=1, seed=0
        )


def test_words() -> None:
    assert first_words(" one\ntwo  three ", 2) == " one\ntwo"
    assert first_words(" one\ntwo  three ", 9) == " one\ntwo  three"
    assert first_words("  ", 3) == ""
    assert ngrams(["a", "b", "c"], 2) == [("a", "b"), ("b", "c")]
    assert ngrams(["a"], 2) == []


def test_decodings_are_spelled_as_their_options() -> None:
    problems = Problems()
    names = ["greedy", "temperature=0.7", "top-k=5", "top-p=0.9", "greedy"]
    found = {one.name: one.options for one in parse_decodings(names, problems)}
    assert found == {
        "greedy": {"greedy": True}, "temperature=0.7": {"temperature": 0.7},
        "top-k=5": {"top_k": 5}, "top-p=0.9": {"top_p": 0.9},
    }  # fmt: skip
    problems.raise_if_any()


@pytest.mark.parametrize(
    "name", ["beam=4", "top-k", "top-k=0", "top-k=2.5", "top-p=0", "top-p=1.1", "temperature=0",
             "temperature=nan", "temperature=inf", ""],
)  # fmt: skip
def test_other_decodings_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"decoding: got {name!r}; give greedy, temperature=T"):
        QualityConfig.of(8, 4, 4, [name], 0)


def test_all_problems_come_at_once() -> None:
    with pytest.raises(UserError) as raised:
        QualityConfig.of(0, 0, -1, ["best"], 0)
    fields = [problem.split(":")[0] for problem in raised.value.problems]
    assert fields == ["num_prompts", "prompt_words", "continuation_words", "decoding"]
