"""Has PyTorch's GradScaler wait for the combined gradients before it reads and changes them.

Upstream leaves that to the script (`synchronize`, `unscale_`, `skip_synchronize`). Without it the
scaler divides gradients while they are being sent, and each rank by itself finds that one is
infinite and makes no step, so that the ranks end with different weights.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

_METHOD = "_unscale_grads_"
_MARK = "_horovod_waits"


def wait_in_grad_scaler() -> None:
    """Called on import. `torch.cuda.amp.GradScaler` is derived from the class that is changed."""
    scaler = torch.amp.GradScaler
    unscale = getattr(scaler, _METHOD, None)
    if unscale is not None and not hasattr(unscale, _MARK):
        setattr(scaler, _METHOD, _waiting(unscale))


def _waiting(unscale: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(unscale)
    def wait_and_unscale(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        if hasattr(type(optimizer), "_wrapped_class"):
            optimizer._before_unscaling()
        return unscale(scaler, optimizer, *args, **kwargs)

    setattr(wait_and_unscale, _MARK, True)
    return wait_and_unscale
