"""What a model keeps of the one that it was made from: special tokens, chat template, positions."""

from __future__ import annotations

import shutil
from pathlib import Path

from hvdcore.files.json_files import read_json_object, write_json_atomically

__all__ = ["BASE_FILES", "keep_base_files"]

BASE_FILES = (
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "chat_template.json", "generation_config.json",
)  # fmt: skip
_CONFIG = "config.json"
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
_POSITIONS = "max_position_embeddings"


def keep_base_files(folder: Path, base: Path) -> None:
    """Give a folder with a model what the folder of its base has beside the weights.

    Only what is in the base is changed: ids of special tokens, as many positions as it had (fewer
    are trained on, and no fewer work), and the files of its tokenizer but the vocabulary.
    """
    for name in BASE_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    _drop_code(folder / "tokenizer_config.json")
    if not (base / _CONFIG).is_file() or not (folder / _CONFIG).is_file():
        return
    old, new = read_json_object(base / _CONFIG), read_json_object(folder / _CONFIG)
    changed = {**new, **{name: old[name] for name in _IDS if name in old}}
    if _POSITIONS in new and isinstance(old.get(_POSITIONS), int):
        changed[_POSITIONS] = max(old[_POSITIONS], new[_POSITIONS])
    if changed != new:
        write_json_atomically(folder / _CONFIG, changed)


def _drop_code(path: Path) -> None:
    """A copy has no code of its own beside it, and none is ever run."""
    if path.is_file() and "auto_map" in (content := read_json_object(path)):
        write_json_atomically(path, {k: v for k, v in content.items() if k != "auto_map"})
