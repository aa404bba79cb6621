"""Opening a model by name: a run, a folder, or a hub id, which is downloaded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvdcore.errors import UserError
from hvdcore.files.cache import default_cache_dir, expand_user
from hvdcore.files.json_files import read_json_object
from hvdcore.run.run_dir import RunDir
from textgen.model.causal_lm import CausalLM
from textgen.model.language_model import LanguageModel
from textgen.model.transformer import Transformer
from textgen.pretrained.hf_folder import load_causal_lm
from textgen.pretrained.hf_format import model_config
from textgen.pretrained.hub import HubModel, fetch_model, find_model
from textgen.pretrained.saved_model import (
    CONFIG,
    WEIGHTS,
    check_files,
    check_vocabulary,
    load_transformer,
)
from textgen.tokenizer.load import load_tokenizer
from textgen.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch

    from hvdcore.runtime.world import World

GENERATION = "generation_config.json"

__all__ = [
    "LoadedModel",
    "ResolvedModel",
    "check_model_exists",
    "open_model",
    "open_model_distributed",
    "resolve_distributed",
    "resolve_model",
]


@dataclass(frozen=True)
class ResolvedModel:
    """A model on this machine. Its config.json and its tokenizer are read once, when needed.

    Attributes:
        name: what the user called it.
        folder: weights as safetensors, config.json and tokenizer.
        run: its run directory, if it is the model of a run.
        revision: the commit, if it is from the hub.
    """

    name: str
    folder: Path
    run: Path | None = None
    revision: str | None = None

    @cached_property
    def config(self) -> dict[str, Any]:
        """The content of config.json; empty where there is none."""
        path = self.folder / CONFIG
        return read_json_object(path) if path.is_file() else {}

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer in the folder.

        Raises:
            UserError: there is none, or it cannot be used.
        """
        return load_tokenizer(self.folder)

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """Ids at which the model itself says that its texts end: chat models have several."""
        path = self.folder / GENERATION
        found = read_json_object(path) if path.is_file() else {}
        ids = found.get("eos_token_id", self.config.get("eos_token_id"))
        several = ids if isinstance(ids, list) else [ids]
        return frozenset(i for i in several if type(i) is int and i >= 0)

    def load(self, device: torch.device | str = "cpu") -> LoadedModel:
        """Load the model: as a `Transformer` where it is one, by transformers otherwise.

        Raises:
            UserError: a file is missing or damaged, or the model cannot be used.
        """
        if self._is_transformer():
            return LoadedModel(self.load_transformer().to(device).eval(), self.tokenizer, self)
        return LoadedModel(self.load_causal_lm().to(device), self.tokenizer, self)

    def load_transformer(self) -> Transformer:
        """Load it as a `Transformer`, on the CPU.

        Raises:
            UserError: a file is missing or damaged, or it is another architecture.
        """
        check_files(self.folder)
        return load_transformer(self.folder, self.config, self.tokenizer)

    def load_causal_lm(self) -> CausalLM:
        """Load it by transformers, on the CPU.

        Raises:
            UserError: a file is missing or damaged, or the model cannot be used.
        """
        model = load_causal_lm(self.folder, self.config)
        check_vocabulary(self.tokenizer, model.config.vocab_size, self.folder)
        return model

    def _is_transformer(self) -> bool:
        if not self.config:
            return True  # a run that has not finished: `check_files` reports it
        if not (self.folder / WEIGHTS).is_file():
            return False
        try:
            model_config(self.config, "")
        except UserError:
            return False
        return True


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory with its tokenizer."""

    model: LanguageModel
    tokenizer: Tokenizer
    source: ResolvedModel


def open_model(name: str | Path, device: torch.device | str = "cpu") -> LoadedModel:
    """Load the model of that name, downloaded from the hub if need be. In one process.

    Args:
        name: a run directory, a folder with a model of ours or of transformers, or a hub id.

    Raises:
        UserError: no such model, or one that cannot be used.
    """
    return resolve_model(name).load(device)


def open_model_distributed(
    name: str | Path, world: World, device: torch.device | str = "cpu"
) -> LoadedModel:
    """As `open_model`; one rank of each host downloads. Every rank must call."""
    return resolve_distributed(name, world).load(device)


def resolve_model(name: str | Path) -> ResolvedModel:
    """Where the model is on this machine, after downloading it if need be. In one process.

    Raises:
        UserError: no such model, or the hub fails.
    """
    found = _find(name)
    return found if isinstance(found, ResolvedModel) else _fetch(found)


def resolve_distributed(name: str | Path, world: World) -> ResolvedModel:
    """As `resolve_model`; rank 0 asks the hub, one rank of each host downloads.

    Every rank must call.
    """
    from hvdcore.torch import barrier, broadcast_object

    # One answer for all hosts: the hub may change between two requests.
    found = _find(name) if world.is_root else None
    answer = broadcast_object(asdict(found) if isinstance(found, HubModel) else None)
    if answer is None:
        barrier()
        return found if isinstance(found, ResolvedModel) else _on_disk(Path(name))
    model = HubModel(answer["hub_id"], answer["revision"], tuple(answer["files"]))
    if world.local_rank == 0:
        _fetch(model)
    barrier()
    return _fetch(model)


def check_model_exists(name: str | Path) -> None:
    """Check that `name` may be a model, without asking the hub.

    Raises:
        UserError: it is a path, and there is no run or model.
    """
    if _is_path(name):
        _on_disk(Path(name))


def _find(name: str | Path) -> ResolvedModel | HubModel:
    if _is_path(name):
        return _on_disk(Path(name))
    return find_model(str(name), default_cache_dir("textgen"))


def _is_path(name: str | Path) -> bool:
    text, path = str(name), expand_user(name)
    looks_like_one = path.is_absolute() or text.startswith((".", "~")) or text.count("/") > 1
    return looks_like_one or path.exists()


def _on_disk(path: Path) -> ResolvedModel:
    path = expand_user(path)
    if path.is_dir():
        model = ResolvedModel(str(path), path)
        _check_no_adapter(path)
        # A run has a config.json too, but no architecture in it.
        if (path / WEIGHTS).is_file() or "model_type" in model.config:
            return model
        _check_no_other_folder(path)
    run = RunDir.open(path)
    return ResolvedModel(str(path), run.model, run=run.path)


def _check_no_adapter(path: Path) -> None:
    """Check that no adapter is there: the model beside it alone would be another one.

    Raises:
        UserError: one is there.
    """
    if (path / "adapter_config.json").is_file():
        raise UserError(
            f"{path}: an adapter, which is not merged into its model; merge it by peft "
            "(merge_and_unload), save the model and its tokenizer, and give that folder"
        )


def _check_no_other_folder(path: Path) -> None:
    """Check that it is no folder that is easily taken for a model's.

    Raises:
        UserError: it is one; says which to give.
    """
    inner = [p for depth in ("*", "*/*") for p in sorted(path.glob(f"{depth}/{WEIGHTS}"))]
    models = [p.parent for p in inner if (p.parent / CONFIG).is_file() and p.parent.name != "model"]
    steps = [
        folder
        for folder in path.glob("checkpoint-*")
        if folder.name.rpartition("-")[2].isdecimal() and (folder / CONFIG).is_file()
    ]
    if steps:
        last = max(steps, key=lambda folder: int(folder.name.rpartition("-")[2]))
        raise UserError(f"{path}: holds a Trainer's checkpoints; give one of them, such as {last}")
    if models and not (path / CONFIG).is_file():
        raise UserError(f"{path}: holds no model itself; give the folder of one, {models[0]}")


def _fetch(model: HubModel) -> ResolvedModel:
    folder = fetch_model(model, default_cache_dir("textgen"))
    return ResolvedModel(model.hub_id, folder, revision=model.revision)
