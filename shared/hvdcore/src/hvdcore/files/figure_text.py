"""Names of classes, runs and files as the text of a figure."""

from __future__ import annotations

from hvdcore.errors import printable_name

__all__ = ["figure_text"]


def figure_text(name: str) -> str:
    """The name on one line, as it is: matplotlib reads what stands between two `$` as a formula,
    and raises ValueError where it is none; and it leaves a name that begins with `_` out of a
    legend."""
    shown = printable_name(name).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown
