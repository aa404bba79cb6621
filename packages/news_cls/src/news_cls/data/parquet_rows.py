"""Rows of a Parquet file, and the names of the classes that Hugging Face writes into it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError
from news_cls.data.layouts import Columns, Layout, layout_of_names

__all__ = ["parquet_classes", "parquet_rows"]

_ROWS_AT_ONCE = 4096


def parquet_rows(
    path: Path, shown: str, columns: Columns
) -> Iterator[tuple[int, Layout, list[Any]]]:
    """Row numbers from 1, the layout, and the values of all columns; others than wanted are None.

    Raises:
        UserError: it is damaged, or has not the columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            layout = layout_of_names(names, columns, shown)
            wanted = sorted({*layout.text, layout.label})
            number = 0
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=[names[p] for p in wanted]):
                read = [batch.column(names[place]).to_pylist() for place in wanted]
                for row in zip(*read, strict=True):
                    number += 1
                    values: list[Any] = [None] * len(names)
                    for place, value in zip(wanted, row, strict=True):
                        values[place] = value
                    yield number, layout, values
    except (pa.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"data: {shown}: damaged Parquet ({reason}); fetch it again") from error


def parquet_classes(path: Path, label: str) -> tuple[str, ...] | None:
    """Names of the classes in order of their numbers, where the `datasets` library wrote them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return None
