"""Tokenizers: text to token ids and back, by bytes or by any `tokenizers` model; training BPE."""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from hvdcore.errors import UserError
from textgen.tokenizer.word_cache import WordCache, cut_at_words, find_word_start

__all__ = ["END_OF_TEXT", "ByteTokenizer", "SubwordTokenizer", "TokenIds", "Tokenizer", "train_bpe"]

END_OF_TEXT = "<|endoftext|>"
"""The token before every document, in the tokenizers made here."""

MIN_BPE_VOCAB_SIZE = 257  # the 256 bytes and END_OF_TEXT

TokenIds: TypeAlias = "npt.NDArray[np.uint16] | npt.NDArray[np.uint32]"

_MIN_CACHED = 1 << 14  # characters: shorter texts, such as prompts, go to the backend
_TRAINING_CHUNK = 1 << 16  # characters: chunks of a long text are counted on all cores
_MAX_WORD = 256  # characters: each merge reads every word that it occurs in
_LONG_RUN = re.compile(rf"(?<!\S)\S{{{_MAX_WORD},}}")


class Tokenizer(ABC):
    """Text to ids and back. No text encodes to the end-of-text id, whatever it says.

    Attributes:
        vocab_size: ids are in [0, vocab_size).
        eot_id: stands between documents; generation stops at it.
        chunk_bytes: size of the chunks that long documents are encoded in.
    """

    vocab_size: int
    eot_id: int
    chunk_bytes: int = 1 << 18

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned type for all ids."""
        return np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)

    @property
    def start_ids(self) -> tuple[int, ...]:
        """What a document and a prompt begin with: end-of-text, or what the model was trained with
        (`<s>` of Llama)."""
        return (self.eot_id,)

    @property
    def has_own_start(self) -> bool:
        """Whether documents begin with something other than end-of-text."""
        return self.start_ids != (self.eot_id,)

    @property
    def sha256(self) -> str:
        """SHA-256 of `tokenizer.json`, the end-of-text id and the ids that begin a document where
        they are others; equal hashes give equal ids."""
        start = f"{self.start_ids}\n" if self.has_own_start else ""
        return hashlib.sha256(f"{self.eot_id}\n{start}{self.to_json()}".encode()).hexdigest()

    def encode(self, text: str) -> TokenIds:
        """Ids of one text, [tokens], without special tokens."""
        return self.encode_batch([text])[0]

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[TokenIds]:
        """Ids of each text, [tokens] each."""

    @abstractmethod
    def decode(self, ids: Iterable[int] | npt.NDArray[Any]) -> str:
        """Text of ids, without end-of-text; an incomplete UTF-8 character becomes U+FFFD."""

    @abstractmethod
    def first_token_bytes(self, text: str) -> int:
        """UTF-8 bytes of `text` that its first token covers."""

    @abstractmethod
    def to_json(self) -> str:
        """The content of `tokenizer.json` (Hugging Face tokenizers) that gives the same ids."""

    @abstractmethod
    def find_cut(self, text: str) -> int | None:
        """The first position after the start of `text` where it may be cut and encoded in two."""

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json`, which `AutoTokenizer` reads too."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(self.to_json(), encoding="utf-8")
        config = json.dumps(self.hf_config(), indent=2, sort_keys=True, ensure_ascii=False)
        (folder / "tokenizer_config.json").write_text(config + "\n", encoding="utf-8")

    def hf_config(self) -> dict[str, Any]:
        """Content of `tokenizer_config.json`."""
        return {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": self.begin_of_text,
            "eos_token": self.end_of_text,
            "clean_up_tokenization_spaces": False,
            "add_prefix_space": False,
        }

    @property
    def end_of_text(self) -> str:
        """The end-of-text token as text."""
        return END_OF_TEXT

    @property
    def begin_of_text(self) -> str:
        """The first token of a document as text."""
        return self.end_of_text


class ByteTokenizer(Tokenizer):
    """One token per UTF-8 byte, the byte is its id; end-of-text is 0, which no text contains."""

    vocab_size = 256
    eot_id = 0

    def encode_batch(self, texts: Sequence[str]) -> list[TokenIds]:
        # NUL in a prompt would become end-of-text; documents that contain it are skipped.
        return [
            np.frombuffer(text.replace("\0", "").encode(), dtype=np.uint8).astype(self.dtype)
            for text in texts
        ]

    def decode(self, ids: Iterable[int] | npt.NDArray[Any]) -> str:
        text = bytes(int(i) for i in ids).replace(b"\0", b"")
        return text.decode("utf-8", "replace")

    def first_token_bytes(self, text: str) -> int:
        return min(len(text), 1)

    def find_cut(self, text: str) -> int | None:
        return 1 if len(text) > 1 else None

    def to_json(self) -> str:
        # BPE without merges: every byte is a token of its own.
        spelling = _byte_spelling()
        vocab = {spelling[byte]: byte for byte in range(1, 256)} | {END_OF_TEXT: self.eot_id}
        made = tokenizers.Tokenizer(models.BPE(vocab, []))
        return _byte_level(made).to_str(pretty=True)


class SubwordTokenizer(Tokenizer):
    """Any tokenizer of the Hugging Face `tokenizers` library.

    Args:
        backend: padding, truncation and special tokens are switched off.
        end_of_text: its end-of-text token.
        cut_at_words: whether it splits words as GPT-2 does (see `textgen.tokenizer.word_cache`).
    """

    def __init__(
        self, backend: tokenizers.Tokenizer, end_of_text: str, *, cut_at_words: bool = False
    ) -> None:
        eot_id = backend.token_to_id(end_of_text)
        if eot_id is None:
            raise UserError(
                f"tokenizer: it has no end-of-text token {end_of_text!r}; correct the eos_token "
                "in its tokenizer_config.json"
            )
        backend.no_padding()
        backend.no_truncation()
        # "<|endoftext|>" in a document is text.
        backend.encode_special_tokens = True
        self._backend = backend
        self._end_of_text = end_of_text
        self.eot_id = eot_id
        self.vocab_size = max(backend.get_vocab(with_added_tokens=True).values()) + 1
        self._start_ids = _start_ids(backend) or (eot_id,)
        self._words = WordCache(self._encode_whole, self.dtype) if cut_at_words else None
        if not cut_at_words:
            self.chunk_bytes = 1 << 22

    @property
    def end_of_text(self) -> str:
        return self._end_of_text

    @property
    def start_ids(self) -> tuple[int, ...]:
        return self._start_ids

    @property
    def begin_of_text(self) -> str:
        return str(self._backend.id_to_token(self._start_ids[0]))

    def encode_batch(self, texts: Sequence[str]) -> list[TokenIds]:
        if self._words is None or sum(map(len, texts)) < _MIN_CACHED:
            return self._encode_whole(texts)
        # Several times faster than the backend, and exact: see `WordCache`.
        return [self._words.encode(text) for text in texts]

    def _encode_whole(self, texts: Sequence[str]) -> list[TokenIds]:
        # Runs on all cores, in threads.
        encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=self.dtype) for encoding in encodings]

    def decode(self, ids: Iterable[int] | npt.NDArray[Any]) -> str:
        special = {self.eot_id, *self._start_ids}
        kept = [int(i) for i in ids if int(i) not in special]
        text: str = self._backend.decode(kept, skip_special_tokens=False)
        return text

    def first_token_bytes(self, text: str) -> int:
        # Offsets are in characters: a token that is part of a character covers all of it.
        offsets = self._backend.encode(text[:1000], add_special_tokens=False).offsets
        return len(text[: offsets[0][1]].encode()) if offsets else 0

    def find_cut(self, text: str) -> int | None:
        if self._words:
            return find_word_start(text)
        # Used for texts above `chunk_bytes`; a tokenizer may join characters across lines.
        return text.find("\n", 0, len(text) - 1) + 1 or None

    def to_json(self) -> str:
        text: str = self._backend.to_str(pretty=True)
        return text


def _start_ids(backend: tokenizers.Tokenizer) -> tuple[int, ...]:
    """What its post-processor puts before a text; nothing for GPT-2, `<s>` for Llama."""
    encoding = backend.encode("a")
    added = encoding.special_tokens_mask
    count = next((index for index, mark in enumerate(added) if not mark), 0)
    return tuple(encoding.ids[:count])


def train_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train byte-level BPE on `texts` (of the train split); deterministic.

    Runs of more than 256 characters without a blank are cut to that length.

    Raises:
        UserError: `vocab_size` is below 257, the bytes and end-of-text.
    """
    if vocab_size < MIN_BPE_VOCAB_SIZE:
        raise UserError(
            f"vocab_size: got {vocab_size}; bpe needs {MIN_BPE_VOCAB_SIZE} or more "
            "(256 bytes and end-of-text), or use --tokenizer byte"
        )
    made = _byte_level(tokenizers.Tokenizer(models.BPE()), end_of_text=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    chunks = (chunk for text in texts for chunk in cut_at_words(text, _TRAINING_CHUNK))
    made.train_from_iterator((run for chunk in chunks for run in _cut_long_runs(chunk)), trainer)
    return SubwordTokenizer(made, END_OF_TEXT, cut_at_words=True)


def _cut_long_runs(text: str) -> Iterator[str]:
    done = 0
    for run in _LONG_RUN.finditer(text):
        for stop in range(run.start() + _MAX_WORD, run.end(), _MAX_WORD):
            yield text[done:stop]
            done = stop
    yield text[done:]


def _byte_level(made: tokenizers.Tokenizer, *, end_of_text: bool = True) -> tokenizers.Tokenizer:
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    if end_of_text:
        made.add_special_tokens([END_OF_TEXT])
    return made


def _byte_spelling() -> list[str]:
    """The character that byte-level tokenizers use for each byte (the table of GPT-2)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(plain)]
    table = {byte: chr(byte) for byte in plain}
    table |= {byte: chr(256 + number) for number, byte in enumerate(others)}
    return [table[byte] for byte in range(256)]
