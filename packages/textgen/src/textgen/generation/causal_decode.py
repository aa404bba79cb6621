"""The rows of a batch while an adapted model makes them grow, with the cache of `transformers`.

Windows slide as in `textgen.generation.batch`. Shorter rows are padded on their left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from textgen.generation.batch import window_start
from textgen.model.causal_lm import CausalLM, new_cache
from textgen.model.language_model import device_of

__all__ = ["CausalDecodeBatch"]


class CausalDecodeBatch:
    """Token sequences that grow by a token at a time; see `DecodeBatch`.

    Args:
        prompts: token ids of each row, at least one each.

    Attributes:
        active: numbers of the rows still growing, in the order of the logits.
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
        """[len(active), V] of what follows each row."""
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
        """Go on with those of the active rows only, given by their place in `active`."""
        self.active = [self.active[position] for position in positions]
        self._cache = None  # what is left of it would hold the padding for rows that are gone

    def _slides(self) -> bool:
        """Whether some row's window is full, and moves before its next token."""
        return any(self._start(row) != self._starts[row] for row in self.active)

    def _start(self, row: int) -> int:
        return window_start(len(self._tokens[row]), self._starts[row], self._context)

    def _read_windows(self) -> Tensor:
        """Read all rows' windows anew, from position 0."""
        for row in self.active:
            self._starts[row] = self._start(row)
        windows = [self._tokens[row][self._starts[row] :] for row in self.active]
        longest = max(map(len, windows))
        tokens = torch.zeros(len(windows), longest, dtype=torch.long)
        mask = torch.zeros(len(windows), longest, dtype=torch.bool)
        for place, window in enumerate(windows):
            tokens[place, longest - len(window) :] = torch.tensor(window)
            mask[place, longest - len(window) :] = True
        self._cache, self._mask = new_cache(self._model), mask.to(self._device)
        return self._model.last_logits(tokens.to(self._device), self._mask, self._cache)
