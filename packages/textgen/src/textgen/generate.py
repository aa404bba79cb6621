"""Writing text with a model: tokens from tokens, text from text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from hvdcore.errors import UserError
from textgen.decode_batch import DecodeBatch
from textgen.model import Transformer
from textgen.sampling import SamplingOptions, next_tokens, uniform_draws
from textgen.text_stream import TextStream
from textgen.tokenizer import Tokenizer

__all__ = ["generate", "generate_tokens"]


@torch.inference_mode()
def generate_tokens(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    options: SamplingOptions | None = None,
    end_token: int | None = None,
    on_token: Callable[[int, int], None] | None = None,
    first_row: int = 0,
) -> list[list[int]]:
    """The new tokens of each prompt, the end token included where a row came to it.

    A row's tokens do not depend on the other rows, but for the rounding of sums, which can turn a
    tie. Longer texts than the context: see `textgen.decode_batch`.

    Args:
        prompts: token ids, at least one each; lengths may differ.
        options: how tokens are chosen; None samples from the model's distribution.
        end_token: a row stops after it; None lets all rows reach max_new_tokens.
        on_token: called with (row, token) as each token is chosen.
        first_row: number of the first prompt's random stream, for prompts that come in parts.

    Raises:
        UserError: an empty prompt or a token that the model does not know.
    """
    options = options or SamplingOptions()
    _check_prompts(prompts, model.config.vocab_size)
    written: list[list[int]] = [[] for _ in prompts]
    if not prompts or max_new_tokens < 1:
        return written
    batch = DecodeBatch(model, prompts, max_new_tokens)
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


class _Chooser:
    """Picks the next token of each row, and remembers what a row has seen."""

    def __init__(
        self,
        model: Transformer,
        prompts: Sequence[Sequence[int]],
        options: SamplingOptions,
        max_new_tokens: int,
        first_row: int,
    ) -> None:
        device = model.model.cos.device
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


def generate(
    model: Transformer,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    greedy: bool = False,
    num_samples: int = 1,
    seed: int = 0,
    batch_size: int = 32,
    on_text: Callable[[int, str], None] | None = None,
) -> list[str]:
    """What the model writes after each prompt, `num_samples` texts for each in turn.

    The texts are the same for any batch_size. A prompt stands at the beginning of a document.

    Args:
        top_k: 0 or None keeps all.
        greedy: always the most probable token; temperature, top_k and top_p count for nothing.
        batch_size: texts written at once.
        on_text: called with (number of the text, new characters) as they are written.

    Raises:
        UserError: options out of range.
    """
    options = SamplingOptions(
        0.0 if greedy else temperature, top_k or None, top_p, repetition_penalty, seed
    )
    rows = [
        [tokenizer.eot_id, *tokenizer.encode(prompt).tolist()]
        for prompt in prompts
        for _ in range(num_samples)
    ]
    texts: list[str] = []
    for first in range(0, len(rows), batch_size):
        part = rows[first : first + batch_size]
        streams = [TextStream(tokenizer, row, first + i, on_text) for i, row in enumerate(part)]
        written = generate_tokens(
            model,
            part,
            max_new_tokens=max_new_tokens,
            options=options,
            end_token=tokenizer.eot_id,
            on_token=None if on_text is None else lambda row, token, s=streams: s[row].add(token),
            first_row=first,
        )
        for stream, row_tokens in zip(streams, written, strict=True):
            stream.finish()
            texts.append(tokenizer.decode(row_tokens))
    return texts
