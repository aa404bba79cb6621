"""Whether a model of `transformers` is what generation takes it for, by its logits, not its name.

A model must not see the tokens that it predicts: encoders such as BERT do. And a step that
continues a cache must give what reading all tokens at once gives: models that keep a state of their
own, or no cache at all, do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor

from hvdcore.errors import UserError
from textgen.model.causal_lm import CausalLM, new_cache, quiet_transformers
from textgen.model.language_model import device_of

__all__ = ["check_causal", "continues_cache"]

_NUM_TOKENS = 8
_SAME_TOLERANCE = 1e-5
_STEP_TOLERANCE = 1e-3
"""Of logits, relative to the largest: what rounding may change between two calls of one shape, and
between the shapes of a step and of a whole text."""


def check_causal(model: CausalLM, where: str) -> None:
    """Check that a token does not change the logits before it.

    Args:
        where: its config.json, for the message.

    Raises:
        UserError: it does, or the model cannot read a short text at all.
    """
    tokens = _probe(model)
    other = tokens.clone()
    other[:, -1] = (other[:, -1] + 1) % model.config.vocab_size
    try:
        with _quiet(model):
            before, after = model(tokens)[:, :-1], model(other)[:, :-1]
    except Exception as error:  # each architecture has its own
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{where}: {model.config.model_type} cannot read {tokens.shape[1]} tokens of text "
            f"({reason}); give a causal language model such as gpt2"
        ) from error
    if not _agree(before, after, _SAME_TOLERANCE):
        raise UserError(
            f"{where}: {model.config.model_type} is not causal: its predictions change with the "
            "tokens that they should predict; give a causal language model such as gpt2"
        )


def continues_cache(model: CausalLM) -> bool:
    """Whether steps that continue a cache, and rows padded on the left, give the same logits as
    reading the tokens at once. Tried once for each model; its random state is left as it was."""
    found: bool | None = getattr(model, "_continues_cache", None)
    if found is None:
        found = False
        with suppress(Exception), _quiet(model):  # no cache, or one of another kind
            found = _continues_cache(model)
        object.__setattr__(model, "_continues_cache", found)
    return found


def _continues_cache(model: CausalLM) -> bool:
    tokens = _probe(model)
    length = tokens.shape[1]
    if length < 3:
        return True
    # The second row is padded by one on its left.
    padded = torch.cat((tokens, torch.cat((tokens[:, :1], tokens[:, :-1]), dim=1)))
    mask = torch.ones(2, length, dtype=torch.bool, device=tokens.device)
    mask[1, 0] = False
    cache = new_cache(model)
    cut = length - 2
    parts = ((0, cut), (cut, cut + 1), (cut + 1, cut + 2))
    steps = [model.last_logits(padded[:, a:b], mask[:, :b], cache) for a, b in parts]
    found = torch.stack(steps, dim=1)  # [2, 3, V]
    whole = model(tokens)
    wanted = torch.stack((whole[0, cut - 1 :], whole[0, cut - 2 : -1]))
    return _agree(found, wanted, _STEP_TOLERANCE)


def _probe(model: CausalLM) -> Tensor:
    """Different ordinary tokens [1, T], the same in every process."""
    length = min(_NUM_TOKENS, model.config.context_length)
    generator = torch.Generator().manual_seed(0)
    # Not the lowest ids: many models treat padding, one of them, in their own way.
    low = min(8, model.config.vocab_size // 2)
    tokens = torch.randint(low, model.config.vocab_size, (1, length), generator=generator)
    return tokens.to(device_of(model))


def _agree(one: Tensor, other: Tensor, tolerance: float) -> bool:
    if not one.numel():
        return True
    difference = float((one.float() - other.float()).abs().max())
    # Weights that are not finite are found by what they are scored with.
    return not difference > tolerance * float(one.abs().max())


@contextmanager
def _quiet(model: CausalLM) -> Iterator[None]:
    was_training = model.training
    with quiet_transformers(), torch.inference_mode(), torch.random.fork_rng(devices=[]):
        model.eval()
        try:
            yield
        finally:
            model.train(was_training)
