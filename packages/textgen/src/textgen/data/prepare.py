"""Preparing a corpus: read the documents, split them, tokenize them, and cache the result.

The source is read into staging files, unit by unit; one process lists the documents and splits
them, one trains BPE; the splits are tokenized, task by task; one process joins them and renames
the corpus into the cache, complete. The cache is keyed by content: the same documents under other
names, in another order or in another file format are the same corpus.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hvdcore.errors import UserError
from hvdcore.files.atomic import move_folder_into_place, writing
from hvdcore.files.cache import default_cache_dir, expand_user
from hvdcore.files.checksums import CHECKSUMS, checksums
from hvdcore.files.json_files import write_json_atomically
from hvdcore.runtime.signals import interrupt_at_once
from textgen.data.chunks import Segments, segment_texts, segments_of
from textgen.data.config import DataConfig
from textgen.data.corpus import META, SCHEMA, Corpus, is_complete, open_corpus
from textgen.data.documents import Progress
from textgen.data.encode import BPE_SAMPLE_BYTES, TextSpan, bpe_texts, encode_task, join_tasks
from textgen.data.read import Documents, read_documents
from textgen.data.sources import Source, find_source
from textgen.data.splits import SPLITS
from textgen.data.work_queue import CACHE_HINT, Advance, SharedWork, remove_work
from textgen.tokenizer.load import load_tokenizer
from textgen.tokenizer.tokenizer import Tokenizer, train_bpe

__all__ = ["CorpusBuilder", "prepare"]

_PROGRESS_SECONDS = 0.5


def prepare(
    config: DataConfig,
    progress: Progress | None = None,
    *,
    tokenizer: Tokenizer | None = None,
    split_seed: int = 0,
    cache_dir: Path | None = None,
) -> Corpus:
    """The corpus for `config`: from the cache, or read, split, tokenized and cached.

    Any number of processes may call it at once: those with the same cache share the work. With
    several ranks every rank calls it. After a kill the next call continues; each process loses at
    most the unit of reading or the task of tokenizing that it was working on.

    Args:
        progress: called as progress(stage, done, total) in bytes of text; stages "wait" (other
            processes have all remaining tasks), "read", "compare", "train tokenizer", "tokenize",
            "join".
        tokenizer: the one that `config.tokenizer` names, if it is loaded already.
        split_seed: of the split. It is not the seed of the training: runs with other seeds are
            measured on the same text.
        cache_dir: default `default_cache_dir("textgen")`.

    Raises:
        UserError: anything wrong with the data, the tokenizer, or the disk of the cache.
    """
    cache = expand_user(cache_dir or default_cache_dir("textgen"))
    source = find_source(config.data, cache)
    if tokenizer is None and config.tokenizer_name != "bpe":
        tokenizer = load_tokenizer(config.tokenizer_name)
    builder = CorpusBuilder(config, source, tokenizer, progress or _silent, split_seed)
    request = builder.request()
    note = cache / "requests" / f"{request}.json"
    known = _known(cache, note)
    if known is not None:
        remove_work(cache, request)  # left by a process that was killed after it had finished
        return open_corpus(known.path, config.context_length, tokenizer, known.found)
    with writing(cache, CACHE_HINT), SharedWork(cache, request, builder.progress) as work:
        known = _known(cache, note)  # another process may have made it meanwhile
        if known is None:
            known, tokenizer = builder.build(cache, work)
            note.parent.mkdir(parents=True, exist_ok=True)
            write_json_atomically(note, {"corpus": known.path.name, "found": known.found})
    return open_corpus(known.path, config.context_length, tokenizer, known.found)


def _silent(stage: str, done: int, total: int) -> None:
    pass


class _Known(NamedTuple):
    """A corpus, and what was found in the source: several sources may lead to one corpus."""

    path: Path
    found: dict[str, Any]


def _known(cache: Path, note: Path) -> _Known | None:
    """The complete corpus that this request led to before, if it is still there."""
    try:
        content = json.loads(note.read_text())
        name, found = content["corpus"], dict(content["found"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    path = cache / "corpora" / str(name)
    return _Known(path, found) if is_complete(path) else None


@dataclass(frozen=True)
class CorpusBuilder:
    """The stages of making one corpus.

    Attributes:
        tokenizer: None when BPE is to be trained on the train split.
        progress: called with the progress of each stage.
    """

    config: DataConfig
    source: Source
    tokenizer: Tokenizer | None
    progress: Progress
    split_seed: int

    def request(self) -> str:
        """Digest of what is asked for, before the documents are read."""
        signature, column = self.source.signature(), self.config.text_column
        return digest([SCHEMA, signature, column, *self._parameters()])

    def _parameters(self) -> list[Any]:
        """What determines the ids, apart from the documents."""
        config = self.config
        tokenizer = self.tokenizer.sha256 if self.tokenizer else ["bpe", config.vocab_size]
        split = [config.val_fraction, config.test_fraction, self.split_seed]
        return [tokenizer, *split, config.near_duplicate_threshold]

    def build(self, cache: Path, work: SharedWork) -> tuple[_Known, Tokenizer | None]:
        """Make the corpus together with the other processes in `work`.

        Returns:
            The corpus in the cache, and its tokenizer, if that is loaded.
        """
        began = time.perf_counter()
        documents = read_documents(work, self.config, self.source, self.split_seed, self.progress)
        key = digest([SCHEMA, documents.found["fingerprint"], *self._parameters()])
        path = cache / "corpora" / key[:32]
        if is_complete(path):  # the same documents under another name or in another format
            return _Known(path, documents.found), self.tokenizer
        segments = {name: self._segments(documents, name) for name in SPLITS}
        tokenizer = self.tokenizer or self._bpe(work, documents, segments["train"])
        results = self._tokenize(work, documents, segments, tokenizer)

        def join(_: Path) -> dict[str, Any]:
            made = work.path / "corpus"
            counts = join_splits(
                made, work, results, tokenizer, lambda: self.progress("join", 0, 0)
            )
            meta = {**self._meta(documents, tokenizer), "parts": counts}
            meta["seconds"] = time.perf_counter() - began
            meta[CHECKSUMS] = checksums(made, META, lambda: self.progress("join", 0, 0))
            write_json_atomically(made / META, meta)
            move_folder_into_place(made, path, is_complete)
            return {}

        work.once("join", join)
        if not is_complete(path):
            raise UserError(f"data: {path} was damaged while it was written; start again")
        return _Known(path, documents.found), tokenizer

    def _segments(self, documents: Documents, name: str) -> Segments:
        fractions = (self.config.val_fraction, self.config.test_fraction)
        sizes = documents.table["size"]
        return segments_of(name, documents.split, documents.texts, sizes, fractions)

    def _bpe(self, work: SharedWork, documents: Documents, train: Segments) -> Tokenizer:
        total = min(int((train.stop - train.start).sum()), BPE_SAMPLE_BYTES)

        def fit(prefix: Path) -> dict[str, Any]:
            done = 0

            def texts() -> Iterator[str]:
                nonlocal done
                for text in bpe_texts(train, documents.texts):
                    yield text
                    done += len(text)

            # Merging takes long after the last text: the heartbeat must not stop meanwhile.
            with interrupt_at_once(), ThreadPoolExecutor(1) as pool:
                training = pool.submit(train_bpe, texts(), self.config.vocab_size)
                while not wait([training], _PROGRESS_SECONDS).done:
                    self.progress("train tokenizer", done, total)
                training.result().save(prefix)
            return {}

        work.once("bpe", fit)
        return load_tokenizer(work.prefix("bpe", 0))

    def _tokenize(
        self,
        work: SharedWork,
        documents: Documents,
        segments: dict[str, Segments],
        tokenizer: Tokenizer,
    ) -> list[tuple[str, dict[str, Any]]]:
        """The split and the result of each task, in the order of the splits."""
        tasks = [(name, *task) for name in SPLITS for task in segments[name].tasks()]

        def encode(number: int, prefix: Path, advance: Advance) -> dict[str, Any]:
            name, _, rows = tasks[number]
            spans = self._spans(documents, segments[name].take(rows), tokenizer)
            return encode_task(spans, tokenizer, prefix, advance)

        results = work.each("tokenize", [size for _, size, _ in tasks], encode)
        return [(name, result) for (name, _, _), result in zip(tasks, results, strict=True)]

    def _spans(
        self, documents: Documents, segments: Segments, tokenizer: Tokenizer
    ) -> Iterator[TextSpan]:
        firsts = segments.first.tolist()
        texts = segment_texts(segments, documents.texts, tokenizer.chunk_bytes, tokenizer.find_cut)
        for first, (document, start, chunks) in zip(firsts, texts, strict=True):
            whole = documents.split.method != "position"
            bits = float(documents.table["bits"][document]) if whole else float("nan")
            opens = start == first
            yield TextSpan(chunks, start == 0, opens, bits if opens else 0.0)

    def _meta(self, documents: Documents, tokenizer: Tokenizer) -> dict[str, Any]:
        config = self.config
        return {
            "schema": SCHEMA,
            "source": self.source.name,
            **documents.found,
            "split": {
                "method": documents.split.method,
                "val_fraction": config.val_fraction,
                "test_fraction": config.test_fraction,
                "seed": self.split_seed,
                "near_duplicate_threshold": config.near_duplicate_threshold,
            },
            "tokenizer": {
                "name": config.tokenizer_name,
                "vocab_size": tokenizer.vocab_size,
                "eot_id": tokenizer.eot_id,
                **({"start_ids": tokenizer.start_ids} if tokenizer.has_own_start else {}),
                "sha256": tokenizer.sha256,
            },
            "dtype": tokenizer.dtype.name,
        }


def join_splits(
    made: Path,
    work: SharedWork,
    results: list[tuple[str, dict[str, Any]]],
    tokenizer: Tokenizer,
    beat: Callable[[], None],
) -> dict[str, Any]:
    """Write the tokenizer and the tokens of all splits to the folder `made`; the splits' counts."""
    shutil.rmtree(made, ignore_errors=True)  # left by a process that was killed here
    made.mkdir()
    tokenizer.save(made / "tokenizer")
    tasks: dict[str, list[tuple[Path, dict[str, Any]]]] = {name: [] for name in SPLITS}
    for number, (name, result) in enumerate(results):
        tasks[name].append((work.prefix("tokenize", number), result))
    return {
        name: join_tasks(
            tasks[name], made / f"{name}.bin", made / f"{name}.offsets.npy", beat
        ).as_dict()
        for name in SPLITS
    }


def digest(content: list[Any]) -> str:
    """SHA-256 of JSON values, in hex."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
