"""Models from a hub of our own on this machine, by the real command on real ranks: fetched once,
scored as a plain loop over transformers scores them; and a hub that misbehaves."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hvdcore.launch.job.controllers import find_program
from hvdcore.testing.hub import NOBODY, REVISION, Hub, serve_hub
from hvdcore.testing.runs import Run, ranks_environment, run_command
from textgen.data.config import DataConfig
from textgen.data.encode import count_words
from textgen.data.prepare import prepare
from textgen.model.causal_lm import quiet_transformers
from textgen.testing import command, save_gpt2, write_book

pytestmark = pytest.mark.ranks

MPI = (str(find_program("mpirun")), "--oversubscribe", "-np")
HOROVOD = (str(find_program("horovodrun")), "--gloo", "-np")


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_book(tmp_path_factory.mktemp("book") / "book.txt", num_words=1500)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, book: Path) -> Iterator[Hub]:
    root = tmp_path_factory.mktemp("hub")
    text = book.read_text()
    tiny = save_gpt2(root / "me" / "gpt2", text)
    save_gpt2(root / "me" / "distilgpt2", text, n_layer=1)
    for name in ("slow", "cut", "broken", "wrong", "failing", "forbidden", "stuck", "pickled"):
        shutil.copytree(tiny, root / "me" / name)
    weights = root / "me" / "pickled" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    with serve_hub(root) as running:
        yield running


def textgen(
    hub: Hub, cache: Path, *arguments: str, launcher: tuple[str, ...] = (), address: str = ""
) -> Run:
    """The command, to its end, in an environment that knows this hub and has this cache."""
    environment = ranks_environment(
        {**hub.environment(cache, address or None), "TEXTGEN_CACHE": str(cache / "textgen")}
    )
    return run_command(cache, [*launcher, *command(*arguments)], environment, timeout=300)


def scores(run: Run) -> dict[str, dict[str, Any]]:
    # Plain horovodrun over Gloo says of every line whose it is.
    plain = re.sub(r"(?m)^\[\d+\]<stdout>:", "", run.check().stdout)
    values: dict[str, dict[str, Any]] = json.loads(plain)
    return values


def loop_over_transformers(folder: Path, book: Path, cache: Path, stride: int) -> dict[str, float]:
    """What the documentation of transformers computes: one window after the other, whole labels
    shifted by the model itself, of each window only what is new."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet_transformers():
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
    corpus = prepare(
        DataConfig(data=str(book), tokenizer=str(folder), context_length=32), cache_dir=cache
    )
    ids = torch.from_numpy(corpus.val.tokens.astype(np.int64))
    text = tokenizer.decode(ids)
    length, end, nll = 32, 0, 0.0
    for begin in range(0, len(ids), stride):
        # The logits of a window's last token belong to the token after it.
        stop = min(begin + length, len(ids) - 1)
        window = ids[None, begin : stop + 1]
        with torch.inference_mode():
            logits = model(window[:, :-1]).logits[0].double()
        picked = logits.log_softmax(-1).gather(1, window[0, 1:, None])[:, 0]
        nll -= picked[max(end - begin, 0) :].sum().item()
        end = stop
        if stop == len(ids) - 1:
            break
    # The val split of one document begins in its middle, and its first token is not predicted.
    first = len(tokenizer.decode(ids[:1]))
    return {
        "loss": nll / (len(ids) - 1),
        "perplexity": math.exp(nll / (len(ids) - 1)),
        "bits_per_byte": nll / math.log(2) / len(text[first:].encode()),
        "word_perplexity": math.exp(nll / len(text[first:].split())),
        "num_words": count_words(text[first:]),
    }


def test_fetched_once_scored_right_and_found_again_without_the_hub(
    hub: Hub, book: Path, tmp_path: Path
) -> None:
    flags = ("evaluate", "me/gpt2", "--data", str(book), "--split", "val")
    run = textgen(hub, tmp_path / "cache", *flags, "--np", "2", "--eval-batch-size", "3")
    expected = loop_over_transformers(hub.root / "me" / "gpt2", book, tmp_path / "loop", 32)
    found = scores(run)["val"]
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert (found["context_length"], found["stride"]) == (32, 32)
    sent = {name: n for name, n in hub.fetched.items() if name.startswith("me/gpt2/")}
    assert sent == dict.fromkeys(
        f"me/gpt2/{path.name}" for path in (hub.root / "me" / "gpt2").iterdir()
    ) | dict.fromkeys(sent, 1)
    assert hub.asked["me/gpt2"] == 1

    # Without a hub, and with a stride.
    run = textgen(hub, tmp_path / "cache", *flags, "--stride", "5", address=NOBODY)
    expected = loop_over_transformers(hub.root / "me" / "gpt2", book, tmp_path / "loop", 5)
    assert scores(run)["val"] == pytest.approx({**scores(run)["val"], **expected}, rel=1e-5)
    unknown = textgen(hub, tmp_path / "cache", "evaluate", "me/distilgpt2", address=NOBODY)
    assert unknown.returncode == 2
    assert "error: me/distilgpt2: no run or folder of that name, and the hub" in unknown.stderr


@pytest.mark.proof
@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("launcher", [MPI, HOROVOD])
@pytest.mark.parametrize("stride", [5, 32])
def test_any_ranks_and_batches_score_the_same(
    hub: Hub, book: Path, tmp_path: Path, size: int, launcher: tuple[str, ...], stride: int
) -> None:
    folder = hub.root / "me" / "distilgpt2"
    expected = loop_over_transformers(folder, book, tmp_path / "loop", stride)
    for batch in (1, 7, 64):
        run = textgen(
            hub, tmp_path / "cache", "evaluate", str(folder), "--data", str(book), "--split", "val",
            "--stride", str(stride), "--eval-batch-size", str(batch),
            launcher=(*launcher, str(size)),
        )  # fmt: skip
        found = scores(run)["val"]
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)


@pytest.mark.proof
def test_generated_text_is_the_same_on_any_ranks(hub: Hub, tmp_path: Path) -> None:
    flags = ["generate", "me/distilgpt2", "--num-samples", "3", "--max-new-tokens", "50"]
    flags += ["--prompt", "ka", "--prompt", "lomi ta ka"]
    runs = [textgen(hub, tmp_path, *flags, "--np", str(size)).check() for size in (1, 2, 3)]
    assert len({run.stdout for run in runs}) == 1
    assert runs[0].stdout.count("--- prompt") == 6


FETCH = """
import json, sys
from hvdcore.errors import UserError
from textgen.pretrained.load import resolve_model
for name in json.loads(sys.argv[1]):
    try:
        print(json.dumps({"folder": str(resolve_model(name).folder)}))
    except UserError as error:
        print(json.dumps({"error": error.problems}))
"""


def fetch(hub: Hub, cache: Path, *names: str, address: str = "") -> list[dict[str, Any]]:
    """The folder, or the error, of each model, in a process that knows this hub."""
    environment = ranks_environment(
        {**hub.environment(cache, address or None), "TEXTGEN_CACHE": str(cache / "textgen")}
    )
    line = [sys.executable, "-c", FETCH, json.dumps([f"me/{name}" for name in names])]
    run = run_command(cache, line, environment, timeout=300).check()
    assert run.stderr == ""
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_a_hub_that_misbehaves(hub: Hub, tmp_path: Path) -> None:
    names = (
        "slow", "cut", "wrong", "broken", "failing", "forbidden", "stuck", "pickled", "nothing",
    )  # fmt: skip
    results = fetch(hub, tmp_path, *names, "wrong")
    found = dict(zip(names, results[:-1], strict=True))
    whole = (hub.root / "me" / "gpt2" / "model.safetensors").read_bytes()
    for name in ("slow", "cut"):
        assert (Path(found[name]["folder"]) / "model.safetensors").read_bytes() == whole
    lines = {name: one["error"][0] for name, one in found.items() if "error" in one}
    assert lines["wrong"].startswith("me/wrong: the hub did not give model.safetensors (what came")
    assert lines["broken"].startswith("me/broken: the hub did not give model.safetensors (")
    assert lines["forbidden"].startswith("me/forbidden: the hub did not give ")
    assert "and the hub cannot be reached (" in lines["failing"]
    assert "and the hub cannot be reached (" in lines["stuck"]
    assert "me/pickled on the hub: its weights are a pickle (pytorch_model.bin)" in lines["pickled"]
    assert lines["nothing"].startswith("me/nothing: no run or folder of that name, and no public")
    assert len(lines) == 7
    # What was wrong did not stay: the second time it was fetched anew, and is whole.
    assert (Path(results[-1]["folder"]) / "model.safetensors").read_bytes() == whole
    assert hub.fetched["me/wrong/model.safetensors"] == 2
    assert hub.fetched["me/pickled/pytorch_model.bin"] == 0
    # Another program fetched a model, which left no note here: it serves without the hub.
    refs = tmp_path / "hub" / "hub" / "models--me--slow" / "refs"
    refs.mkdir(exist_ok=True)
    (refs / "main").write_text(REVISION)
    shutil.rmtree(tmp_path / "textgen" / "models")
    slow, cut = fetch(hub, tmp_path, "slow", "cut", address=NOBODY)
    assert slow == found["slow"]
    assert "cannot be reached" in cut["error"][0]
    # What was cut off is not taken without the hub either.
    assert "cannot be reached" in fetch(hub, tmp_path, "broken", address=NOBODY)[0]["error"][0]


def test_no_such_model_ends_every_rank_with_2(hub: Hub, tmp_path: Path) -> None:
    run = textgen(hub, tmp_path, "evaluate", "me/nothing", "--data", "sample", "--np", "2")
    assert run.returncode == 2
    lines = [line for line in run.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert "me/nothing: no run or folder of that name" in lines[0]
    assert "Traceback" not in run.stderr
