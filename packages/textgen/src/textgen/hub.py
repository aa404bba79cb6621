"""Owns documents from the Hugging Face hub, by the `datasets` library, from data formats alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError
from textgen.documents import Document, Skipped, missing_column, row_document

__all__ = ["HubSource"]

_TIMEOUT_SECONDS = 30
_SAFE_FORMATS = ("parquet", "json", "csv", "text", "arrow")
"""Builders that parse data and nothing else; no other may run."""


@dataclass(frozen=True)
class HubSource:
    """`--data owner/name` or `owner/name:config`: every row of its train split is a document.

    The train split is read, or the only one; val and test are then cut from it by content, as
    everywhere. Rows are streamed: nothing but our own cache lands on the disk.

    Attributes:
        hub_id: `owner/name`.
        config: which of the data set's configurations, if it has several.
        revision: the commit on the hub, so that a data set that changes is read anew.
    """

    hub_id: str
    config: str | None
    revision: str

    @classmethod
    def find(cls, data: str, cache: Path) -> HubSource:
        """Ask the hub which revision is current.

        Where the hub cannot be reached (a compute node, say), the revision that was current when
        this cache last asked is taken: a corpus prepared from it is found without a network.

        Raises:
            UserError: there is no such data set, or the hub cannot be reached and never was.
        """
        from huggingface_hub import HfApi
        from huggingface_hub.errors import RepositoryNotFoundError

        hub_id, _, config = data.partition(":")
        known = cache / "hub" / f"{hub_id.replace('/', '--')}.json"
        try:
            revision = str(HfApi().dataset_info(hub_id, timeout=_TIMEOUT_SECONDS).sha)
            _remember(known, revision)
        except RepositoryNotFoundError as error:
            raise UserError(
                f"data: no file or folder {data!r}, and no public data set of that name on the "
                "hub; give sample, a path or a hub id"
            ) from error
        except Exception as error:  # every layer of the client has its own
            remembered = _remembered(known)
            if remembered is None:
                raise UserError(
                    f"data: no file or folder {data!r}, and the hub cannot be reached "
                    f"({_first_line(error)}); give sample or a path"
                ) from error
            revision = remembered
        return cls(hub_id, config or None, revision)

    @property
    def name(self) -> str:
        return f"{self.hub_id}:{self.config}" if self.config else self.hub_id

    def signature(self) -> str:
        return f"hub {self.name} {self.revision}"

    def total_bytes(self) -> int:
        return 0

    def documents(self, text_column: str, skipped: Skipped) -> Iterator[Document]:
        """Every row.

        Raises:
            UserError: it needs code to be loaded, has no such column, or the hub fails.
        """
        try:
            for number, row in enumerate(self._rows(), start=1):
                origin = f"{self.name} row {number}"
                if text_column not in row:
                    raise missing_column(origin, text_column, sorted(row))
                yield from row_document(row[text_column], origin, text_column, skipped)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"data: {self.name}: {_first_line(error)}") from error

    def _rows(self) -> Iterator[dict[str, Any]]:
        import datasets  # type: ignore[import-untyped]

        builder = datasets.load_dataset_builder(self.hub_id, self.config, revision=self.revision)
        form = type(builder).__module__.split(".")[-1]
        if form not in _SAFE_FORMATS:
            raise UserError(
                f"data: {self.name} is stored as {form}; only {', '.join(_SAFE_FORMATS)} are read"
            )
        splits = builder.as_streaming_dataset()
        if "train" not in splits and len(splits) > 1:
            raise UserError(f"data: {self.name} has no train split; it has {', '.join(splits)}")
        yield from splits["train"] if "train" in splits else next(iter(splits.values()))


def _remember(known: Path, revision: str) -> None:
    if _remembered(known) == revision:
        return
    with suppress(OSError):  # a cache that is only read from still serves
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(json.dumps({"revision": revision}), encoding="utf-8")


def _remembered(known: Path) -> str | None:
    try:
        return str(json.loads(known.read_text(encoding="utf-8"))["revision"])
    except (OSError, ValueError, KeyError):
        return None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]
