"""Tables in a pipe are whole, however wide; texts on a page are escaped and beside each other."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from hvdcore.errors import UserError
from hvdcore.run.pages import report_runs
from hvdcore.run.report import Section, SideBySide, Table, print_table, write_page


def test_a_table_in_a_pipe_is_whole() -> None:
    stream = io.StringIO()
    names = [f"column {number}" for number in range(30)]
    print_table(Table(["name", *names], [["[b]a[/b]", *map(str, range(30))]]), stream=stream)
    header, row = stream.getvalue().splitlines()
    assert header.split("  ")[0].strip() == "name"
    assert "column 29" in header
    assert row.split() == ["[b]a[/b]", *map(str, range(30))]  # no markup is read


def test_forced_colors_make_no_terminal_of_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jupyter forces them on all processes that it starts."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    test_a_table_in_a_pipe_is_whole()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_too_wide_for_the_terminal_is_turned_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    names = [f"column {number}" for number in range(12)]
    numbers = [f"{number}.123456789" for number in range(12)]
    print_table(Table(["model", *names], [["ours", *numbers]]), stream=stream)
    lines = stream.getvalue().splitlines()
    assert lines[0].split() == ["model", "ours"]
    assert lines[12].split() == ["column", "11", "11.123456789"]
    stream = Terminal()
    print_table(Table(["model", "n"], [["ours", "1"]]), stream=stream)
    assert stream.getvalue().splitlines()[0].split() == ["model", "n"]


def test_numbers_stand_right_and_names_left() -> None:
    stream = io.StringIO()
    print_table(Table(["name", "n"], [["a", "5"], ["long", "123"]]), title="Two", stream=stream)
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    assert lines == ["Two", "name    n", "a       5", "long  123"]


def test_texts_stand_side_by_side(tmp_path: Path) -> None:
    texts = SideBySide(["human", "model"], [("Once <upon>", ["a time", "a <b>\ncat"])])
    write_page(tmp_path / "page.html", "Texts", [Section("Continuations", texts=texts)])
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    cells = re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", page, re.DOTALL)
    assert cells == ["human", "model", "Once &lt;upon&gt;", "a time", "a &lt;b&gt;\ncat"]
    assert 'class="lead" colspan="2"' in page


def test_a_report_without_scores_is_refused(tmp_path: Path) -> None:
    written: list[Path] = []
    report = tmp_path / "report.json"
    report.write_text("{}")
    with pytest.raises(UserError, match=r"report\.json: it has no scores of train, val, test"):
        report_runs([tmp_path], None, lambda paths, page: written.append(page))
    assert not written
    report.write_text('{"val": {"loss": 1.0}}')
    assert report_runs([tmp_path], None, lambda paths, page: written.append(page)) == written[0]
