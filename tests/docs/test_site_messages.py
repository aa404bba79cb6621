"""Every message that the source can raise is on the troubleshooting pages and says what to do."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "infra" / "docs"


@pytest.fixture(scope="module")
def pages() -> Iterator[ModuleType]:
    """The module that makes the page of messages."""
    pytest.importorskip("tomllib")
    sys.path.insert(0, str(DOCS))
    yield importlib.import_module("pages.messages")
    sys.path.remove(str(DOCS))


def without_a_fix(pages: ModuleType, found: list) -> list[str]:
    return [m.text for m in found if not m.says_the_fix and pages.note_of(m) is None]


def test_every_message_says_what_to_do(pages: ModuleType) -> None:
    found = pages.messages()
    assert len(found) > 250
    assert without_a_fix(pages, found) == []


def test_every_raise_is_read(pages: ModuleType) -> None:
    """Each file gives at least as many texts as it has raises of a UserError."""
    total, less = 0, []
    for folder in pages.SOURCES:
        for path in (ROOT / folder).rglob("*.py"):
            source = path.read_text(encoding="utf-8")
            count = len(re.findall(r"raise UserError\(", source))
            total += count
            if len(list(pages.raised(source, path.name))) < count:
                less.append(str(path))
    assert total > 200
    assert less == []


def test_computed_messages_are_named(pages: ModuleType) -> None:
    assert {entry["place"] for entry in pages.notes()["computed"]} == pages.computed()


def test_computed_texts_stand_in_the_source(pages: ModuleType) -> None:
    missing = []
    for entry in pages.notes()["computed"]:
        path = next(p for f in pages.SOURCES if (p := ROOT / f / entry["place"]).exists())
        constants = [
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        for text in entry["texts"]:
            pieces = [p.strip(" :;,()") for p in re.split(r"[A-Z][A-Z_]+", text.partition(": ")[2])]
            missing += [
                f"{entry['place']}: {piece}"
                for piece in pieces
                if len(piece) > 12 and not any(piece in each for each in constants)
            ]
    assert missing == []


def test_every_note_is_used_and_is_for_a_message(pages: ModuleType) -> None:
    texts = [message.text for message in pages.messages()]
    beginnings = [note["message"] for note in pages.notes()["note"]]
    assert [b for b in beginnings if not any(b in text for text in texts)] == []


def test_the_page_has_every_message(pages: ModuleType) -> None:
    text = pages.page()
    assert [m.text for m in pages.messages() if " ".join(m.text.split()) not in text] == []


def test_control_of_the_reader(pages: ModuleType) -> None:
    source = (
        "def f(path, problems):\n"
        "    problems.add('epochs', f'got {n}; give 1')\n"
        "    raise UserError(f'data: {path} is strange')\n"
        "    raise UserError(text)\n"
    )
    found = list(pages.messages_of(source, "made/up.py"))
    assert sorted(m.text for m in found) == ["data: PATH is strange", "epochs: got N; give 1"]
    assert without_a_fix(pages, found) == ["data: PATH is strange"]


def test_the_table_of_jobs_is_what_the_launcher_says() -> None:
    """The words between values of each line in the table stand in the launcher's source."""
    page = (DOCS / "troubleshooting" / "jobs.md").read_text(encoding="utf-8")
    launcher = ROOT / "shared" / "hvdcore" / "src" / "hvdcore"
    source = " ".join(
        str(node.value)
        for path in sorted([*launcher.glob("launch/**/*.py"), launcher / "command_line.py"])
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
    )
    rows = re.findall(r"^\| `(.*?)` \|", page, re.MULTILINE)
    assert len(rows) > 10
    missing = [(row, piece) for row in rows for piece in pieces_of(row) if piece not in source]
    assert missing == []


def pieces_of(row: str) -> list[str]:
    """What is left of a line without the values, which are in capitals."""
    cut = re.split(r"\b[A-Z]+\b(?: s\b)?|: TEXT|\(log: PATH\)|\(logs: PATHS\)|'P'", row)
    stripped = [piece.strip(" ,:()'") for piece in cut]
    return [piece for piece in stripped if len(piece) > 5]
