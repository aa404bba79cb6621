"""The generation loop: token ids in, new token ids out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

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
    end_token: int | Collection[int] | None = None,
    on_token: Callable[[int, int], None] | None = None,
    first_row: int = 0,
    weights: DecodeWeights | None = None,
) -> list[list[int]]:
    """The new tokens of each prompt, with the end token where a row reached it.

    The tokens of a row do not depend on the other rows, except that rounding can decide a tie. For
    texts longer than the context see `textgen.generation.batch`.

    Args:
        prompts: token ids, at least one each; lengths may differ.
        options: how tokens are chosen; None samples from the model's distribution.
        end_token: a row stops after it, or after one of several; None continues all rows to
            max_new_tokens.
        on_token: called with (row, token) for each token.
        first_row: number of the random stream of the first prompt, for prompts in several calls.
        weights: `DecodeWeights(model)` of a `Transformer`, to reuse them in several calls.

    Raises:
        UserError: an empty prompt or a token outside of the vocabulary.
    """
    options = options or SamplingOptions()
    _check_prompts(prompts, model.config.vocab_size)
    generated: list[list[int]] = [[] for _ in prompts]
    if not prompts or max_new_tokens < 1:
        return generated
    batch = _batch(model, prompts, max_new_tokens, weights)
    sampler = _Sampler(model, prompts, options, max_new_tokens, first_row)
    alive = [True] * len(prompts)
    ends = {end_token} if end_token is None or isinstance(end_token, int) else end_token
    for step in range(max_new_tokens):
        tokens = sampler(batch.logits(), batch.active, step)
        batch.append(tokens)
        for row, token in zip(batch.active, tokens, strict=True):
            if alive[row]:
                generated[row].append(token)
                alive[row] = token not in ends
                if on_token is not None:
                    on_token(row, token)
        unfinished = [index for index, row in enumerate(batch.active) if alive[row]]
        if not unfinished:
            break
        # A finished row costs time until it is dropped, and dropping rows costs a copy.
        if 2 * len(unfinished) <= len(batch.active) and step + 1 < max_new_tokens:
            batch.keep(unfinished)
    return generated


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


class _Sampler:
    """Chooses the next token of each row; keeps track of seen tokens for the repetition penalty."""

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
