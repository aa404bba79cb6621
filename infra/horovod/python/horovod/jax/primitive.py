"""The JAX primitive behind Horovod's operations, and its link to the library's FFI handler.

It has an ordered effect: JAX hands a token from each operation to the next, within one compiled
function and from one to the next, so that operations run in the order of the program on all ranks.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from horovod.common import library

import jax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

try:
    # JAX has no public way to declare an ordered effect.
    from jax._src import effects
    from jax._src.core import ShapedArray, abstract_token
except ImportError as error:
    raise ImportError(
        f"horovod.jax does not know this release of JAX ({jax.__version__}): {error}; it was tested"
        " with 0.10"
    ) from error

TARGET = "horovod"
ALLREDUCE, ALLGATHER, BROADCAST, ALLTOALL, REDUCESCATTER = range(5)
"""Kinds of operations, as the handler numbers them."""


class HorovodEffect(effects.Effect):
    """Communication with other ranks."""

    def __str__(self) -> str:
        return "Horovod"


EFFECT = HorovodEffect()
for _allowed in (
    effects.ordered_effects,
    effects.lowerable_effects,
    effects.control_flow_allowed_effects,
    effects.custom_derivatives_allowed_effects,
):
    _allowed.add_type(HorovodEffect)


def _register() -> None:
    handler = library.load().horovod_jax_handler
    address = ctypes.cast(handler, ctypes.c_void_p).value
    new_capsule = ctypes.pythonapi.PyCapsule_New
    new_capsule.restype, new_capsule.argtypes = ctypes.py_object, [ctypes.c_void_p] * 3
    jax.ffi.register_ffi_target(TARGET, new_capsule(address, None, None), platform="cpu")


def reset_names() -> None:
    """Starts the count of nameless operations again, on all ranks."""
    library.load().horovod_jax_reset()


horovod_p = Primitive("horovod")


@horovod_p.def_effectful_abstract_eval
def _abstract_eval(x: Any, *, rows: int | None, **_params):
    shape = x.shape if rows is None else (rows, *x.shape[1:])
    return ShapedArray(shape, x.dtype), {EFFECT}


def _lower(ctx, x, *, rows, kind, name, op, prescale, postscale, root_rank, process_set):
    call = jax.ffi.ffi_lowering(TARGET, has_side_effect=True)
    with_tokens = ctx.replace(
        avals_in=[*ctx.avals_in, abstract_token], avals_out=[*ctx.avals_out, abstract_token]
    )
    token = ctx.tokens_in.get(EFFECT)
    result, token = call(
        with_tokens,
        x,
        token,
        kind=np.int64(kind),
        name=name,
        op=np.int64(op),
        prescale=np.float64(prescale),
        postscale=np.float64(postscale),
        root_rank=np.int64(root_rank),
        process_set=np.int64(process_set),
    )
    ctx.set_tokens_out(mlir.TokenSet({EFFECT: token}))
    return [result]


def _no_gpu(*_arguments, **_params):
    raise NotImplementedError(
        "this build of Horovod communicates arrays in the CPU's memory: run the function on the"
        " CPU (JAX_PLATFORMS=cpu, or jax.device_put(x, jax.devices('cpu')[0]))"
    )


def _batch(arguments, dims, **params):
    if params["kind"] not in (ALLREDUCE, BROADCAST):
        raise NotImplementedError("vmap of this operation of Horovod is not supported")
    return horovod_p.bind(*arguments, **params), dims[0]


horovod_p.def_impl(lambda x, **params: jax.jit(lambda y: horovod_p.bind(y, **params))(x))
mlir.register_lowering(horovod_p, _lower, platform="cpu")
mlir.register_lowering(horovod_p, _no_gpu)
batching.primitive_batchers[horovod_p] = _batch
_register()
