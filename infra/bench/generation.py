"""Greedy generation on a processor: textgen against transformers, same weights, tokens and threads.

Both are called in turn, in one process, and the ratio is the median over the rounds of theirs over
ours: what disturbs the machine disturbs both. Both load their weights once, outside of the timing;
what ours adds to that is reported as prepare_ms.

    python infra/bench/generation.py --threads 1
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from textgen.generation.decode_weights import DecodeWeights
from textgen.generation.loop import generate_tokens
from textgen.generation.sampling import SamplingOptions
from textgen.model.config import ModelConfig
from textgen.model.transformer import Transformer
from textgen.pretrained.saved_model import save_model
from textgen.tokenizer.tokenizer import ByteTokenizer

SHAPES = {
    "0.8m": ModelConfig(256, 256, 4, 4, 4, 128, 352),
    "10m": ModelConfig(256, 256, 6, 6, 6, 384, 1024),
}
PROMPT_TOKENS = 16


@dataclass(frozen=True)
class Result:
    """One model and batch size; times are medians in milliseconds for each new token of a row."""

    model: str
    num_parameters: int
    batch_size: int
    threads: int
    new_tokens: int
    rounds: int
    textgen_ms: float
    transformers_ms: float
    ratio: float
    """Median over the rounds of transformers' time over ours."""
    processor_time_ratio: float
    """The same of processor time, which other work on the machine disturbs less."""
    prepare_ms: float
    """Rearranging the weights for our decode steps, once for a model."""
    same_tokens: float
    """Share of the rows with the same text from both; rounding may turn a tie."""


def random_model(config: ModelConfig) -> Transformer:
    """Weights of a size that lets every layer matter, unlike a fresh model's zero projections."""
    torch.manual_seed(0)
    model = Transformer(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 1.5 * parameter.shape[1] ** -0.5)
    return model.eval()


def measure(
    names: Sequence[str] = tuple(SHAPES),
    batch_sizes: Sequence[int] = (1, 8),
    *,
    rounds: int = 7,
    new_tokens: int = 128,
    threads: int | None = None,
) -> Iterator[Result]:
    """Compare for every shape and batch size."""
    if threads is not None:
        torch.set_num_threads(threads)
    for name in names:
        model = random_model(SHAPES[name])
        for batch_size in batch_sizes:
            yield compare(name, model, batch_size, rounds, new_tokens)


def compare(name: str, model: Transformer, batch_size: int, rounds: int, new_tokens: int) -> Result:
    """Time both on one batch, in turn."""
    prompts = torch.randint(
        1, model.config.vocab_size, (batch_size, PROMPT_TOKENS),
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    start = time.perf_counter()
    weights = DecodeWeights(model)
    prepare_ms = 1000 * (time.perf_counter() - start)
    ours = _ours(model, weights, prompts, new_tokens)
    theirs = _theirs(model, prompts, new_tokens)
    same = [mine == other for mine, other in zip(ours(), theirs(), strict=True)]  # warms both up
    times = [(_seconds(ours), _seconds(theirs)) for _ in range(rounds)]
    per_token = 1000 / new_tokens
    return Result(
        model=name,
        num_parameters=model.num_parameters,
        batch_size=batch_size,
        threads=torch.get_num_threads(),
        new_tokens=new_tokens,
        rounds=rounds,
        textgen_ms=statistics.median(mine[0] for mine, _ in times) * per_token,
        transformers_ms=statistics.median(other[0] for _, other in times) * per_token,
        ratio=statistics.median(other[0] / mine[0] for mine, other in times),
        processor_time_ratio=statistics.median(other[1] / mine[1] for mine, other in times),
        prepare_ms=prepare_ms,
        same_tokens=sum(same) / len(same),
    )


def _ours(
    model: Transformer, weights: DecodeWeights, prompts: Tensor, count: int
) -> Callable[[], list[list[int]]]:
    greedy = SamplingOptions(temperature=0)
    rows = prompts.tolist()
    return lambda: generate_tokens(
        model, rows, max_new_tokens=count, options=greedy, weights=weights
    )


def _theirs(model: Transformer, prompts: Tensor, count: int) -> Callable[[], list[list[int]]]:
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder) / "model", model, ByteTokenizer())
        loaded = AutoModelForCausalLM.from_pretrained(Path(folder) / "model").eval()

    def run() -> list[list[int]]:
        tokens = loaded.generate(
            prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=count,
            do_sample=False, use_cache=True, eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        rows: list[list[int]] = tokens[:, PROMPT_TOKENS:].tolist()
        return rows

    return run


def _seconds(run: Callable[[], object]) -> tuple[float, float]:
    """Elapsed and processor seconds of a call."""
    elapsed, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - elapsed, time.process_time() - processor


def command(
    description: str,
    shapes: Iterable[str],
    rounds: int,
    threads: int | None,
    measured: Callable[[argparse.Namespace], Iterator[Any]],
    line: Callable[[Any], str],
) -> None:
    """Print a line for each result, and write JSON if asked to.

    Args:
        rounds, threads: by default.
        measured: the results, dataclasses, of what the command line asks for.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=list(shapes), default=list(shapes))
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=threads, help="threads of each program")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    results = []
    for result in measured(options):
        results.append(asdict(result))
        print(line(result), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def _measured(options: argparse.Namespace) -> Iterator[Result]:
    return measure(
        options.models, options.batch_sizes, rounds=options.rounds,
        new_tokens=options.new_tokens, threads=options.threads,
    )  # fmt: skip


def _line(result: Result) -> str:
    return (
        f"{result.model:>5} batch {result.batch_size}: textgen {result.textgen_ms:.3f} ms,"
        f" transformers {result.transformers_ms:.3f} ms a token; ratio {result.ratio:.2f}"
        f" (processor time {result.processor_time_ratio:.2f}),"
        f" same text {result.same_tokens:.0%}"
    )


if __name__ == "__main__":
    command(__doc__ or "", SHAPES, 7, None, _measured, _line)
