"""Every message that the software can end with, read from the source when the site is built.

A message is the text of a `raise UserError(...)`, of a `problems.add(field, text)`, or of a
`ValueError` in a configuration. What stands in for a value is shown in capitals: PATH, NAME.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomllib

ROOT = Path(__file__).resolve().parents[3]
NOTES = Path(__file__).with_name("messages.toml")
SOURCES = ("shared/hvdcore/src", "packages/textgen/src", "packages/image_cls/src",
           "packages/news_cls/src")  # fmt: skip
RIG = re.compile(r"/testing(/|\.py$)")


@dataclass(frozen=True)
class Message:
    """One message: its text with the values in capitals, and where it is raised."""

    text: str
    place: str

    @property
    def subject(self) -> str:
        """The field or the file that the message begins with."""
        if ":" not in self.text:
            return "a field of the configuration"
        head = self.text.partition(":")[0].strip()
        return head if re.fullmatch(r"-{0,2}[a-z][\w, -]{0,30}|[A-Z]+_[A-Z]+", head) else "files"

    @property
    def says_the_fix(self) -> bool:
        """Whether it says what to do, as ours do after a semicolon."""
        return "; " in self.text


def messages(root: Path = ROOT) -> list[Message]:
    """All messages of the packages, without copies."""
    found: dict[str, Message] = {}
    for folder in SOURCES:
        for path in sorted((root / folder).rglob("*.py")):
            place = path.relative_to(root / folder).as_posix()
            if not RIG.search(f"/{place}"):
                for message in messages_of(path.read_text(encoding="utf-8"), place):
                    found.setdefault(message.text, message)
    for entry in notes()["computed"]:
        for text in entry["texts"]:
            found.setdefault(text, Message(text, entry["place"]))
    return sorted(found.values(), key=lambda message: (message.subject, message.text))


def messages_of(source: str, place: str) -> Iterator[Message]:
    """The messages of one file whose text stands where it is raised."""
    for parts in raised(source, place):
        text = "".join(parts) if all(part is not None for part in parts) else None
        if text is not None:
            yield Message(text, place)


def computed(root: Path = ROOT) -> set[str]:
    """Files that raise a UserError whose text is not there but comes from elsewhere."""
    places = set()
    for folder in SOURCES:
        for path in (root / folder).rglob("*.py"):
            place = path.relative_to(root / folder).as_posix()
            if not RIG.search(f"/{place}"):
                texts = raised(path.read_text(encoding="utf-8"), place)
                if any(part is None for parts in texts for part in parts):
                    places.add(place)
    return places


def raised(source: str, place: str) -> Iterator[list[str | None]]:
    """The texts of each raise, in pieces; None for a piece that is computed elsewhere."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Raise(exc=ast.Call(func=ast.Name(id="UserError"), args=arguments)):
                for argument in arguments:
                    yield [_text(argument)]
            case ast.Raise(exc=ast.Call(func=ast.Name(id="ValueError"), args=[argument])):
                if place.endswith("config.py"):
                    yield [_text(argument)]
            case ast.Call(func=ast.Attribute(attr="add", value=owner), args=[field, argument]):
                if "problem" in ast.unparse(owner):
                    yield [_text(field) or _name(field), ": ", _text(argument)]


def _text(node: ast.expr) -> str | None:
    """A literal text with its values in capitals; None for anything else."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(
                str(value.value) if isinstance(value, ast.Constant) else _name(value)
                for value in values
            )
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            texts = _text(left), _text(right)
            return None if None in texts else f"{texts[0]}{texts[1]}"
    return None


def _name(node: ast.expr) -> str:
    """`{self.path!r}` as PATH, `{', '.join(names)}` as NAMES."""
    value = node.value if isinstance(node, ast.FormattedValue) else node
    skipped = {"join", "strip", "keys", "values", "str", "repr", "len", "self", "shown", "format"}
    names = [
        getattr(part, "attr", None) or getattr(part, "id", "")
        for part in ast.walk(value)
        if isinstance(part, ast.Attribute | ast.Name)
    ]
    for name in names:
        if name.strip("_") and name not in skipped:
            return str(name).strip("_").upper()
    return "VALUE"


def notes() -> dict[str, Any]:
    """What is written by hand beside the messages."""
    return tomllib.loads(NOTES.read_text(encoding="utf-8"))


def note_of(message: Message) -> str | None:
    """The note whose beginning the message has, if there is one."""
    for note in notes()["note"]:
        if note["message"] in message.text:
            return str(note["text"])
    return None


def page() -> str:
    """One section a field, and in it every message with its note."""
    sections: dict[str, list[str]] = {}
    for message in messages():
        line = f"- {_code(message.text)}\n  ({message.place})"
        if note := note_of(message):
            line += f"\n\n  {note}"
        sections.setdefault(message.subject, []).append(line)
    lines = []
    for subject, entries in sections.items():
        titles = {"files": "A file or folder", "a field of the configuration": "A field's value"}
        title = titles.get(subject, f"`{subject}`")
        lines += [f"## {title}", "", *entries, ""]
    return "\n".join(lines)


def _code(text: str) -> str:
    folded = " ".join(text.split())
    return f"`` {folded} ``" if "`" in folded else f"`{folded}`"
