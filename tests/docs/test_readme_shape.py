"""READMEs fit on a screen or two, show a picture that exists, and lead to files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READMES = sorted(
    path
    for pattern in ("README.md", "shared/*/README.md", "packages/*/README.md", "infra/*/README.md")
    for path in ROOT.glob(pattern)
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PICTURE = re.compile(r"!\[[^\]]+\]\(([^)\s]+)\)")
LINES, BYTES = 120, 100_000


def broken(text: str, folder: Path) -> list[str]:
    """Links to files that are not there."""
    links = [link for link in LINK.findall(text) if not re.match(r"\w+:|#", link)]
    return [link for link in links if not (folder / link.partition("#")[0]).exists()]


@pytest.mark.parametrize("path", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_readme_is_short_and_shows_something(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES
    assert PICTURE.findall(text)
    assert broken(text, path.parent) == []


def test_pages_lead_to_files_that_exist() -> None:
    pages = sorted((ROOT / "infra" / "docs").rglob("*.md"))
    found = {
        str(p.relative_to(ROOT)): broken(p.read_text(encoding="utf-8"), p.parent) for p in pages
    }
    assert {page: links for page, links in found.items() if links} == {}


def test_figures_are_small() -> None:
    figures = sorted((ROOT / "infra" / "docs" / "figures").iterdir())
    assert figures
    assert [f.name for f in figures if f.stat().st_size > BYTES] == []


def test_the_figure_of_speed_is_drawn_from_the_table() -> None:
    docs = ROOT / "infra" / "docs"
    scope: dict[str, object] = {
        "__name__": "speed_figure",
        "__file__": str(docs / "pages" / "x.py"),
    }
    exec((docs / "pages" / "speed_figure.py").read_text(encoding="utf-8"), scope)  # noqa: S102
    table = (docs / "measured" / "speed.md").read_text(encoding="utf-8")
    drawn = scope["draw"](scope["ratios"](table))  # type: ignore[operator]
    assert drawn == (docs / "figures" / "speed.svg").read_text(encoding="utf-8")


def test_control_of_the_links(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("x")
    text = "[a](there.md#part) [b](gone.md) [c](https://example.org) ![d](gone.png)"
    assert broken(text, tmp_path) == ["gone.md", "gone.png"]
