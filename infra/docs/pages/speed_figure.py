"""Draws `figures/speed.svg` from the tables of `measured/speed.md`, when it is run."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
# Label, beginning of the row, column of the ratio, whether it is a share of the peer's time.
BARS = (
    ("allreduce 32 MB: torch.distributed", "allreduce 4 MB, 32 MB", 1, True),
    ("training 12 x 64: DDP", "12 x 64: against DDP", 1, False),
    ("training 96 x 64: DDP", "96 x 64: against DDP", 1, False),
    ("generation, 1 text: transformers", "generation, 1 and 8 texts", 1, False),
    ("images: MultiWorkerMirroredStrategy", "against `MultiWorkerMirroredStrategy`", 1, False),
    ("images: plain Keras, both cores", "against plain Keras on both cores", 1, False),
    ("news: MultiWorkerMirroredStrategy", "against `MultiWorkerMirroredStrategy`", 2, False),
    ("news: plain Keras, both cores", "against plain Keras on both cores", 2, False),
)


def ratios(text: str) -> list[tuple[str, float]]:
    """Each label with our speed as a multiple of the peer's."""
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines()]
    found = []
    for label, beginning, column, inverse in BARS:
        row = next(row for row in rows if row and row[0].startswith(beginning))
        value = float(re.findall(r"\d+\.?\d*", row[column])[0])
        found.append((label, 1 / value if inverse else value))
    return found


def draw(bars: list[tuple[str, float]]) -> str:
    """An SVG with one bar each, and a line at 1."""
    unit, left, height = 75, 270, 30 + 28 * len(bars)
    parts = [f'<line x1="{left + unit}" x2="{left + unit}" y1="6" y2="{height - 22}" class="r"/>']
    for number, (label, value) in enumerate(bars):
        top = 10 + 28 * number
        parts.append(f'<text x="{left - 8}" y="{top + 14}" text-anchor="end">{label}</text>')
        parts.append(f'<rect x="{left}" y="{top}" width="{unit * value:.0f}" height="19" rx="3"/>')
        parts.append(f'<text x="{left + unit * value + 6:.0f}" y="{top + 14}">{value:.2f}</text>')
    parts.append(
        f'<text x="{left + unit}" y="{height - 6}" text-anchor="middle">1: the peer\'s speed</text>'
    )
    style = "text{font:12px sans-serif;fill:#222}rect{fill:#3b6ea5}.r{stroke:#c57b1f}.w{fill:#fff}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {height}" width="720">'
    ground = f'<rect class="w" width="720" height="{height}" rx="8"/>'
    return "\n".join([head, f"<style>{style}</style>", ground, *parts, "</svg>\n"])


if __name__ == "__main__":
    table = (DOCS / "measured" / "speed.md").read_text(encoding="utf-8")
    (DOCS / "figures" / "speed.svg").write_text(draw(ratios(table)), encoding="utf-8")
