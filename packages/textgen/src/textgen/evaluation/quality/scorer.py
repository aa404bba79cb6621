"""Scoring texts by a fixed model: their likelihood, and features for MAUVE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from textgen.model.config import IGNORE_INDEX
from textgen.model.language_model import LanguageModel, device_of
from textgen.pretrained.load import LoadedModel

__all__ = ["Scored", "score_text", "windows"]


@dataclass(frozen=True)
class Scored:
    """One continuation, scored by a model.

    Attributes:
        nll: negative log-likelihood of its tokens after the prompt, in nats.
        num_tokens: in the tokens of the scorer.
        num_bytes: of UTF-8.
        feature: the last hidden state at its last token [dimensions].
    """

    nll: float
    num_tokens: int
    num_bytes: int
    feature: list[float]


@torch.inference_mode()
def score_text(scorer: LoadedModel, prompt: str, text: str) -> Scored:
    """The score of a text after its prompt, which is the beginning of a document.

    Prompt and text are tokenized separately. Longer texts than the context are read in windows
    that give each token at least half a context before it.
    """
    model, tokenizer = scorer.model.eval(), scorer.tokenizer
    context_length, device = model.config.context_length, device_of(model)
    head = [*tokenizer.start_ids, *tokenizer.encode(prompt).tolist()]
    ids = [*head, *tokenizer.encode(text).tolist()]
    nll = 0.0
    for start, first, stop in windows(len(ids), len(head), context_length):
        tokens = torch.tensor([ids[start : stop - 1]], device=device)
        targets = torch.tensor(
            [[IGNORE_INDEX] * (first - start - 1) + ids[first:stop]], device=device
        )
        nll += model.loss(tokens, targets, reduction="none").double().sum().item()
    feature = _last_state(model, torch.tensor([ids[-context_length:]], device=device))
    return Scored(nll, len(ids) - len(head), len(text.encode()), feature)


def _last_state(model: LanguageModel, tokens: torch.Tensor) -> list[float]:
    """The input of the output projection at the last of tokens [1, T]."""
    states: list[torch.Tensor] = []
    *_, projection = model.tables()
    hook = projection.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0]))
    try:
        model(tokens)
    finally:
        hook.remove()
    found: list[float] = states[0][0, -1].float().tolist()
    return found


def windows(length: int, first: int, context_length: int) -> Iterator[tuple[int, int, int]]:
    """Windows in which each of `length` tokens from `first` on is predicted once.

    Each has at least half a context before it, where there is as much.

    Yields:
        (start, first, stop): tokens [start, stop) are read, [first, stop) are predicted.
    """
    while first < length:
        start = max(0, min(first - context_length // 2, length - context_length - 1))
        stop = min(length, start + context_length + 1)
        yield start, first, stop
        first = stop
