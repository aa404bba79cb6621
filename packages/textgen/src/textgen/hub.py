"""Owns documents from the Hugging Face hub, by the `datasets` library, from data formats alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hvdcore.errors import UserError
from textgen.documents import Document, Skipped, missing_column, row_document

__all__ = ["HubSource"]

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
    def find(cls, data: str) -> HubSource:
        """Ask the hub for the data set.

        Raises:
            UserError: there is none, or the hub cannot be reached.
        """
        from huggingface_hub import HfApi

        hub_id, _, config = data.partition(":")
        try:
            revision = HfApi().dataset_info(hub_id, timeout=30).sha
        except Exception as error:  # every layer of the client has its own
            raise UserError(
                f"data: no file or folder {data!r}, and no data set on the hub: "
                f"{_first_line(error)}; give sample, a path or a hub id that can be reached"
            ) from error
        return cls(hub_id, config or None, str(revision))

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


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]
