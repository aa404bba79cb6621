"""What is text: prose, verse and every script; not tables of figures, packed or binary data."""

from __future__ import annotations

import base64
import random

import numpy as np
import pytest

from textgen.data.documents import blocks_of, normalized
from textgen.data.staging import TextCheck

DRAW = random.Random(5)
BINARY = DRAW.randbytes(40_000)


def reason(raw: bytes, size: int = 1000) -> str | None:
    check = TextCheck()
    for block in blocks_of([raw], size):
        check.feed(block, np.frombuffer(block, dtype=np.uint8))
    return check.reason()


@pytest.mark.parametrize(
    "text",
    [
        "Whose woods these are\n  I think I know.\n\n" * 100,
        "Ну вот и всё, сказал он, и пошёл домой. " * 100,  # noqa: RUF001
        "天地玄黃宇宙洪荒日月盈昃辰宿列張" * 400,
        "すべての人間は、生まれながらにして自由であり、" * 200,
        "كان يا ما كان في قديم الزمان " * 200,
        "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกัน" * 200,
        "1. e4 e5 2. Nf3 Nc6 3. Bb5 a6 " * 100,
        "CHAPTER I.........................1\n" * 60,
        "def f(x): return {'a': x + 1}[0] ** 2\n" * 100,
        "2 + 2 = 4",  # too short to decide
    ],
)
def test_what_people_write_passes(text: str) -> None:
    assert reason(text.encode()) is None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b" \n\t\r\n ", "empty"),
        (b"", "empty"),
        (b"abc\0", "not text (holds NUL bytes)"),
        ("caf\xe9".encode("latin-1"), "not text (not valid UTF-8)"),
        (b"PK\x03\x04\0\0", "not text (a zip archive or an Office document: unpack or convert it)"),
        (b"a.txt".ljust(257, b"\0") + b"ustar\0", "not text (a tar archive: unpack it)"),
        (b"%PDF-1.4\n\xe2\xe3", "not text (PDF: convert it to text)"),
        (b"%PDF-1.4 is a line of text", None),  # control
        ("two words".encode("utf-16"), "not text (UTF-16: save it as UTF-8)"),
        ("\N{EURO SIGN}".encode()[:2], "not text (not valid UTF-8)"),  # cut off at the end
        (b"\x01\x02 word" * 500, "not text (control characters)"),
        (b"3.14 2.71 1.41\n" * 500, "not text (hardly a letter)"),
        (b"+-----+\n|     |\n" * 500, "not text (hardly a letter)"),
        (base64.encodebytes(BINARY), "not text (long runs without blanks)"),
        (BINARY.hex().encode(), "not text (long runs without blanks)"),
    ],
)
def test_what_is_none_is_named(raw: bytes, expected: str | None) -> None:
    assert reason(raw) == expected


def test_a_character_or_a_run_on_the_border_of_two_blocks_is_whole() -> None:
    text = "\N{EURO SIGN}\N{GRINNING FACE}\u00e9 " * 300
    assert {reason(text.encode(), size) for size in range(1, 12)} == {None}


def test_blocks_do_not_change_what_is_read() -> None:
    raw = "\ufeffOne\r\n\r\ntwo\rthree\r\n \ufeff".encode()
    expected = "One\n\ntwo\rthree\n \ufeff".encode()
    for size in range(1, len(raw) + 1):
        found = b"".join(normalized(raw[i : i + size] for i in range(0, len(raw), size)))
        assert found == expected
        assert b"".join(blocks_of([raw[:7], b"", raw[7:]], size)) == raw
