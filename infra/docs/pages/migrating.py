"""Horovod's own page on moving from 0.28, where the checkout has one."""

from __future__ import annotations

import re

from pages.messages import ROOT

SOURCE = ROOT / "infra" / "horovod" / "MIGRATING.md"


def page() -> str:
    """Its sections without the title, and without links into the checkout."""
    return "" if not SOURCE.exists() else sections(SOURCE.read_text(encoding="utf-8"))


def sections(text: str) -> str:
    """The text below the title; a link to a file becomes its words."""
    body = re.sub(r"\A# [^\n]*\n", "", text)
    return re.sub(r"\[([^\]]+)\]\((?!\w+:|#)[^)]*\)", r"\1", body)
