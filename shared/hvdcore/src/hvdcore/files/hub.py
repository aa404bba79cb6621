"""Data sets on the Hugging Face Hub: the current revision, and downloading its files.

Only files are downloaded; none of their code is run. `huggingface_hub` is imported on first use.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hvdcore.errors import UserError

__all__ = ["HubSet", "fetch_files", "find_hub_set"]


@dataclass(frozen=True)
class HubSet:
    """A data set as it is now.

    Attributes:
        hub_id: `owner/name`.
        revision: the commit.
        files: names of its files, below its root.
    """

    hub_id: str
    revision: str
    files: tuple[str, ...]


def find_hub_set(hub_id: str, cache: Path, extra: str) -> HubSet:
    """Ask the hub what is current.

    Where the hub cannot be reached (a compute node, say), what was current when this cache last
    asked is taken: data prepared from it is found without a network.

    Args:
        cache: folder where the hub's last answers are kept.
        extra: what to install where `huggingface_hub` is missing.

    Raises:
        UserError: there is no such data set, or the hub cannot be reached and never was.
    """
    try:
        from huggingface_hub import HfApi, constants
        from huggingface_hub.errors import RepositoryNotFoundError
    except ImportError:
        raise UserError(
            f"data: {hub_id}: a data set on the hub needs huggingface_hub; pip install {extra}, "
            "or give a path"
        ) from None
    known = cache / "hub" / f"{hub_id.replace('/', '--')}.json"
    try:
        about = HfApi().dataset_info(hub_id, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except RepositoryNotFoundError as error:
        raise UserError(
            f"data: no file or folder {hub_id!r}, and no public data set of that name on the hub; "
            "give sample, a path or a hub id"
        ) from error
    except Exception as error:  # every layer of the client has its own
        remembered = _remembered(hub_id, known)
        if remembered is None:
            raise UserError(
                f"data: no file or folder {hub_id!r}, and the hub cannot be reached "
                f"({first_line(error)}); try again, or give sample or a path"
            ) from error
        return remembered
    files = tuple(sorted(sibling.rfilename for sibling in about.siblings or ()))
    found = HubSet(hub_id, str(about.sha), files)
    _remember(found, known)
    return found


def fetch_files(hub_set: HubSet, names: Iterable[str]) -> Path:
    """Fetch files into the hub's own cache, where they are not there yet; the folder above them.

    A download that was cut off goes on where it stopped, in this call or in the next.

    Raises:
        UserError: the hub fails.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import disable_progress_bars, logging

    disable_progress_bars()
    logging.set_verbosity_error()
    root = Path()
    for name in names:
        try:
            path = hf_hub_download(
                hub_set.hub_id, name, repo_type="dataset", revision=hub_set.revision
            )
        except Exception as error:  # every layer of the client has its own
            raise UserError(
                f"data: {hub_set.hub_id}: the hub did not give {name} ({first_line(error)}); try "
                "again, or fetch it by other means and give its path"
            ) from error
        root = Path(path).parents[name.count("/")]
    return root


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its name."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".:")


def _remember(found: HubSet, known: Path) -> None:
    if _remembered(found.hub_id, known) == found:
        return
    with suppress(OSError):  # a cache that is only read from still serves
        known.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"revision": found.revision, "files": found.files})
        known.write_text(text, encoding="utf-8")


def _remembered(hub_id: str, known: Path) -> HubSet | None:
    try:
        value = json.loads(known.read_text(encoding="utf-8"))
        return HubSet(hub_id, str(value["revision"]), tuple(map(str, value["files"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None
