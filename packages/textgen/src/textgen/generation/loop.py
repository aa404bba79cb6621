"""The generation loop: token ids in, new token ids out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from hvdcore.errors import UserError
from textgen.generation.batch import CausalDecodeBatch, DecodeBatch
from textgen.generation.decode_weights import DecodeWeights
from textgen.generation.sampling import SamplingOptions, next_tokens, uniform_draws
from textgen.model.causal_lm import CausalLM
from textgen.model.language_model import LanguageModel, device_of
from textgen.model.transformer import Transformer

__all__ = ["generate_tokens"]


@torch.inference_mode()
def generate_tokens(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    options: SamplingOptions | None = None,
    end_token: int | None = None,
    on_token: Callable[[int, int], None] | None = None,
    first_row: int = 0,
    weights: DecodeWeights | None = None,
) -> list[list[int]]:
    """The new tokens of each prompt, the end token included where a row came to it.

    A row's tokens do not depend on the other rows, but for the rounding of sums, which can turn a
    tie. Longer texts than the context: see `textgen.generation.batch`.

    Args:
        prompts: token ids, at least one each; lengths may differ.
        options: how tokens are chosen; None samples from the model's distribution.
        end_token: a row stops after it; None lets all rows reach max_new_tokens.
        on_token: called with (row, token) as each token is chosen.
        first_row: number of the first prompt's random stream, for prompts that come in parts.
        weights: `DecodeWeights(model)` of a `Transformer`, to make them once for several calls.

    Raises:
        UserError: an empty prompt or a token that the model does not know.
    """
    options = options or SamplingOptions()
    _check_prompts(prompts, model.config.vocab_size)
    written: list[list[int]] = [[] for _ in prompts]
    if not prompts or max_new_tokens < 1:
        return written
    batch = _batch(model, prompts, max_new_tokens, weights)
    chooser = _Chooser(model, prompts, options, max_new_tokens, first_row)
    alive = [True] * len(prompts)
    for step in range(max_new_tokens):
        tokens = chooser(batch.logits(), batch.active, step)
        batch.append(tokens)
        for row, token in zip(batch.active, tokens, strict=True):
            if alive[row]:
                written[row].append(token)
                alive[row] = token != end_token
                if on_token is not None:
                    on_token(row, token)
        going = [place for place, row in enumerate(batch.active) if alive[row]]
        if not going:
            break
        # A finished row costs a row's time until it is left out, and that costs a copy.
        if 2 * len(going) <= len(batch.active) and step + 1 < max_new_tokens:
            batch.keep(going)
    return written


def _batch(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    weights: DecodeWeights | None,
) -> DecodeBatch | CausalDecodeBatch:
    if isinstance(model, CausalLM):
        return CausalDecodeBatch(model, prompts)
    assert isinstance(model, Transformer)
    return DecodeBatch(model, prompts, max_new_tokens, weights)


class _Chooser:
    """Picks the next token of each row, and remembers what a row has seen."""

    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[Sequence[int]],
        options: SamplingOptions,
        max_new_tokens: int,
        first_row: int,
    ) -> None:
        device = device_of(model)
        self._options = options
        self._seen: torch.Tensor | None = None
        if options.repetition_penalty != 1.0:
            self._seen = torch.zeros(
                len(prompts), model.config.vocab_size, dtype=torch.bool, device=device
            )
            for row, prompt in enumerate(prompts):
                self._seen[row, torch.tensor(prompt)] = True
        self._uniforms: torch.Tensor | None = None
        if not options.greedy:
            rows = [first_row + row for row in range(len(prompts))]
            self._uniforms = uniform_draws(options.seed, rows, max_new_tokens).to(device)

    def __call__(self, logits: torch.Tensor, rows: list[int], step: int) -> list[int]:
        seen = None if self._seen is None else self._seen[rows]
        uniforms = None if self._uniforms is None else self._uniforms[rows, step]
        tokens = next_tokens(logits, self._options, seen, uniforms)
        if self._seen is not None:
            self._seen[rows, tokens] = True
        chosen: list[int] = tokens.tolist()
        return chosen


def _check_prompts(prompts: Sequence[Sequence[int]], vocab_size: int) -> None:
    for number, prompt in enumerate(prompts, start=1):
        if not len(prompt):
            raise UserError(f"prompt {number}: it has no tokens; start it with end-of-text")
        if not 0 <= min(prompt) <= max(prompt) < vocab_size:
            raise UserError(
                f"prompt {number}: it has tokens outside of 0..{vocab_size - 1}; "
                "use the tokenizer that was saved with the model"
            )
