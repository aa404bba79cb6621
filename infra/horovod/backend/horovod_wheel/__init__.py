"""Builds the Horovod wheel: published source, named edits, one compile, a cache."""

from __future__ import annotations
