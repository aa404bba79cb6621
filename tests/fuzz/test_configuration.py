"""The readers of configuration: any file and any value is read, or refused in clear lines."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import image_cls.config
import news_cls.config
import textgen.config
from hvdcore.config import dump_json, dump_toml, load_config
from hvdcore.errors import UserError

pytestmark = pytest.mark.fuzz

CONFIGS = [image_cls.config.TrainConfig, news_cls.config.TrainConfig, textgen.config.TrainConfig]
FIELDS = sorted({name for config in CONFIGS for name in config.model_fields})
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
VALUES = st.dictionaries(st.sampled_from(FIELDS) | st.text(), JSON, max_size=8)


def read(config: Any, path: Path | None, flags: dict[str, Any] | None = None) -> Any:
    """The configuration, or None where it is refused in lines that say something."""
    try:
        return load_config(config, path, flags)
    except UserError as error:
        problems = error.problems
    assert problems
    assert all(line.strip() and "\n" not in line for line in problems)
    return None


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__module__)
@settings(deadline=None)
@given(content=st.binary() | VALUES.map(lambda values: json.dumps(values).encode()))
@pytest.mark.parametrize("suffix", [".json", ".toml"])
def test_files(config: Any, suffix: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"config{suffix}"
        path.write_bytes(content)
        found = read(config, path)
        if found is None:
            return
        for name, dump in (("again.json", dump_json), ("again.toml", dump_toml)):
            again = Path(folder) / name
            again.write_text(dump(found), encoding="utf-8")
            assert load_config(config, again) == found


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__module__)
@settings(deadline=None)
@given(values=VALUES)
def test_flags(config: Any, values: dict[str, Any]) -> None:
    known = {name: value for name, value in values.items() if name in config.model_fields}
    read(config, None, known)


@pytest.mark.parametrize("suffix", [".json", ".toml"])
def test_depth(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"config{suffix}"
    deep = 50_000
    texts = [f"{a * deep}1{b * deep}" for a, b in (('{"a": ', "}"), ("[", "]"))]
    # Of dotted keys Python's own reader takes time that grows with the square of their length.
    for text in (*texts, f"a = {'[' * deep}{']' * deep}", f"{'a.' * 2000}b = 1"):
        path.write_text(text, encoding="utf-8")
        assert read(CONFIGS[0], path) is None
