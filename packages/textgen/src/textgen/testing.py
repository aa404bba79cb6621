"""Real training runs of a tiny model, for the tests: the command, its exit code, what it wrote."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from hvdcore.testing.runs import Run, ranks_environment, run_command

__all__ = [
    "TINY", "Run", "command", "environment", "real_books", "save_gpt2", "train", "write_book",
    "write_library",
]  # fmt: skip

TINY = (
    "--model", "char", "--num-layers", "2", "--attention-every", "2", "--num-heads", "2",
    "--embed-dim", "16", "--mlp-dim", "32", "--context-length", "16", "--tokenizer", "byte",
    "--global-batch-size", "12", "--sample-tokens", "0",
)  # fmt: skip
"""A short convolution and an attention, 9,400 parameters: a step takes milliseconds."""


def command(*arguments: str) -> list[str]:
    """``textgen`` with arguments, by this interpreter."""
    return [sys.executable, "-m", "textgen", *arguments]


def environment(cache: Path) -> dict[str, str]:
    """This process's, as the launcher cleans it, with a cache of the tests' own."""
    return ranks_environment({"TEXTGEN_CACHE": str(cache)})


def train(
    output_dir: Path,
    data: Path | str,
    *flags: str,
    launcher: tuple[str, ...] = (),
    cache: Path | None = None,
    timeout: float = 300.0,
) -> Run:
    """Train the tiny model and wait for the end."""
    line = [
        *launcher,
        *command("train", "--data", str(data), "--output-dir", str(output_dir), *TINY, *flags),
    ]
    env = environment(cache or output_dir.parent / "cache")
    return run_command(output_dir, line, env, timeout)


def write_book(path: Path, num_words: int = 6000, seed: int = 0) -> Path:
    """A text of made-up words with some structure to learn."""
    draw = random.Random(seed)
    syllables = ["ka", "lo", "mi", "ru", "ta", "ne", "so", "vi"]
    words = ["".join(draw.choices(syllables, k=draw.randint(1, 3))) for _ in range(60)]
    chosen = draw.choices(words, weights=[1 / (i + 1) for i in range(60)], k=num_words)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(" ".join(chosen) + ".\n", encoding="utf-8")
    return path


def save_gpt2(folder: Path, text: str, **changes: int) -> Path:
    """Write a tiny GPT-2 with random weights and a BPE tokenizer learned from `text`, as
    transformers saves one. A DistilGPT-2 is the same with half the layers."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from textgen.model.causal_lm import quiet_transformers
    from textgen.tokenizer.tokenizer import train_bpe

    tokenizer = train_bpe([text], 280)
    shape = {"n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 288}
    ends = {"bos_token_id": tokenizer.eot_id, "eos_token_id": tokenizer.eot_id}
    with torch.random.fork_rng(), torch.no_grad(), quiet_transformers():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(GPT2Config(**{**shape, **ends, **changes}))
        for parameter in model.parameters():
            # As they come, all tokens are nearly as probable, and mistakes would hardly show.
            parameter.normal_(float(parameter.ndim == 1), 0.2)
        model.save_pretrained(folder)
    tokenizer.save(folder)
    return folder


def real_books() -> list[str]:
    """The novels of the measuring data, in `$HVD_DATA`; without them stories of our own sample."""
    folder = Path(os.environ.get("HVD_DATA", "shared/data")) / "books"
    books = [path.read_text(encoding="utf-8-sig") for path in sorted(folder.glob("*.txt"))]
    if not books:
        from textgen.data.sample import tell_story

        stories = [tell_story(f"library {number}")[0] for number in range(1500)]
        books = ["\n".join(stories[start::12]) for start in range(12)]
    return books


def write_library(folder: Path, num_bytes: int, books: Sequence[str], seed: int = 0) -> int:
    """Write files of books, `num_bytes` in all or a little more; the bytes that they have.

    Each is made of half the lines of one book and half of another, drawn by lot: as many words as
    real books have, and no two books that are nearly the same.
    """
    folder.mkdir(parents=True)
    draw = random.Random(seed)
    lines = [book.splitlines(keepends=True) for book in books]
    written = number = 0
    while written < num_bytes:
        one, other = draw.sample(lines, 2)
        text = "".join(draw.sample(one, len(one) // 2) + draw.sample(other, len(other) // 2))
        written += (folder / f"{number:05}.txt").write_bytes(text.encode())
        number += 1
    return written
