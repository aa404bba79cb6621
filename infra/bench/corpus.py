"""Preparing a corpus against the bare tokenizers library: bytes of text a second, on all cores.

Ours is the whole of `textgen prepare --np CORES`: start, reading, the check of the text, the search
for near-duplicates, learning BPE, tokenizing and writing, from an empty cache. The library's is
`Tokenizer.encode_batch` of the same tokenizer over a part of the same texts, held in memory, in
turn with ours; the best round of each counts. Processor time is reported beside it: other work on
the machine disturbs it less.

    HVD_DATA=... python infra/bench/corpus.py --megabytes 1000
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hvdcore.runtime.environment import cores_available
from textgen.testing import command, environment, real_books, write_library

_BARE_BYTES = 64_000_000

_BARE = """
import json, resource, sys, time
from pathlib import Path
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(sys.argv[1])
texts = [Path(name).read_text(encoding="utf-8") for name in json.load(sys.stdin)]
began, processor = time.perf_counter(), time.process_time()
for start in range(0, len(texts), 16):
    tokenizer.encode_batch(texts[start : start + 16])
seconds = time.perf_counter() - began, time.process_time() - processor
print(json.dumps([sum(len(text.encode()) for text in texts), *seconds]))
"""


def measure(rounds: int, megabytes: int = 1000) -> dict[str, Any]:
    """The best of some rounds on each side."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        num_bytes = write_library(folder / "books", megabytes * 10**6, real_books())
        ours, bare = [], []
        for number in range(rounds):
            ours.append(_ours(folder, number))
            bare.append(_bare(folder))
    return summary(num_bytes, ours, bare)


def summary(
    num_bytes: int, ours: list[tuple[float, float]], bare: list[tuple[int, float, float]]
) -> dict[str, Any]:
    """Megabytes a second and a processor second of each side, and their ratios.

    Args:
        ours: elapsed and processor seconds of each round, over `num_bytes`.
        bare: bytes, elapsed and processor seconds of each round.
    """
    found = {"megabytes": round(num_bytes / 1e6)}
    for place, kind in enumerate(("", "_processor")):
        mine = max(num_bytes / one[place] for one in ours) / 1e6
        theirs = max(one[0] / one[1 + place] for one in bare) / 1e6
        found |= {f"ours{kind}": mine, f"bare{kind}": theirs, f"ratio{kind}": mine / theirs}
    return found


def _ours(folder: Path, number: int) -> tuple[float, float]:
    cache = folder / f"cache{number}"
    line = command("prepare", "--data", str(folder / "books"), "--np", str(cores_available()))
    began, before = time.perf_counter(), _children_seconds()
    subprocess.run(line, env=environment(cache), check=True, stdout=sys.stderr)
    return time.perf_counter() - began, _children_seconds() - before


def _bare(folder: Path) -> tuple[int, float, float]:
    """On the tokenizer and the first texts that ours made of the library."""
    (tokenizer,) = (folder / "cache0").glob("corpora/*/tokenizer/tokenizer.json")
    names, held = [], 0
    for path in sorted((folder / "books").iterdir()):
        if held < _BARE_BYTES:
            names.append(str(path))
            held += path.stat().st_size
    done = subprocess.run(
        [sys.executable, "-c", _BARE, str(tokenizer)], input=json.dumps(names),
        env=os.environ | {"TOKENIZERS_PARALLELISM": "true"},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    num_bytes, elapsed, processor = json.loads(done.stdout)
    return num_bytes, elapsed, processor


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    print(json.dumps(measure(options.rounds, options.megabytes), indent=1))


if __name__ == "__main__":
    main()
