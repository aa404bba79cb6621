"""Owns `python -m hvdcore`, the `hvdcore` command of this very Python."""

from __future__ import annotations

from hvdcore.cli import main

main()
