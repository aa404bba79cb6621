"""The fields of a training's configuration that say how its checkpoints are written."""

from __future__ import annotations

from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from hvdcore.config import Config, Flag

__all__ = ["CheckpointFields"]


class CheckpointFields(Config):
    """How checkpoints are written, how many are kept, and where they are copied to."""

    panel: ClassVar[str] = "Output"

    checkpoint_in_background: bool = True
    """Write checkpoints behind the next steps, which wait only for a copy of the state in rank 0's
    memory."""
    keep_checkpoints: int = Field(2, ge=1)
    """Number of newest checkpoints to keep, beside the best one."""
    mirror: Annotated[str | None, Flag(metavar="URL")] = None
    """Copy each checkpoint there too, such as ``s3://bucket/run``; on an empty disk ``--resume
    auto`` fetches the newest one. Credentials come from the environment."""

    @field_validator("mirror")
    @classmethod
    def _is_a_url_without_credentials(cls, url: str | None) -> str | None:
        if not url:  # given as "" it turns off what a --config says
            return None
        scheme, rest = urlsplit(url).scheme, urlsplit(url)
        if not scheme or not (rest.netloc or rest.path.strip("/")):
            raise ValueError("give a URL, such as s3://bucket/run or file:///path/of/a/folder")
        if rest.password is not None:
            raise ValueError("leave the password out; credentials come from the environment")
        return url
