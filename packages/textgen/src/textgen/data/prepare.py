"""Owns the way from `--data` to a prepared corpus: read, split, tokenize, cache.

The cache is keyed by content: the same documents under other names, in another order or in
another file format are the same corpus. A corpus appears in the cache in one rename, complete.

Owns making one corpus, stage by stage, with all processes that are at it.

The source is read into a spool, unit by unit; one process lists the documents and splits them,
one learns BPE; the parts are tokenized, task by task; one process joins them and renames the corpus
into the cache. What is made depends on the documents and the configuration alone.
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
from typing import Any

from hvdcore.errors import UserError
from hvdcore.files.atomic import move_folder_into_place, write_bytes_atomically, writing
from hvdcore.files.cache import default_cache_dir
from textgen.data.chunks import Segments, segment_texts, segments_of
from textgen.data.config import DataConfig
from textgen.data.corpus import META, SCHEMA, Corpus, is_complete, open_corpus
from textgen.data.documents import Progress
from textgen.data.encode import BPE_SAMPLE_BYTES, Stretch, bpe_texts, encode_task, join_tasks
from textgen.data.read import Documents, read_documents
from textgen.data.sources import Source, find_source
from textgen.data.splits import PARTS, check_fractions
from textgen.data.work_queue import ELSEWHERE, SharedWork, Tell, remove_work
from textgen.tokenizer.load import load_tokenizer
from textgen.tokenizer.tokenizer import Tokenizer, train_bpe

__all__ = [
    "Corpus",
    "CorpusBuilder",
    "default_cache_dir",
    "digest",
    "open_corpus",
    "parameters",
    "prepare",
    "write_json",
]

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

    def build(self, cache: Path, work: SharedWork) -> Path:
        """Make the corpus together with whoever else is in `work`; where it is in the cache."""
        began = time.perf_counter()
        documents = read_documents(work, self.config, self.source, self.progress)
        fingerprint = documents.found["fingerprint"]
        key = digest([SCHEMA, fingerprint, *parameters(self.config, self.tokenizer)])
        path = cache / "corpora" / key[:32]
        if is_complete(path):  # the same documents were under another name, or in another form
            return path
        segments = {name: self._segments(documents, name) for name in PARTS}
        tokenizer = self.tokenizer or self._bpe(work, documents, segments["train"])
        results = self._tokenize(work, documents, segments, tokenizer)

        def join(_: Path) -> dict[str, Any]:
            made = work.path / "corpus"
            parts = join_parts(made, work, results, tokenizer, lambda: self.progress("join", 0, 0))
            meta = {**self._meta(documents, tokenizer), "parts": parts}
            meta["seconds"] = time.perf_counter() - began
            write_json(made / META, meta)
            move_folder_into_place(made, path, is_complete)
            return {}

        work.once("join", join)
        if not is_complete(path):
            raise UserError(f"data: {path} was damaged while it was made; start again")
        return path

    def _segments(self, documents: Documents, name: str) -> Segments:
        fractions = (self.config.val_fraction, self.config.test_fraction)
        sizes = documents.table["size"]
        return segments_of(name, documents.split, documents.texts, sizes, fractions)

    def _bpe(self, work: SharedWork, documents: Documents, train: Segments) -> Tokenizer:
        total = min(int((train.stop - train.start).sum()), BPE_SAMPLE_BYTES)

        def learn(place: Path) -> dict[str, Any]:
            done = 0

            def texts() -> Iterator[str]:
                nonlocal done
                for text in bpe_texts(train, documents.texts):
                    yield text
                    done += len(text)

            # Merging goes on long after the last text: a watchdog must hear from us meanwhile.
            with ThreadPoolExecutor(1) as pool:
                training = pool.submit(train_bpe, texts(), self.config.vocab_size)
                while not wait([training], _REPORT_SECONDS).done:
                    self.progress("train tokenizer", done, total)
                training.result().save(place)
            return {}

        work.once("bpe", learn)
        return load_tokenizer(work.place("bpe", 0))

    def _tokenize(
        self,
        work: SharedWork,
        documents: Documents,
        segments: dict[str, Segments],
        tokenizer: Tokenizer,
    ) -> list[tuple[str, dict[str, Any]]]:
        """The part and the result of each task, in the order of the parts."""
        tasks = [(name, *task) for name in PARTS for task in segments[name].tasks()]

        def encode(number: int, place: Path, tell: Tell) -> dict[str, Any]:
            name, _, places = tasks[number]
            stretches = self._stretches(documents, segments[name].take(places), tokenizer)
            return encode_task(stretches, tokenizer, place, tell)

        results = work.each("tokenize", [size for _, size, _ in tasks], encode)
        return [(name, result) for (name, _, _), result in zip(tasks, results, strict=True)]

    def _stretches(
        self, documents: Documents, segments: Segments, tokenizer: Tokenizer
    ) -> Iterator[Stretch]:
        firsts = segments.first.tolist()
        texts = segment_texts(segments, documents.texts, tokenizer.piece_bytes, tokenizer.find_cut)
        for first, (document, start, pieces) in zip(firsts, texts, strict=True):
            whole = documents.split.method != "position"
            bits = float(documents.table["bits"][document]) if whole else float("nan")
            opens = start == first
            yield Stretch(pieces, start == 0, opens, bits if opens else 0.0)

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
                "seed": config.seed,
                "near_duplicate_threshold": config.near_duplicate_threshold,
            },
            "tokenizer": {
                "name": config.tokenizer,
                "vocab_size": tokenizer.vocab_size,
                "eot_id": tokenizer.eot_id,
                "sha256": tokenizer.sha256,
            },
            "dtype": tokenizer.dtype.name,
        }


def join_parts(
    made: Path,
    work: SharedWork,
    results: list[tuple[str, dict[str, Any]]],
    tokenizer: Tokenizer,
    beat: Callable[[], None],
) -> dict[str, Any]:
    """Write the tokenizer and the tokens of all parts to the folder `made`; the parts' counts."""
    shutil.rmtree(made, ignore_errors=True)  # of a process that was killed here
    made.mkdir()
    tokenizer.save(made / "tokenizer")
    tasks: dict[str, list[tuple[Path, dict[str, Any]]]] = {name: [] for name in PARTS}
    for number, (name, result) in enumerate(results):
        tasks[name].append((work.place("tokenize", number), result))
    return {
        name: join_tasks(
            tasks[name], made / f"{name}.bin", made / f"{name}.offsets.npy", beat
        ).as_dict()
        for name in PARTS
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file in one piece, and its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_bytes_atomically(path, text.encode())


def parameters(config: DataConfig, tokenizer: Tokenizer | None) -> list[Any]:
    """What decides the ids beside the documents."""
    spelled = tokenizer.sha256 if tokenizer else ["bpe", config.vocab_size]
    splits = [config.val_fraction, config.test_fraction, config.seed]
    return [spelled, *splits, config.near_duplicate_threshold]


def digest(content: list[Any]) -> str:
    """SHA-256 of JSON values, in hex."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def prepare(config: DataConfig, progress: Progress | None = None) -> Corpus:
    """The corpus for `config`: from the cache, or read, split, tokenized and cached.

    Any number of processes may call it at once: on one cache they share the work. With several
    ranks every rank calls it. After a kill the next call goes on; a unit of reading or a task of
    tokenizing for each process is what is lost.

    Args:
        progress: called as progress(stage, done, total) in bytes of text; stages "wait" (others
            have all that is left), "read", "compare", "train tokenizer", "tokenize", "join".

    Raises:
        UserError: anything wrong with the configuration, the data, or the cache's disk.
    """
    check_fractions(config.val_fraction, config.test_fraction)
    cache = (config.cache_dir or default_cache_dir("textgen")).expanduser()
    source = find_source(config.data, cache)
    tokenizer = None if config.tokenizer == "bpe" else load_tokenizer(config.tokenizer)
    request = digest(
        [SCHEMA, source.signature(), config.text_column, *parameters(config, tokenizer)]
    )
    note = cache / "requests" / f"{request}.json"
    path = _known(cache, note)
    if path is None:
        with (
            writing(cache, ELSEWHERE),
            SharedWork(cache, request, progress or _silent) as work,
        ):
            path = _known(cache, note)  # another process may have been at it
            if path is None:
                builder = CorpusBuilder(config, source, tokenizer, progress or _silent)
                path = builder.build(cache, work)
                write_json(note, {"corpus": path.name})
    else:
        remove_work(cache, request)  # of a process that was killed when all was done
    return open_corpus(path, config.context_length)


def _silent(stage: str, done: int, total: int) -> None:
    pass


def _known(cache: Path, note: Path) -> Path | None:
    """The complete corpus that this very request led to before, if it is still there."""
    try:
        name = json.loads(note.read_text())["corpus"]
    except (OSError, ValueError, KeyError):
        return None
    path = cache / "corpora" / str(name)
    return path if is_complete(path) else None
