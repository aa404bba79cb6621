"""Preparing: known counts, a cache keyed by content, whole through kills and full disks."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from hvdcore.errors import UserError
from textgen.data.config import DataConfig
from textgen.data.corpus import Corpus, open_corpus
from textgen.data.distributed import summary
from textgen.data.documents import Progress
from textgen.data.prepare import prepare
from textgen.prepare_command import _remarks
from textgen.testing import write_book


def prepared(
    data: Path | str, cache: Path, progress: Progress | None = None, **changes: object
) -> Corpus:
    settings = {
        "data": str(data), "tokenizer": "byte", "context_length": 4, "val_fraction": 0.2,
        "test_fraction": 0.0, **changes,
    }  # fmt: skip
    # A copy is not validated: some texts are shorter than the smallest context length.
    return prepare(DataConfig().model_copy(update=settings), progress, cache_dir=cache)


def write_books(folder: Path, texts: dict[str, str]) -> Path:
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


BOOKS = {f"{i}.txt": f"Book {i}. " * (10 + i) for i in range(8)}


def corpus_hash(corpus: Corpus) -> str:
    digest = hashlib.sha256()
    for name in ("train", "test", "val"):
        digest.update((corpus.path / f"{name}.bin").read_bytes() + b"|")
    return digest.hexdigest()


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.txt").write_text("0123456789" * 20)
    config = DataConfig(data=str(tmp_path / "one.txt"), tokenizer="byte", context_length=2)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("TEXTGEN_CACHE", str(tmp_path / "own"))
    assert prepare(config).path.parent == tmp_path / "own" / "corpora"
    monkeypatch.delenv("TEXTGEN_CACHE")
    assert prepare(config).path.parent == tmp_path / "xdg" / "textgen" / "corpora"


def test_one_document_is_cut_by_position(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text("0123456789")
    corpus = prepared(path, tmp_path / "c", context_length=1)
    # End-of-text (0) stands before the document's beginning, not before a span from its middle.
    assert corpus.train.tokens.tolist() == [0, *b"01234567"]
    assert corpus.val.tokens.tolist() == [*b"89"]
    assert corpus.num_tokens == {"train": 9, "test": 0, "val": 2}
    # Bytes that are predicted: all 8 of train, but only the second of val's.
    assert corpus.num_bytes == {"train": 8, "test": 0, "val": 1}
    assert corpus.split("test") is None
    assert corpus.meta["split"]["method"] == "position"


def test_documents_go_whole_with_end_of_text_before_each(tmp_path: Path) -> None:
    books = write_books(tmp_path / "books", BOOKS)
    corpus = prepared(books, tmp_path / "c")
    found = []
    for name in ("train", "val"):
        split = corpus.split(name)
        assert split is not None
        tokens = split.tokens.tolist()
        offsets = corpus.document_offsets(name).tolist()
        assert [tokens[offset] for offset in offsets] == [0] * len(offsets)
        assert tokens.count(0) == len(offsets) == corpus.meta["parts"][name]["documents"]
        ends = [*offsets[1:], len(tokens)]
        found += [bytes(tokens[a + 1 : b]).decode() for a, b in zip(offsets, ends, strict=True)]
        assert corpus.num_bytes[name] == len(tokens) - len(offsets)
    assert sorted(found) == sorted(BOOKS.values())


def test_names_and_order_do_not_count_and_duplicates_are_kept_once(tmp_path: Path) -> None:
    first = prepared(write_books(tmp_path / "a", BOOKS), tmp_path / "c")
    renamed = {f"x{9 - i}.txt": text for i, text in enumerate(BOOKS.values())}
    renamed["copy.txt"] = BOOKS["3.txt"].replace("\n", "\r\n")
    second = prepared(write_books(tmp_path / "b", renamed), tmp_path / "other")
    assert corpus_hash(first) == corpus_hash(second)
    assert first.meta["duplicates"] == 0
    assert second.meta["duplicates"] == 1
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in BOOKS.values()))
    assert prepared(rows, tmp_path / "c").path == first.path


def test_the_cache_is_used_and_follows_the_content(tmp_path: Path) -> None:
    books = write_books(tmp_path / "books", BOOKS)
    stages: list[str] = []
    first = prepared(books, tmp_path / "c", lambda stage, *_: stages.append(stage))
    assert {"read", "tokenize"} <= set(stages)
    stages.clear()
    again = prepared(books, tmp_path / "c", lambda stage, *_: stages.append(stage))
    assert (again.path, stages) == (first.path, [])
    assert prepared(books, tmp_path / "c", context_length=5).path == first.path
    assert prepared(books, tmp_path / "c", val_fraction=0.3).path != first.path
    assert prepared(books, tmp_path / "c", tokenizer="bpe", vocab_size=260).path != first.path
    (books / "new.txt").write_text("One more book. " * 9)
    assert prepared(books, tmp_path / "c").path != first.path


def test_a_damaged_cache_is_made_anew(tmp_path: Path) -> None:
    books = write_books(tmp_path / "books", BOOKS)
    first = prepared(books, tmp_path / "c")
    before = corpus_hash(first)
    (first.path / "train.bin").write_bytes(b"half")
    with pytest.raises(UserError, match="not a complete prepared corpus"):
        open_corpus(first.path, 4)
    assert corpus_hash(prepared(books, tmp_path / "c")) == before


def test_bpe_is_trained_on_train_alone(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text("abab " * 400 + "zqzq " * 100)
    corpus = prepared(path, tmp_path / "c", tokenizer="bpe", vocab_size=300)
    vocab = json.loads((corpus.path / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]
    assert "\u0120abab" in vocab
    assert not any("zq" in token for token in vocab)
    assert corpus.tokenizer.decode(corpus.val.tokens).strip() == ("zqzq " * 100).strip()


def test_bytes_of_subword_targets_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text("k\u00f6nig " * 500)
    corpus = prepared(path, tmp_path / "c", tokenizer="bpe", vocab_size=280)
    assert corpus.num_bytes["train"] == corpus.meta["parts"]["train"]["bytes"]
    targets = corpus.tokenizer.decode(corpus.val.tokens[1:])
    assert corpus.num_bytes["val"] == len(targets.encode())


def test_a_pretrained_tokenizer_by_path(tmp_path: Path) -> None:
    books = write_books(tmp_path / "books", BOOKS)
    made = prepared(books, tmp_path / "c", tokenizer="bpe", vocab_size=280)
    again = prepared(books, tmp_path / "d", tokenizer=str(made.path / "tokenizer"))
    assert corpus_hash(again) == corpus_hash(made)
    assert again.tokenizer.sha256 == made.tokenizer.sha256


def test_ids_fill_sixteen_bits_and_are_mapped(tmp_path: Path) -> None:
    corpus = prepared(write_books(tmp_path / "books", BOOKS), tmp_path / "c")
    assert isinstance(corpus.train.tokens, np.memmap)
    assert corpus.train.tokens.dtype == np.uint16
    assert not corpus.train.tokens.flags.writeable


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b"", "it has no text .empty."),
        (b"ab\0cd", "it has no text .not text .holds NUL"),
        (b"\xff\xfea\x00", "it has no text .not text"),
        (b"caf\xe9", "it has no text .not text .not valid UTF-8"),
        (b"abc", "the train split has 3 tokens, fewer than one block of context_length 4"),
    ],
)
def test_one_bad_file_is_an_error_that_names_it(tmp_path: Path, raw: bytes, named: str) -> None:
    path = tmp_path / "one.txt"
    path.write_bytes(raw)
    with pytest.raises(UserError, match=named) as caught:
        prepared(path, tmp_path / "c")
    assert "data" in str(caught.value)


def test_every_short_split_is_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text("0123456789")
    with pytest.raises(UserError) as caught:
        prepared(path, tmp_path / "c", context_length=99)
    assert [problem.split(" has")[0] for problem in caught.value.problems] == [
        "data: the train split",
        "data: the val split",
    ]


def test_a_folder_counts_what_it_skipped(tmp_path: Path) -> None:
    books = write_books(tmp_path / "books", BOOKS)
    (books / "bad.txt").write_bytes(b"\0")
    corpus = prepared(books, tmp_path / "c")
    assert corpus.meta["skipped"] == {"not text (holds NUL bytes)": 1}
    assert "bad.txt" in corpus.meta["skipped_examples"]["not text (holds NUL bytes)"][0]
    assert summary(corpus).endswith("(1 skipped as not text)")
    assert _remarks(corpus) == [f"skipped: 1 not text (holds NUL bytes): {books / 'bad.txt'}"]


def test_what_was_skipped_is_that_of_the_folder_and_not_of_another(tmp_path: Path) -> None:
    """The corpus of both is one; what lies beside the books is not."""
    clean, littered = (write_books(tmp_path / name, BOOKS) for name in ("clean", "littered"))
    (littered / "bad.txt").write_bytes(b"\0")
    cache = tmp_path / "c"
    first = prepared(clean, cache)
    for _ in range(2):  # the second time from the cache
        second, again = prepared(littered, cache), prepared(clean, cache)
        assert second.path == again.path == first.path
        assert second.meta["skipped"] == {"not text (holds NUL bytes)": 1}
        assert again.meta["skipped"] == first.meta["skipped"] == {}


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root and mount")
    folder.mkdir()
    command = [mount, "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize(
    ("options", "named"), [("size=64k", "the disk is full"), ("size=1m,ro", "read-only")]
)
def test_a_full_or_read_only_cache(tmp_path: Path, options: str, named: str) -> None:
    path = tmp_path / "one.txt"
    path.write_text("many words " * 20_000)
    with small_disk(tmp_path / "disk", options) as disk:
        with pytest.raises(UserError, match=f"disk.*: cannot write: .*{named}.*TEXTGEN_CACHE"):
            prepared(path, disk)
        # What was begun is gone: the disk is as empty as before.
        assert not [entry for entry in disk.rglob("*") if entry.stat().st_size > 4096]


SCRIPT = """
import sys
from pathlib import Path
from textgen.data.prepare import prepare
from textgen.data.config import DataConfig
from textgen.data.corpus import Corpus, open_corpus
corpus = prepare(DataConfig(data=sys.argv[1], tokenizer="bpe", vocab_size=300, context_length=8),
                 cache_dir=Path(sys.argv[2]))
print(corpus.path, corpus.meta["seconds"])
"""


def start(data: Path, cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(data), str(cache)], stdout=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = random.Random(7)
    words = [f"w{draw.randrange(10**6)}" for _ in range(4000)]
    texts = {f"{i}.txt": " ".join(draw.choices(words, k=5000)) for i in range(20)}
    return write_books(tmp_path_factory.mktemp("library") / "books", texts)


def test_two_processes_at_once_make_one_corpus(tmp_path: Path, library: Path) -> None:
    jobs = [start(library, tmp_path / "c") for _ in range(3)]
    lines = {job.communicate()[0] for job in jobs}
    assert [job.returncode for job in jobs] == [0, 0, 0]
    assert len(lines) == 1  # the same folder, made in the same seconds: by one of them
    assert len(list((tmp_path / "c" / "corpora").iterdir())) == 1


def test_killed_at_any_moment_it_is_complete_or_absent(tmp_path: Path, library: Path) -> None:
    began = time.monotonic()
    reference = start(library, tmp_path / "reference")
    folder = Path(reference.communicate()[0].split()[0])
    seconds = time.monotonic() - began
    expected = corpus_hash(open_corpus(folder, 8))
    draw = random.Random(3)
    cache = tmp_path / "c"
    for _ in range(6):
        job = start(library, cache)
        time.sleep(draw.uniform(0.3, 1.1) * seconds)
        job.send_signal(signal.SIGKILL)
        job.communicate()
        for corpus in (cache / "corpora").glob("*"):
            assert corpus_hash(open_corpus(corpus, 8)) == expected
    done = start(library, cache)
    assert corpus_hash(open_corpus(Path(done.communicate()[0].split()[0]), 8)) == expected
    assert [path.name for path in (cache / "work").iterdir() if path.suffix != ".lock"] == []


def data_folder() -> Path:
    given = os.environ.get("HVD_DATA")
    folder = Path(given) if given else Path(__file__).parents[5] / "shared" / "data"
    if not (folder / "books").is_dir():
        pytest.skip(f"no measuring data at {folder}; name its folder in HVD_DATA")
    return folder


@pytest.mark.data
def test_tiny_shakespeare_has_nanogpts_splits(tmp_path: Path) -> None:
    path = data_folder() / "tinyshakespeare" / "input.txt"
    corpus = prepared(path, tmp_path, val_fraction=0.1, context_length=64)
    text = path.read_bytes()
    assert bytes(corpus.train.tokens.astype(np.uint8)) == b"\0" + text[:1_003_854]
    assert bytes(corpus.val.tokens.astype(np.uint8)) == text[1_003_854:]
    assert len(corpus.val.tokens) - 1 == corpus.num_bytes["val"] == 111_539


@pytest.mark.data
def test_novels(tmp_path: Path) -> None:
    corpus = prepared(data_folder() / "books", tmp_path, val_fraction=0.1, test_fraction=0.1)
    counts = {name: split["documents"] for name, split in corpus.meta["parts"].items()}
    assert sum(counts.values()) == 13
    assert min(counts.values()) >= 1
    total = sum(counts["bytes"] for counts in corpus.meta["parts"].values())
    assert 0.05 < corpus.meta["parts"]["val"]["bytes"] / total < 0.15
    assert 0.05 < corpus.meta["parts"]["test"]["bytes"] / total < 0.15
    assert corpus.meta["skipped"] == {}
    for name in ("train", "val", "test"):
        split = corpus.split(name)
        assert split is not None
        assert split.tokens[0] == 0
        assert 0xEF not in split.tokens[:3].tolist()  # no byte order mark
        assert b"\r\n" not in bytes(split.tokens.astype(np.uint8))


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from hvdcore.runtime.signals import own_process
from textgen.data.config import DataConfig
from textgen.data import prepare as module
from textgen.data.prepare import prepare
module._PROGRESS_SECONDS = 0.0  # the first look comes long before the end
if sys.argv[2] == "command":
    own_process()
def progress(stage, done, total):
    if stage == "train tokenizer":
        os.kill(os.getpid(), signal.SIGINT)
data = Path(sys.argv[1]) / "books"
try:
    config = DataConfig(data=str(data), tokenizer="bpe", vocab_size=4000)
    prepare(config, progress, cache_dir=data.parent / "cache")
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize(("kind", "code", "said"), [("command", -2, ""), ("notebook", 0, "int")])
def test_an_interrupt_does_not_wait_for_the_tokenizer(
    tmp_path: Path, kind: str, code: int, said: str
) -> None:
    """Its training is one call into native code, in a thread. A notebook must not be ended."""
    (tmp_path / "books").mkdir()
    for number in range(8):
        write_book(tmp_path / "books" / f"{number}.txt", num_words=20_000, seed=number)
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path), kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout[:3]) == (code, said), done.stderr
