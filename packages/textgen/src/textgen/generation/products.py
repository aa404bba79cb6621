"""Products of a few rows with a fixed matrix, which are most of a decode step's time on a CPU.

`RowProduct` computes in float32. `Int8Product` keeps the matrix in 8 bits: one row's product takes
as long as reading the matrix from memory, so a quarter of the bytes is a quarter of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Protocol

import torch
from torch import Tensor

from hvdcore.errors import UserError

__all__ = ["WEIGHT_DTYPES", "Int8Product", "Product", "RowProduct", "product_of"]

PANEL_COLUMNS = 16
MIN_WEIGHTS = 1 << 17
"""Smaller matrices fit in the L2 cache, and a plain product is as fast."""
PANEL_MAX_ROWS = 24
PACKED_MIN_ROWS = 3
PACKED_MAX_ROWS = 64
WEIGHT_LEVELS = 127
TINY = torch.finfo(torch.float32).tiny


class Product(Protocol):
    """x [B, I] -> x @ weight.T [B, O], for one weight [O, I]."""

    def bound(self, x: Tensor, out: Tensor, *, add: bool = False) -> Callable[[], object]:
        """A function that computes out [B, O] from x [B, I], or adds to it, at every call."""


class RowProduct:
    """x [B, I] -> x @ weight.T [B, O] in float32, for one weight [O, I] and any small B.

    A general matrix product spends more time packing the weight, at every call, than multiplying a
    few rows with it, and the library's product of one row reads the weight less fast than it could.
    So large weights are packed once: for one or two rows into panels of 16 columns, as a batched
    product; for more in the layout of oneDNN.
    """

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight
        self._matrix: Tensor | None = None
        self._panels: Tensor | None = None
        self._packed: Tensor | None = None

    def bound(self, x: Tensor, out: Tensor, *, add: bool = False) -> Callable[[], object]:
        """A function that computes out [B, O] from x [B, I], or adds to it, at every call."""
        if x.device.type == "cpu" and self._weight.numel() >= MIN_WEIGHTS:
            if PACKED_MIN_ROWS <= len(x) <= PACKED_MAX_ROWS and packs():
                return self._bound_packed(x, out, add)
            if len(x) <= PANEL_MAX_ROWS and self._weight.shape[0] % PANEL_COLUMNS == 0:
                return self._bound_panels(x, out, add)
        return self._bound_plain(x, out, add)

    def _bound_plain(self, x: Tensor, out: Tensor, add: bool) -> Callable[[], object]:
        if self._matrix is None:
            rows, columns = self._weight.shape
            # A vector product is fastest along the longer side.
            tall = rows >= columns
            self._matrix = self._weight.t().contiguous() if tall else self._weight.t()
        if add:
            return partial(out.addmm_, x, self._matrix)
        return partial(torch.mm, x, self._matrix, out=out)

    def _bound_panels(self, x: Tensor, out: Tensor, add: bool) -> Callable[[], object]:
        if self._panels is None:
            cut = self._weight.view(-1, PANEL_COLUMNS, self._weight.shape[1])
            self._panels = cut.transpose(1, 2).contiguous()  # [O / 16, I, 16]
        panels = self._panels
        spread = x.expand(len(panels), *x.shape)
        product = torch.empty(len(panels), len(x), PANEL_COLUMNS)
        target = out.view(len(x), len(panels), PANEL_COLUMNS).transpose(0, 1)
        finish = target.add_ if add else target.copy_

        def run() -> None:
            torch.bmm(spread, panels, out=product)
            finish(product)

        return run

    def _bound_packed(self, x: Tensor, out: Tensor, add: bool) -> Callable[[], object]:
        if self._packed is None:
            self._packed = _pack(self._weight)
        packed, finish = self._packed, out.add_ if add else out.copy_

        def run() -> None:
            finish(_multiply_packed(x, packed))

        return run


def _pack(weight: Tensor) -> Tensor:
    """A weight [O, I] in oneDNN's layout for a few rows."""
    # What torch.compile calls for the linear layers of a frozen model; tried with 2.13.
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 8)
    return packed


def _multiply_packed(x: Tensor, packed: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")
    return product


@cache
def packs() -> bool:
    """Whether this PyTorch multiplies by a packed matrix, and rightly.

    These operations are not public: where they are missing, or changed, `RowProduct` does without.
    """
    x = torch.arange(12.0).view(3, 4)
    weight = torch.arange(20.0).view(5, 4) - 7
    try:
        return torch.equal(_multiply_packed(x, _pack(weight)), x @ weight.t())
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False


class Int8Product:
    """x [B, I] -> x @ weight.T [B, O], for one weight [O, I] rounded to 8 bits.

    Each row of the weight has a scale, and so has each row of x, which is rounded to 8 bits at
    every call: a product is some 1 % off. Sums are exact integers, so a row's result does not
    depend on the other rows.

    Raises:
        UserError: this PyTorch or processor does not multiply integers rightly.
    """

    def __init__(self, weight: Tensor) -> None:
        self._levels = int8_levels()
        weight = weight.detach().float().contiguous()  # oneDNN does not look at strides
        scales = weight.abs().amax(1).clamp_min(TINY) / WEIGHT_LEVELS
        rounded = (weight / scales[:, None]).round_().to(torch.int8)
        self._integers = _Integers(rounded, scales / self._levels, self._levels + 1)

    def bound(self, x: Tensor, out: Tensor, *, add: bool = False) -> Callable[[], object]:
        """A function that computes out [B, O] from x [B, I], or adds to it, at every call."""
        largest, scaled = x.new_empty(len(x), 1), torch.empty_like(x)
        rounded = torch.empty_like(x, dtype=torch.uint8)
        middle = x.new_tensor(self._levels + 1.5)  # the cast to integers rounds down
        levels, integers = self._levels, self._integers

        def run() -> None:
            torch.linalg.vector_norm(x, float("inf"), -1, True, out=largest)
            largest.clamp_min_(TINY)
            torch.div(x, largest, out=scaled)
            rounded.copy_(torch.add(middle, scaled, alpha=levels, out=scaled))
            product = integers.multiply(rounded)
            if add:
                out.addcmul_(product, largest)
            else:
                torch.mul(product, largest, out=out)

        return run


class _Integers:
    """Products with a weight of int8 [O, I], each output times its scale [O], by oneDNN.

    These operations are not public; torch.compile calls them for quantized models. Tried with
    PyTorch 2.13.

    Args:
        zero: what stands for 0 in the other factor, which is uint8.
    """

    def __init__(self, weight: Tensor, scales: Tensor, zero: int) -> None:
        self._weight = torch.ops.onednn.qlinear_prepack(weight, None)
        self._scales, self._zero = scales, zero
        self._weight_zeros = torch.zeros(len(weight), dtype=torch.int32)

    def multiply(self, x: Tensor) -> Tensor:
        """x of uint8 [B, I] -> float32 [B, O]."""
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            x, 1.0, self._zero, self._weight, self._scales, self._weight_zeros, None,
            1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return product


@cache
def int8_levels() -> int:
    """The largest integer that a row of x may be rounded to, so that sums are right here.

    Processors without VNNI add products two by two in 16 bits, where two of 255 x 127 do not fit,
    without an error; two of 127 x 127 do. So the largest are multiplied, and the answer is known.

    Raises:
        UserError: no sums of integers are right, or PyTorch does not have these products.
    """
    weight = torch.full((2, 64), WEIGHT_LEVELS, dtype=torch.int8)
    try:
        for levels in (127, 63):
            largest = torch.full((2, 64), 2 * levels + 1, dtype=torch.uint8)
            product = _Integers(weight, torch.ones(2), levels + 1).multiply(largest)
            if (product == 64 * levels * WEIGHT_LEVELS).all():
                return levels
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        pass
    raise UserError(
        f"weight_dtype: PyTorch {torch.__version__} cannot multiply by weights of 8 bits on this "
        "processor; leave out --weight-dtype int8"
    )


PRODUCTS: dict[str, Callable[[Tensor], Product]] = {"float32": RowProduct, "int8": Int8Product}
WEIGHT_DTYPES = tuple(PRODUCTS)


def product_of(weight_dtype: str) -> Callable[[Tensor], Product]:
    """The kind of product whose weights are `float32` or `int8`.

    Raises:
        UserError: another dtype.
    """
    if weight_dtype not in PRODUCTS:
        raise UserError(f"weight_dtype: got {weight_dtype!r}; give {' or '.join(PRODUCTS)}")
    return PRODUCTS[weight_dtype]
