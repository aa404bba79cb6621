"""`python -m hvdcore`: the `hvdcore` command of this Python."""

from __future__ import annotations

from hvdcore.cli import main

main()
