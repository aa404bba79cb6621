"""Text out of tokens that come one by one, character by whole character."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textgen.tokenizer.tokenizer import Tokenizer

__all__ = ["TextStream"]

CONTEXT_TOKENS = 8
"""Tokens decoded again before the new ones: some tokenizers join neighbours with spaces."""


class TextStream:
    """Calls on_text(number, characters) when tokens make whole characters.

    Args:
        prompt: tokens before the first one added.
        number: handed on to on_text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt: Sequence[int],
        number: int,
        on_text: Callable[[int, str], None] | None,
    ) -> None:
        self._tokenizer, self._number, self._on_text = tokenizer, number, on_text
        self._shown = list(prompt)[-CONTEXT_TOKENS:]
        self._new: list[int] = []

    def add(self, token: int) -> None:
        """Take the next token; an incomplete character waits for its other bytes."""
        self._new.append(token)
        before = self._tokenizer.decode(self._shown)
        text = self._tokenizer.decode([*self._shown, *self._new])[len(before) :]
        # No character of UTF-8 is longer than four bytes, so what waits longer is broken.
        if not text.endswith("\ufffd") or len(self._new) >= 4:
            self._show(text)

    def finish(self) -> None:
        """Hand out what is left, U+FFFD for a character that never became whole."""
        if self._new:
            before = self._tokenizer.decode(self._shown)
            self._show(self._tokenizer.decode([*self._shown, *self._new])[len(before) :])

    def _show(self, text: str) -> None:
        self._shown = [*self._shown, *self._new][-CONTEXT_TOKENS:]
        self._new = []
        if text and self._on_text is not None:
            self._on_text(self._number, text)
