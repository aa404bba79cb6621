"""Tokens a second of textgen's generation, and of transformers' with a GPT-2 of the same shape."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import hvdcore.torch
from textgen.generation.generate import generate
from textgen.pretrained.load import open_model_distributed

device, run, plan = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
world = hvdcore.torch.init()
opened = open_model_distributed(run, world, device)
NUM_TOKENS, NUM_TEXTS = plan["tokens"], plan["texts"]


def speed(work: Callable[[], object]) -> float:
    """Tokens a second at the second try; the first also finds its kernels."""
    for _ in range(2):
        started = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    return NUM_TEXTS * NUM_TOKENS / seconds


def ours() -> None:
    generate(
        opened.model, opened.tokenizer, ["ka lo mi "] * NUM_TEXTS,
        max_new_tokens=NUM_TOKENS, batch_size=NUM_TEXTS, seed=0,
    )  # fmt: skip


shape = opened.model.config
peer = GPT2LMHeadModel(
    GPT2Config(
        vocab_size=shape.vocab_size, n_positions=shape.context_length, n_embd=shape.embed_dim,
        n_layer=shape.num_layers, n_head=shape.num_heads, bos_token_id=0, eos_token_id=None,
    )
).to(device)  # fmt: skip
prompts = torch.randint(shape.vocab_size, (NUM_TEXTS, 9), device=device)


def theirs() -> None:
    peer.generate(
        prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=NUM_TOKENS,
        do_sample=True, pad_token_id=0,
    )  # fmt: skip


mine, other = speed(ours), speed(theirs)
figures = {"tokens_per_second": mine, "transformers_tokens_per_second": other}
print(json.dumps({**figures, "ratio": round(mine / other, 3)}))
