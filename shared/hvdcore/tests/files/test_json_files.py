"""JSON for a terminal."""

from __future__ import annotations

import json

from hvdcore.files.json_files import json_for_terminal


def test_control_characters_are_escaped_and_come_back() -> None:
    value = {"a\x9b31m": ["\x7f", "\x1b[0m", "äあ"]}
    text = json_for_terminal(value, indent=2)
    assert json.loads(text) == value
    assert "äあ" in text
    assert not [c for c in text if c in "\x1b\x7f\x9b"]
    # The control: JSON alone leaves them.
    assert "\x9b" in json.dumps(value, ensure_ascii=False)
