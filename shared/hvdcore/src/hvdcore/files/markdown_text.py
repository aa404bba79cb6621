"""Text of others (samples, names of classes and files) in Markdown, where it must mean nothing.

Viewers of Markdown, TensorBoard among them, load the images that a text names, and some run HTML.
"""

from __future__ import annotations

import re

__all__ = ["code_block", "indented_block", "plain_text"]

_BACKTICKS = re.compile("`+")
_MARKUP = re.compile(r"[\\`<>\[\]&]")


def code_block(text: str) -> str:
    """The text in a fence that is longer than any run of backticks in it.

    >>> code_block("a ``` b").splitlines()
    ['````', 'a ``` b', '````']
    """
    longest = max((len(run) for run in _BACKTICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def indented_block(text: str) -> str:
    """The text as code by its indentation, which reads well where nothing shows the Markdown."""
    return "\n".join(f"    {line}" for line in text.split("\n"))


def plain_text(text: str) -> str:
    r"""The text, of one line, with a backslash before what begins a link, an image, code or HTML.

    >>> plain_text("![x](http://host/x.png) <b>")
    '!\\[x\\](http://host/x.png) \\<b\\>'
    """
    return _MARKUP.sub(r"\\\g<0>", text)
