"""Data sets on the Hugging Face Hub: the current revision, and downloading its files.

Only files are downloaded; none of their code is run. `huggingface_hub` is imported on first use.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hvdcore.errors import UserError

__all__ = ["HubSet", "fetch_files", "find_hub_set"]


@dataclass(frozen=True)
class HubSet:
    """A data set at one revision.

    Attributes:
        hub_id: `owner/name`.
        revision: the commit.
        files: names of its files, below its root.
    """

    hub_id: str
    revision: str
    files: tuple[str, ...]


def find_hub_set(hub_id: str, cache: Path, extra: str) -> HubSet:
    """Ask the hub for the current revision.

    Where the hub cannot be reached (on a compute node, for example), the answer of the last time is
    used, so that data prepared from it is found without a network.

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
    except Exception as error:  # the hub client, its HTTP library and the system raise their own
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


def fetch_files(hub_set: HubSet, names: Sequence[str]) -> Path:
    """Download files into the hub client's own cache, unless they are there; the folder above them.

    A download that was cut off resumes where it stopped, in this call or in the next.

    Raises:
        UserError: the hub fails.
    """
    from huggingface_hub import snapshot_download, try_to_load_from_cache
    from huggingface_hub.utils import disable_progress_bars, logging

    disable_progress_bars()
    logging.set_verbosity_error()

    def missing() -> list[str]:
        cached = partial(try_to_load_from_cache, hub_set.hub_id, repo_type="dataset")
        return [n for n in names if not isinstance(cached(n, revision=hub_set.revision), str)]

    try:
        root = snapshot_download(
            hub_set.hub_id, repo_type="dataset", revision=hub_set.revision,
            allow_patterns=[glob.escape(name) for name in names],
        )  # fmt: skip
    except Exception as error:  # the hub client, its HTTP library and the system raise their own
        raise _no_files(hub_set, missing(), first_line(error)) from error
    # Without a network some versions of the client return what there is of the snapshot.
    if absent := missing():
        raise _no_files(hub_set, absent, "it cannot be reached")
    return Path(root)


def _no_files(hub_set: HubSet, names: Sequence[str], reason: str) -> UserError:
    what = names[0] if names else "its files"
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return UserError(
        f"data: {hub_set.hub_id}: could not download {what}{more} from the hub ({reason}); try "
        "again, or download it by other means and give its path"
    )


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type."""
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
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
