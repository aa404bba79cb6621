"""Products of a few rows: float32 by several ways, and 8 bits with a known answer."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch

from hvdcore.errors import UserError
from textgen.generation import products
from textgen.generation.decode_weights import DecodeWeights
from textgen.generation.int8_model import Int8Linear, round_linear_layers
from textgen.generation.loop import generate_tokens
from textgen.generation.products import Int8Product, RowProduct, packs, product_of
from textgen.generation.sampling import SamplingOptions
from textgen.model.causal_lm import build_gpt2
from textgen.model.config import Gpt2Shape, ModelConfig
from textgen.model.transformer import Transformer

GREEDY = SamplingOptions(temperature=0)


@pytest.mark.parametrize("rows", [1, 2, 3, 24, 64, 65])
@pytest.mark.parametrize(("inputs", "outputs"), [(384, 400), (400, 384), (384, 390), (16, 32)])
def test_row_products(rows: int, inputs: int, outputs: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(outputs, inputs, generator=generator)
    x = torch.randn(rows, inputs, generator=generator)
    out = torch.ones(rows, outputs)
    expected = x.double() @ weight.double().t()
    RowProduct(weight).bound(x, out)()
    torch.testing.assert_close(out.double(), expected, atol=1e-4, rtol=0)
    RowProduct(weight).bound(x, out, add=True)()
    torch.testing.assert_close(out.double(), 2 * expected, atol=2e-4, rtol=0)


def test_without_the_packed_product_the_answer_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packs()  # else nothing of it is tested above
    packs.cache_clear()
    monkeypatch.setattr(products, "_pack", lambda weight: torch.ops.mkldnn.not_there(weight))
    try:
        test_row_products(8, 384, 400)
        assert not packs()
    finally:
        packs.cache_clear()


def test_eight_bits_of_small_integers_are_exact() -> None:
    # Rows whose largest value is 127 are their own rounding.
    weight = torch.tensor([[127.0, -3.0, 0.0, 1.0], [2.0, 254.0, 0.0, -2.0], [0.0, 0.0, 0.0, 0.0]])
    x = torch.tensor([[1.0, 2.0, 127.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    out = torch.ones(2, 3)
    product = Int8Product(weight)
    product.bound(x, out)()
    torch.testing.assert_close(out, torch.tensor([[120.0, 512.0, 0.0], [0.0, 0.0, 0.0]]))
    product.bound(x, out, add=True)()
    torch.testing.assert_close(out, torch.tensor([[240.0, 1024.0, 0.0], [0.0, 0.0, 0.0]]))


def test_a_row_in_eight_bits_does_not_depend_on_the_others() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, x = (torch.randn(rows, 200, generator=generator) for rows in (300, 9))
    x[3] *= 1000
    product, out = Int8Product(weight), torch.empty(9, 300)
    product.bound(x, out)()
    expected = x.double() @ weight.double().t()
    error = (out - expected).norm(dim=1) / expected.norm(dim=1)
    assert 0.002 < float(error.max()) < 0.02  # rounding to 1/127: it is not float32 by chance
    for row in range(9):
        alone = torch.empty(1, 300)
        product.bound(x[row : row + 1].clone(), alone)()
        assert torch.equal(alone[0], out[row])


def test_a_text_in_eight_bits_does_not_depend_on_the_others() -> None:
    torch.manual_seed(0)
    model = Transformer(ModelConfig(400, 32, 2, 6, 6, 384, 512)).eval()
    prompts = [[1, 2, 3], [4, 5], [6]]
    weights = DecodeWeights(model, "int8")

    def texts(rows: list[list[int]]) -> list[list[int]]:
        return generate_tokens(model, rows, max_new_tokens=12, options=GREEDY, weights=weights)

    assert texts(prompts) == [texts([prompt])[0] for prompt in prompts]


def test_gpt2_in_eight_bits_is_close_and_not_the_same() -> None:
    torch.manual_seed(0)
    model = build_gpt2(Gpt2Shape(400, 32, 2, 6, 384, 1536), end_token=0)
    tokens = torch.arange(24).view(2, 12)
    with torch.inference_mode():
        before = model(tokens)
        round_linear_layers(model)
        after = model(tokens)
    rounded = [name for name, m in model.hf.named_modules() if isinstance(m, Int8Linear)]
    assert len(rounded) == 2 * 4 + 1  # attention and MLP of each layer, and the output
    difference = float((after - before).norm() / before.norm())
    assert 0.001 < difference < 0.05
    assert len(generate_tokens(model, [[1, 2]], max_new_tokens=5, options=GREEDY)[0]) == 5


SATURATES = """
import torch
from textgen.generation import products

weight, x = torch.full((3, 64), 2.0), torch.full((1, 64), 0.5)
for levels in (products.int8_levels(), 127):
    products.int8_levels = lambda: levels
    out = torch.empty(1, 3)
    products.Int8Product(weight).bound(x, out)()
    print(levels, round(out[0, 0].item(), 3))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="oneDNN's limit is for x86")
def test_without_vnni_sums_do_not_overflow() -> None:
    limited = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    program = [sys.executable, "-c", SATURATES]
    done = subprocess.run(program, env=limited, capture_output=True, text=True, check=True)
    right, control = (line.split() for line in done.stdout.splitlines())
    assert right == ["63", "64.0"]
    assert control[0] == "127"
    assert float(control[1]) < 50


def test_a_wrong_sum_of_integers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    products.int8_levels.cache_clear()
    monkeypatch.setattr(
        products._Integers, "multiply", lambda self, x: torch.full((2, 2), 32.0 * 32767)
    )
    try:
        with pytest.raises(UserError, match="leave out --weight-dtype int8"):
            Int8Product(torch.ones(2, 2))
    finally:
        products.int8_levels.cache_clear()


def test_another_dtype_is_refused() -> None:
    with pytest.raises(UserError, match="got 'int4'; give float32 or int8"):
        product_of("int4")
