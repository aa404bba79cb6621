"""Owns the way from `--data` to a prepared corpus: read, split, tokenize, cache.

The cache is keyed by content: the same documents under other names, in another order or in
another file format are the same corpus. A corpus appears in the cache in one rename, complete.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from hvdcore.files.atomic import writing
from textgen.data.build_corpus import CorpusBuilder, digest, parameters, write_json
from textgen.data.corpus import SCHEMA, Corpus, is_complete, open_corpus
from textgen.data.documents import Progress
from textgen.data.sources import find_source
from textgen.data.splits import check_fractions
from textgen.data.work_folder import remove_work
from textgen.data.work_queue import ELSEWHERE, SharedWork
from textgen.tokenizer.tokenizer import load_tokenizer

__all__ = ["Corpus", "DataConfig", "default_cache_dir", "open_corpus", "prepare"]


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
        text_column: column with the text in JSON Lines, Parquet, Arrow and hub data sets.
        near_duplicate_threshold: documents that share as much of their word shingles are kept
            together in one part; 1 looks for none.
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
    near_duplicate_threshold: float = 0.7
    cache_dir: Path | None = None


def default_cache_dir() -> Path:
    """`$TEXTGEN_CACHE`, else `$XDG_CACHE_HOME/textgen`, else `~/.cache/textgen`."""
    if own := os.environ.get("TEXTGEN_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "textgen"


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
    cache = (config.cache_dir or default_cache_dir()).expanduser()
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
