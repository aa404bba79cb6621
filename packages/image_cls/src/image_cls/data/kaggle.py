"""Fetching a Kaggle data set by name, through kagglehub, which keeps it in a cache of its own."""

from __future__ import annotations

from pathlib import Path

from hvdcore.errors import UserError

__all__ = ["fetch"]

INTEL = "puneet6060/intel-image-classification"
"""The Intel scenes."""


def fetch(handle: str) -> Path:
    """The folder of a data set, downloaded if it is not there yet. Call on one rank of a host.

    Args:
        handle: `owner/name`, such as `INTEL`.

    Raises:
        UserError: kagglehub is not installed, or Kaggle cannot be reached or has no such set.
    """
    try:
        import kagglehub
    except ImportError:
        raise UserError(
            f"data: {handle}: a Kaggle data set needs kagglehub; "
            "pip install './packages/image_cls[kaggle]', or download it and give the folder"
        ) from None
    try:
        return Path(kagglehub.dataset_download(handle))
    except Exception as error:
        # kagglehub raises its own, requests' and plain errors; for the user they are one.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"data: {handle}: Kaggle did not give it ({reason}); check the name and the network, "
            "or download it by hand and give the folder"
        ) from error
