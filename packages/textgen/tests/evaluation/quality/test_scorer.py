"""The likelihood of a continuation under a scorer equals a loop over its tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from textgen.evaluation.quality.scorer import score_text, windows
from textgen.model.config import preset
from textgen.model.transformer import Transformer
from textgen.pretrained.load import LoadedModel, ResolvedModel, open_model
from textgen.testing import save_gpt2
from textgen.tokenizer.tokenizer import ByteTokenizer

CONTEXT = 12


@pytest.fixture(scope="module")
def scorer() -> LoadedModel:
    torch.manual_seed(0)
    shape = {"num_layers": 2, "num_heads": 2, "embed_dim": 16, "mlp_dim": 16}
    model = Transformer(preset("char").config(256, context_length=CONTEXT, **shape))
    for parameter in model.parameters():  # the residual projections start at zero
        torch.nn.init.normal_(parameter, std=0.3)
    return LoadedModel(model, ByteTokenizer(), ResolvedModel("tiny", Path("tiny")))


def nll_of(model: Transformer, ids: list[int], positions: range, starts: list[int]) -> float:
    """Each token predicted by itself, from tokens that begin at its start."""
    total = 0.0
    with torch.inference_mode():
        for position, start in zip(positions, starts, strict=True):
            logits = model(torch.tensor([ids[start:position]]))[0, -1].double()
            total -= logits.log_softmax(-1)[ids[position]].item()
    return total


def test_a_text_that_fits(scorer: LoadedModel) -> None:
    ids = [0, *b"abcd", *b" efgh"]
    found = score_text(scorer, "abcd", " efgh")
    expected = nll_of(scorer.model, ids, range(5, 10), [0] * 5)
    assert found.nll == pytest.approx(expected, rel=1e-5)
    assert (found.num_tokens, found.num_bytes) == (5, 5)
    with torch.inference_mode():
        states = scorer.model.model(torch.tensor([ids]), None, 0, None)
    assert found.feature == pytest.approx(states[0, -1].tolist(), rel=1e-5)


def test_a_text_that_is_longer_than_the_context(scorer: LoadedModel) -> None:
    prompt, text = "abcdefgh", " ijklmnopqrst"  # 9 tokens of head, 13 of text
    ids = [0, *prompt.encode(), *text.encode()]
    assert list(windows(22, 9, CONTEXT)) == [(3, 9, 16), (9, 16, 22)]
    expected = nll_of(scorer.model, ids, range(9, 22), [3] * 7 + [9] * 6)
    found = score_text(scorer, prompt, text)
    assert found.nll == pytest.approx(expected, rel=1e-5)
    assert found.num_tokens == 13


def test_windows_predict_each_token_once() -> None:
    for length in range(2, 40):
        for first in range(1, length):
            found = list(windows(length, first, 8))
            scored = [position for _, begin, stop in found for position in range(begin, stop)]
            assert scored == list(range(first, length))
            for start, begin, stop in found:
                assert stop - start <= 9
                assert begin - start >= min(begin, 4)  # half a context, where there is so much


def test_no_text_has_no_likelihood(scorer: LoadedModel) -> None:
    found = score_text(scorer, "abcd", "")
    assert (found.nll, found.num_tokens, found.num_bytes) == (0.0, 0, 0)
    assert len(found.feature) == 16


def test_a_model_of_transformers_is_a_scorer(tmp_path: Path) -> None:
    opened = open_model(save_gpt2(tmp_path / "gpt2", "the cat sat on the mat. " * 30))
    prompt, text = "the cat", " sat on the dog."
    encode = opened.tokenizer.encode
    head = [opened.tokenizer.eot_id, *encode(prompt).tolist()]
    ids = torch.tensor([[*head, *encode(text).tolist()]])
    with torch.inference_mode():
        theirs = opened.model.hf(input_ids=ids, output_hidden_states=True)
    logs = theirs.logits[0, len(head) - 1 : -1].double().log_softmax(-1)
    expected = -logs.gather(1, ids[0, len(head) :, None]).sum().item()
    found = score_text(opened, prompt, text)
    assert found.nll == pytest.approx(expected, rel=1e-5)
    assert found.feature == pytest.approx(theirs.hidden_states[-1][0, -1].tolist(), rel=1e-4)
