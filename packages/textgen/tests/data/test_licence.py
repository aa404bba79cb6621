"""Project Gutenberg's header and footer, cut wherever chunks begin."""

from __future__ import annotations

import pytest

from textgen.data.documents import Document, Skipped
from textgen.data.licence import without_licence

HEADER = b"""The Project Gutenberg eBook of A Book

Title: A Book

*** START OF THE PROJECT GUTENBERG EBOOK A BOOK WITH
A LONG TITLE ***

"""
TEXT = b"Chapter 1\n\n" + b"It was the end of a project. *** So it goes. ***\n" * 2000
FOOTER = b"""*** END OF THE PROJECT GUTENBERG EBOOK A BOOK ***

Section 1. General Terms of Use
"""
OLD_HEADER = (
    b"This is a Project Gutenberg Etext.\n*END*THE SMALL PRINT! FOR ETEXTS*Ver.04.29.93*END*\n"
)
OLD_FOOTER = b"End of Project Gutenberg's A Book, by Nobody\n"


def cut(raw: bytes, size: int) -> tuple[bytes, int]:
    skipped = Skipped()
    chunks = (raw[at : at + size] for at in range(0, len(raw), size))
    document = Document(chunks, "book")
    return b"".join(without_licence(document.raw, skipped.licence_cut)), skipped.licences


@pytest.mark.parametrize("size", [7, 1000, 1 << 20])
@pytest.mark.parametrize(("header", "footer"), [(HEADER, FOOTER), (OLD_HEADER, OLD_FOOTER)])
def test_a_book_is_what_stands_between(size: int, header: bytes, footer: bytes) -> None:
    assert cut(header + TEXT + footer, size) == (TEXT, 1)
    assert cut(header + TEXT, size) == (TEXT, 1), "a book that was cut off"


@pytest.mark.parametrize("size", [7, 1 << 20])
@pytest.mark.parametrize(
    "raw", [TEXT, b"", b"About Project Gutenberg.\n" + TEXT + FOOTER, b"x" * 70_000 + HEADER + TEXT]
)
def test_control_other_text_is_left_as_it_is(raw: bytes, size: int) -> None:
    assert cut(raw, size) == (raw, 0)


@pytest.mark.parametrize("piece", [b"\n* ", b"\n" * 50, b"*END*", b"\nEND OF PROJECT GUTENBER"])
def test_hostile_megabytes_are_linear(piece: bytes) -> None:
    """A quadratic pattern would take hours."""
    raw = b"x" + piece * ((2 << 20) // len(piece))
    assert cut(HEADER + raw, 1 << 18) == (raw, 1)
