"""Links in a folder of tables: each table is read once."""

from __future__ import annotations

from pathlib import Path

from news_cls.data.listing import list_tables


def test_each_table_is_found_once(tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "deep").mkdir(parents=True)
    (root / "deep" / "train.csv").write_text('"3","a","b"\n', encoding="utf-8")
    for name in ("one", "two"):
        (root / "deep" / name).symlink_to("..")
    files, others = list_tables(root)
    assert [file.path for file in files] == [root / "deep" / "train.csv"]
    assert not others
