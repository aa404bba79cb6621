"""A prepared corpus that is not what was written is neither trained on nor a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import hvdcore.torch
from hvdcore.errors import UserError
from hvdcore.runtime.world import World
from textgen.data.config import DataConfig
from textgen.data.corpus import is_complete
from textgen.data.distributed import prepare_distributed
from textgen.data.prepare import prepare


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One rank with no launcher."""
    yield hvdcore.torch.init()
    hvdcore.torch.shutdown()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    """One text, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "book.txt"
    path.write_text("A line of a book that says a little. " * 200, encoding="utf-8")
    return DataConfig(data=str(path), tokenizer="byte", context_length=8)


def test_changed_tokens_are_refused(config: DataConfig, world: World) -> None:
    file = prepare_distributed(config, world).path / "train.bin"
    tokens = bytearray(file.read_bytes())
    tokens[0] ^= 1
    file.write_bytes(tokens)
    with pytest.raises(UserError, match=r"train\.bin does not have the SHA-256"):
        prepare_distributed(config, world)


@pytest.mark.parametrize("name", ["train.bin", "val.offsets.npy", "tokenizer/tokenizer.json"])
def test_a_truncated_file_is_prepared_again(config: DataConfig, name: str) -> None:
    path = prepare(config).path
    whole = (path / name).read_bytes()
    (path / name).write_bytes(whole[:-2])
    assert not is_complete(path)
    assert prepare(config).path == path
    assert (path / name).read_bytes() == whole
