"""Fine-tuning a model of transformers: all its weights, or low-rank adapters beside them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import hvdcore.torch
from hvdcore.errors import UserError
from hvdcore.testing.runs import Run, StoppedRun, run_command
from hvdcore.torch import weights_sha256
from textgen.config import TrainConfig
from textgen.model.causal_lm import CausalLM, quiet_transformers
from textgen.pretrained.hf_folder import load_causal_lm, save_causal_lm
from textgen.testing import command, environment, save_gpt2, write_book
from textgen.tokenizer.load import load_tokenizer
from textgen.training.optimizer import build_optimizer, optimizer_config

FLAGS = (
    "--context-length", "16", "--global-batch-size", "12", "--max-steps", "12", "--eval-every", "6",
    "--log-every", "1", "--sample-tokens", "0", "--learning-rate", "0.003", "--warmup-steps", "0",
)  # fmt: skip
LORA = ("--lora-rank", "2", "--lora-alpha", "8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tuned")


@pytest.fixture(scope="module")
def book(folder: Path) -> Path:
    return write_book(folder / "book.txt", num_words=3000)


@pytest.fixture(scope="module")
def base(folder: Path, book: Path) -> Path:
    return save_gpt2(folder / "base", book.read_text())


def line(base: Path, book: Path, run: Path, *flags: str) -> list[str]:
    paths = ("--init-from", str(base), "--data", str(book), "--output-dir", str(run))
    return command("train", *paths, *FLAGS, *flags)


def tune(base: Path, book: Path, run: Path, *flags: str) -> Run:
    cache = environment(run.parent / "cache")
    return run_command(run, line(base, book, run, *flags), cache, timeout=300)


@pytest.fixture(scope="module")
def one_rank(folder: Path, base: Path, book: Path) -> Run:
    return tune(base, book, folder / "np1").check()


@pytest.fixture(scope="module")
def adapted(folder: Path, base: Path, book: Path) -> Run:
    """By LoRA on two ranks."""
    return tune(base, book, folder / "lora", *LORA, "--np", "2").check()


def loss_by_hand(model: Any, folder: Path, text: str) -> float:
    """Mean NLL of a text in windows of 16, by transformers alone."""
    ids = torch.from_numpy(load_tokenizer(folder).encode(text).astype("int64"))[: 16 * 8 + 1]
    windows = torch.stack([ids[i : i + 17] for i in range(0, 16 * 8, 16)])
    with torch.inference_mode():
        return float(model(windows, labels=windows).loss)


@pytest.mark.ranks
def test_two_ranks_tune_the_same_model(folder: Path, base: Path, book: Path, one_rank: Run) -> None:
    run = tune(base, book, folder / "np2", "--np", "2").check()
    assert run.losses("train") == pytest.approx(one_rank.losses("train"), rel=1e-5)
    assert run.losses("val") == pytest.approx(one_rank.losses("val"), abs=1e-5)
    losses = run.losses("val")
    assert losses[12] < losses[0] - 0.1  # it learned
    report = run.report
    assert report["model"] == str(base)
    assert report["num_parameters"] == report["num_trainable_parameters"]
    assert report["val"]["num_words"] > 0

    # What it saved is what plain transformers loads, with the same tokenizer, and better.
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs = AutoModelForCausalLM.from_pretrained(run.path / "model").eval()
    text = book.read_text()
    assert loss_by_hand(theirs, base, text) < loss_by_hand(load_causal_lm(base).hf, base, text)
    ids = AutoTokenizer.from_pretrained(run.path / "model").encode(text)
    assert ids == load_tokenizer(base).encode(text).tolist()


@pytest.mark.proof
@pytest.mark.ranks
def test_control_another_seed_differs(folder: Path, base: Path, book: Path, one_rank: Run) -> None:
    """The control: the comparison above sees a difference where there is one."""
    other = tune(base, book, folder / "seed1", "--seed", "1").check()
    assert other.losses("val") != pytest.approx(one_rank.losses("val"), abs=1e-5)


@pytest.mark.ranks
def test_lora_changes_adapters_alone(base: Path, book: Path, adapted: Run) -> None:
    from peft import PeftModel

    report = adapted.report
    matrices = 2 * (16 + 48 + 16 + 16 + 16 + 64 + 64 + 16) * 2  # (in + out) x rank x layers
    assert report["num_trainable_parameters"] == matrices
    assert adapted.losses("val")[12] < adapted.losses("val")[0] - 0.05
    # The adapters alone, put by peft beside the weights that it started from: `model/` merged.
    merged = load_causal_lm(adapted.path / "model")
    with quiet_transformers():
        put = PeftModel.from_pretrained(load_causal_lm(base).hf, adapted.path / "adapter").eval()
    batch = torch.randint(288, (4, 16), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        logits = put(batch).logits
        torch.testing.assert_close(merged(batch), logits, atol=1e-4, rtol=1e-5)
        with put.disable_adapter():
            assert (put(batch).logits - logits).abs().max() > 0.1
    # Norms, biases and embeddings are the ones that it started from, to the bit.
    before = load_file(base / "model.safetensors")
    after = load_file(adapted.path / "model" / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        f"transformer.h.{layer}.{name}.weight"
        for layer in (0, 1)
        for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }
    # The checkpoint holds the adapters only.
    checkpoint = sorted((adapted.path / "checkpoints").glob("step-*"))[-1]
    kept = load_file(checkpoint / "model.safetensors")
    assert sum(value.numel() for value in kept.values()) == matrices


@pytest.mark.ranks
def test_resuming_lora_is_as_never_stopped(
    folder: Path, base: Path, book: Path, adapted: Run
) -> None:
    flags = (*LORA, "--np", "2", "--resume", "auto", "--checkpoint-every", "1")
    path = folder / "stopped-lora"
    run = StoppedRun(path, line(base, book, path, *flags), environment(folder / "cache"))
    run.terminate_after_a_checkpoint()
    run.finish_as(adapted)


@pytest.mark.proof
@pytest.mark.ranks
def test_resuming_is_as_never_stopped(folder: Path, base: Path, book: Path, one_rank: Run) -> None:
    flags = ("--resume", "auto", "--checkpoint-every", "1")
    path = folder / "stopped"
    run = StoppedRun(path, line(base, book, path, *flags), environment(folder / "cache"))
    run.terminate_after_a_checkpoint()
    run.finish_as(one_rank)


@pytest.mark.proof
@pytest.mark.ranks
def test_a_checkpoint_of_other_frozen_weights_is_refused(
    folder: Path, base: Path, book: Path, adapted: Run
) -> None:
    other = save_gpt2(folder / "other", book.read_text(), n_layer=1)
    run = tune(other, book, folder / "resumed", *LORA, "--resume", str(adapted.path))
    assert run.returncode == 2
    assert "model.frozen_sha256: the checkpoint was written with" in run.stderr


@pytest.mark.proof
@pytest.mark.ranks
def test_a_run_of_ours_is_tuned_by_lora(folder: Path, book: Path) -> None:
    """Through the architecture that transformers has for it; what comes out is ours again."""
    shape = ("--num-layers", "2", "--num-heads", "2", "--embed-dim", "16", "--mlp-dim", "32")
    own = command("train", "--data", str(book), "--output-dir", str(folder / "own"), *FLAGS, *shape)
    first = run_command(folder / "own", own, environment(folder / "cache"), timeout=300).check()
    run = tune(first.path, book, folder / "own-lora", *LORA).check()
    assert run.losses("val")[0] == pytest.approx(first.report["val"]["loss"], abs=1e-5)
    assert run.report["val"]["loss"] < first.report["val"]["loss"]
    scored = command("evaluate", str(run.path), "--split", "test")
    done = run_command(run.path, scored, environment(folder / "cache"), timeout=300).check()
    assert json.loads(done.stdout)["test"]["loss"] == pytest.approx(
        run.report["test"]["loss"], abs=1e-5
    )


@pytest.mark.ranks
def test_gpt2_style_trains_from_scratch_and_starts_again_from_its_run(
    folder: Path, book: Path
) -> None:
    shape = ("--model", "gpt2-style-1m", "--num-layers", "1", "--embed-dim", "16")
    flags = ("--num-heads", "2", "--mlp-dim", "32", "--tokenizer", "byte")
    path = folder / "style"
    words = command("train", "--data", str(book), "--output-dir", str(path), *FLAGS, *shape, *flags)
    run = run_command(path, words, environment(folder / "cache"), timeout=300).check()
    assert run.report["model"] == "gpt2-style-1m"
    assert run.losses("val")[0] == pytest.approx(math.log(256), abs=0.1)
    assert run.losses("val")[12] < run.losses("val")[0] - 0.3
    saved = load_causal_lm(path / "model")
    assert (saved.config.model_type, saved.config.context_length) == ("gpt2", 16)
    assert saved.num_parameters == run.report["num_parameters"]


@pytest.mark.proof
@pytest.mark.ranks
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--tokenizer", "byte"), "tokenizer: byte is not the one that"),
        (("--context-length", "64"), "context_length: got 64; "),
        ((*LORA, "--lora-targets", "nothing"), "lora_targets: 'nothing' names no linear layer"),
        (("--lora-alpha", "4"), "lora_alpha and lora_targets need lora_rank"),
        (("--lora-rank", "0"), "lora_rank"),
    ],
)
def test_wrong_flags(
    folder: Path, base: Path, book: Path, flags: tuple[str, ...], expected: str
) -> None:
    run = tune(base, book, folder / "wrong", *flags)
    assert run.returncode == 2, run.stderr
    assert "Traceback" not in run.stderr
    assert [expected in text for text in run.stderr.strip().splitlines()] == [True], run.stderr
    assert not (folder / "wrong" / "config.json").exists()


def test_lora_needs_a_model_and_peft(monkeypatch: pytest.MonkeyPatch, base: Path) -> None:
    import sys

    from textgen.model.causal_lm import add_lora

    with pytest.raises(ValueError, match="lora_rank needs a model to adapt; give --init-from"):
        TrainConfig(lora_rank=2)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"LoRA needs peft; pip install '\./packages/textgen\[lora"):
        add_lora(load_causal_lm(base), TrainConfig(lora_rank=2, init_from="gpt2"), "gpt2")


def test_merged_weights_are_saved_and_the_model_stays(tmp_path: Path, base: Path) -> None:
    """While it trains: its parameters are views of one buffer, and go on being trained."""
    from textgen.model.causal_lm import add_lora

    hvdcore.torch.init()
    model = load_causal_lm(base)
    frozen = weights_sha256(load_causal_lm(base))
    add_lora(model, TrainConfig(lora_rank=2, init_from="gpt2"), "gpt2")
    assert model.config.frozen_sha256 == frozen
    config = TrainConfig(lora_rank=2, init_from="gpt2", learning_rate=0.01)
    settings = optimizer_config(config, is_fine_tuning=True)
    optimizer = hvdcore.torch.ShardedOptimizer(
        model, lambda named: build_optimizer(named, settings, model.table_names)
    )
    batch = torch.randint(280, (4, 17), generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        optimizer.zero_grad()
        model.loss(batch[:, :-1], batch[:, 1:], "mean").backward()
        optimizer.step()
    before = weights_sha256(model)
    save_causal_lm(tmp_path / "model", model, load_tokenizer(base))
    assert weights_sha256(model) == before
    with torch.inference_mode():
        logits = model(batch)
        torch.testing.assert_close(load_causal_lm(tmp_path / "model")(batch), logits)
        assert (load_causal_lm(base)(batch) - logits).abs().max() > 1e-2


def test_optimizers_know_gpt2s_parameters(base: Path) -> None:
    """Conv1D's weights are matrices; embeddings, positions, biases and norms go to AdamW."""
    model: CausalLM = load_causal_lm(base)
    config = TrainConfig(optimizer="muon")
    optimizer = build_optimizer(
        model.named_parameters(), optimizer_config(config), model.table_names
    )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = {
        group["name"]: [names[id(parameter)] for parameter in group["params"]]
        for group in optimizer.param_groups
    }
    assert groups["embeddings"] == ["hf.transformer.wte.weight", "hf.transformer.wpe.weight"]
    kinds = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    assert groups["matrices"] == [
        f"hf.transformer.h.{layer}.{kind}.weight" for layer in (0, 1) for kind in kinds
    ]
    assert [group["algorithm"] for group in optimizer.param_groups] == ["muon", "adamw", "adamw"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("adamw", 5e-5)),
        ({"lora_rank": 4}, ("adamw", 2e-4)),
        ({"optimizer": "muon"}, ("muon", 5e-5)),
        ({"learning_rate": 1e-3}, ("adamw", 1e-3)),
    ],
)
def test_fine_tuning_is_gentle_by_default(
    changes: dict[str, Any], expected: tuple[str, float]
) -> None:
    settings = optimizer_config(TrainConfig(init_from="gpt2", **changes), is_fine_tuning=True)
    assert (settings.name, settings.learning_rate) == expected
    assert settings.embedding_learning_rate == settings.norm_learning_rate == expected[1]
    scratch = optimizer_config(TrainConfig())
    assert (scratch.name, scratch.learning_rate) == ("muon", 0.012)
