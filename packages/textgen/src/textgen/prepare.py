"""Owns the way from `--data` to a prepared corpus: read, split, tokenize, cache.

The cache is keyed by content: the same documents under other names, in another order or in
another file format are the same corpus. A corpus appears in the cache in one rename, complete.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvdcore.atomic import fsync_path, write_bytes_atomically, writing
from hvdcore.errors import UserError
from textgen.cache_lock import CacheLock
from textgen.corpus import META, SCHEMA, Corpus, is_complete, open_corpus
from textgen.documents import Progress, Skipped
from textgen.encode import Part, Stretch, encode_part
from textgen.sources import Source, find_source
from textgen.splits import PARTS, Split, check_fractions, cut_points, split_documents
from textgen.spool import Spool, write_spool
from textgen.tokenizer import Tokenizer, load_tokenizer, train_bpe

__all__ = ["Corpus", "DataConfig", "default_cache_dir", "open_corpus", "prepare"]


_REPORT_SECONDS = 0.5


@dataclass(frozen=True)
class DataConfig:
    """What is read and how it becomes tokens.

    Attributes:
        data: "sample", a file or folder, or a hub id (`owner/name`, `owner/name:config`).
        tokenizer: "byte", "bpe" (trained on the train part), a path, or a hub id.
        vocab_size: tokens that "bpe" learns; the others bring their own.
        context_length: tokens a block; not part of what is cached.
        val_fraction, test_fraction: shares of the text, each in [0, 1).
        seed: of the split only. Leave it when the training seed changes, or the runs are
            measured on different texts.
        text_column: column with the text in JSON Lines, Parquet and hub data sets.
        cache_dir: default `default_cache_dir()`.
    """

    data: str = "sample"
    tokenizer: str = "bpe"
    vocab_size: int = 1024
    context_length: int = 128
    val_fraction: float = 0.1
    test_fraction: float = 0.1
    seed: int = 0
    text_column: str = "text"
    cache_dir: Path | None = None


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/textgen`, else `~/.cache/textgen`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "textgen"


def prepare(config: DataConfig, progress: Progress | None = None) -> Corpus:
    """The corpus for `config`: from the cache, or read, split, tokenized and cached.

    Safe to call from several processes at once (one works, the others wait) and after one was
    killed in the middle. With several ranks let one rank a host call it and the others then
    `open_corpus(corpus.path, ...)`: the result is the same, only the waiting is quieter.

    Args:
        progress: called as progress(stage, done, total) in bytes of text; stages "wait" (for
            another process that prepares the same), "read", "train tokenizer", "tokenize".

    Raises:
        UserError: anything wrong with the configuration, the data, or the cache's disk.
    """
    check_fractions(config.val_fraction, config.test_fraction)
    cache = (config.cache_dir or default_cache_dir()).expanduser()
    source = find_source(config.data, cache)
    tokenizer = None if config.tokenizer == "bpe" else load_tokenizer(config.tokenizer)
    request = _digest(
        [SCHEMA, source.signature(), config.text_column, *_parameters(config, tokenizer)]
    )
    progress = progress or _silent
    with writing(cache, "point XDG_CACHE_HOME to another place"):
        path = _known(cache, request)
        if path is None:
            with CacheLock(cache, request, lambda: progress("wait", 0, 0)) as work:
                path = _known(cache, request)  # another process may have been at it
                if path is None:
                    builder = _Builder(config, source, tokenizer, progress)
                    path = builder.build(cache, work)
                    _write_json(cache / "requests" / f"{request}.json", {"corpus": path.name})
    return open_corpus(path, config.context_length)


def _silent(stage: str, done: int, total: int) -> None:
    pass


def _parameters(config: DataConfig, tokenizer: Tokenizer | None) -> list[Any]:
    spelled = tokenizer.sha256 if tokenizer else ["bpe", config.vocab_size]
    return [spelled, config.val_fraction, config.test_fraction, config.seed]


def _known(cache: Path, request: str) -> Path | None:
    """The complete corpus that this very request led to before, if it is still there."""
    try:
        name = json.loads((cache / "requests" / f"{request}.json").read_text())["corpus"]
    except (OSError, ValueError, KeyError):
        return None
    path = cache / "corpora" / str(name)
    return path if is_complete(path) else None


@dataclass(frozen=True)
class _Builder:
    config: DataConfig
    source: Source
    tokenizer: Tokenizer | None
    progress: Progress

    def build(self, cache: Path, work: Path) -> Path:
        """Make the corpus in `work`, then rename it into the cache."""
        began = time.perf_counter()
        skipped = Skipped()
        documents = self.source.documents(self.config.text_column, skipped)
        spool = write_spool(documents, work / "text", self.source.total_bytes(), self.progress)
        self._check_not_empty(spool, skipped)
        key = _digest([SCHEMA, spool.fingerprint(), *_parameters(self.config, self.tokenizer)])
        path = cache / "corpora" / key[:32]
        if is_complete(path):
            return path
        made = work / "corpus"
        made.mkdir()
        meta = self._tokenize(spool, made)
        meta["skipped"] = dict(sorted(skipped.counts.items()))
        meta["skipped_examples"] = skipped.examples
        meta["seconds"] = time.perf_counter() - began
        _write_json(made / META, meta)
        _move_into_place(made, path)
        return path

    def _check_not_empty(self, spool: Spool, skipped: Skipped) -> None:
        if len(spool):
            return
        reasons = "; ".join(
            f"{count} {reason}" if count > 1 else reason for reason, count in skipped.counts.items()
        )
        raise UserError(
            f"data: {self.source.name}: no text in it ({reasons or 'no documents'}); "
            "give UTF-8 text"
        )

    def _tokenize(self, spool: Spool, made: Path) -> dict[str, Any]:
        config = self.config
        split = split_documents(
            spool.digests,
            spool.sizes,
            val_fraction=config.val_fraction,
            test_fraction=config.test_fraction,
            seed=config.seed,
        )
        tokenizer = self.tokenizer or self._train_bpe(spool, split)
        tokenizer.save(made / "tokenizer")
        done, total = 0, sum(spool.sizes)

        def on_bytes(count: int) -> None:
            nonlocal done
            done += count
            self.progress("tokenize", done, total)

        parts: dict[str, Part] = {}
        for name in PARTS:
            parts[name] = encode_part(
                self._stretches(spool, split, name),
                tokenizer,
                made / f"{name}.bin",
                made / f"{name}.offsets.npy",
                on_bytes,
            )
        return {
            "schema": SCHEMA,
            "source": self.source.name,
            "fingerprint": spool.fingerprint(),
            "documents": len(spool),
            "duplicates": spool.duplicates,
            "bytes": total,
            "split": {
                "method": split.method,
                "val_fraction": config.val_fraction,
                "test_fraction": config.test_fraction,
                "seed": config.seed,
            },
            "tokenizer": {
                "name": config.tokenizer,
                "vocab_size": tokenizer.vocab_size,
                "eot_id": tokenizer.eot_id,
                "sha256": tokenizer.sha256,
            },
            "dtype": tokenizer.dtype.name,
            "parts": {name: part.as_dict() for name, part in parts.items()},
        }

    def _train_bpe(self, spool: Spool, split: Split) -> Tokenizer:
        total = sum(spool.sizes[number] for number in split.train)
        done = 0

        def texts() -> Iterator[str]:
            nonlocal done
            for stretch in self._stretches(spool, split, "train"):
                yield stretch.text.decode("utf-8")
                done += len(stretch.text)

        # Merging goes on long after the last text was read: a watchdog must hear from us meanwhile.
        with ThreadPoolExecutor(1) as pool:
            training = pool.submit(train_bpe, texts(), self.config.vocab_size)
            while not wait([training], _REPORT_SECONDS).done:
                self.progress("train tokenizer", done, total)
            return training.result()

    def _stretches(self, spool: Spool, split: Split, name: str) -> Iterator[Stretch]:
        for number in split.part(name):
            text = spool.text(number)
            if split.method != "position":
                yield Stretch(text, bits=spool.bits[number])
                continue
            first, second = cut_points(text, self.config.val_fraction, self.config.test_fraction)
            start, stop = {
                "train": (0, first),
                "test": (first, second),
                "val": (second, len(text)),
            }[name]
            if stop > start:
                yield Stretch(text[start:stop], from_start=start == 0)


def _move_into_place(made: Path, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    for file in made.rglob("*"):
        if file.is_file():
            fsync_path(file)
    if path.exists():  # another request led to the same corpus, or a damaged one lies there
        if is_complete(path):
            return
        shutil.rmtree(path)
    try:
        made.rename(path)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) or not is_complete(path):
            raise


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_bytes_atomically(path, text.encode())


def _digest(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
