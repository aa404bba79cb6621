"""Documents from data sets on the Hugging Face hub, streamed by `datasets`.

Only formats that hold data are read; no code of a data set is run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from http.client import IncompleteRead
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError
from hvdcore.files.hub import first_line
from textgen.data import documents
from textgen.data.documents import (
    Document,
    Skipped,
    SourceShard,
    Unit,
    missing_column,
    row_document,
)
from textgen.data.work_queue import SourceFailed

__all__ = ["HubSource"]

_TIMEOUT_SECONDS = 30
_SAFE_FORMATS = ("parquet", "json", "csv", "text", "arrow")
"""Builders that only parse data; others may run code."""
_NETWORK_LIBRARIES = ("aiohttp", "httpcore", "httpx", "requests", "urllib3")
"""Some version of the hub client or of `datasets` raises errors of these."""


@dataclass(frozen=True)
class HubSource:
    """`--data owner/name` or `owner/name:config`: every row of its train split is a document.

    The train split is read, or the only one; val and test are then split off by content, as for
    every source. Rows are streamed: nothing is written to disk but our own cache.

    Attributes:
        hub_id: `owner/name`.
        config: which of the configurations of the data set, if it has several.
        revision: the commit on the hub, so that a data set that has changed is read again.
    """

    hub_id: str
    config: str | None
    revision: str

    @classmethod
    def find(cls, data: str, cache: Path) -> HubSource:
        """Ask the hub which revision is current.

        Where the hub cannot be reached (a compute node, for example), the last revision that this
        cache has seen is used, so that a corpus prepared from it is found without a network; or
        what `datasets.load_dataset` has put on the disk.

        Raises:
            UserError: there is no such data set, or the hub cannot be reached and no revision is
                known.
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
        except Exception as error:  # hub, HTTP client and `datasets` raise their own
            remembered = _remembered(known)
            if remembered is None and _is_on_disk(hub_id):
                remembered = "on disk"
            if remembered is None:
                raise UserError(
                    f"data: no file or folder {data!r}, and the hub cannot be reached "
                    f"({first_line(error)}); give sample or a path"
                ) from error
            revision = remembered
        return cls(hub_id, config or None, revision)

    @property
    def name(self) -> str:
        return f"{self.hub_id}:{self.config}" if self.config else self.hub_id

    def signature(self) -> str:
        return f"hub {self.name} {self.revision}"

    def units(self, text_column: str) -> list[Unit]:
        """The data set's files.

        Raises:
            UserError: it needs code to be loaded, has no such column, or the hub fails.
        """
        with self._user_errors():
            rows = self._stream
            names = rows.column_names  # None where only the rows know
            if names is not None and text_column not in names:
                raise missing_column(self.name, text_column, sorted(names))
            return [(SourceShard(self.name, n, n + 1, 1, 0),) for n in range(rows.num_shards)]

    def documents(self, unit: Unit, text_column: str, skipped: Skipped) -> Iterator[Document]:
        """Every row of some files.

        Raises:
            UserError: there is no such column, or the hub fails.
        """
        with self._user_errors():
            stream = self._stream
            for shard in unit:
                rows = stream.shard(num_shards=stream.num_shards, index=shard.start)
                for number, row in enumerate(rows, start=1):
                    origin = f"{self.name} file {shard.start + 1} row {number}"
                    if text_column not in row:
                        raise missing_column(origin, text_column, sorted(row))
                    yield from row_document(row[text_column], origin, text_column, skipped)

    @contextmanager
    def _user_errors(self) -> Iterator[None]:
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # the hub, its HTTP client and `datasets` raise their own
            kind = SourceFailed if _is_temporary(error) else UserError
            hint = "; what was read is kept, start again" if kind is SourceFailed else ""
            raise kind(f"data: {self.name}: {first_line(error)}{hint}") from error

    @cached_property
    def _stream(self) -> Any:
        """The rows to stream, of type `datasets.IterableDataset`."""
        import datasets  # type: ignore[import-untyped]
        from huggingface_hub.utils import logging

        logging.set_verbosity_error()
        # The client repeats each request six times, half a minute; 20 times that looks like a hang.
        datasets.config.STREAMING_READ_MAX_RETRIES = 1
        datasets.config.STREAMING_OPEN_MAX_RETRIES = 1
        datasets.logging.set_verbosity_error()
        builder = datasets.load_dataset_builder(self.hub_id, self.config, revision=self.revision)
        form = type(builder).__module__.split(".")[-1]
        on_disk = form == "cache"
        if form not in _SAFE_FORMATS and not on_disk:
            raise UserError(
                f"data: {self.name} is stored as {form}; only {', '.join(_SAFE_FORMATS)} are read"
            )
        splits = builder.as_dataset() if on_disk else builder.as_streaming_dataset()
        if "train" not in splits and len(splits) > 1:
            raise UserError(f"data: {self.name} has no train split; it has {', '.join(splits)}")
        rows = splits["train"] if "train" in splits else next(iter(splits.values()))
        if not on_disk:
            return rows
        shards = 1 + (rows.dataset_size or 0) // documents.UNIT_BYTES
        return rows.to_iterable_dataset(num_shards=min(shards, max(len(rows), 1)))


def _is_on_disk(hub_id: str) -> bool:
    """Whether `datasets` has prepared files of the data set, from when it could be fetched."""
    import datasets

    return Path(datasets.config.HF_DATASETS_CACHE, hub_id.replace("/", "___")).is_dir()


def _is_temporary(error: BaseException) -> bool:
    """Whether an error, or one of its causes, is of the network and may not happen again."""
    chain: list[Any] = []
    while error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__ or error
    answers = [one.response for one in chain if getattr(one, "response", None) is not None]
    if answers:
        code = int(answers[0].status_code)
        return code >= 500 or code == 429  # too many requests
    return any(
        isinstance(one, (ConnectionError, TimeoutError, IncompleteRead))
        or type(one).__module__.startswith(_NETWORK_LIBRARIES)
        for one in chain
    )


def _remember(known: Path, revision: str) -> None:
    if _remembered(known) == revision:
        return
    with suppress(OSError):  # a read-only cache can be used all the same
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(json.dumps({"revision": revision}), encoding="utf-8")


def _remembered(known: Path) -> str | None:
    try:
        return str(json.loads(known.read_text(encoding="utf-8"))["revision"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
