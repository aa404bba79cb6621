"""The sequences of a batch in generation: what each attends to, and when its cache is rebuilt.

When a row's window is full (context_length tokens), its last context_length // 2 tokens, the new
one included, become the new window and are read again from position 0. Each row slides by itself,
so its text does not depend on the other rows. Of a longer prompt the last context_length tokens are
read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from textgen.generation.decode_step import DecodeStep
from textgen.generation.decode_weights import DecodeWeights
from textgen.generation.kv_cache import KVCache, RowContent, prefill
from textgen.model.causal_lm import CausalLM, new_cache
from textgen.model.causality import continues_cache
from textgen.model.language_model import device_of
from textgen.model.transformer import Transformer

__all__ = [
    "CausalDecodeBatch",
    "DecodeBatch",
    "window_start",
]


def window_start(length: int, start: int, context_length: int) -> int:
    """Start of the window that predicts the token after `length` tokens.

    Args:
        start: of the window of the token before; at first 0, or where the prompt is cut.
    """
    if length - start <= context_length:
        return start
    return length - max(1, context_length // 2)


class DecodeBatch:
    """Sequences of a `Transformer` that grow by one token at a time.

    Args:
        prompts: token ids of each row, at least one each.
        max_new_tokens: limits the size of the cache.
        weights: of the model, if they were made before.

    Attributes:
        active: numbers of the rows that are not finished, in the order of the logits.
    """

    def __init__(
        self,
        model: Transformer,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        weights: DecodeWeights | None = None,
    ) -> None:
        self._model = model
        self._weights = weights or DecodeWeights(model)
        self._device = model.model.cos.device
        self._tokens = [list(prompt) for prompt in prompts]
        self._starts = [max(0, len(prompt) - self._context) for prompt in prompts]
        self._left = max_new_tokens
        self._cache: KVCache | None = None
        self.active = list(range(len(prompts)))

    @property
    def _context(self) -> int:
        return self._model.config.context_length

    def logits(self) -> Tensor:
        """Logits [len(active), V] of the next token of each row; overwritten by the next call."""
        if self._cache is None:
            self._build({})
        elif self._cache.end == self._cache.capacity:
            self._build(dict(zip(self.active, range(len(self.active)), strict=True)))
        last = [self._tokens[row][-1] for row in self.active]
        self._left -= 1
        return self._step(torch.tensor(last, device=self._device))

    def append(self, tokens: Sequence[int]) -> None:
        """Add the next token of each active row."""
        for row, token in zip(self.active, tokens, strict=True):
            self._tokens[row].append(token)

    def keep(self, positions: Sequence[int]) -> None:
        """Keep only these of the active rows, given by their positions in `active`."""
        rows = [self.active[position] for position in positions]
        held = dict(zip(rows, positions, strict=True))
        self.active = rows
        self._build(held)

    def _build(self, held: dict[int, int]) -> None:
        """Build the cache and the decode step for the active rows.

        Args:
            held: position in the present cache of each row that is in it.
        """
        windows: dict[int, tuple[int, ...]] = {}
        kept: dict[int, RowContent] = {}
        for row in self.active:
            length = len(self._tokens[row])
            start = window_start(length, self._starts[row], self._context)
            if row in held and start == self._starts[row]:
                assert self._cache is not None
                kept[row] = self._cache.row(held[row])
            else:  # all but the last token, which the step reads
                windows[row] = tuple(self._tokens[row][start:-1])
            self._starts[row] = start
        read = prefill(self._model, list(windows.values()))
        contents = [kept[row] if row in kept else read[windows[row]] for row in self.active]
        lengths = [content.keys.shape[2] for content in contents]
        capacity = min(self._context, max(lengths) + self._left)
        self._cache = KVCache(self._model.config, lengths, capacity, self._device)
        for position, content in enumerate(contents):
            self._cache.fill(position, content)
        self._step = DecodeStep(self._weights, self._cache)


class CausalDecodeBatch:
    """Sequences of a `CausalLM` that grow by one token at a time, with the cache of `transformers`.

    Shorter rows are padded on the left. Where a model's cache does not give what its whole window
    gives (it keeps a state, or none), every token's window is read anew.

    Args:
        prompts: token ids of each row, at least one each.

    Attributes:
        active: numbers of the rows that are not finished, in the order of the logits.
    """

    def __init__(self, model: CausalLM, prompts: Sequence[Sequence[int]]) -> None:
        self._model = model
        self._device = device_of(model)
        self._tokens = [list(prompt) for prompt in prompts]
        self._starts = [max(0, len(prompt) - self._context) for prompt in prompts]
        self._cache: Any = None
        self._mask = torch.empty(0, 0, dtype=torch.bool)
        self.active = list(range(len(prompts)))

    @property
    def _context(self) -> int:
        return self._model.config.context_length

    def logits(self) -> Tensor:
        """Logits [len(active), V] of the next token of each row."""
        if not continues_cache(self._model):
            return self._read_each_window()
        if self._cache is None or self._slides():
            return self._read_windows()
        last = torch.tensor([[self._tokens[row][-1]] for row in self.active], device=self._device)
        self._mask = torch.cat((self._mask, torch.ones_like(last, dtype=torch.bool)), dim=1)
        return self._model.last_logits(last, self._mask, self._cache)

    def append(self, tokens: Sequence[int]) -> None:
        """Add the next token of each active row."""
        for row, token in zip(self.active, tokens, strict=True):
            self._tokens[row].append(token)

    def keep(self, positions: Sequence[int]) -> None:
        """Keep only these of the active rows, given by their positions in `active`."""
        self.active = [self.active[position] for position in positions]
        self._cache = None  # it has the padding of rows that are dropped

    def _slides(self) -> bool:
        """Whether the window of some row moves before its next token."""
        return any(self._start(row) != self._starts[row] for row in self.active)

    def _start(self, row: int) -> int:
        return window_start(len(self._tokens[row]), self._starts[row], self._context)

    def _windows(self) -> list[list[int]]:
        for row in self.active:
            self._starts[row] = self._start(row)
        return [self._tokens[row][self._starts[row] :] for row in self.active]

    def _read_each_window(self) -> Tensor:
        """Read the windows of all rows without a cache and without padding."""
        windows = self._windows()
        return torch.cat(
            [self._model(torch.tensor([w], device=self._device))[:, -1].float() for w in windows]
        )

    def _read_windows(self) -> Tensor:
        """Read the windows of all rows again, from position 0."""
        windows = self._windows()
        longest = max(map(len, windows))
        tokens = torch.zeros(len(windows), longest, dtype=torch.long)
        mask = torch.zeros(len(windows), longest, dtype=torch.bool)
        for row, window in enumerate(windows):
            tokens[row, longest - len(window) :] = torch.tensor(window)
            mask[row, longest - len(window) :] = True
        self._cache, self._mask = new_cache(self._model), mask.to(self._device)
        return self._model.last_logits(tokens.to(self._device), self._mask, self._cache)
