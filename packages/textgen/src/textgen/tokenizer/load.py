"""Loading a tokenizer from a path or from the Hugging Face hub."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

import tokenizers

from hvdcore.errors import UserError
from hvdcore.files.cache import expand_user
from textgen.tokenizer.tokenizer import END_OF_TEXT, ByteTokenizer, SubwordTokenizer, Tokenizer
from textgen.tokenizer.vocabulary import VOCABULARIES, check_vocabulary_file

__all__ = ["check_tokenizer_files", "load_tokenizer"]

_TIMEOUT_SECONDS = 30
TOKENIZER = "tokenizer.json"
_PROBE = "The cat sat on 12 mats."
_PROBED_IDS = 1000
_KNOWN_END_TOKENS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "[SEP]")


def load_tokenizer(name: str | Path) -> Tokenizer:
    """The tokenizer that `--tokenizer` names; not "bpe", which `prepare` trains.

    Args:
        name: "byte"; a `tokenizer.json` or a folder with one (a run's model/, a saved Hugging Face
            tokenizer); or a hub id. Nothing but JSON and vocabulary text is read; no code is run.

    Raises:
        UserError: no such tokenizer, or one that cannot be used.
    """
    if str(name) == "byte":
        return ByteTokenizer()
    path = expand_user(name)
    if path.is_dir() and not (path / TOKENIZER).is_file():
        check_tokenizer_files(path)
        return _from_transformers(str(path))
    if path.exists():
        return _from_file(path / TOKENIZER if path.is_dir() else path)
    text = str(name)
    near = get_close_matches(text, ("byte", "bpe"), n=1)
    looks_like_path = path.is_absolute() or text.startswith((".", "~")) or path.suffix == ".json"
    if near or looks_like_path or text.count("/") > 1:
        hint = f"did you mean {near[0]!r}?" if near else "give byte, bpe, a path or a hub id"
        raise UserError(f"tokenizer: no such tokenizer {text!r}; {hint}")
    return _from_transformers(text, is_cached_only=not _is_on_hub(text))


def check_tokenizer_files(folder: Path) -> None:
    """Check that a folder has tokenizer.json or a vocabulary that one can be made from here.

    transformers would make an empty tokenizer of the model's kind from config.json alone.

    Raises:
        UserError: it has none, or the package that reads it is missing.
    """
    if (folder / TOKENIZER).is_file():
        return
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise UserError(
            f"{folder / TOKENIZER}: missing, and so are {', '.join(VOCABULARIES)}; copy "
            "tokenizer.json and tokenizer_config.json from the model that this one was made from"
        )
    check_vocabulary_file(folder)


def _usable(backend: tokenizers.Tokenizer, end_of_text: str, name: str) -> Tokenizer:
    """The tokenizer, if it encodes some printable text to ids that decode to it.

    Raises:
        UserError: it does not: its vocabulary is missing.
    """
    made = SubwordTokenizer(backend, end_of_text, cut_at_words=_may_cut_at_words(backend))
    if not any(_round_trips(made, text) for text in (_PROBE, *_own_texts(made, backend))):
        raise UserError(
            f"tokenizer: {name} encodes no text to ids that decode to it (a vocabulary of "
            f"{made.vocab_size}): its files are incomplete; copy tokenizer.json from the model "
            "again"
        )
    return made


def _own_texts(made: Tokenizer, backend: tokenizers.Tokenizer) -> Iterator[str]:
    """Printable texts of single ids that are not special."""
    special = {i for i, token in backend.get_added_tokens_decoder().items() if token.special}
    special |= {made.eot_id, *made.start_ids}
    unknown = json.loads(backend.to_str())["model"].get("unk_token")
    for token, number in itertools.islice(backend.get_vocab().items(), _PROBED_IDS):
        text = made.decode([number]).strip()
        if number not in special and token != unknown and text and text.isprintable():
            yield text


def _round_trips(made: Tokenizer, text: str) -> bool:
    ids = made.encode(text)
    # Some tokenizers put blanks between ids, or drop the case.
    again = "".join(made.decode(ids).split()).casefold()
    return bool(len(ids)) and again == "".join(text.split()).casefold()


def _from_file(path: Path) -> Tokenizer:
    try:
        written = path.read_text(encoding="utf-8")
        backend = tokenizers.Tokenizer.from_str(written)
    # The binding raises plain Exception for any other content.
    except Exception as error:
        raise UserError(f"tokenizer: {path} is not a tokenizer.json ({error})") from error
    byte = ByteTokenizer()
    if written.strip() == byte.to_json().strip():
        return byte
    spelled = _written_end_token(path.parent) or _guess_end_token(backend)
    if spelled is None:
        raise UserError(
            f"tokenizer: {path} does not name its end-of-text token; add a tokenizer_config.json "
            'with "eos_token" to its folder'
        )
    return _usable(backend, spelled, str(path))


def _may_cut_at_words(backend: tokenizers.Tokenizer) -> bool:
    """Whether it is a byte-level BPE that splits words as GPT-2 does, as ours do."""
    form = json.loads(backend.to_str())
    gpt2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    plain_bpe = form["model"]["type"] == "BPE" and not form["model"].get("dropout")
    only_special = all(token["special"] for token in form["added_tokens"])
    return (
        plain_bpe and only_special and form["normalizer"] is None and form["pre_tokenizer"] == gpt2
    )


def _written_end_token(folder: Path) -> str | None:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        try:
            token = json.loads((folder / name).read_text(encoding="utf-8")).get("eos_token")
        except (OSError, ValueError, AttributeError, RecursionError):
            continue
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str):
            return token
    return None


def _guess_end_token(backend: tokenizers.Tokenizer) -> str | None:
    known = (token for token in _KNOWN_END_TOKENS if backend.token_to_id(token) is not None)
    return next(known, None)


def _is_on_hub(name: str) -> bool:
    """Whether the hub has it; False where the hub cannot be reached.

    One request in advance, because transformers asks for each file and retries each: without the
    hub it would take a minute and print a page of warnings.

    Raises:
        UserError: the hub has no such model.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        HfApi().model_info(name, timeout=_TIMEOUT_SECONDS)
    except RepositoryNotFoundError as error:
        raise UserError(
            f"tokenizer: no file or folder {name!r}, and no public model of that name on the hub; "
            "give byte, bpe, a path or a hub id"
        ) from error
    except Exception:  # the hub and its HTTP client raise their own; a cached copy is tried next
        return False
    return True


def _from_transformers(name: str, *, is_cached_only: bool = False) -> Tokenizer:
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(
            name, trust_remote_code=False, use_fast=True, local_files_only=is_cached_only
        )
    except Exception as error:  # the hub, the file formats and the parsers each raise their own
        reason = str(error).strip().split("\n")[0]
        if is_cached_only:
            reason = "the hub cannot be reached and there is no copy in its cache"
        raise UserError(
            f"tokenizer: cannot load {name!r} ({reason}); give byte, bpe, a folder with a "
            "tokenizer.json, or a hub id that can be reached"
        ) from error
    backend = getattr(loaded, "backend_tokenizer", None)
    if not isinstance(backend, tokenizers.Tokenizer):
        raise UserError(
            f"tokenizer: {name!r} cannot be converted to a tokenizer.json; save it as one first"
        )
    spelled = loaded.eos_token or _guess_end_token(backend)
    if spelled is None:
        raise UserError(f"tokenizer: {name!r} has no eos_token; set one and save it to a folder")
    return _usable(backend, spelled, repr(name))
