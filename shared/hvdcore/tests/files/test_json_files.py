"""JSON for a terminal, and JSON files that are none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hvdcore.errors import UserError
from hvdcore.files.json_files import json_for_terminal, read_json_object


def test_control_characters_are_escaped_and_come_back() -> None:
    value = {"a\x9b31m": ["\x7f", "\x1b[0m", "äあ"]}
    text = json_for_terminal(value, indent=2)
    assert json.loads(text) == value
    assert "äあ" in text
    assert not [c for c in text if c in "\x1b\x7f\x9b"]
    # The control: JSON alone leaves them.
    assert "\x9b" in json.dumps(value, ensure_ascii=False)


def test_a_pipe_in_a_run_directory_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "report.json")
    with pytest.raises(UserError, match="no regular file"):
        read_json_object(tmp_path / "report.json")
    with pytest.raises(UserError, match="No such file"):
        read_json_object(tmp_path / "other.json")
