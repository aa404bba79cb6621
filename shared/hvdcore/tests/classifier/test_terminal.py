"""What goes to a terminal or a spreadsheet: no escape sequence moves a cursor, no cell computes."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import numpy as np
import pytest

from hvdcore.classifier.predictions import (
    Prediction,
    for_spreadsheets,
    to_csv,
    write_predictions,
)
from hvdcore.classifier.prepare_command import print_prepared
from hvdcore.classifier.prepared import PreparedData
from hvdcore.classifier.splits import stratified_subset
from hvdcore.errors import UserError, printable, printable_name, show_problems

EVIL = "red\x1b[31m\x9b2J\x07\x08\x7f name"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def is_clean(text: str) -> bool:
    return not any(c in text for c in "\x1b\x9b\x07\x08\x7f\r")


def test_control_characters_are_shown_as_escapes() -> None:
    assert printable("a\x1b[0m\tb\n") == "a\\x1b[0m\tb\n"
    assert printable("caf\xe9 \u4f60") == "caf\xe9 \u4f60"
    assert printable("a\u202eb\u2066c") == "a\\u202eb\\u2066c"


def test_a_name_takes_one_line() -> None:
    assert printable_name("a\nb\t\x1b\u2028c") == "a\\nb\\t\\x1b\\u2028c"
    assert printable_name("caf\xe9 \u4f60") == "caf\xe9 \u4f60"
    assert not is_clean(EVIL)  # control


def test_problems_name_files_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    show_problems(f"data: {EVIL}: no such file")
    error = capsys.readouterr().err
    assert is_clean(error)
    assert "red\\x1b[31m" in error


def test_the_table_of_classes(capsys: pytest.CaptureFixture[str]) -> None:
    names = (EVIL, "[bold]x[/bold]")
    counts = {split: dict.fromkeys(names, 3) for split in ("train", "val", "test")}
    meta = {"classes_of_parts": counts, "skipped": {}, "notes": {}}
    print_prepared(PreparedData(Path("/p"), names, {}, meta), [f"line {EVIL}"])
    shown = capsys.readouterr().out
    assert is_clean(shown)
    assert "[bold]x[/bold]" in shown  # a name, no markup


def test_predictions_on_a_terminal_and_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{EVIL},a\n"]
    terminal, pipe = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", terminal)
    write_predictions(lines, None)
    assert is_clean(terminal.getvalue())
    monkeypatch.setattr(sys, "stdout", pipe)
    write_predictions(lines, None)
    assert pipe.getvalue() == lines[0]  # data stays as it is


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@a", "\t=1", "plain", "a=1"])
def test_no_cell_is_a_formula_where_asked(cell: str) -> None:
    predictions = [Prediction(cell, (0.25, 0.75)), Prediction(cell, skipped="empty text")]
    safe, classes = for_spreadsheets(predictions, ["=class", "b"])
    rows = list(csv.reader("".join(to_csv(safe, classes, "text")).splitlines()))
    wanted = cell if cell in ("plain", "a=1") else f"'{cell}"
    assert [row[0] for row in rows] == ["text", wanted, wanted]
    assert rows[0][3] == "'=class"
    plain = list(csv.reader("".join(to_csv(predictions, ["=class", "b"], "text")).splitlines()))
    assert plain[1][0] == cell  # control: unasked, it is what it was


def test_a_subset_has_every_class() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    with pytest.raises(UserError, match="num: 2 texts for 3 classes; give 3 or more"):
        stratified_subset(labels, 2, field="num", samples="texts")
    assert set(labels[stratified_subset(labels, 3, field="num", samples="texts")]) == {0, 1, 2}
