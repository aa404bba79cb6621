"""Generating text with a model: text in, text out, and the command `textgen generate`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TextIO

import torch

from hvdcore.errors import UserError, printable
from hvdcore.sharding import eval_range
from textgen.generation.decode_weights import DecodeWeights
from textgen.generation.int8_model import round_linear_layers
from textgen.generation.loop import generate_tokens
from textgen.generation.products import product_of
from textgen.generation.sampling import SamplingOptions
from textgen.model.causal_lm import CausalLM
from textgen.model.language_model import LanguageModel
from textgen.model.transformer import Transformer
from textgen.tokenizer.tokenizer import Tokenizer

__all__ = [
    "TextStream",
    "generate",
    "generate_command",
    "generate_tokens",
    "read_prompts",
]

CONTEXT_TOKENS = 8
"""Tokens decoded again before the new ones: some tokenizers put spaces between neighbors."""


def continuation(tokenizer: Tokenizer, before: Sequence[int], new: Sequence[int]) -> str:
    """The text of tokens after others: alone, SentencePiece would drop its first blank."""
    return tokenizer.decode([*before, *new])[len(tokenizer.decode(before)) :]


class TextStream:
    """Decodes tokens one by one and calls on_text(number, text) for complete characters.

    Args:
        prompt: tokens before the first one added.
        number: of the text, passed to on_text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt: Sequence[int],
        number: int,
        on_text: Callable[[int, str], None] | None,
    ) -> None:
        self._tokenizer, self._number, self._on_text = tokenizer, number, on_text
        self._emitn = list(prompt)[-CONTEXT_TOKENS:]
        self._new: list[int] = []

    def add(self, token: int) -> None:
        """Add the next token; an incomplete character is held back."""
        self._new.append(token)
        text = continuation(self._tokenizer, self._emitn, self._new)
        # A character of UTF-8 has at most four bytes: what is longer incomplete is invalid.
        if not text.endswith("\ufffd") or len(self._new) >= 4:
            self._emit(text)

    def finish(self) -> None:
        """Emit the rest; an incomplete character becomes U+FFFD."""
        if self._new:
            self._emit(continuation(self._tokenizer, self._emitn, self._new))

    def _emit(self, text: str) -> None:
        self._emitn = [*self._emitn, *self._new][-CONTEXT_TOKENS:]
        self._new = []
        if text and self._on_text is not None:
            self._on_text(self._number, text)


def generate(
    model: LanguageModel,
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
    share: tuple[int, int] = (0, 1),
    weights: DecodeWeights | None = None,
    end_tokens: Collection[int] = (),
) -> list[str]:
    """Texts that continue each prompt, `num_samples` for each in turn.

    The texts are the same for any batch_size. A prompt is the beginning of a document.

    Args:
        share: (rank, size): generate only this rank's share of the texts, a contiguous one.
        top_k: 0 or None keeps all.
        greedy: always the most probable token; temperature, top_k and top_p are ignored.
        batch_size: texts generated at once.
        on_text: called with (number of the text, new characters) during generation.
        weights: of a `Transformer`, if they were made before.
        end_tokens: a text ends at these too, beside the tokenizer's end-of-text; they are no part
            of it.

    Raises:
        UserError: options out of range.
    """
    options = SamplingOptions(
        0.0 if greedy else temperature, top_k or None, top_p, repetition_penalty, seed
    )
    rows = [
        [*tokenizer.start_ids, *tokenizer.encode(prompt).tolist()]
        for prompt in prompts
        for _ in range(num_samples)
    ]
    if weights is None and isinstance(model, Transformer):
        weights = DecodeWeights(model)
    texts: list[str] = []
    ends = frozenset({tokenizer.eot_id, *end_tokens})
    own = eval_range(len(rows), *share)
    for first in range(own.start, own.stop, batch_size):
        batch = rows[first : min(first + batch_size, own.stop)]
        streams = [TextStream(tokenizer, row, first + i, on_text) for i, row in enumerate(batch)]
        generated = generate_tokens(
            model,
            batch,
            max_new_tokens=max_new_tokens,
            options=options,
            end_token=ends,
            on_token=None if on_text is None else partial(_show, streams, ends),
            first_row=first,
            weights=weights,
        )
        for row, stream, row_tokens in zip(batch, streams, generated, strict=True):
            stream.finish()
            said = row_tokens[:-1] if row_tokens and row_tokens[-1] in ends else row_tokens
            texts.append(continuation(tokenizer, row[-CONTEXT_TOKENS:], said))
    return texts


def _show(streams: Sequence[TextStream], ends: Collection[int], row: int, token: int) -> None:
    if token not in ends:
        streams[row].add(token)


def generate_command(
    model_name: Path,
    *,
    prompt: Sequence[str] | None = None,
    prompt_file: Path | None = None,
    max_new_tokens: int = 200,
    num_samples: int = 1,
    temperature: float = 0.8,
    top_k: int | None = 50,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    greedy: bool = False,
    seed: int = 0,
    batch_size: int = 32,
    device: str | None = None,
    weight_dtype: str = "float32",
    stdout: TextIO | None = None,
    stdin: TextIO | None = None,
) -> int:
    """Print the texts that continue each prompt; return the exit code.

    A single text is printed while it is generated. Several are printed at the end, each under a
    line with the numbers of prompt and sample. Every rank must call and generates its share.

    Args:
        model_name: a run, a folder with a model, or a hub id.
        prompt, prompt_file: see `read_prompts`. The other arguments: see `generate`.
        device: where to compute; None is the rank's GPU if there is one.
        weight_dtype: of the matrices, `float32`, or `int8`: rounded to 8 bits, on the CPU.

    Raises:
        UserError: no model, no such prompt file, or options out of range.
    """
    from hvdcore.torch import gather_objects, init
    from hvdcore.torch.hardware import pick_device
    from textgen.pretrained.load import open_model_distributed

    world = init()
    stdout = stdout or sys.stdout
    prompts = read_prompts(prompt, prompt_file, stdin or sys.stdin)
    product_of(weight_dtype)  # said before a model is opened
    device = device or ("cpu" if weight_dtype == "int8" else str(pick_device(world)))
    opened = open_model_distributed(model_name, world, device)
    weights = _rounded(opened.model, device) if weight_dtype == "int8" else None
    single = len(prompts) * num_samples == 1
    if single and world.is_root:
        stdout.write(prompts[0])
    texts = generate(
        opened.model, opened.tokenizer, prompts, max_new_tokens=max_new_tokens,
        temperature=temperature, top_k=top_k, top_p=top_p,
        repetition_penalty=repetition_penalty, greedy=greedy,
        num_samples=num_samples, seed=seed, batch_size=batch_size,
        on_text=partial(_emit, stdout) if single else None, share=(world.rank, world.size),
        weights=weights,
        end_tokens=opened.source.end_tokens,
    )  # fmt: skip
    texts = [text for share in gather_objects(texts) for text in share]
    if not world.is_root:
        return 0
    if single:
        stdout.write("\n")
        return 0
    _write_numbered(stdout, prompts, texts, num_samples)
    return 0


def _rounded(model: LanguageModel, device: str) -> DecodeWeights | None:
    """The decode weights in 8 bits; a model of `transformers` is changed in place."""
    if torch.device(device).type != "cpu":
        raise UserError(f"weight_dtype: int8 is for CPUs, not {device}; leave out the device")
    if isinstance(model, Transformer):
        return DecodeWeights(model, "int8")
    assert isinstance(model, CausalLM)
    round_linear_layers(model)
    return None


def _emit(stdout: TextIO, number: int, text: str) -> None:
    stdout.write(printable(text) if stdout.isatty() else text)
    stdout.flush()


def _write_numbered(
    stdout: TextIO, prompts: Sequence[str], texts: Sequence[str], num_samples: int
) -> None:
    for number, text in enumerate(texts):
        which, sample = divmod(number, num_samples)
        whole = prompts[which] + text
        whole = printable(whole) if stdout.isatty() else whole
        stdout.write(f"--- prompt {which + 1}, sample {sample + 1}\n{whole}\n")
    stdout.flush()


def read_prompts(
    prompt: Sequence[str] | None, prompt_file: Path | None, stdin: TextIO
) -> list[str]:
    """The prompts: each of `prompt` ("-" is standard input, without its last line break), then each
    line of the file; one empty prompt if there is none.

    Raises:
        UserError: the file cannot be read or is empty, or a prompt is not UTF-8 text.
    """
    try:
        prompts = [
            _without_line_break(stdin.read()) if text == "-" else text for text in prompt or ()
        ]
        "".join(prompts).encode()  # an argument may be any bytes
    except UnicodeError as error:
        raise UserError(
            "prompt: not UTF-8 text; convert it (iconv), or check the terminal's locale"
        ) from error
    if prompt_file is not None:
        try:
            lines = prompt_file.read_text(encoding="utf-8-sig").splitlines()
        except OSError as error:
            raise UserError(
                f"prompt_file: cannot read {prompt_file} ({error.strerror}); check the path"
            ) from error
        except UnicodeDecodeError as error:
            raise UserError(f"prompt_file: {prompt_file} is not UTF-8 text") from error
        if not lines:
            raise UserError(f"prompt_file: {prompt_file} is empty; write one prompt per line")
        prompts += lines
    return prompts or [""]


def _without_line_break(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")
