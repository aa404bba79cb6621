"""What a trainer calls its samples, in reports, bars and messages."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Words"]


@dataclass(frozen=True)
class Words:
    """The words of one package.

    Attributes:
        package: its distribution, `image_cls`.
        command: what is typed, `image-cls`.
        sample: one sample, `picture`.
        unit: what is counted by the second, in the plural: `images`.
    """

    package: str
    command: str
    sample: str
    unit: str

    @property
    def samples(self) -> str:
        return f"{self.sample}s"
