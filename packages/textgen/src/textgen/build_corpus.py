"""Owns making one corpus: read, split, tokenize, and rename into the cache when complete."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvdcore.atomic import move_folder_into_place, write_bytes_atomically
from hvdcore.errors import UserError
from textgen.corpus import META, SCHEMA, is_complete
from textgen.documents import Progress, Skipped
from textgen.encode import Part, Stretch, encode_part
from textgen.sources import Source
from textgen.splits import PARTS, Split, cut_points, split_documents
from textgen.spool import Spool, write_spool
from textgen.tokenizer import Tokenizer, train_bpe

if TYPE_CHECKING:
    from textgen.prepare import DataConfig

__all__ = ["CorpusBuilder", "digest", "parameters", "write_json"]

_REPORT_SECONDS = 0.5


@dataclass(frozen=True)
class CorpusBuilder:
    """One corpus in the making.

    Attributes:
        tokenizer: None when BPE is to be trained on the train part.
        progress: told how far each stage is.
    """

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
        key = digest([SCHEMA, spool.fingerprint(), *parameters(self.config, self.tokenizer)])
        path = cache / "corpora" / key[:32]
        if is_complete(path):
            return path
        made = work / "corpus"
        made.mkdir()
        meta = self._tokenize(spool, made)
        meta["skipped"] = dict(sorted(skipped.counts.items()))
        meta["skipped_examples"] = skipped.examples
        meta["seconds"] = time.perf_counter() - began
        write_json(made / META, meta)
        move_folder_into_place(made, path, is_complete)
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


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file in one piece, and its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_bytes_atomically(path, text.encode())


def parameters(config: DataConfig, tokenizer: Tokenizer | None) -> list[Any]:
    """What decides the ids beside the documents."""
    spelled = tokenizer.sha256 if tokenizer else ["bpe", config.vocab_size]
    return [spelled, config.val_fraction, config.test_fraction, config.seed]


def digest(content: list[Any]) -> str:
    """SHA-256 of JSON values, in hex."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
