"""Links in a folder of books: each book is read once."""

from __future__ import annotations

from pathlib import Path

from textgen.data.files import find_files


def test_each_book_is_found_once(tmp_path: Path) -> None:
    root = tmp_path / "books"
    (root / "shelf").mkdir(parents=True)
    (root / "shelf" / "book.txt").write_text("A book.", encoding="utf-8")
    for name in ("one", "two"):
        (root / "shelf" / name).symlink_to("..")
    assert find_files(root).files == (root / "shelf" / "book.txt",)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "other.txt").write_text("Another one.", encoding="utf-8")
    (root / "more").symlink_to(elsewhere)
    assert root / "more" / "other.txt" in find_files(root).files
