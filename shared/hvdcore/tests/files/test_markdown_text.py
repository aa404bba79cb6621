"""Text of others in Markdown: no image is loaded, no link or HTML made, whatever it contains."""

from __future__ import annotations

import re

import pytest

from hvdcore.files.markdown_text import code_block, plain_text

HOSTILE = ["```\n![x](http://host/x.png)\n```", "a ```` b", "<script>x</script>", "`", "plain"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_does_not_end_its_block(text: str) -> None:
    """CommonMark: a fence ends at a line of as many backticks or more."""
    first, *lines, last = code_block(text).split("\n")
    assert "\n".join(lines) == text
    assert first == last
    assert not any(re.fullmatch(f" {{0,3}}`{{{len(first)},}} *", line) for line in lines)


def test_control_a_fixed_fence_is_ended() -> None:
    assert "```" in HOSTILE[0].split("\n")


def test_names_make_no_markup() -> None:
    assert plain_text("train_a.csv: row 3 (World)") == "train_a.csv: row 3 (World)"
    assert plain_text("![x](http://host/x.png)<b>`c`") == r"!\[x\](http://host/x.png)\<b\>\`c\`"
